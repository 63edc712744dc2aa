//! `mira-train data`: what its subcommands do.

mod bench;
mod fetch;
mod hash;
mod info;
mod pack;
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
        DataCommand::Bench(args) => bench::run(args),
        DataCommand::Fetch(args) => fetch::run(args),
        DataCommand::Hash(args) => hash::run(args),
        DataCommand::Pack(args) => pack::run(args).map(|text| (ExitCode::SUCCESS, text)),
        DataCommand::Info(args) => info::run(args),
        DataCommand::Preview(args) => preview::run(args),
    }
}
