//! A run's folder: everything about not losing data.
//!
//! ```text
//! recipe.toml                        resolved, as of the last session; its presence makes the folder a run
//! metrics.jsonl                      one JSON object a line (MetricsLog)
//! checkpoints/step-00001234.mira     the trainer's whole state (container)
//! encoder.safetensors, report.html   and others, by `write_atomically`
//! lock                               the trainer's process and host, while it runs
//! .mira-*.tmp                        being written, or left by a killed process
//! ```
//!
//! A file under its own name is complete: it was written under another name, synced, and renamed. So a process may be killed, the disk may
//! fill up or fail at any moment, and the latest complete checkpoint loads. A checkpoint is deleted only after a newer one is on the disk.

mod checkpoints;
pub mod container;
mod disk;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lock;
mod metrics;
mod mismatch;
mod quarantine;
mod signals;

use std::fs;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

pub use checkpoints::{Loaded, checkpoints, load_latest, load_step};
pub use container::{DataRef, Snapshot, SnapshotRef, Tensor, TensorData, TensorRef};
pub use error::Error;
pub use metrics::{Logged, MetricsLog, Resumed};
pub use mismatch::{Difference, MAY_CHANGE, check_resume, diff};
pub use quarantine::Quarantine;
pub use signals::{EXIT_INTERRUPTED, Signal, StopRequest};

#[cfg(all(test, unix))]
pub(crate) use disk::tests::with_fault;
use disk::{Disk, System};
pub(crate) use disk::{is_leftover, remove_leftovers, sync_folder, write_bytes_atomically};
pub(crate) use lock::Lock;

const RECIPE: &str = "recipe.toml";
const METRICS: &str = "metrics.jsonl";
const CHECKPOINTS: &str = "checkpoints";
/// A recipe is a few KiB; a file that is none must not fill memory.
const MAX_RECIPE: u64 = 1 << 20;

/// The recipe of the run in a folder, as TOML; the run may be in progress.
///
/// # Errors
/// [`Error::NotARun`]; [`Error::Unreadable`], also for more than 1 MiB.
pub fn read_recipe(run: &Path) -> Result<String, Error> {
    let path = run.join(RECIPE);
    if !path.is_file() {
        return Err(Error::NotARun { path: run.into() });
    }
    read_short_text(&path).map_err(|source| Error::Unreadable { path, source })
}

/// Who is training in a folder, if anybody is.
pub(crate) fn locked_by(run: &Path) -> Option<String> {
    if !run.is_dir() {
        return None;
    }
    match Lock::acquire(run, lock::NAME) {
        Err(Error::Locked { owner, .. }) => Some(owner),
        _ => None,
    }
}

/// The text of a file that is a recipe, or pretends to be one.
pub(crate) fn read_short_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let len = fs::File::open(path)?.take(MAX_RECIPE + 1).read_to_string(&mut text)?;
    if len as u64 > MAX_RECIPE {
        let problem = format!("more than {MAX_RECIPE} bytes, which is no recipe");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

/// A run's folder, locked: no second trainer uses it while this lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    keep: usize,
    disk: Box<dyn Disk>,
    _lock: Lock,
}

impl RunFolder {
    /// Makes a run in a new or empty folder, with its resolved recipe; on an error nothing is left behind.
    ///
    /// # Errors
    /// [`Error::HoldsRun`], [`Error::NotEmpty`], [`Error::NotAFolder`], [`Error::Unwritable`], [`Error::Locked`],
    /// [`Error::LockFailed`], [`Error::WriteFailed`].
    pub fn create(path: impl AsRef<Path>, recipe: &str) -> Result<Self, Error> {
        Self::create_on(Box::new(System), path.as_ref(), recipe)
    }

