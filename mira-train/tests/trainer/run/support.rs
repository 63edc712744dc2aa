//! A tiny run: 240 images, a narrow network, a few seconds.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Six steps an epoch, four epochs.
pub(crate) const TINY: &[&str] = &[
    "data.max_train=240",
    "data.max_test=60",
    "model.width=4",
    "projector.hidden_dim=16",
    "projector.output_dim=8",
    "prototypes.count=12",
    "schedule.epochs=4",
    "train.batch_size=40",
    "eval.every_epochs=2",
    "eval.linear_epochs=2",
    "views.0.size=16",
    "views.1.size=16",
    "eval.image_size=16",
];

pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mira-train"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    /// `mira-train run` of the tiny recipe into folder `out`.
    pub(crate) fn tiny(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["run", "--out", out]);
        for setting in TINY {
            command.args(["--set", setting]);
        }
        command.args(more);
        command
    }

    /// Records of one kind, without what depends on the clock.
    pub(crate) fn metrics(&self, run: &str, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(run).join("metrics.jsonl")).expect("metrics");
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut records: Vec<Value> = records.filter(|record| record["kind"] == kind).collect();
        for record in &mut records {
            let record = record.as_object_mut().expect("an object");
            record.remove("images_per_second");
            record.remove("data_wait_fraction");
        }
        records
    }
}

#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the binary");
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}

/// Exit code 2 and one line that says all of `words`.
#[track_caller]
pub(crate) fn refused(command: &mut Command, words: &[&str]) {
    refused_with(2, command, words);
}

/// An exit code and one line, beside warnings, that says all of `words`.
#[track_caller]
pub(crate) fn refused_with(code: i32, command: &mut Command, words: &[&str]) {
    let Output { status, stderr, .. } = command.output().expect("the binary");
    let stderr = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(status.code(), Some(code), "{stderr}");
    let lines = stderr.lines().filter(|line| !line.starts_with("warning: "));
    assert_eq!(lines.count(), 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "expected {word:?} in: {stderr}");
    }
}
