//! The flags of `mira-train data info`.

use std::path::PathBuf;

use clap::Args;

use super::format;
use super::subset::SubsetArgs;
use crate::data::Format;

const EXAMPLES: &str = "\
Examples:
  mira-train data info data/cifar10
      format, splits, classes and sizes, from a sample of the images
  mira-train data info imagenet --check
      every image decoded; those that cannot be are listed
  mira-train data info imagenet --classes imagenet100.txt --label-list 1percent.txt
      what is left with these classes, and of how many images the labels are kept
  mira-train data info imagenet --check --json
      the same as one line of JSON, with every corrupt image

Exit code 3 if an image that was looked at is corrupt, 0 if none is. Runs do without corrupt
images: training takes others in their place, evaluation leaves them out. They end a run if there
are more in a split than the recipe's data.max_bad_fraction allows, by default 0.001 of its images
and at least one.

An EXIF orientation is counted, and not applied: images are as they lie in the file, as in torchvision.";

/// Flags of `mira-train data info`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct InfoArgs {
    /// Folder or file of the data set [default: the images in the binary]
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,

    /// Format of the data set
    #[arg(long, alias = "format", value_name = "FORMAT", default_value = "auto", value_parser = format::parser(), help_heading = "Data")]
    pub source: Format,

    /// Classes and labels.
    #[command(flatten)]
    pub subset: SubsetArgs,

    /// Decode every image instead of a sample of 512 a split
    #[arg(long, help_heading = "Data")]
    pub check: bool,

    /// Print the result as one line of JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Print no progress
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
}
