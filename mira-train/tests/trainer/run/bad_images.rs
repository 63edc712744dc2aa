//! Images that cannot be read, in both splits: up to a limit runs and evaluations do without them, say so, and resume as if they were good.

use std::fs;
use std::process::Command;

use jpeg_encoder::{ColorType, Encoder};
use serde_json::Value;

use super::resume::{OFTEN, cut, same, started};
use super::support::{Sandbox, refused, succeeds};

/// A square JPEG file, dark on one side; which depends on the class.
fn jpeg(class: usize, shade: usize, side: u16) -> Vec<u8> {
    let size = usize::from(side);
    let is_left = |i: usize| i % size < size / 2;
    let pixel = |i: usize| if is_left(i) == (class == 0) { shade % 100 } else { 255 };
    let pixels: Vec<u8> = (0..size * size)
        .flat_map(|i| [pixel(i), i % 256, 90].map(|value| value.to_le_bytes()[0]))
        .collect();
    let mut file = Vec::new();
    Encoder::new(&mut file, 90).encode(&pixels, side, side, ColorType::Rgb).expect("a picture");
    file
}

/// A set `data/` of 240 training and 60 test images of 20 × 20 pixels and two classes, of which the named ones are half of a JPEG file.
pub(super) fn set(truncated: &[&str]) -> Sandbox {
    set_of(20, truncated)
}

/// The same of other sizes.
pub(super) fn set_of(side: u16, truncated: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    for (split, num_images) in [("train", 240), ("val", 60)] {
        for i in 0..num_images {
            let name = format!("{split}/{}/{i:03}.jpg", ["ant", "bee"][i % 2]);
            let path = sandbox.path("data").join(&name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let file = jpeg(i % 2, i, side);
            let is_truncated = truncated.contains(&&name[..]);
            let len = if is_truncated { file.len() / 2 } else { file.len() };
            fs::write(path, &file[..len]).expect("a picture");
        }
    }
    sandbox
}

pub(super) fn run(sandbox: &Sandbox, out: &str, more: &[&str]) -> Command {
    let mut command = sandbox.tiny(out, &["--data", "data"]);
    command.args(more);
    command
}

/// Split and end of the name of every line.
fn quarantined(sandbox: &Sandbox, run: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(sandbox.path(run).join("quarantine.jsonl")).expect("a list");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let problem = line["problem"].as_str().expect("a problem");
        assert!(problem.contains("JPEG"), "{problem}");
        let name = line["name"].as_str().expect("a name").replace('\\', "/");
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        (line["split"].as_str().expect("a split").to_owned(), name)
    };
    let mut lines: Vec<_> = text.lines().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn one_in_each_split_ends_neither_a_run_nor_an_evaluation_and_resuming_changes_no_bit() {
    let sandbox = set(&["train/bee/101.jpg", "val/ant/030.jpg"]);
    // With a sequence in its name that clears the screen of a terminal that gets it as it is.
    let bee = sandbox.path("data/train/bee");
    fs::rename(bee.join("101.jpg"), bee.join("101\u{1b}[2J.jpg")).expect("another name");
    let output = run(&sandbox, "whole", &[]).output().expect("the binary");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{said}");
    let words = "1 of 240 training images and 1 of 60 test images";
    for part in ["101\\u{1b}[2J.jpg", "030.jpg", words] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said}");
    let listed = [("test", "030.jpg"), ("train", "101\u{1b}[2J.jpg")];
    let listed = listed.map(|(split, name)| (split.to_owned(), name.to_owned()));
    assert_eq!(quarantined(&sandbox, "whole"), listed);
    let warnings = sandbox.metrics("whole", "warning");
    let warned = |w: &&Value| w["message"].as_str().is_some_and(|m| m.contains(words));
    assert_eq!(warnings.iter().filter(warned).count(), 1, "{warnings:?}");
    let report = fs::read_to_string(sandbox.path("whole/report.html")).expect("a report");
    assert!(report.matches(words).count() >= 2, "among the warnings and the facts");
    let evaluations = sandbox.metrics("whole", "eval");
    for evaluation in &evaluations {
        assert_eq!(
            (&evaluation["num_train_left_out"], &evaluation["num_test_left_out"]),
            (&1.into(), &1.into())
        );
    }

    // Killed while the untrained encoder is evaluated, in an epoch, at an evaluation, late.
    let mut command = run(&sandbox, "killed", OFTEN);
    for steps in [0, 3, 12, 20] {
        let mut child = started(command, &sandbox, "killed", steps);
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        command = sandbox.command(&["run", "--resume", "--out", "killed", "--quiet"]);
    }
    succeeds(&mut command);
    same(&sandbox, "killed", "whole");
    assert_eq!(quarantined(&sandbox, "killed"), listed);

    // The same number of the same 59 images, by another command.
    let last = evaluations.iter().rfind(|e| e["metric"] == "knn_top1").expect("an evaluation");
    let said = succeeds(&mut sandbox.command(&["eval", "knn", "whole", "--json"]));
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["num_train"], &said["num_test"]), (&239.into(), &59.into()));
    assert_eq!((&said["num_test_left_out"], &said["top1"]), (&1.into(), &last["value"]));
    let linear = ["eval", "linear", "whole", "--epochs", "1"];
    let said = succeeds(&mut sandbox.command(&linear));
    assert!(said.contains("on 239 training and 59 test images") && said.contains(words), "{said}");
    let none = ["eval", "knn", "whole", "--max-bad-fraction", "0"];
    refused(&mut sandbox.command(&none), &["101\\u{1b}[2J.jpg"]);
}

