//! The flags of `mira-train data`.

use clap::{Args, Subcommand};

pub mod pack;

/// Flags of `mira-train data`.
#[derive(Args, Clone, Debug)]
#[command(subcommand_required = true)]
pub struct DataArgs {
    /// What to do with images.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// What can be done with images.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum DataCommand {
    /// Pack a data set into a few large files: quick to copy and to read in random order
    Pack(pack::PackArgs),
}
