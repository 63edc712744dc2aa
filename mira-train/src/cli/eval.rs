//! The flags of `mira-train eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::data::format;
use super::run::Device;
use crate::data::Format;
use crate::train::Which;

const EXAMPLES: &str = "\
Examples:
  mira-train eval knn runs/cifar --data cifar-10-batches-bin
      k-NN accuracy of a run's encoder, by the run's own settings
  mira-train eval knn encoder.safetensors --recipe imagenet-r50-400ep-multicrop --data imagenet --label-fraction 0.01
      an encoder from a file, with 1 % of the labels
  mira-train eval knn runs/imagenet --label-list 1percent.txt
      with the labels of the images that a list names
  mira-train eval linear runs/cifar --data cifar-10-batches-bin --epochs 100 --lr 0.3
      a linear classifier on the frozen encoder";

/// Flags of `mira-train eval`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, subcommand_required = true)]
pub struct EvalArgs {
    /// Protocol.
    #[command(subcommand)]
    pub protocol: Protocol,
}

/// How an encoder is evaluated.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Protocol {
    /// Weighted vote of the nearest training images, nothing is trained
    Knn(KnnArgs),
    /// A linear classifier trained on the frozen encoder's features
    ///
    /// The features are of fixed centre crops, made once; papers train their probes on random resized crops and flips.
    Linear(LinearArgs),
}

impl Protocol {
    /// The encoder, and what it is evaluated on.
    pub const fn encoder(&self) -> &EncoderArgs {
        match self {
            Self::Knn(args) => &args.encoder,
            Self::Linear(args) => &args.encoder,
        }
    }
}

/// What every protocol needs.
#[derive(Args, Clone, Debug)]
pub struct EncoderArgs {
    /// Run folder, or a .safetensors file with torchvision's names
    #[arg(value_name = "RUN_OR_SAFETENSORS")]
    pub encoder: PathBuf,

    /// Images, training and test split, which evaluations need labels of [default: the run's own]
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub data: Option<PathBuf>,

    /// Format of the images: auto, embedded, idx, cifar10, cifar100, image-folder, parquet, packed, webdataset [default: the run's own, else auto]
    #[arg(long, value_name = "FORMAT", value_parser = format::parser(), hide_possible_values = true, help_heading = "Data")]
    pub source: Option<Format>,

    /// List of the classes used, one a line [default: the run's own, else all]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub classes: Option<PathBuf>,

    /// Recipe the encoder was trained with, a name or a .toml file: needed for a .safetensors file alone
    #[arg(long, value_name = "RECIPE", help_heading = "Data")]
    pub recipe: Option<String>,

    /// Side of the images in pixels [default: the run's eval.image_size]
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(8..=4096), help_heading = "Data")]
    pub image_size: Option<u32>,

    /// Share of a split's images, in [0, 1], that may be unreadable and are left out: at least one, none with 0 [default: the run's data.max_bad_fraction]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = unit, help_heading = "Data")]
    pub max_bad_fraction: Option<f64>,

    /// Where to compute: cpu. Training and evaluation on CUDA devices (cuda:N) are not there yet
    #[arg(long, value_name = "DEVICE", default_value = "cpu", help_heading = "Evaluation")]
    pub device: Device,

    /// Share of the training labels used, in (0, 1], the same for every class and in every run [default: the run's own, else 1]
    #[arg(long, alias = "fraction", value_name = "SHARE", allow_negative_numbers = true, value_parser = share, help_heading = "Evaluation")]
    pub label_fraction: Option<f64>,

    /// List of the training images whose labels are used, one file name a line, such as SimCLR's 1percent.txt [default: the run's own]
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "label_fraction",
        help_heading = "Evaluation"
    )]
    pub label_list: Option<PathBuf>,

    /// Which of a run's networks, where it has a teacher: student, or teacher [default: by the run's teacher.evaluate]
    #[arg(
        long,
        value_enum,
        value_name = "NETWORK",
        hide_possible_values = true,
        help_heading = "Evaluation"
    )]
    pub network: Option<Which>,

    /// Print the result as one line of JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Flags of `mira-train eval knn`.
#[derive(Args, Clone, Debug)]
pub struct KnnArgs {
    /// Encoder and data.
    #[command(flatten)]
    pub encoder: EncoderArgs,

    /// Neighbours that vote, k ≥ 1 [default: the run's eval.knn_neighbours, else 20]
    #[arg(
        short = 'k',
        long,
        value_name = "K",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Evaluation"
    )]
    pub neighbours: Option<u32>,

    /// Temperature T > 0 of a vote exp(cos/T) [default: the run's eval.knn_temperature, else 0.07]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = positive, help_heading = "Evaluation")]
    pub temperature: Option<f64>,
}

/// Flags of `mira-train eval linear`.
#[derive(Args, Clone, Debug)]
pub struct LinearArgs {
    /// Encoder and data.
    #[command(flatten)]
    pub encoder: EncoderArgs,

    /// Epochs of training [default: the run's eval.linear_epochs, else 100]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Evaluation"
    )]
    pub epochs: Option<u32>,

    /// Learning rate at the start, > 0, as used; a cosine takes it to 0 [default: the run's eval.linear_lr, else 0.3]
    #[arg(long, value_name = "LR", allow_negative_numbers = true, value_parser = positive, help_heading = "Evaluation")]
    pub lr: Option<f64>,

    /// Images a step [default: the run's eval.linear_batch_size, else 1024]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Evaluation"
    )]
    pub batch_size: Option<u32>,

    /// Seed of the classifier's start and of the order of the images
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0,
        help_heading = "Evaluation"
    )]
    pub seed: u64,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| *x > 0.0 && x.is_finite());
    number.ok_or_else(|| "expected a number above 0".into())
}

fn unit(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| (0.0..=1.0).contains(x));
    number.ok_or_else(|| "expected a number in [0, 1]".into())
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| *x > 0.0 && *x <= 1.0);
    number.ok_or_else(|| "expected a number in (0, 1]".into())
}
