//! The flags of `mira-train export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::train::Which;

const EXAMPLES: &str = "\
Examples:
  mira-train export runs/imagenet --format torchvision --out resnet50.safetensors
      the encoder, to be loaded in Python into torchvision's or timm's model of the same name:
          from safetensors.torch import load_file
          model.load_state_dict(load_file(\"resnet50.safetensors\"), strict=False)  # it has no fc
  mira-train export runs/cifar --format safetensors --out all.safetensors
      student, teacher, projector and prototypes under this program's names";

/// Flags of `mira-train export`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Run folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,

    /// Names and tensors of the file
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: ExportFormat,

    /// Whose encoder, with --format torchvision and where the run has a teacher: student, or teacher [default: by the run's teacher.evaluate]
    #[arg(long, value_enum, value_name = "NETWORK", hide_possible_values = true)]
    pub network: Option<Which>,

    /// File to write, NAME.safetensors; it appears complete or not at all
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What an export holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum ExportFormat {
    /// The encoder with torchvision's key names and layouts, as safetensors
    Torchvision,
    /// Every tensor of the run, as safetensors
    Safetensors,
}