    /// Opens a run to resume it, and removes what a killed trainer left half-written.
    ///
    /// # Errors
    /// [`Error::NotARun`], [`Error::NotAFolder`], [`Error::Locked`], [`Error::LockFailed`], [`Error::Unwritable`], [`Error::WriteFailed`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        if path.exists() && !path.is_dir() {
            return Err(Error::NotAFolder { path });
        }
        if !path.join(RECIPE).is_file() {
            return Err(Error::NotARun { path });
        }
        let lock = Lock::acquire(&path, lock::NAME)?;
        let folder = Self { path, keep: 2, disk: Box::new(System), _lock: lock };
        for cleaned in [folder.path.clone(), folder.path.join(CHECKPOINTS)] {
            match disk::remove_leftovers(&cleaned) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Unwritable { path: cleaned, source: e });
                }
                _ => {}
            }
        }
        Ok(folder)
    }

    fn create_on(disk: Box<dyn Disk>, path: &Path, recipe: &str) -> Result<Self, Error> {
        refuse_occupied(path)?;
        let mut made = Made(Vec::new());
        let unwritable = |source| Error::unwritable(path, source);
        made.folders(path).map_err(unwritable)?;
        let lock_file = path.join(lock::NAME);
        if !lock_file.exists() {
            made.0.push(lock_file);
        }
        let lock = match Lock::acquire(path, lock::NAME) {
            Err(refused @ Error::Locked { .. }) => {
                made.0.clear(); // all of it is the other's now
                return Err(refused);
            }
            lock => lock?,
        };
        // Another trainer may have made a run here, and ended, before the lock was ours.
        if let Err(refused) = refuse_occupied(path) {
            made.0.clear();
            return Err(refused);
        }
        let fill = |made: &mut Made| {
            made.folders(&path.join(CHECKPOINTS)).map_err(unwritable)?;
            made.0.push(path.join(RECIPE)); // it may be there after a failure to sync
            disk::write_atomically(&*disk, path, RECIPE, &mut |out| {
                out.write_all(recipe.as_bytes())
            })
            .map_err(|source| Error::WriteFailed { path: path.join(RECIPE), source })
        };
        if let Err(failure) = fill(&mut made) {
            drop(made); // while the lock is held: nobody else's lock file is removed
            return Err(failure);
        }
        made.0.clear();
        Ok(Self { path: path.to_path_buf(), keep: 2, disk, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets how many checkpoints stay after a save, 2 unless told; at least 1.
    pub fn set_keep(&mut self, keep: usize) {
        self.keep = keep.max(1);
    }

    /// The run's recipe, as TOML.
    ///
    /// # Errors
    /// As the function [`read_recipe`].
    pub fn recipe(&self) -> Result<String, Error> {
        read_recipe(&self.path)
    }

    /// Replaces the run's recipe, by one with which it may go on: [`check_resume`].
    ///
    /// # Errors
    /// [`Error::WriteFailed`], after which the old one is as it was.
    pub fn set_recipe(&self, recipe: &str) -> Result<(), Error> {
        disk::write_atomically(&*self.disk, &self.path, RECIPE, &mut |out| {
            out.write_all(recipe.as_bytes())
        })
        .map_err(|source| Error::WriteFailed { path: self.path.join(RECIPE), source })?;
        Ok(())
    }

    /// Makes or replaces the file `name`, complete or not at all.
    ///
    /// # Errors
    /// [`Error::FileName`] for a path, the lock, the log or the recipe; [`Error::WriteFailed`], after which an old file is as it was.
    pub fn write_atomically(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        self.write_atomically_with(name, |out| out.write_all(bytes))
    }

    /// Removes the file `name`, if there is one.
    ///
    /// # Errors
    /// As [`RunFolder::write_atomically`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let path = self.path.join(name);
        match self.disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::WriteFailed { path, source: e })
            }
            _ => Ok(()),
        }
    }

    /// As [`RunFolder::write_atomically`], for contents too large to be held in memory twice.
    ///
    /// # Errors
    /// As [`RunFolder::write_atomically`]; an error of `write` is one.
    pub fn write_atomically_with(
        &self,
        name: &str,
        mut write: impl FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<PathBuf, Error> {
        check_name(name)?;
        disk::write_atomically(&*self.disk, &self.path, name, &mut write)
            .map_err(|source| Error::WriteFailed { path: self.path.join(name), source })
    }
}

/// Refuses what is no name of a file of the caller's own.
fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = Path::new(name).file_name().is_some_and(|last| last == name);
    let taken = [lock::NAME, RECIPE, METRICS, CHECKPOINTS];
    if !is_plain || taken.contains(&name) || disk::is_leftover(name) {
        return Err(Error::FileName { name: name.into() });
    }
    Ok(())
}

/// Refuses a path at which no new run may be made.
pub(crate) fn refuse_occupied(path: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory && path.exists() => {
            return Err(Error::NotAFolder { path: path.into() });
        }
        Err(source) => return Err(Error::Unwritable { path: path.into(), source }),
    };
    if path.join(RECIPE).exists() {
        return Err(Error::HoldsRun { path: path.into() });
    }
    for entry in entries {
        let entry = entry.map_err(|source| Error::Unwritable { path: path.into(), source })?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What is left where a trainer was killed before its recipe was written.
        let is_remnant = name == lock::NAME
            || disk::is_leftover(&name)
            || (name == CHECKPOINTS
                && fs::read_dir(entry.path()).is_ok_and(|mut entries| entries.next().is_none()));
        if !is_remnant {
            return Err(Error::NotEmpty { path: path.into(), found: name });
        }
    }
    Ok(())
}

/// Files and folders to take away again, newest first, unless the list is cleared.
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a folder and the missing ones above it.
    fn folders(&mut self, path: &Path) -> io::Result<()> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => self.0.push(folder.into()),
                // Another process was faster: the lock decides between the two.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // A folder goes only while it is empty, so nothing of anybody else's is lost.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}
