//! The flags of `mira-train plot`.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  mira-train plot runs/cifar --out curves.html
      a run's loss, learning rate, β, marginal entropy and k-NN accuracy over its steps
  mira-train plot runs/a runs/b runs/c --out comparison.html
      three runs in the same axes";

/// Flags of `mira-train plot`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PlotArgs {
    /// Run folders; each is a curve
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub runs: Vec<PathBuf>,

    /// File to write; its extension says what it is
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}
