//! What is learned from, and the network that learns.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::documented::documented;
use crate::data::{Classes, Format, Labels, Subset};

documented! {
    /// `[data]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Data {
        /// Format of the images; `auto` finds it out.
        pub source: Format,
        /// Folder or file; `--data` goes before it.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text", default)]
        pub path: Option<PathBuf>,
        /// Mean of red, green and blue, in [0, 1], subtracted from each pixel.
        pub mean: [f32; 3],
        /// Standard deviation of red, green and blue, > 0, that each pixel is divided by.
        pub std: [f32; 3],
        /// Classes used: the path of a list with one a line, or their names; all where absent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub classes: Option<Classes>,
        /// List of the training images whose labels evaluations may use, one file name a line; all where absent.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text", default)]
        pub label_list: Option<PathBuf>,
        /// Share of each class's training images whose labels evaluations may use, in (0, 1], the same ones in every run; all where absent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub label_fraction: Option<f64>,
        /// Training images used, ≥ 2: the first ones, of a set that is sorted by class evenly spaced ones; all where absent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub max_train: Option<usize>,
        /// Test images used, ≥ 1: the first ones; all where absent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub max_test: Option<usize>,
        /// Threads that decode and augment; 0: chosen by the machine.
        pub num_workers: usize,
        /// Batches prepared ahead, ≥ 1.
        pub prefetch: usize,
        /// Share of a split's images, in [0, 1], that may be unreadable (0.001): training takes others in their place, evaluation does
        /// without. More of them, and more than one, end the run; with 0 the first does.
        pub max_bad_fraction: f64,
        /// Seconds, ≥ 0, that a run waits for any one image to be read before it ends (300); 0: for ever.
        pub read_timeout: f64,
    }
}

impl Data {
    /// The classes and labels that are used.
    pub fn subset(&self) -> Subset {
        let list = self.label_list.clone().map(Labels::List);
        let labels = list.or(self.label_fraction.map(Labels::Fraction));
        Subset { classes: self.classes.clone(), labels }
    }
}

/// Encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Architecture {
    /// Three stages of one basic block (He et al. 2016, §4.2, n = 1).
    Resnet8,
    /// Three stages of two basic blocks.
    Resnet14,
    /// Three stages of three basic blocks.
    Resnet20,
    /// Four stages of 2, 2, 2, 2 basic blocks.
    Resnet18,
    /// Four stages of 3, 4, 6, 3 basic blocks.
    Resnet34,
    /// Four stages of 3, 4, 6, 3 bottlenecks, stride in the 3×3 (v1.5).
    Resnet50,
    /// Four stages of 3, 4, 23, 3 bottlenecks.
    Resnet101,
}

/// First layers of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Stem {
    /// 7×7 convolution of stride 2, then max-pooling 3×3 of stride 2.
    Imagenet,
    /// 3×3 convolution of stride 1, no pooling.
    Cifar,
}

documented! {
    /// `[model]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Model {
        /// Encoder; ResNet-8, -14 and -20 are the narrow ones for images of 32 pixels.
        pub architecture: Architecture,
        /// Channels of the first stage (64; 16 for ResNet-8, -14, -20); each further stage has twice as many.
        pub width: usize,
        /// First layers: a 7×7 convolution of stride 2 and a max-pooling (`imagenet`), or a 3×3 convolution of stride 1 for small images (`cifar`).
        pub stem: Stem,
        /// Padding in pixels of the CIFAR stem's convolution (1; public codes use 2); only with that stem.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub stem_padding: Option<usize>,
        /// Whether each residual block's last batch norm starts with γ = 0.
        pub zero_init_residual: bool,
    }
}

documented! {
    /// `[projector]`: Linear–BN–ReLU, `num_hidden` times, then Linear with bias, or Linear–BN.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Projector {
        /// Features of each hidden layer, ≥ 1 (2048).
        pub hidden_dim: usize,
        /// Hidden layers (2); 0: one linear map.
        pub num_hidden: usize,
        /// Features of the embedding, ≥ 1 (256).
        pub output_dim: usize,
        /// Whether the last layer has a batch norm in place of its bias (false; true for `SimCLR` and MIO).
        pub batch_norm_last: bool,
    }
}

/// A recipe is text, so a path that is none appears in it as nearly as it can.
#[allow(clippy::ref_option)] // serde's signature
fn as_text<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(to)
}
