//! A comparison that was killed or interrupted goes on where it stopped.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::results::{Table, recipe};
use super::support::{Sandbox, refused, succeeds};

const COMPARE: [&str; 7] = ["compare", "a.toml", "b.toml", "--seeds", "2", "--out", "out"];

fn two_recipes() -> Sandbox {
    let sandbox = Sandbox::new();
    recipe(&sandbox, "a.toml", &[]);
    recipe(&sandbox, "b.toml", &["loss.temperature=0.2"]);
    sandbox
}

/// Starts the comparison and waits until a run has made some steps.
fn started(sandbox: &Sandbox, run: &str, more: &[&str]) -> Child {
    let mut child = sandbox
        .command(&COMPARE)
        .args(["--set", "checkpoint.every_minutes=0.0001"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary");
    let log = sandbox.path(run).join("metrics.jsonl");
    let deadline = Instant::now() + Duration::from_mins(5);
    loop {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.matches("\"kind\":\"step\"").count() >= 3 {
            return child;
        }
        assert_eq!(child.try_wait().expect("its state"), None, "it ended before {run}");
        assert!(Instant::now() < deadline, "{run} was not begun within 5 minutes");
        sleep(Duration::from_millis(2));
    }
}

fn changed(sandbox: &Sandbox, file: &str) -> SystemTime {
    sandbox.path(file).metadata().and_then(|m| m.modified()).expect(file)
}

#[test]
fn killed_it_makes_only_what_is_missing() {
    let sandbox = two_recipes();
    // The third run: a and b have been made with seed 0.
    let mut child = started(&sandbox, "out/a/seed-1", &[]);
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    let made = ["out/a/seed-0/report.html", "out/b/seed-0/report.html"];
    let before = made.map(|file| changed(&sandbox, file));
    let again = ["--set", "checkpoint.every_minutes=0.0001"];
    let dry = succeeds(sandbox.command(&COMPARE).args(again).arg("--dry-run"));
    assert!(dry.contains("4 runs: 2 recipes × 2 seeds"), "{dry}");
    let planned = dry.lines().find(|line| line.starts_with("b ")).expect("a line a method");
    assert!(planned.contains("12 steps") && planned.contains("1 finished, 0 begun"), "{dry}");

    succeeds(sandbox.command(&COMPARE).args(again));
    assert_eq!(made.map(|file| changed(&sandbox, file)), before, "they were made again");
    let table = Table::read(&sandbox, "out");
    for method in ["a", "b"] {
        for seed in 0..2 {
            assert_eq!(table.get(method, seed, "state"), "done", "{method} {seed}");
        }
        // Two epochs of six steps, each once.
        let steps = sandbox.metrics(&format!("out/{method}/seed-1"), "step");
        let numbers: Vec<_> = steps.iter().filter_map(|step| step["step"].as_u64()).collect();
        assert_eq!(numbers, (0..12).collect::<Vec<_>>(), "{method}");
    }

    // Further seeds are made, other settings refused.
    let more =
        succeeds(sandbox.command(&COMPARE[..3]).args(again).args(["--seeds", "3", "--out", "out"]));
    assert!(more.contains("| a") && Table::read(&sandbox, "out").num_runs() == 6, "{more}");
    refused(
        sandbox.command(&COMPARE).args(["--set", "optimizer.momentum=0.5"]),
        &["a/seed-0", "optimizer.momentum (0.9, 0.5)", "--out"],
    );
}

/// Results are of the folder, not of the last command.
#[test]
fn what_was_compared_before_stays_in_the_results() {
    let sandbox = two_recipes();
    succeeds(&mut sandbox.command(&["compare", "a.toml", "--seeds", "2", "--out", "out"]));
    let b = ["compare", "b.toml", "--seeds", "1", "--out", "out"];
    let said = succeeds(&mut sandbox.command(&b));
    assert!(said.contains("| a ") && said.contains("| b "), "{said}");
    let table = Table::read(&sandbox, "out");
    for (method, seed, state) in
        [("a", 0, "done"), ("a", 1, "done"), ("b", 0, "done"), ("b", 1, "waiting")]
    {
        assert_eq!(table.get(method, seed, "state"), state, "{method} {seed}");
    }
    assert!(!sandbox.path("out/b/seed-1").exists(), "nobody asked for it");
    let [markdown, page] = ["results.md", "results.html"]
        .map(|name| sandbox.path("out").join(name))
        .map(|path| fs::read_to_string(path).expect("results"));
    let both = "mira-train compare a.toml --seeds 2 --out out\nmira-train compare b.toml --seeds 1 --out out";
    assert!(markdown.contains(&format!("```sh\n{both}\n```")), "{markdown}");
    assert!(page.contains(both));
    // What cannot be compared with what is there is not mixed with it.
    refused(
        sandbox.command(&b).args(["--set", "schedule.epochs=3"]),
        &["out/a/seed-0", "schedule.epochs (3, 2)"],
    );
}

/// Killed together with the run it was waiting for, which goes on from its last checkpoint.
#[cfg(unix)]
#[test]
fn a_run_that_was_begun_goes_on() {
    let sandbox = two_recipes();
    let epochs = ["--set", "schedule.epochs=6"];
    let mut child = started(&sandbox, "out/a/seed-0", &epochs);
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    let lock = fs::read_to_string(sandbox.path("out/a/seed-0/lock")).expect("its lock");
    let lock: serde_json::Value = serde_json::from_str(&lock).expect("JSON");
    let pid = lock["pid"].as_u64().expect("its process").to_string();
    let kill = std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
    assert!(kill.success(), "the run ended before it was killed");
    let again = [&["--set", "checkpoint.every_minutes=0.0001"], &epochs[..]].concat();
    let dry = succeeds(sandbox.command(&COMPARE).args(&again).arg("--dry-run"));
    assert!(dry.contains("0 finished, 1 begun"), "{dry}");

    succeeds(sandbox.command(&COMPARE).args(&again));
    let table = Table::read(&sandbox, "out");
    assert_eq!(table.get("a", 0, "state"), "done");
    let steps = sandbox.metrics("out/a/seed-0", "step");
    let numbers: Vec<_> = steps.iter().filter_map(|step| step["step"].as_u64()).collect();
    assert_eq!(numbers, (0..36).collect::<Vec<_>>(), "each step once");
}

#[cfg(unix)]
#[test]
fn asked_to_stop_it_lets_the_run_save_and_says_how_to_go_on() {
    let sandbox = two_recipes();
    // Long enough not to end by itself.
    let child = started(&sandbox, "out/a/seed-0", &["--set", "schedule.epochs=200"]);
    let pid = child.id().to_string();
    let kill = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
    assert!(kill.success());
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(75), "{said}");
    let command = "go on with: mira-train compare a.toml b.toml --seeds 2";
    assert!(said.contains("stopped by SIGTERM") && said.contains(command), "{said}");
    let checkpoints = fs::read_dir(sandbox.path("out/a/seed-0/checkpoints")).expect("a folder");
    assert!(checkpoints.count() > 0, "it was killed, not asked");
    let table = Table::read(&sandbox, "out");
    assert_eq!(table.get("a", 0, "state"), "begun", "it was not asked");
    assert_eq!(table.get("b", 1, "state"), "waiting");
}
