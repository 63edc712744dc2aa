//! Runs created, refused, locked, resumed, and resumed from damage.

use std::fs;
use std::path::{Path, PathBuf};

use mira_train::run_folder::{Error, RunFolder, SnapshotRef, checkpoints, load_latest};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Other, say, snapshot};

const RECIPE: &str = "epochs = 1\n";

/// The other process: has the folder until it is killed.
pub(crate) fn hold(path: &Path) {
    let _folder = RunFolder::open(path).unwrap();
    say("ready");
    std::thread::sleep(std::time::Duration::from_mins(1));
}

fn new_run() -> (TempDir, PathBuf, RunFolder) {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path().join("run");
    let folder = RunFolder::create(&path, RECIPE).unwrap();
    (temporary, path, folder)
}

fn save(folder: &RunFolder, step: u64) -> PathBuf {
    folder.save(step, &(&snapshot(step, 100)).into()).unwrap()
}

fn steps(path: &Path) -> Vec<u64> {
    checkpoints(path).unwrap().into_iter().map(|(step, _)| step).collect()
}

/// Changes one byte in the middle.
fn corrupt(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let message = error.to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{words:?} in: {message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_new_run_and_its_files() {
    let (_temporary, path, folder) = new_run();
    assert_eq!(folder.path(), path);
    assert_eq!(folder.recipe().unwrap(), RECIPE);
    assert!(folder.load_latest(true).unwrap().is_none());
    let saved = save(&folder, 1234);
    assert_eq!(saved, path.join("checkpoints/step-00001234.mira"));
    assert_eq!(folder.write_atomically("report.html", b"<p>").unwrap(), path.join("report.html"));
    drop(folder);
    let folder = RunFolder::open(&path).unwrap();
    let latest = folder.load_latest(true).unwrap().unwrap();
    assert_eq!((latest.step, &latest.path, latest.warnings.len()), (1234, &saved, 0));
    assert_eq!(latest.snapshot, snapshot(1234, 100));
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "/a",
        "lock",
        "recipe.toml",
        "metrics.jsonl",
        "checkpoints",
        ".mira-x.tmp",
    ] {
        let error = folder.write_atomically(name, b"x").unwrap_err();
        assert!(matches!(error, Error::FileName { .. }), "{name}: {error}");
    }
    assert_eq!(folder.recipe().unwrap(), RECIPE);
}

#[test]
fn new_runs_are_refused_where_something_would_be_lost() {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path().join("run");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("thesis.tex"), "mine").unwrap();
    let error = RunFolder::create(&path, RECIPE).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }));
    says(&error, &["thesis.tex", "--out"]);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing was made there");
    assert!(matches!(RunFolder::open(&path), Err(Error::NotARun { .. })));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing was made there");

    let file = path.join("thesis.tex");
    assert!(matches!(RunFolder::create(&file, RECIPE), Err(Error::NotAFolder { .. })));
    assert!(matches!(RunFolder::open(&file), Err(Error::NotAFolder { .. })));
    let below = RunFolder::create(file.join("run"), RECIPE).unwrap_err();
    assert!(matches!(below, Error::NotAFolder { .. } | Error::Unwritable { .. }), "{below:?}");
    says(&below, &["--out"]);

    let other = temporary.path().join("other");
    drop(RunFolder::create(&other, RECIPE).unwrap());
    let error = RunFolder::create(&other, "epochs = 2\n").unwrap_err();
    assert!(matches!(error, Error::HoldsRun { .. }));
    says(&error, &["--resume", "--out"]);
    assert_eq!(fs::read_to_string(other.join("recipe.toml")).unwrap(), RECIPE);

    let missing = temporary.path().join("missing");
    let error = RunFolder::open(&missing).unwrap_err();
    says(&error, &["missing", "no recipe.toml", "without --resume"]);
    assert!(!missing.exists());
}

#[test]
fn an_empty_folder_and_what_a_killed_creation_leaves_will_do() {
    let temporary = TempDir::new().unwrap();
    drop(RunFolder::create(temporary.path(), RECIPE).unwrap());
    fs::remove_file(temporary.path().join("recipe.toml")).unwrap();
    fs::write(temporary.path().join(".mira-recipe.toml.tmp"), "epo").unwrap();
    let folder = RunFolder::create(temporary.path(), RECIPE).unwrap();
    assert_eq!(folder.recipe().unwrap(), RECIPE);
}

#[test]
fn a_second_trainer_is_refused_until_the_first_is_gone() {
    let (_temporary, path, folder) = new_run();
    // In this process …
    let error = RunFolder::open(&path).unwrap_err();
    says(&error, &[&format!("process {} on ", std::process::id()), "--out"]);
    drop(folder);
    // … and in another one, however that ends.
    let mut other = Other::start("hold", &path);
    assert_eq!(other.says().as_deref(), Some("ready"));
    let error = RunFolder::open(&path).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    says(&error, &[&format!("process {} on ", other.pid())]);
    // The refused one has not taken the other's name away.
    says(&RunFolder::open(&path).unwrap_err(), &[&format!("process {} on ", other.pid())]);
    other.kill();
    drop(RunFolder::open(&path).unwrap());
}

