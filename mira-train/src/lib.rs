//! The `mira-train` command line, as a library: each subcommand is a module whose `run` the binary calls.
//!
//! `mira-train assign` turns a `.npy` file of logits into an assignment and a certificate of it. Data flows one way:
//! [`cli`] → [`npy`] → a backend → the verifier → [`report`] → files that appear complete or not at all.
//!
//! Exit codes: 0 done (also when the answer is not proven to the tolerance: that is a status, with a warning on stderr),
//! 1 failures inside (a full disk, a backend), 2 anything the caller can put right. An error is one line on stderr.

pub mod assign;
mod backend;
pub mod cli;
mod error;
pub mod npy;
mod output;
pub mod report;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

pub use backend::Backend;
pub use error::Error;

/// Runs a command line, its first argument being the program's name, and says how it went on stderr.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = match cli::Cli::try_parse_from(args) {
        Ok(cli) => run(&cli.command),
        // --help and --version
        Err(shown) if !shown.use_stderr() => print(&shown.render().to_string()),
        Err(refused) => Err(Error::Usage(cli::one_sentence(&refused))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("error", &error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: &cli::Command) -> Result<(), Error> {
    match command {
        cli::Command::Assign(args) => {
            let report = assign::run(args)?;
            if let Some(warning) = report.warning() {
                complain("warning", &warning);
            }
            print(&if args.report_to_stdout() { report.to_json() } else { report.to_string() })
        }
    }
}

/// One line on stderr, whatever a path or a file's header contains.
fn complain(kind: &str, message: &str) {
    let mut line = String::with_capacity(message.len());
    for c in message.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    eprintln!("{kind}: {line}");
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
