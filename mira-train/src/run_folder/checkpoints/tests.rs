//! A disk that fails at any one of the operations of a save, and what is on it afterwards.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tempfile::TempDir;

use super::super::disk::{Disk, Syncable, System};
use super::*;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Create,
    /// After so many bytes.
    Write(usize),
    Sync,
    Rename,
    SyncFolder,
    Remove,
}

/// Does what it is told, notes it, and fails where it should.
#[derive(Debug, Default)]
struct Faulty {
    fault: Mutex<Option<(Fault, i32)>>,
    done: Mutex<Vec<String>>,
}

impl Faulty {
    fn arm(&self, fault: Fault, errno: i32) {
        *self.fault.lock().unwrap() = Some((fault, errno));
    }

    fn disarm(&self) {
        *self.fault.lock().unwrap() = None;
    }

    fn step(&self, what: &str, path: &Path, fault: Fault) -> io::Result<()> {
        let name = path.file_name().unwrap().to_string_lossy();
        self.done.lock().unwrap().push(format!("{what} {name}"));
        match *self.fault.lock().unwrap() {
            Some((armed, errno)) if armed == fault => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }
}

impl Disk for Arc<Faulty> {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Syncable>> {
        self.step("create", path, Fault::Create)?;
        let file = FaultyFile {
            file: System.create(path)?,
            path: path.into(),
            num_written: 0,
            disk: Arc::clone(self),
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename to", to, Fault::Rename)?;
        System.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step("sync folder", path, Fault::SyncFolder)?;
        System.sync_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path, Fault::Remove)?;
        System.remove(path)
    }
}

struct FaultyFile {
    file: Box<dyn Syncable>,
    path: PathBuf,
    num_written: usize,
    disk: Arc<Faulty>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = usize::MAX;
        if let Some((Fault::Write(limit), errno)) = *self.disk.fault.lock().unwrap() {
            room = limit - self.num_written;
            if room == 0 {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        // As much as there is room for, as a disk that fills up does.
        let num_written = self.file.write(&bytes[..bytes.len().min(room)])?;
        self.num_written += num_written;
        Ok(num_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Syncable for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.step("sync", &self.path, Fault::Sync)?;
        self.file.sync()
    }
}

fn new_run() -> (TempDir, Arc<Faulty>, RunFolder) {
    let temporary = TempDir::new().unwrap();
    let disk = Arc::new(Faulty::default());
    let path = temporary.path().join("run");
    let folder = RunFolder::create_on(Box::new(Arc::clone(&disk)), &path, "a = 1\n").unwrap();
    (temporary, disk, folder)
}

fn save(folder: &RunFolder, step: u64) -> Result<PathBuf, Error> {
    let data: Vec<f32> = (0..50_000_u16).map(f32::from).collect();
    let mut snapshot = SnapshotRef::new(json!({ "step": step }));
    snapshot.push("parameters", &data[..]);
    folder.save(step, &snapshot)
}

/// Names and contents of all files of a folder, hidden ones too.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

#[test]
fn the_data_is_synced_before_the_name_and_the_name_before_anything_is_deleted() {
    let (_temporary, disk, mut folder) = new_run();
    folder.set_keep(1);
    save(&folder, 1).unwrap();
    disk.done.lock().unwrap().clear();
    save(&folder, 2).unwrap();
    assert_eq!(
        *disk.done.lock().unwrap(),
        [
            "create .mira-step-00000002.mira.tmp",
            "sync .mira-step-00000002.mira.tmp",
            "rename to step-00000002.mira",
            "sync folder checkpoints",
            "remove step-00000001.mira",
        ]
    );
}

#[test]
fn a_failed_save_is_reported_and_leaves_the_folder_as_it_was() {
    let faults = [Fault::Create, Fault::Sync, Fault::Rename];
    // In the prologue, in the header, in the first block of data, in the last bytes.
    let writes = [0, 1, 39, 100, 65_536, 100_000, 200_000].map(Fault::Write);
    for errno in [ENOSPC, EIO] {
        for fault in faults.iter().chain(&writes) {
            let (_temporary, disk, mut folder) = new_run();
            folder.set_keep(1); // the strictest: the only good one must stay
            save(&folder, 7).unwrap();
            let before = contents(&folder.path.join(CHECKPOINTS));
            disk.arm(*fault, errno);
            let failure = save(&folder, 8).unwrap_err();
            let Error::WriteFailed { path, source } = &failure else { panic!("{failure:?}") };
            assert!(path.ends_with("checkpoints/step-00000008.mira"), "{path:?}");
            assert_eq!(source.raw_os_error(), Some(errno));
            let advice = if errno == ENOSPC { "free some space" } else { "check the disk" };
            assert!(failure.to_string().contains(advice), "{failure}");
            assert_eq!(contents(&folder.path.join(CHECKPOINTS)), before, "{fault:?}");
            disk.disarm();
            assert_eq!(folder.load_latest(true).unwrap().unwrap().step, 7);
            // And once the disk works again, so does saving.
            save(&folder, 8).unwrap();
            assert_eq!(folder.load_latest(true).unwrap().unwrap().step, 8);
        }
    }
}

#[test]
fn a_rename_that_may_not_last_deletes_nothing_older() {
    let (_temporary, disk, mut folder) = new_run();
    folder.set_keep(1);
    save(&folder, 7).unwrap();
    disk.arm(Fault::SyncFolder, EIO);
    assert!(matches!(save(&folder, 8), Err(Error::WriteFailed { .. })));
    disk.disarm();
    assert_eq!(folder.load_step(7).unwrap().step, 7);
    let names: Vec<_> = contents(&folder.path.join(CHECKPOINTS)).into_iter().map(|f| f.0).collect();
    assert!(names.iter().all(|name| name.starts_with("step-")), "{names:?}");
}

#[test]
fn a_checkpoint_that_cannot_be_deleted_is_no_failure_and_goes_next_time() {
    let (_temporary, disk, mut folder) = new_run();
    folder.set_keep(1);
    save(&folder, 1).unwrap();
    disk.arm(Fault::Remove, EIO);
    save(&folder, 2).unwrap();
    disk.disarm();
    let steps = || checkpoints(&folder.path).unwrap().iter().map(|c| c.0).collect::<Vec<_>>();
    assert_eq!(steps(), [2, 1]);
    save(&folder, 3).unwrap();
    assert_eq!(steps(), [3]);
}

#[test]
fn other_files_fail_alike_and_a_panic_leaves_nothing_either() {
    let (_temporary, disk, folder) = new_run();
    folder.write_atomically("report.html", b"old").unwrap();
    let before = contents(&folder.path);
    for fault in [Fault::Create, Fault::Write(2), Fault::Sync, Fault::Rename] {
        disk.arm(fault, ENOSPC);
        let failure = folder.write_atomically("report.html", b"newer").unwrap_err();
        assert!(matches!(failure, Error::WriteFailed { .. }), "{failure:?}");
        assert_eq!(contents(&folder.path), before, "{fault:?}");
    }
    disk.disarm();
    let panics = std::panic::AssertUnwindSafe(|| {
        folder.write_atomically_with("report.html", |out| {
            out.write_all(&vec![1; 100_000])?;
            panic!("in the middle of it");
        })
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(contents(&folder.path), before);
    folder.write_atomically("report.html", b"newer").unwrap();
    assert_eq!(fs::read(folder.path.join("report.html")).unwrap(), b"newer");
}

#[test]
fn a_run_that_cannot_be_created_leaves_nothing() {
    for fault in [Fault::Create, Fault::Write(3), Fault::Sync, Fault::Rename, Fault::SyncFolder] {
        let temporary = TempDir::new().unwrap();
        let disk = Arc::new(Faulty::default());
        disk.arm(fault, ENOSPC);
        let path = temporary.path().join("some/where/run");
        let failure = RunFolder::create_on(Box::new(disk), &path, "a = 1\n").unwrap_err();
        assert!(matches!(failure, Error::WriteFailed { .. }), "{failure:?}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "{fault:?}");
    }
}
