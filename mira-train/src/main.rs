//! `mira-train`: see `mira-train --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mira_train::main(std::env::args_os())
}
