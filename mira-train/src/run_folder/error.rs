//! What can go wrong with a run folder; each message is one sentence that names the remedy.

use std::io;
use std::path::{Path, PathBuf};

use super::mismatch::Difference;

/// Errors of run folders, checkpoints and logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path of a run is a file.
    #[error("{} is not a folder; give --out the path of a folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A new run in somebody's folder.
    #[error(
        "{} is not empty (it has {found}) and holds no run; give --out a new or an empty folder",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// A new run in the folder of another.
    #[error(
        "{} already holds a run; continue it with --resume, or give --out another folder",
        path.display()
    )]
    HoldsRun {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing to resume.
    #[error(
        "{} holds no run to resume (it has no recipe.toml); check the path, or start a run without --resume",
        path.display()
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that cannot be made or written to.
    #[error("cannot keep a run in {}: {source}; give --out a folder that can be written to", path.display())]
    Unwritable {
        /// The folder, or the file in it.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Two processes in one folder.
    #[error(
        "{} is in use by another mira-train ({owner}); wait for it or stop it, or give --out another folder",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The other's process id and host.
        owner: String,
    },
    /// A file system without file locks, most likely.
    #[error(
        "cannot lock {}: {source}; give --out a folder on a file system that has file locks",
        path.display()
    )]
    LockFailed {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that could not be finished.
    #[error("writing {} failed: {source}; {}", path.display(), remedy(source))]
    WriteFailed {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A name that would leave the folder or break it.
    #[error(
        "{name:?} cannot be the name of a file in a run folder; expected a plain file name that is not taken"
    )]
    FileName {
        /// The name.
        name: String,
    },
    /// A snapshot that no checkpoint could hold.
    #[error("the snapshot cannot be saved: {problem}")]
    Snapshot {
        /// What is wrong with it.
        problem: String,
    },
    /// Something other than a checkpoint.
    #[error("{} is not a mira checkpoint (it does not begin with \\x89MIRA); give a step-*.mira file", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// A checkpoint from the future.
    #[error(
        "{} has checkpoint format version {got}, newer than this program's {supported}; use the version of mira-train that wrote it, or a later one",
        path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        got: u32,
        /// The newest that can be read.
        supported: u32,
    },
    /// A checkpoint that ends early.
    #[error(
        "{} is truncated: expected {expected} bytes, got {got}; restore it from a copy, or resume from an older checkpoint",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The bytes it should have, at least.
        expected: u64,
        /// The bytes it has.
        got: u64,
    },
    /// A checkpoint that something was appended to.
    #[error(
        "{} has {} bytes after its end (expected {expected}, got {got}); restore it from a copy, or resume from an older checkpoint",
        path.display(), got.saturating_sub(*expected)
    )]
    Trailing {
        /// The file.
        path: PathBuf,
        /// The bytes it should have.
        expected: u64,
        /// The bytes it has.
        got: u64,
    },
    /// Bytes that are not those that were written.
    #[error(
        "{}: the checksum of {section} is {got:016x}, expected {expected:016x}; the file is corrupt: restore it from a copy, or resume from an older checkpoint",
        path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The tensor, or the part of the file's beginning.
        section: String,
        /// The checksum in the file.
        expected: u64,
        /// The checksum of the bytes in the file.
        got: u64,
    },
    /// A header that contradicts itself or the file.
    #[error(
        "{}: the checkpoint's header is invalid ({problem}); restore it from a copy, or resume from an older checkpoint",
        path.display()
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A checkpoint under another's name.
    #[error(
        "{} is the checkpoint of step {got}, but its name says {expected}; give it back its name",
        path.display()
    )]
    WrongStep {
        /// The file.
        path: PathBuf,
        /// The step in its name.
        expected: u64,
        /// The step in its header.
        got: u64,
    },
    /// More than memory can hold.
    #[error("{}: {section} needs {num_bytes} bytes of memory, which are not to be had; free some", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// The tensor.
        section: String,
        /// Its size.
        num_bytes: u64,
    },
    /// A snapshot without what the trainer needs, or of another network.
    #[error(
        "the checkpoint's tensor {name} is {got}, expected {expected}; resume with the recipe and the version that wrote it"
    )]
    Tensor {
        /// The tensor.
        name: String,
        /// Type and number of elements wanted.
        expected: String,
        /// What there is.
        got: String,
    },
    /// No checkpoint of that step.
    #[error("{} has no checkpoint of step {step}; it has {available}", path.display())]
    NoSuchStep {
        /// The folder.
        path: PathBuf,
        /// The step asked for.
        step: u64,
        /// The steps there are.
        available: String,
    },
    /// The latest checkpoint is damaged, and a fall-back was ruled out.
    #[error(
        "the latest checkpoint is damaged and --strict rules out an older one ({source}); resume without --strict to fall back"
    )]
    Strict {
        /// What is wrong with the latest.
        source: Box<Error>,
    },
    /// No checkpoint can be loaded.
    #[error(
        "none of the {num_checkpoints} checkpoints in {} can be loaded (the latest: {source}); start a new run in another folder",
        path.display()
    )]
    AllDamaged {
        /// The folder.
        path: PathBuf,
        /// How many were tried.
        num_checkpoints: usize,
        /// What is wrong with the latest.
        source: Box<Error>,
    },
    /// A resume with another recipe.
    #[error(
        "cannot resume {}: the recipe differs from the saved one in {}; give these keys their saved values, or start a new run in another folder",
        path.display(), super::mismatch::listing(differences)
    )]
    Mismatch {
        /// The folder.
        path: PathBuf,
        /// The keys that may not change, with both values.
        differences: Vec<Difference>,
    },
    /// Signals cannot be listened to.
    #[error("cannot listen for signals: {source}; start the trainer from another process")]
    Signals {
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// For a folder in which nothing can be made; of a full disk it is not the folder's fault.
    pub(crate) fn unwritable(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::WriteFailed { path, source }
            }
            _ => Self::Unwritable { path, source },
        }
    }

    /// Whether a checkpoint's content is at fault, so that an older one may serve.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::NotACheckpoint { .. }
            | Self::Truncated { .. }
            | Self::Trailing { .. }
            | Self::Checksum { .. }
            | Self::Header { .. }
            | Self::WrongStep { .. } => true,
            // A bad sector. Anything else the system refuses is not put right by an older file.
            Self::Unreadable { source, .. } => cfg!(unix) && source.raw_os_error() == Some(5),
            _ => false,
        }
    }

    /// The process's exit code: 1 for failures of the machine, 2 for what the caller can put right.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::WriteFailed { .. } | Self::Memory { .. } | Self::Signals { .. } => 1,
            _ => 2,
        }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space and resume, everything saved before is intact"
        }
        _ => "check the disk and resume, everything saved before is intact",
    }
}
