//! The flags of `mira-train data`: a subcommand each in a file of its own.

use clap::{Args, Subcommand};

pub mod bench;
pub mod fetch;
pub(super) mod format;
pub mod hash;
pub mod info;
pub mod pack;
pub mod preview;
pub mod subset;

const EXAMPLES: &str = "\
Examples:
  mira-train data fetch cifar10
      CIFAR-10 from the Hugging Face hub into data/cifar10
  mira-train data bench imagenet
      how many images a second this machine augments
  mira-train data pack imagenet imagenet-320 --short-side 320
      a few large files with images of the size that training needs
  mira-train data info data/cifar10 --check
      what is in it, and whether every image can be decoded
  mira-train data preview data/cifar10 --recipe cifar10-small-cpu
      preview.png: images, and the views that training makes of them

`mira-train data fetch --help` says which sets there are.";

/// Flags of `mira-train data`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, subcommand_required = true)]
pub struct DataArgs {
    /// What to do with data.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// The subcommands of `mira-train data`.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum DataCommand {
    /// Measure how fast images become views, by stage and by number of threads
    Bench(bench::BenchArgs),
    /// Download a data set from the Hugging Face hub, with checksums, and go on where an earlier download stopped
    Fetch(fetch::FetchArgs),
    /// Hash batches made by different numbers of threads and after an interruption: all are the same
    Hash(hash::HashArgs),
    /// Pack a data set into a few large files: quick to copy and to read in random order
    Pack(pack::PackArgs),
    /// Say what a data set holds, and find images that cannot be decoded
    Info(info::InfoArgs),
    /// Draw images and the views that training makes of them
    Preview(preview::PreviewArgs),
}