#[test]
fn a_run_being_created_is_not_created_twice() {
    let (_temporary, path, folder) = new_run();
    fs::remove_file(path.join("recipe.toml")).unwrap(); // not yet written
    let error = RunFolder::create(&path, RECIPE).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    assert!(path.join("lock").exists() && path.join("checkpoints").exists());
    drop(folder);
    RunFolder::create(&path, RECIPE).unwrap();
}

#[test]
fn the_newest_checkpoints_stay_and_a_continuation_given_up_goes() {
    let (_temporary, path, mut folder) = new_run();
    for step in [1, 2, 10, 9_999_999, 123_456_789] {
        save(&folder, step);
    }
    assert_eq!(steps(&path), [123_456_789, 9_999_999], "by number, and two unless told");
    folder.set_keep(3);
    fs::write(path.join("checkpoints/step-1.mira"), "not ours").unwrap();
    fs::write(path.join("checkpoints/notes.txt"), "mine").unwrap();
    save(&folder, 123_456_790);
    assert_eq!(steps(&path).len(), 3);
    // Resumed from an older one: what came after it is not what a later resume should find.
    assert_eq!(folder.load_step(9_999_999).unwrap().step, 9_999_999);
    save(&folder, 10_000_000);
    assert_eq!(steps(&path), [10_000_000, 9_999_999]);
    folder.set_keep(0);
    save(&folder, 10_000_000);
    assert_eq!(steps(&path), [10_000_000], "at least one");
    assert!(path.join("checkpoints/step-1.mira").exists());
    assert!(path.join("checkpoints/notes.txt").exists());
    let error = folder.load_step(5).unwrap_err();
    says(&error, &["no checkpoint of step 5", "it has 10000000"]);
}

#[test]
fn a_corrupt_latest_gives_way_loudly_and_strictly_not_at_all() {
    let (_temporary, path, mut folder) = new_run();
    folder.set_keep(3);
    let files: Vec<PathBuf> = [10, 20, 30].map(|step| save(&folder, step)).into();
    corrupt(&files[2]);
    let latest = folder.load_latest(false).unwrap().unwrap();
    assert_eq!((latest.step, latest.snapshot), (20, snapshot(20, 100)));
    assert_eq!(latest.warnings.len(), 1);
    let warning = &latest.warnings[0];
    for word in ["step-00000030.mira", "checksum", "falling back to step 20", "10 steps"] {
        assert!(warning.contains(word), "{word} in {warning}");
    }
    let error = folder.load_latest(true).unwrap_err();
    assert!(matches!(error, Error::Strict { .. }));
    says(&error, &["step-00000030.mira", "checksum", "without --strict"]);

    fs::write(&files[1], b"").unwrap();
    let latest = folder.load_latest(false).unwrap().unwrap();
    assert_eq!((latest.step, latest.warnings.len()), (10, 2));
    assert!(latest.warnings[1].contains("truncated"), "{:?}", latest.warnings);
    corrupt(&files[0]);
    let error = folder.load_latest(false).unwrap_err();
    assert!(matches!(error, Error::AllDamaged { num_checkpoints: 3, .. }), "{error:?}");
    says(&error, &["none of the 3", "step-00000030.mira"]);
    // Saving after a fall-back ends it.
    save(&folder, 15);
    assert_eq!(load_latest(&path, true).unwrap().unwrap().step, 15);
}

#[test]
fn what_an_older_checkpoint_does_not_cure_is_no_reason_to_fall_back() {
    let (_temporary, path, folder) = new_run();
    save(&folder, 10);
    let newer = crate::support::forge_prologue(2, 0, 40, b"", b"");
    fs::write(path.join("checkpoints/step-00000020.mira"), newer).unwrap();
    let error = folder.load_latest(false).unwrap_err();
    assert!(matches!(error, Error::NewerVersion { .. }), "{error:?}");
}

#[test]
fn a_checkpoint_under_anothers_name_is_not_believed() {
    let (_temporary, path, folder) = new_run();
    let saved = save(&folder, 10);
    fs::copy(&saved, path.join("checkpoints/step-00000099.mira")).unwrap();
    let latest = folder.load_latest(false).unwrap().unwrap();
    assert_eq!(latest.step, 10);
    assert!(latest.warnings[0].contains("checkpoint of step 10, but its name says 99"));
    let snapshot = SnapshotRef::new(json!({ "step": 4 }));
    says(&folder.save(5, &snapshot).unwrap_err(), &["step 4", "expected 5"]);
}

#[test]
fn leftovers_of_killed_processes_go_and_nothing_else() {
    let (_temporary, path, folder) = new_run();
    save(&folder, 1);
    drop(folder);
    let ours = ["checkpoints/.mira-step-00000002.mira.tmp", ".mira-report.html.tmp"];
    let others = ["notes.tmp", "checkpoints/notes.tmp", ".mira-notes"];
    for name in ours.iter().chain(&others) {
        fs::write(path.join(name), "half").unwrap();
    }
    assert_eq!(load_latest(&path, true).unwrap().unwrap().step, 1);
    let _folder = RunFolder::open(&path).unwrap();
    assert!(ours.iter().all(|name| !path.join(name).exists()));
    assert!(others.iter().all(|name| path.join(name).exists()));
}
