//! `mira-train data`: preparing images.

pub mod pack;

use crate::Error;
use crate::cli::data::{DataArgs, DataCommand};

/// Runs `mira-train data` and returns what to print.
///
/// # Errors
/// Every [`Error`].
pub fn run(args: &DataArgs) -> Result<String, Error> {
    match &args.command {
        DataCommand::Pack(args) => pack::run(args),
    }
}
