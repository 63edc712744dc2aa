//! `mira-train plot`: runs in one picture.

use crate::Error;
use crate::cli::plot::PlotArgs;
use crate::pages::plot;
use crate::train;

/// Runs `mira-train plot` and returns what to print.
///
/// # Errors
/// Every [`Error`].
pub fn run(args: &PlotArgs) -> Result<String, Error> {
    let runs = plot::read(&args.runs).map_err(train::Error::from)?;
    plot::write(&runs, &args.out).map_err(train::Error::from)?;
    Ok(format!("{} run(s) in {}\n", runs.len(), args.out.display()))
}
