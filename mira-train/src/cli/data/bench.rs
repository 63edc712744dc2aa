//! The flags of `mira-train data bench`.

use std::path::PathBuf;

use clap::Args;

use super::format;
use crate::data::Format;

const EXAMPLES: &str = "\
Examples:
  mira-train data bench imagenet
      with the views of the ImageNet multi-crop recipe, 2×224 and 6×96
  mira-train data bench cifar10 --recipe cifar10-r18-1000ep --threads 1,4,16
      with another recipe's views, and with so many threads
  mira-train data bench imagenet --seconds 30 --json

Times of stages are one thread's processor time, which other programs do not add to; rates by
number of threads are by the clock, and include everything. It ends at the first image that
cannot be read; `mira-train data info --check` lists all of those.";

/// Flags of `mira-train data bench`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Images [default: the embedded ones]
    #[arg(value_name = "PATH")]
    pub data: Option<PathBuf>,

    /// Format of the images: auto, embedded, idx, cifar10, cifar100, image-folder, parquet, packed, webdataset
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = format::parser(), hide_possible_values = true, help_heading = "Data")]
    pub source: Format,

    /// Recipe whose views are made: a name or a .toml file
    #[arg(
        long,
        value_name = "RECIPE",
        default_value = "imagenet-r50-400ep-multicrop",
        help_heading = "Data"
    )]
    pub recipe: String,

    /// Change a setting of the recipe, as often as needed, such as views.0.blur.probability=0
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Data")]
    pub overrides: Vec<String>,

    /// Numbers of threads to try [default: 1, 2, 4, … up to the processors]
    #[arg(
        long,
        value_name = "N,N,…",
        value_delimiter = ',',
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=1024),
        help_heading = "Measurement"
    )]
    pub threads: Vec<u32>,

    /// Seconds for the stages, and for each number of threads
    #[arg(
        long,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=3600),
        help_heading = "Measurement"
    )]
    pub seconds: u32,

    /// Print one line of JSON instead of the table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
