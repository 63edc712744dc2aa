//! The log, its torn lines, and what of it stays on resume.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use mira_train::run_folder::{MetricsLog, Resumed, RunFolder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::allocation::peak;

fn new_run() -> (TempDir, PathBuf, RunFolder) {
    let temporary = TempDir::new().unwrap();
    let folder = RunFolder::create(temporary.path().join("run"), "a = 1\n").unwrap();
    let path = folder.path().join("metrics.jsonl");
    (temporary, path, folder)
}

#[derive(serde::Serialize)]
struct Record {
    step: u64,
    loss: f64,
}

#[test]
fn a_record_is_a_line_as_soon_as_it_is_appended() {
    let (_temporary, path, folder) = new_run();
    let mut log = MetricsLog::create(&folder).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
    log.append(&json!({ "kind": "step", "step": 0, "loss": 0.1 })).unwrap();
    log.append(&json!({ "kind": "warning", "text": "two\nlines" })).unwrap();
    log.append(&Record { step: 1, loss: f64::NAN }).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["loss"], 0.1);
    assert_eq!(lines[1]["text"], "two\nlines");
    assert_eq!(lines[2], json!({ "step": 1, "loss": null }));
    assert!(lines.len() == 3 && text.ends_with('\n'));
    log.sync().unwrap();
}

/// A run of 8 steps that evaluates after every 4, resumed with another recipe after the fourth; a warning that belongs to step 5.
fn lines() -> Vec<String> {
    let step = |step: u64| json!({ "kind": "step", "step": step }).to_string();
    let eval =
        |step: u64| json!({ "kind": "eval", "step": step, "settings": { "k": step } }).to_string();
    let warning = json!({ "kind": "warning", "text": "collapse" }).to_string();
    let skip = json!({ "kind": "skip", "step": 4 }).to_string();
    let mut lines = vec![eval(0)];
    lines.extend((0..4).map(step));
    let recipe = json!({ "kind": "recipe", "step": 4, "changes": ["a"] }).to_string();
    lines.extend([eval(4), recipe, skip, step(4), step(5), warning]);
    lines.extend([step(6), step(7), eval(8)]);
    lines
}

#[test]
fn a_resume_keeps_what_came_before_its_step() {
    // Lines kept, and steps of the evaluations that are told of: before the first and at the step itself.
    for (resume, num_kept, evaluated) in [
        (0, 1, &[0][..]),
        (1, 2, &[0]),
        (4, 7, &[0, 4]),
        (5, 9, &[0]),
        (6, 11, &[0]),
        (8, 14, &[0, 8]),
        (9, 14, &[0]),
    ] {
        for torn in ["", "{\"kind\":\"step\",\"st", "{\"kind\":\"step\",\"step\":0}", "\0\0\0"] {
            let (_temporary, path, folder) = new_run();
            fs::write(&path, lines().join("\n") + "\n" + torn).unwrap();
            let (mut log, resumed) = MetricsLog::resume(&folder, resume).unwrap();
            let kept = lines()[..num_kept].join("\n") + "\n";
            let text = fs::read_to_string(&path).unwrap();
            let told =
                text.strip_prefix(&kept).unwrap_or_else(|| panic!("{resume} {torn}: {text}"));
            let num_cut = 14 - num_kept;
            assert_eq!((resumed.num_kept, resumed.num_dropped), (num_kept, num_cut));
            // Here what is made again begins with the step itself.
            let record =
                json!({ "kind": "resume", "step": resume, "num_cut": num_cut, "cut_from": resume });
            let told_again: Vec<Value> =
                told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(told_again, vec![record; usize::from(num_cut > 0)], "{resume} {torn}");
            assert_eq!(resumed.dropped_from, (num_cut > 0).then_some(resume));
            let said = resumed.cut(resume).unwrap_or_default();
            assert_eq!(said.contains(&format!("from step {resume} on")), num_cut > 0, "{said}");
            assert_eq!(resumed.num_damaged, usize::from(!torn.is_empty()));
            let steps: Vec<u64> = resumed.evaluations.iter().map(|logged| logged.step).collect();
            assert_eq!(steps, evaluated, "{resume}");
            assert!(resumed.evaluations.iter().all(|logged| logged.settings["k"] == logged.step));
            // What follows goes to the file of that name.
            log.append(&json!({ "step": resume })).unwrap();
            let appended = format!("{kept}{told}{{\"step\":{resume}}}\n");
            assert_eq!(fs::read_to_string(&path).unwrap(), appended);
            let files = fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(files, 4, "recipe, lock, checkpoints, metrics");
        }
    }
}

