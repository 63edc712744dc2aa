//! What can go wrong while packing; each message is one sentence that names the remedy.

use std::io;
use std::path::PathBuf;

use crate::data;

/// Errors of [`pack`](super::pack).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Images that cannot be read, too many bad ones, or a setting out of its range.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// A folder that holds something else.
    #[error("{} cannot take the packed set: {problem}", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What is there, and what to do.
        problem: String,
    },
    /// Another process packs into the folder.
    #[error("{} is being packed into by another process ({owner}); wait for it, stop it, or give another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The other's process id and host.
        owner: String,
    },
    /// A disk that is full or fails.
    #[error(
        "cannot write {}: {source}; what is packed so far is kept: see to it and run the same command again, it goes on from there",
        path.display()
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the packing threads: {0}; use fewer threads")]
    Threads(String),
}

impl PackError {
    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }

    /// The process's exit code: 2 for what the caller can put right, 1 for failures inside.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Write { .. } | Self::Threads(_) => 1,
            _ => 2,
        }
    }
}
