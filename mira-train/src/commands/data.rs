//! `mira-train data`: what its subcommands do.

mod fetch;
mod info;
mod preview;

use std::process::ExitCode;

use crate::Error;
use crate::cli::data::{DataArgs, DataCommand};

/// Runs a subcommand of `mira-train data`; what it prints on stdout is the second part of the result.
///
/// # Errors
/// Every [`Error`].
pub fn run(args: &DataArgs) -> Result<(ExitCode, String), Error> {
    match &args.command {
        DataCommand::Fetch(args) => fetch::run(args),
        DataCommand::Info(args) => info::run(args),
        DataCommand::Preview(args) => preview::run(args),
    }
}
