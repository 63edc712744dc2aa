//! Data sets from the Hugging Face hub: what `mira-train data fetch` does.
//!
//! A [`DataSet`] names a repository, a revision and a part of its files. [`plan`] asks the [`Hub`] for the list of files and chooses those
//! that [`data::open`](crate::data::open) reads; [`fetch`] brings them.
//!
//! ```text
//! NAME → name → hub (list of files: size, checksum) → selection (which, and under what name) → download, one file a thread
//!                └─ client: one request, redirects, who gets the token ─┘        └─ part: NAME.part on the disk
//! ```
//!
//! A file under its own name is complete and has the checksum that the hub says: it is written as `NAME.part`, verified, synced and
//! renamed. What interrupts a download (Ctrl-C, a kill, a full disk, a dead network) leaves the part, from which the next one goes on.
//! Nothing that a server says is trusted: paths stay in the folder, no file grows beyond its listed size, lists and waits are bounded.

mod client;
mod digest;
mod download;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hub;
mod name;
mod part;
mod progress;
mod retry;
mod selection;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub use client::Options;
pub use digest::Digest;
pub use error::Error;
pub use hub::Hub;
pub use name::{DataSet, NAMED};
pub use progress::Progress;
pub use selection::{Plan, PlannedFile, plan};

use crate::run_folder::{self, Lock};
use download::Ending;

/// The lock of a folder that is being filled; it goes when the files are there.
const LOCK: &str = ".mira-fetch.lock";

/// What came of a [`Plan`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Files downloaded, wholly or their remaining part.
    pub num_fetched: usize,
    /// Files that were there, with the right checksum.
    pub num_present: usize,
}

/// Brings the files of a plan into the folder `out`, which is made if need be; `num_jobs` files at a time.
///
/// Files that are there and have the right checksum are left alone; others of the same name are replaced once the new ones are complete.
///
/// # Errors
/// The first [`Error`] of any file; complete files and parts stay, so that another call goes on from there.
pub fn fetch(
    hub: &Hub,
    plan: &Plan,
    out: &Path,
    num_jobs: usize,
    progress: &Progress,
) -> Result<Fetched, Error> {
    let unwritable = |source| Error::Unwritable { path: out.into(), source };
    fs::create_dir_all(out).map_err(unwritable)?;
    let lock = Lock::acquire(out, LOCK).map_err(|error| match error {
        run_folder::Error::Unwritable { source, .. } => unwritable(source),
        run_folder::Error::WriteFailed { path, source } => Error::WriteFailed { path, source },
        error => Error::Folder(error),
    })?;
    let result =
        check_space(plan, out).and_then(|()| fetch_all(hub, plan, out, num_jobs, progress));
    // While the lock is held, so that nobody else's goes.
    let _ = fs::remove_file(out.join(LOCK));
    drop(lock);
    result
}

fn fetch_all(
    hub: &Hub,
    plan: &Plan,
    out: &Path,
    num_jobs: usize,
    progress: &Progress,
) -> Result<Fetched, Error> {
    progress.start(plan.num_bytes());
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Fetched, Error> {
        let mut fetched = Fetched::default();
        while let Some(file) = plan.files.get(next.fetch_add(1, Ordering::Relaxed)) {
            match download::file(hub, plan, file, out, progress) {
                Ok(Ending::Fetched) => fetched.num_fetched += 1,
                Ok(Ending::Present) => fetched.num_present += 1,
                Err(error) => {
                    hub.client().cancel();
                    return Err(error);
                }
            }
        }
        Ok(fetched)
    };
    let results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> =
            (0..num_jobs.clamp(1, plan.files.len().max(1))).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|w| w.join().unwrap_or(Err(Error::Panicked))).collect()
    });
    progress.finish();
    let mut all = Fetched::default();
    let mut failure = None;
    for result in results {
        match result {
            Ok(part) => {
                all.num_fetched += part.num_fetched;
                all.num_present += part.num_present;
            }
            // Those that were told to end are not what went wrong.
            Err(error) if failure.is_none() || !matches!(error, Error::Cancelled) => {
                failure = Some(error);
            }
            Err(_) => {}
        }
    }
    match (hub.client().signal(), failure) {
        (Some(signal), Some(Error::Cancelled)) => Err(Error::Interrupted { signal }),
        (_, Some(error)) => Err(error),
        _ => Ok(all),
    }
}

/// Refuses what the disk cannot hold before anything is fetched.
fn check_space(plan: &Plan, out: &Path) -> Result<(), Error> {
    let missing = plan.files.iter().map(|file| {
        let have = |path| fs::metadata(path).map_or(0, |m| m.len());
        let path = out.join(&file.local);
        let num_present = have(path.clone()).max(have(part::path(&path)));
        file.size.saturating_sub(num_present)
    });
    let needed = missing.fold(0, u64::saturating_add);
    match free_bytes(out) {
        Some(free) if needed > free => Err(Error::NoSpace { path: out.into(), needed, free }),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}