#[test]
fn more_than_allowed_end_a_run_and_are_listed_all_the_same() {
    let sandbox = set(&["train/bee/101.jpg", "val/ant/030.jpg", "val/bee/031.jpg"]);
    let words = ["2 of 60 images", "031.jpg", "max_bad_fraction"];
    refused(&mut run(&sandbox, "run", &["--quiet"]), &words);
    let names: Vec<_> = quarantined(&sandbox, "run").into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["030.jpg", "031.jpg", "101.jpg"]);
    let enough = ["--quiet", "--set", "data.max_bad_fraction=0.04", "--set", "schedule.epochs=2"];
    succeeds(&mut run(&sandbox, "allowed", &enough));
    // With 0 the first ends it, as its own error.
    let none = ["--quiet", "--set", "data.max_bad_fraction=0"];
    refused(&mut run(&sandbox, "strict", &none), &["101.jpg", "JPEG"]);
}

/// The list of images outlives a kill that the warning in the log does not.
#[test]
fn every_session_warns_of_images_that_evaluations_leave_out() {
    let sandbox = set(&["train/bee/101.jpg"]);
    let quiet = run(&sandbox, "run", &["--quiet", "--set", "schedule.epochs=2"]).output();
    let said = String::from_utf8_lossy(&quiet.expect("the binary").stderr).into_owned();
    assert!(said.contains("evaluations leave out 1 of 240"), "quiet is not silent: {said}");
    assert!(said.lines().all(|line| line.starts_with("warning: ")), "{said}");
    let warned = || -> Vec<Value> {
        let warnings = sandbox.metrics("run", "warning").into_iter();
        let is_it = |w: &Value| w["message"].as_str().is_some_and(|m| m.contains("1 of 240"));
        warnings.filter(is_it).map(|w| w["step"].clone()).collect()
    };
    let resume = ["run", "--resume", "--out", "run"];
    let warns = |command: &mut Command| {
        let output = command.output().expect("the binary");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).contains("evaluations leave out 1 of 240")
    };
    assert_eq!(warned(), [0]);
    // From the first step.
    fs::remove_dir_all(sandbox.path("run/checkpoints")).expect("checkpoints");
    fs::create_dir(sandbox.path("run/checkpoints")).expect("a folder");
    assert!(warns(&mut sandbox.command(&resume)));
    assert_eq!(warned(), [0]);
    // Killed twice in the last evaluation: once in the log for a step.
    for _ in 0..2 {
        cut(&sandbox, "run", &["\"trained\"", "\"step\":12"]);
        assert!(warns(&mut sandbox.command(&resume)));
        assert_eq!(warned(), [0, 12]);
    }
    let log = fs::read(sandbox.path("run/metrics.jsonl")).expect("metrics");
    assert!(!warns(&mut sandbox.command(&resume)), "there was nothing to do");
    assert_eq!(fs::read(sandbox.path("run/metrics.jsonl")).expect("metrics"), log);
}
