//! The flags of `mira-train data preview`.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::format;
use crate::data::{Format, Split};

const EXAMPLES: &str = "\
Examples:
  mira-train data preview
      preview.png: what the default recipe makes of the images in the binary
  mira-train data preview data/cifar10 --recipe cifar10-small-cpu --out cifar.png
      what another recipe makes of your images
  mira-train data preview imagenet --recipe my.toml --seed 1 --epoch 7 --images 4
      the images that epoch 7 of a run with seed 1 begins with, and their views there

A row is an image: on it the crops, beside it the views, pixel for pixel as in training, and
beneath each what was done, in this order: its crop (width × height at left, top), colours,
blur, solarisation, flip.";

/// Flags of `mira-train data preview`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PreviewArgs {
    /// Folder or file of the data set [default: the recipe's]
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,

    /// Format of the data set [default: auto with PATH, else the recipe's]
    #[arg(long, alias = "format", value_name = "FORMAT", value_parser = format::parser(), help_heading = "Data")]
    pub source: Option<Format>,

    /// Part of the data set
    #[arg(
        long,
        value_name = "SPLIT",
        default_value = "train",
        value_parser = PossibleValuesParser::new(["train", "test"]).map(|name| split(&name)),
        help_heading = "Data"
    )]
    pub split: Split,

    /// Images, a row each
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000),
        help_heading = "Data"
    )]
    pub images: u32,

    /// Recipe whose views are drawn: a name from `mira-train recipes`, or the path of a .toml file
    #[arg(long, value_name = "RECIPE", default_value = "default", help_heading = "Views")]
    pub recipe: String,

    /// Change a setting of the recipe, as often as needed, such as views.0.blur.probability=1
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Views")]
    pub overrides: Vec<String>,

    /// Seed of the run [default: the recipe's train.seed]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64),
        help_heading = "Views"
    )]
    pub seed: Option<u64>,

    /// Epoch of the run, from 0
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0,
        help_heading = "Views"
    )]
    pub epoch: u32,

    /// PNG file to write
    #[arg(long, value_name = "FILE", default_value = "preview.png", value_parser = png, help_heading = "Output")]
    pub out: PathBuf,
}

fn split(name: &str) -> Split {
    if name == "test" { Split::Test } else { Split::Train }
}

fn png(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let is_png = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
    is_png.then(|| path.into()).ok_or_else(|| "expected a name that ends in .png".into())
}