#[test]
fn what_was_cut_off_is_told_of_as_long_as_it_is_so() {
    let (_temporary, path, folder) = new_run();
    let records = || -> Vec<Value> {
        let text = fs::read_to_string(&path).unwrap();
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|record| record["kind"] == "resume").collect()
    };
    let of = |step: u64, num_cut: usize, from: u64| json!({ "kind": "resume", "step": step, "num_cut": num_cut, "cut_from": from });
    fs::write(&path, lines().join("\n") + "\n").unwrap();
    let (_, resumed) = MetricsLog::resume(&folder, 6).unwrap();
    let said = resumed.cut(6).unwrap();
    assert!(
        said.contains("3 lines from step 6 on") && said.contains("goes on with step 6"),
        "{said}"
    );
    // The same step again, with nothing to be cut off, then an earlier one.
    assert_eq!(MetricsLog::resume(&folder, 6).unwrap().1.cut(6), None);
    assert_eq!(records(), [of(6, 3, 6)]);
    MetricsLog::resume(&folder, 2).unwrap();
    assert_eq!(records(), [of(2, 9, 2)]);
    // From the beginning nothing is kept, be it made before the first step.
    let (mut log, resumed) = MetricsLog::restart(&folder).unwrap();
    assert_eq!((resumed.num_kept, resumed.num_dropped, resumed.dropped_from), (0, 4, Some(0)));
    assert!(resumed.evaluations.is_empty());
    log.append(&json!({ "kind": "eval", "step": 0 })).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((records(), text.lines().count()), (vec![of(0, 4, 0)], 2));
}

#[test]
fn damage_in_the_middle_is_dropped_counted_and_told_of() {
    let (_temporary, path, folder) = new_run();
    fs::write(&path, b"{\"step\":0}\n\xff\xfe\n[1]\n\n{\"step\":1}\n{\"st").unwrap();
    let (_, resumed) = MetricsLog::resume(&folder, 5).unwrap();
    assert_eq!((resumed.num_kept, resumed.num_dropped, resumed.num_damaged), (2, 0, 4));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[..2], [json!({ "step": 0 }), json!({ "step": 1 })]);
    assert_eq!((lines.len(), &lines[2]["kind"]), (3, &"warning".into()));
    let message = lines[2]["message"].as_str().unwrap();
    // The torn last line is how a process ends that is killed.
    assert!(
        message.contains("metrics.jsonl") && message.contains("3 lines that are no record"),
        "{message}"
    );
    assert_eq!(resumed.damage().as_deref(), Some(message));
    // It is told of once, and stays.
    let (_, again) = MetricsLog::resume(&folder, 5).unwrap();
    assert_eq!((again.num_kept, again.damage()), (3, None));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// Zeros where a power cut took what was written; and much to be kept.
#[test]
fn a_log_of_any_size_takes_little_memory() {
    let (_temporary, path, folder) = new_run();
    let mut log = MetricsLog::create(&folder).unwrap();
    let padding = "x".repeat(100_000);
    for step in 0..200 {
        log.append(&json!({ "step": step, "padding": padding })).unwrap();
    }
    let size = fs::metadata(&path).unwrap().len();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(size + (64 << 20)).unwrap();
    file.write_all(b"\n{\"step\":200}\n").unwrap();
    drop((log, file));
    let (resumed, most) = peak(|| MetricsLog::resume(&folder, 500).unwrap().1);
    assert_eq!((resumed.num_kept, resumed.num_dropped, resumed.num_damaged), (201, 0, 1));
    assert!(most < 8 << 20, "{most} bytes");
    let text = fs::read_to_string(&path).unwrap();
    assert!((size..size + 1000).contains(&(text.len() as u64)) && text.lines().count() == 202);
}

#[test]
fn a_finished_run_keeps_its_end_and_one_that_goes_on_does_not() {
    let end = json!({ "kind": "end", "step": 2, "peak_memory_bytes": 7 }).to_string() + "\n";
    for (resume, keeps) in [(2, true), (1, false)] {
        let (_temporary, path, folder) = new_run();
        fs::write(&path, format!("{{\"step\":0}}\n{{\"step\":1}}\n{end}")).unwrap();
        let (_, resumed) = MetricsLog::resume(&folder, resume).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().ends_with(&end), keeps, "{resume}");
        assert!(resumed.evaluations.is_empty());
        assert_eq!(resumed.has_end, keeps, "{resume}");
    }
}

#[test]
fn a_run_without_a_log_gets_one() {
    let (_temporary, path, folder) = new_run();
    let (mut log, resumed) = MetricsLog::resume(&folder, 3).unwrap();
    assert_eq!(resumed, Resumed::default());
    log.append(&json!({ "step": 3 })).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"{\"step\":3}\n");
}
