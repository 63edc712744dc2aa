//! Files that appear complete or not at all, over an interface in which tests inject faults.
//!
//! Write beside the destination, sync, rename over it, sync the folder. The data must be on the disk before the name points at it;
//! otherwise a power cut leaves a complete name with an incomplete file.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What saving needs of a file system.
pub(super) trait Disk: Debug + Send + Sync {
    /// Makes an empty file, in place of one of that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Syncable>>;
    /// Renames over what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes renames in a folder outlive a power cut.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A file being written.
pub(super) trait Syncable: Write {
    /// Waits until the contents are on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(super) struct System;

impl Disk for System {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Syncable>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        sync_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

impl Syncable for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Makes renames in a folder outlive a power cut, where the system can.
#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let sync = || {
        #[cfg(test)]
        tests::fault()?;
        File::open(path)?.sync_all()
    };
    match sync() {
        Err(e) if cannot_be_synced(&e) => Ok(()),
        result => result,
    }
}

/// Whether a failure says that there is no way to sync a folder, rather than that it went wrong: some network file systems have none, and a
/// folder may take files of somebody who may not read it. Then the rename is as safe as it can be.
#[cfg(unix)]
fn cannot_be_synced(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

const PREFIX: &str = ".mira-";
const SUFFIX: &str = ".tmp";

/// Makes or replaces the file `name` in `folder`; after an error the old one is as it was, or (where only the sync of the folder
/// failed) the new one is there but may not outlive a power cut.
pub(super) fn write_atomically(
    disk: &dyn Disk,
    folder: &Path,
    name: &str,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let path = folder.join(name);
    let temporary = folder.join(format!("{PREFIX}{name}{SUFFIX}"));
    let mut file = disk.create(&temporary)?;
    // From here on the temporary file goes, on a panic too, unless it has been renamed.
    let mut cleanup = Cleanup { disk, path: Some(&temporary) };
    {
        let mut buffered = BufWriter::new(&mut file);
        let result = write(&mut buffered).and_then(|()| buffered.flush());
        // What a failed write left in the buffer must not be tried again on drop.
        let (_, _unwritten) = buffered.into_parts();
        result?;
    }
    // After a failed sync the kernel may have dropped the pages: a second one would succeed and mean nothing.
    file.sync()?;
    drop(file);
    disk.rename(&temporary, &path)?;
    cleanup.path = None;
    disk.sync_folder(folder)?;
    Ok(path)
}

/// Makes or replaces a file on the system's disk, complete or not at all.
pub(crate) fn write_bytes_atomically(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    write_atomically(&System, folder, name, &mut |out| out.write_all(bytes)).map(drop)
}

struct Cleanup<'a> {
    disk: &'a dyn Disk,
    path: Option<&'a Path>,
}

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.path {
            // Where even that fails, the next open of the folder tries again; nobody takes the name for a checkpoint.
            let _ = self.disk.remove(path);
        }
    }
}

/// Whether a file is one that a killed process was writing.
pub(crate) fn is_leftover(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Removes what killed processes were writing.
pub(crate) fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_leftover) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
pub(crate) mod tests {
    use std::cell::Cell;

    use rustix::io::Errno;

    use super::*;

    thread_local! {
        static FAULT: Cell<Option<Errno>> = const { Cell::new(None) };
    }

    /// What a sync of a folder by this thread is to fail with.
    pub(super) fn fault() -> io::Result<()> {
        FAULT.get().map_or(Ok(()), |errno| Err(errno.into()))
    }

    /// Does something while no folder can be synced.
    pub(crate) fn with_fault<T>(errno: Errno, work: impl FnOnce() -> T) -> T {
        FAULT.set(Some(errno));
        let result = work();
        FAULT.set(None);
        result
    }

    #[test]
    fn a_folder_that_there_is_no_way_to_sync_is_no_failure_and_one_that_is_not_synced_is() {
        let folder = tempfile::tempdir().unwrap();
        let sync = |errno| with_fault(errno, || sync_folder(folder.path()));
        for errno in [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::ACCESS] {
            sync(errno).unwrap();
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            assert_eq!(sync(errno).unwrap_err().raw_os_error(), Some(errno.raw_os_error()));
        }
        sync_folder(folder.path()).unwrap();
        assert!(sync_folder(&folder.path().join("gone")).is_err());
    }
}
