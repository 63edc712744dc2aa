//! Where nobody reads what is said: the work goes on, and exit codes stay what they are.

use std::fs;
use std::process::{Command, Output, Stdio};

use super::support::{Sandbox, TINY};

/// With stderr a pipe whose reader has gone, as behind `2>&1 | head`; on Linux also a device that is full.
fn outputs(command: impl Fn() -> Command) -> Vec<Output> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut places = vec![Stdio::from(writer)];
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        places.push(full.into());
    }
    let run = |stderr| command().stderr(stderr).output().expect("the binary");
    places.into_iter().map(run).collect()
}

#[test]
fn a_run_does_not_end_for_want_of_a_reader() {
    let sandbox = Sandbox::new();
    for (output, n) in outputs(|| {
        let _ = fs::remove_dir_all(sandbox.path("run"));
        sandbox.tiny("run", &["--set", "schedule.epochs=2"])
    })
    .into_iter()
    .zip(0..)
    {
        assert_eq!(output.status.code(), Some(0), "{n}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("report.html"), "{n}");
    }
    // Also of several.
    let compare = || {
        let mut command = sandbox.command(&["compare", "--objectives", "mira", "--seeds", "1"]);
        command.args(["--out", "compared", "--set", "schedule.epochs=2"]);
        for setting in TINY.iter().filter(|setting| !setting.starts_with("schedule")) {
            command.args(["--set", setting]);
        }
        command
    };
    for output in outputs(compare) {
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("results.html"));
    }
}

#[test]
fn a_refusal_that_nobody_reads_is_one() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("f"), "?").expect("a file");
    for arguments in [&["recipes", "defalt"][..], &["assign", "f"], &["run", "--resume"]] {
        for output in outputs(|| sandbox.command(arguments)) {
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        }
    }
}

#[test]
fn a_reader_of_stdout_that_has_gone_is_no_failure() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = sandbox.command(&["recipes"]).stdout(writer).output().expect("the binary");
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}
