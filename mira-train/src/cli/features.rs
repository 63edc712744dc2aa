//! The flags of `mira-train features`.

use std::path::PathBuf;

use clap::Args;

use super::eval::EncoderArgs;

const EXAMPLES: &str = "\
Examples:
  mira-train features runs/cifar --out cifar-features
      what the run's encoder makes of its training and test images
  mira-train features encoder.safetensors --recipe cifar10-small-cpu --data flowers --out features
      an encoder from a file, on other images, which need no labels

In Python, of files that may be larger than memory:
  features = numpy.load('cifar-features/train_features.npy', mmap_mode='r')
  labels = numpy.load('cifar-features/train_labels.npy')";

/// Flags of `mira-train features`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct FeaturesArgs {
    /// Encoder and images.
    #[command(flatten)]
    pub encoder: EncoderArgs,

    /// New folder, or an empty one, for the files, which appear when all are whole, features.json last
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: PathBuf,

    /// Print no progress, only the summary at the end
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
}
