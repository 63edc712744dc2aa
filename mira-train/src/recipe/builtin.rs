//! Recipes in the binary.

use super::{Error, names};

/// A recipe in the binary.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Name on the command line.
    pub name: &'static str,
    /// One line.
    pub description: &'static str,
    /// The commented TOML.
    pub text: &'static str,
}

macro_rules! builtins {
    ($($name:expr => $description:expr,)*) => {
        &[$(Builtin {
            name: $name,
            description: $description,
            text: include_str!(concat!("../../../recipes/", $name, ".toml")),
        },)*]
    };
    ($($name:literal: $description:literal,)* and for each of $objectives:tt) => {
        builtins!(@each $objectives [$($name => $description,)*])
    };
    (@each [$($objective:literal)*] [$($first:tt)*]) => {
        builtins! {
            $($first)*
            $(concat!("small/", $objective) => concat!("default with ", $objective),)*
            $(concat!("cifar10-small/", $objective) => concat!("cifar10-small-cpu with ", $objective),)*
            $(concat!("cifar10-r18/", $objective) => concat!("CIFAR-10, ResNet-18, ", $objective),)*
            $(concat!("imagenet-r50/", $objective) => concat!("ImageNet, ResNet-50, ", $objective),)*
        }
    };
}

const BUILTINS: &[Builtin] = builtins! {
    "default": "embedded Fashion-MNIST, ResNet-8, 12 epochs: minutes on two CPU cores",
    "cifar10-small-cpu": "CIFAR-10, ResNet-8, 15 epochs: up to an hour on two CPU cores",
    "small/minc-without-gha": "default with minc, whose moment stays whole: what its paper says collapses",
    "cifar10-r18-1000ep": "CIFAR-10, ResNet-18, 1,000 epochs; published linear 93.02 %",
    "cifar100-r18-1000ep": "CIFAR-100, ResNet-18, 1,000 epochs; published linear 70.65 %",
    "imagenet100-r18-400ep": "ImageNet-100, ResNet-18, batch 512; published linear 81.00 %",
    "imagenet-r50-100ep-bs512": "ImageNet, ResNet-50, batch 512, SGD; published linear 68.3 %",
    "imagenet-r50-100ep": "ImageNet, ResNet-50, batch 4,096, two views; published linear 69.4 %",
    "imagenet-r50-200ep": "ImageNet, ResNet-50, batch 4,096, two views; published linear 72.3 %",
    "imagenet-r50-400ep": "ImageNet, ResNet-50, batch 4,096, two views; published linear 73.3 %",
    "imagenet-r50-800ep": "ImageNet, ResNet-50, batch 4,096, two views; published linear 74.1 %",
    "imagenet-r50-100ep-multicrop": "ImageNet, ResNet-50, batch 4,096, 2 + 6 views; published linear 73.6 %",
    "imagenet-r50-200ep-multicrop": "ImageNet, ResNet-50, batch 4,096, 2 + 6 views; published linear 74.9 %",
    "imagenet-r50-400ep-multicrop": "ImageNet, ResNet-50, batch 4,096, 2 + 6 views; published linear 75.6 %",
    and for each of [
        "mira" "mio" "mio-majorized" "imsvd" "minc" "spectral"
        "swav" "dino" "byol" "linear-byol" "simclr" "barlow-twins" "vicreg" "twist" "self-classifier" "deepcluster-v2"
    ]
};

/// The recipes in the binary, the default first.
pub fn builtins() -> &'static [Builtin] {
    BUILTINS
}

/// A recipe in the binary by name.
///
/// # Errors
/// [`Error::UnknownRecipe`] with the nearest name.
pub fn find_builtin(name: &str) -> Result<&'static Builtin, Error> {
    BUILTINS.iter().find(|builtin| builtin.name == name).ok_or_else(|| Error::UnknownRecipe {
        name: name.into(),
        suggestion: names::nearest(name, BUILTINS.iter().map(|b| b.name)).map_or_else(
            || "`mira-train recipes` lists the names".into(),
            |near| format!("did you mean `{near}`?"),
        ),
    })
}
