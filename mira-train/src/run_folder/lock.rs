//! One process a folder: an advisory lock that the kernel releases however its holder ends, SIGKILL included.
//!
//! The lock file stays when the lock goes; who it names matters only while it is locked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use super::Error;

/// The lock file of a run.
pub(super) const NAME: &str = "lock";

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough while a process just being started still has a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Locks `folder` by its file `name`, or says who has it.
    pub(crate) fn acquire(folder: &Path, name: &str) -> Result<Self, Error> {
        let path = folder.join(name);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false) // it names the other process
                .open(&path)
                .map_err(|source| Error::unwritable(folder, source))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked { path: folder.into(), owner: owner(&mut file) });
                }
                Err(TryLockError::Error(source)) => return Err(Error::LockFailed { path, source }),
            }
            // A run that could not be created removes its lock file: a lock on that keeps nobody out.
            if is_still_at(&file, &path) {
                describe(&mut file).map_err(|source| Error::WriteFailed { path, source })?;
                return Ok(Self { file });
            }
        }
    }
}

#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |m: fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(path)) => identity(file) == identity(path),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_still_at(_: &File, _: &Path) -> bool {
    true // an open file cannot be removed there
}

fn describe(file: &mut File) -> io::Result<()> {
    let line = format!("{}\n", json!({ "pid": std::process::id(), "host": host() }));
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(line.as_bytes())
}

/// Best effort: the other may be just about to write it, and some systems do not let a locked file be read.
fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(4096).read_to_string(&mut text);
    let owner: Value = serde_json::from_str(&text).unwrap_or_default();
    match (owner["pid"].as_u64(), owner["host"].as_str()) {
        (Some(pid), Some(host)) => format!("process {pid} on {host}"),
        _ => "a process that has not given its number".into(),
    }
}

fn host() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let from_files = files.iter().find_map(|path| fs::read_to_string(path).ok());
    let from_environment =
        || ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|v| std::env::var(v).ok());
    let host = from_files.or_else(from_environment).unwrap_or_default();
    if host.trim().is_empty() { "this host".into() } else { host.trim().into() }
}
