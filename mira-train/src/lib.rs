//! The `mira-train` command line, as a library: each subcommand is a module whose `run` the binary calls.
//!
//! `mira-train run` pre-trains; data flows one way: [`recipe`] → [`data`] → views → student and teacher ([`nn`], [`model`]) → targets and loss
//! ([`objective`]) → [`optim`] → metrics and checkpoints ([`run_folder`]) → [`eval`] and [`pages`]. [`train`] holds it together.
//! `mira-train compare` does so for several recipes and seeds, and makes a table of what they learned.
//! `mira-train data` gets images to train on, and shows them.
//! `mira-train features` writes what an encoder makes of images as `.npy` files ([`npy`]).
//! `mira-train assign` ([`assign`]) turns a `.npy` file of logits into an assignment and a certificate of it.
//!
//! Exit codes: 0 done (also when the answer is not proven to the tolerance: that is a status, with a warning on stderr),
//! 1 failures inside (a full disk, a backend, a run of a comparison) or of a network, 2 anything the caller can put right, 3 corrupt images
//! found by `data info`, 75 interrupted, with all saved that there was, 130 by a second Ctrl-C, which waits for nothing. An error is one line on stderr.

// Both panic where the other end is gone; `print` and `terminal::tell` do not. Tests may.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod assign;
pub mod cli;
pub mod commands;
pub mod data;
mod error;
pub mod eval;
#[cfg(feature = "fetch")]
pub mod fetch;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod lines;
pub mod model;
pub mod npy;
pub mod objective;
pub mod optim;
mod output;
pub mod pages;
pub mod recipe;
pub mod run_folder;
pub mod schedule;
mod terminal;
mod text;
pub mod train;
pub mod weights;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

pub use error::Error;
pub use mira_nn as nn;
pub use mira_nn::rng;

/// Runs a command line, its first argument being the program's name, and says how it went on stderr.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let result = match cli::Cli::try_parse_from(&args) {
        Ok(cli) => dispatch(&cli.command),
        // --help and --version
        Err(shown) if !shown.use_stderr() => {
            print(&shown.render().to_string()).map(|()| ExitCode::SUCCESS)
        }
        Err(refused) => Err(Error::Usage(cli::one_sentence(&refused, &args))),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain("error", &error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(command: &cli::Command) -> Result<ExitCode, Error> {
    let text = match command {
        cli::Command::Assign(args) => {
            let report = assign::run(args)?;
            if let Some(warning) = report.warning() {
                complain("warning", &warning);
            }
            if args.report_to_stdout() { report.to_json() } else { report.to_string() }
        }
        cli::Command::Run(args) => {
            let (code, text) = commands::run::run(args)?;
            return print(&text).map(|()| code);
        }
        cli::Command::Compare(args) => {
            let (code, text) = commands::compare::run(args)?;
            return print(&text).map(|()| code);
        }
        cli::Command::Data(args) => {
            let (code, text) = commands::data::run(args)?;
            return print(&text).map(|()| code);
        }
        cli::Command::Eval(args) => commands::eval::run(args)?,
        cli::Command::Features(args) => {
            let (code, text) = commands::features::run(args)?;
            return print(&text).map(|()| code);
        }
        cli::Command::Export(args) => commands::export::run(args)?,
        cli::Command::Plot(args) => commands::plot::run(args)?,
        cli::Command::Objectives(args) => cli::objectives::text(args)?,
        cli::Command::Recipes(args) => cli::recipes::text(args)?,
    };
    print(&text).map(|()| ExitCode::SUCCESS)
}

/// An error or a warning on stderr.
fn complain(kind: &str, message: &str) {
    terminal::tell(&format!("{kind}: {message}"));
}

/// To stdout; a reader that has gone away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::WriteFailed { path: "stdout".into(), source: e })
        }
        _ => Ok(()),
    }
}
