//! The flags of `mira-train data hash`.

use std::path::PathBuf;

use clap::Args;

use super::format;
use crate::data::Format;

const EXAMPLES: &str = "\
Examples:
  mira-train data hash
      the first batches of the default recipe, made by 1, 2 and 8 threads and after an interruption
  mira-train data hash imagenet --recipe imagenet-r50-100ep --batches 4 --threads 1,16
      those of another recipe on your images
  mira-train data hash --recipe runs/cifar/recipe.toml --first 5000
      what a run begins with when it is resumed at step 5000; compare it between machines

A hash is of every byte of the batches: which images, their classes, the pixels of their views.
Exit code 1 if two ways to make the same batches differ, 0 if none does.";

/// Flags of `mira-train data hash`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct HashArgs {
    /// Folder or file of the data set [default: the recipe's]
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,

    /// Format of the data set [default: auto with PATH, else the recipe's]
    #[arg(long, alias = "format", value_name = "FORMAT", value_parser = format::parser(), help_heading = "Data")]
    pub source: Option<Format>,

    /// Recipe whose batches are made: a name from `mira-train recipes`, or the path of a .toml file
    #[arg(long, value_name = "RECIPE", default_value = "default", help_heading = "Batches")]
    pub recipe: String,

    /// Change a setting of the recipe, as often as needed, such as train.batch_size=64
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Batches")]
    pub overrides: Vec<String>,

    /// How many batches
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Batches"
    )]
    pub batches: u32,

    /// The first of them: the step of a run
    #[arg(
        long,
        value_name = "STEP",
        allow_negative_numbers = true,
        default_value_t = 0,
        value_parser = clap::value_parser!(u64).range(..1 << 40),
        help_heading = "Batches"
    )]
    pub first: u64,

    /// Numbers of threads; the last one is also interrupted half-way
    #[arg(
        long,
        alias = "workers",
        value_name = "N,N,…",
        value_delimiter = ',',
        allow_negative_numbers = true,
        default_value = "1,2,8",
        value_parser = clap::value_parser!(u32).range(1..=1024),
        help_heading = "Batches"
    )]
    pub threads: Vec<u32>,

    /// Print one line of JSON, with the hash of each batch
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
