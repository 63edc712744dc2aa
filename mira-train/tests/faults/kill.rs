//! SIGKILL at any moment of saving: the latest complete checkpoint loads, and it is none older than the last one reported.

use std::path::Path;
use std::time::Duration;

use mira_train::run_folder::{Error, RunFolder, SnapshotRef, load_latest};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Other, say, snapshot};

const NUM_KILLS: u64 = 60;
/// 12 bytes each: a file of 0.7 MB, eleven blocks.
const NUM_PARAMETERS: u16 = 60_000;

/// The other process.
pub(crate) fn save_for_ever(path: &Path) {
    let folder = match RunFolder::open(path) {
        Err(Error::NotARun { .. }) => RunFolder::create(path, "epochs = 1\n").unwrap(),
        folder => folder.unwrap(),
    };
    let next = folder.load_latest(true).unwrap().map_or(0, |latest| latest.step + 1);
    say("ready");
    for step in next.. {
        let snapshot = snapshot(step, NUM_PARAMETERS);
        folder.save(step, &(&snapshot).into()).unwrap();
        say(&step.to_string());
    }
}

#[test]
fn sigkill_at_random_moments_of_saving() {
    let temporary = TempDir::new().unwrap();
    let path = temporary.path().join("run");
    let (mut reported, mut num_interrupted, mut num_saved) = (None, 0, 0);
    for kill in 0..NUM_KILLS {
        let mut other = Other::start("save for ever", &path);
        // The first ones while the run is being created or opened, the others while it saves.
        if kill >= 5 {
            assert_eq!(other.says().as_deref(), Some("ready"), "kill {kill}");
        }
        // Every third one after a save, however slow the disk.
        if kill % 3 == 2 && kill >= 5 {
            reported = other.says().and_then(|step| step.parse().ok()).max(reported);
            num_saved += 1;
        }
        std::thread::sleep(Duration::from_micros(kill * 7919 % 23 * 613));
        other.kill();
        while let Some(said) = other.says() {
            if let Ok(step) = said.parse::<u64>() {
                assert!(reported < Some(step));
                (reported, num_saved) = (Some(step), num_saved + 1);
            }
        }
        let Some(latest) = load_latest(&path, true).unwrap() else {
            assert_eq!(reported, None);
            continue;
        };
        assert!(Some(latest.step) >= reported, "step {} after {reported:?}", latest.step);
        assert_eq!(latest.snapshot, snapshot(latest.step, NUM_PARAMETERS));
        let names = names(&path.join("checkpoints"));
        num_interrupted += usize::from(names.iter().any(|name| name.starts_with(".mira-")));
        // What the next process saves must be found to be newer.
        reported = Some(latest.step);
    }
    // That the kills came while files were being written, and that some were written.
    assert!(num_interrupted > 0 && num_saved > 0, "{num_interrupted} {num_saved}");
    let folder = RunFolder::open(&path).unwrap();
    assert!(names(&path.join("checkpoints")).iter().all(|name| name.starts_with("step-")));
    assert_eq!(folder.recipe().unwrap(), "epochs = 1\n");
    // What kills between a rename and the deletions left to be deleted.
    folder.save(1_000_000, &SnapshotRef::new(json!({}))).unwrap();
    assert_eq!(names(&path.join("checkpoints")).len(), 2);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
