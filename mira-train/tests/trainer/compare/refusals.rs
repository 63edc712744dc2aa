//! Bad input: one sentence with the remedy, exit code 2, and nothing half-written.

use std::fs;

use super::results::recipe;
use super::support::{Sandbox, refused, succeeds};

#[test]
fn recipes_that_differ_where_they_must_not() {
    let sandbox = Sandbox::new();
    recipe(&sandbox, "a.toml", &[]);
    recipe(&sandbox, "longer.toml", &["schedule.epochs=3", "model.width=8"]);
    let compare = |more: &[&str]| {
        let mut command = sandbox.command(&["compare", "a.toml", "longer.toml", "--out", "out"]);
        command.args(more);
        command
    };
    let words = ["a.toml", "longer.toml", "schedule.epochs (2, 3)", "model.width (4, 8)", "--set"];
    refused(&mut compare(&[]), &words);
    // As they are written, in single precision or not.
    recipe(&sandbox, "flipped.toml", &["views.1.flip=0.3"]);
    let mut flipped = sandbox.command(&["compare", "a.toml", "flipped.toml", "--out", "out"]);
    refused(&mut flipped, &["views.1.flip (0.5, 0.3); give"]);
    // With the same for all there is only the other difference left.
    refused(&mut compare(&["--set", "schedule.epochs=2"]), &["in model.width (4, 8); give"]);
    assert!(!sandbox.path("out").exists());
}

#[test]
fn nothing_at_all() {
    let sandbox = Sandbox::new();
    let words = [
        "nothing to compare",
        "`mira-train compare default mine.toml`",
        "`mira-train compare --objectives mira,swav`",
        "see 'mira-train compare --help'",
    ];
    for more in [&[][..], &["--seeds", "2"], &["--dry-run"]] {
        refused(sandbox.command(&["compare"]).args(more), &words);
    }
    assert!(!sandbox.path("comparisons").exists());
}

#[test]
fn names_that_nothing_has() {
    let sandbox = Sandbox::new();
    recipe(&sandbox, "a.toml", &[]);
    let compare = |more: &[&str]| {
        let mut command = sandbox.command(&["compare", "--out", "out"]);
        command.args(more);
        command
    };
    refused(&mut compare(&["a.toml", "defalt"]), &["`defalt`", "did you mean `default`?"]);
    refused(&mut compare(&["--objectives", "mira,mirra"]), &["`mirra`", "did you mean `mira`?"]);
    refused(&mut compare(&["--objectives", "xyzzy"]), &["`xyzzy`", "expected all, mira"]);
    refused(&mut compare(&["--objectives", "mira", "--family", "tiny"]), &["tiny", "cifar10-r18"]);
    // All of them, so others beside it change nothing; what is refused is the data.
    let all = ["--objectives", "mira", "--objectives", "all", "--data", "nowhere"];
    refused(&mut compare(&all), &["nowhere", "does not exist"]);
    refused(&mut compare(&["a.toml", "./a.toml", "a.toml"]), &["a.toml", "twice"]);
    refused(&mut compare(&["a.toml", "nowhere/b.toml"]), &["nowhere/b.toml"]);
    refused(&mut compare(&["a.toml", "--set", "train.seed=3"]), &["--seeds", "train.seed"]);
    refused(
        &mut compare(&["a.toml", "--set", "prototypes.count=x"]),
        &["a.toml", "prototypes.count"],
    );
    refused(&mut compare(&["a.toml", "--set", "train.batch_size=4000"]), &["4000", "240"]);
    refused(&mut compare(&["a.toml", "--data", "nowhere"]), &["nowhere", "does not exist"]);
    assert!(!sandbox.path("out").exists());
}

#[test]
fn folders_that_hold_something_else() {
    let sandbox = Sandbox::new();
    recipe(&sandbox, "a.toml", &[]);
    fs::write(sandbox.path("file"), "mine").expect("a file");
    refused(&mut sandbox.command(&["compare", "a.toml", "--out", "file"]), &["not a folder"]);
    fs::create_dir(sandbox.path("mine")).expect("a folder");
    fs::write(sandbox.path("mine/thesis.tex"), "mine").expect("a file");
    refused(&mut sandbox.command(&["compare", "a.toml", "--out", "mine"]), &["thesis.tex"]);
    assert_eq!(fs::read_dir(sandbox.path("mine")).expect("a folder").count(), 1);
}

#[test]
fn logs_that_cannot_be_do_not_end_a_dry_run() {
    let sandbox = Sandbox::new();
    recipe(&sandbox, "a.toml", &[]);
    let run = sandbox.path("out/a/seed-0");
    fs::create_dir_all(&run).expect("folders");
    fs::write(sandbox.path("out/results.csv"), "").expect("a file");
    let line = format!("{{\"kind\":\"step\",\"step\":{},\"epoch\":1}}\n", u64::MAX);
    fs::write(run.join("metrics.jsonl"), line).expect("a file");
    let dry = ["compare", "a.toml", "--seeds", "1", "--out", "out", "--dry-run"];
    let said = succeeds(&mut sandbox.command(&dry));
    assert!(said.contains("0 finished"), "{said}");
}
