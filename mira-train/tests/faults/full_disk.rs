//! A disk that is really full: a small file system in a mount namespace of its own where that is permitted, and a limit on file
//! sizes, which is always. The processes started here assert by themselves.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;

use mira_train::run_folder::{Error, MetricsLog, RunFolder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{as_other, say, snapshot};

const CANNOT_MOUNT: i32 = 42;

/// Runs `role` behind a line of shell that prepares things and ends with `exec "$0" "$@"`; `None` where it may not.
pub(crate) fn run_behind(launcher: &[&str], script: &str, role: &str, folder: &Path) -> Option<()> {
    let mut command = Command::new(launcher[0]);
    command.args(&launcher[1..]).arg(script).arg(std::env::current_exe().unwrap());
    as_other(&mut command, role, folder);
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let refused = output.status.code() == Some(CANNOT_MOUNT) || text.contains("unshare:");
    if refused {
        return None;
    }
    assert!(output.status.success() && text.contains("@done"), "{text}");
    Some(())
}

/// Runs `role` with a file system of 4 MB at `folder`, which nobody else sees and which goes with the process.
pub(crate) fn on_small_disk(options: &str, role: &str) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().display();
    let script = format!(
        "mount -t tmpfs -o {options} none '{path}' 2>/dev/null || exit {CANNOT_MOUNT}; exec \"$0\" \"$@\""
    );
    let rootless = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
    let as_root = ["unshare", "--mount", "sh", "-c"];
    let ran = run_behind(&rootless, &script, role, folder.path())
        .or_else(|| run_behind(&as_root, &script, role, folder.path()));
    if ran.is_none() {
        println!(
            "skipped: a file system cannot be mounted here; see the test with a limit on file sizes"
        );
    }
}

#[test]
fn saving_to_a_full_disk() {
    on_small_disk("size=4m", "fill the disk");
}

#[test]
fn a_read_only_file_system_is_refused() {
    on_small_disk("size=4m,ro", "read-only");
}

#[test]
fn a_file_that_may_not_grow() {
    let folder = TempDir::new().unwrap();
    // Half a megabyte, or a whole one, as the shell counts.
    let script = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"";
    run_behind(&["sh", "-c"], script, "outgrow the limit", folder.path()).unwrap();
}

/// The other process, on 4 MB.
pub(crate) fn fill(disk: &Path) {
    let mut folder = RunFolder::create(disk.join("run"), "a = 1\n").unwrap();
    folder.set_keep(100);
    let mut log = MetricsLog::create(&folder).unwrap();
    log.append(&json!({ "step": 0 })).unwrap();
    // 0.7 MB each.
    let save = |step| folder.save(step, &(&snapshot(step, 60_000)).into());
    let full = (0..10).find(|&step| save(step).is_err()).unwrap();
    assert!(full >= 3, "some fit");
    let error = save(full).unwrap_err();
    let Error::WriteFailed { path, source } = &error else { panic!("{error:?}") };
    assert!(path.ends_with(format!("checkpoints/step-{full:08}.mira")));
    assert_eq!(source.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("free some space"), "{error}");
    only_good_checkpoints(&folder, full);

    // Not a byte left.
    let filler = disk.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    let error = folder.write_atomically("report.html", &[b'x'; 5000]).unwrap_err();
    assert!(matches!(&error, Error::WriteFailed { .. }), "{error:?}");
    assert_eq!(num_temporary(folder.path()), 0);
    let num_lines = append_until_failure(&mut log, ErrorKind::StorageFull);
    lines_are_whole(&folder, num_lines);
    let before = fs::read(folder.path().join("metrics.jsonl")).unwrap();
    assert!(num_lines > 1, "there is something to drop");
    let error = MetricsLog::resume(&folder, 1).unwrap_err();
    assert!(matches!(&error, Error::WriteFailed { .. }), "{error:?}");
    assert_eq!(fs::read(folder.path().join("metrics.jsonl")).unwrap(), before);
    assert_eq!(num_temporary(folder.path()), 0);

    // Nor may a run begin: another folder on that disk would not help.
    let error = RunFolder::create(disk.join("other"), "a = 1\n").unwrap_err();
    let Error::WriteFailed { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!((source.kind(), error.exit_code()), (ErrorKind::StorageFull, 1));
    assert!(error.to_string().contains("free some space") && !disk.join("other").exists());

    // With space again, everything goes on.
    fs::remove_file(filler).unwrap();
    drop(file);
    log.append(&json!({ "step": num_lines })).unwrap();
    lines_are_whole(&folder, num_lines + 1);
    fs::remove_file(disk.join("run/checkpoints/step-00000000.mira")).unwrap();
    save(full).unwrap();
    assert_eq!(folder.load_latest(true).unwrap().unwrap().step, full);
    say("done");
}

/// The other process, with a limit on file sizes of 0.5 or 1 MB.
pub(crate) fn outgrow(path: &Path) {
    let folder = RunFolder::create(path.join("run"), "a = 1\n").unwrap();
    let mut log = MetricsLog::create(&folder).unwrap();
    folder.save(0, &(&snapshot(0, 100)).into()).unwrap();
    let large = vec![1.5_f32; 1 << 20];
    let mut state = mira_train::run_folder::SnapshotRef::new(json!({}));
    state.push("large", &large[..]);
    let error = folder.save(1, &state).unwrap_err();
    let Error::WriteFailed { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), ErrorKind::FileTooLarge);
    only_good_checkpoints(&folder, 1);
    log.append(&json!({ "step": 0 })).unwrap();
    let num_lines = append_until_failure(&mut log, ErrorKind::FileTooLarge);
    lines_are_whole(&folder, num_lines);
    say("done");
}

/// The other process, where nothing can be made.
pub(crate) fn read_only(disk: &Path) {
    for path in [disk.to_path_buf(), disk.join("run"), disk.join("some/where")] {
        let error = RunFolder::create(&path, "a = 1\n").unwrap_err();
        let Error::Unwritable { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.kind(), ErrorKind::ReadOnlyFilesystem);
        assert!(error.to_string().contains("--out"), "{error}");
    }
    say("done");
}

/// Appends after one line until that fails, twice; returns the number of lines there should be.
fn append_until_failure(log: &mut MetricsLog, kind: ErrorKind) -> usize {
    let padding = "x".repeat(999);
    let failing = |log: &mut MetricsLog, from: usize| {
        (from..)
            .find_map(|step| {
                let error = log.append(&json!({ "step": step, "padding": padding })).err()?;
                let Error::WriteFailed { source, .. } = &error else { panic!("{error:?}") };
                assert_eq!(source.kind(), kind);
                Some(step)
            })
            .unwrap()
    };
    let num_lines = failing(log, 1);
    // The failed one was undone: not even a shorter one can follow a part of it.
    assert_eq!(failing(log, num_lines), num_lines);
    num_lines
}

fn lines_are_whole(folder: &RunFolder, num_lines: usize) {
    let text = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    for (step, line) in text.lines().enumerate() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["step"], step);
    }
    assert_eq!(text.lines().count(), num_lines);
}

/// Those of the steps below `end`, and no temporary file.
fn only_good_checkpoints(folder: &RunFolder, end: u64) {
    for step in 0..end {
        folder.load_step(step).unwrap();
    }
    assert_eq!(folder.load_latest(true).unwrap().unwrap().step, end - 1);
    assert_eq!(num_temporary(&folder.path().join("checkpoints")), 0);
}

fn num_temporary(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap();
    entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "tmp")).count()
}
