//! What can go wrong on the command line; each message is one sentence that names the remedy.

use std::io;
use std::path::PathBuf;

use crate::npy;

/// Errors of `mira-train`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A command line that does not parse.
    #[error("{0}")]
    Usage(String),
    /// A flag given to a method that would ignore it.
    #[error("--{flag} does not apply to {method}; {remedy}")]
    FlagDoesNotApply {
        /// The flag, without dashes.
        flag: &'static str,
        /// The method's name.
        method: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that is not a 2-D floating-point `.npy` array.
    #[error("{}: {problem}", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: npy::Problem,
    },
    /// Logits no method can assign.
    #[error("{}: {source}", path.display())]
    Logits {
        /// The file.
        path: PathBuf,
        /// What is wrong with them, and where.
        source: mira_core::Error,
    },
    /// Two of the input and the outputs are the same file.
    #[error("{first} and {second} are the same file, {}; give each its own path", path.display())]
    SameFile {
        /// One role.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// An output path at which no file can be made.
    #[error("cannot write {flag} to {}: {problem}", path.display())]
    Unwritable {
        /// The flag that names it.
        flag: &'static str,
        /// The path.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A parameter out of its range, or a failure inside the core.
    #[error(transparent)]
    Core(#[from] mira_core::Error),
    /// A backend's own failure.
    #[error("the {backend} backend failed: {source}")]
    Backend {
        /// Its name.
        backend: &'static str,
        /// Its error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file that could be begun but not finished.
    #[error("writing {} failed: {source}", path.display())]
    WriteFailed {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// The process's exit code: 2 for what the caller can put right, 1 for failures inside.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(e) if is_about_parameters(e) => 2,
            Self::Core(_) | Self::Backend { .. } | Self::WriteFailed { .. } => 1,
            _ => 2,
        }
    }
}

fn is_about_parameters(error: &mira_core::Error) -> bool {
    use mira_core::Error as E;
    matches!(
        error,
        E::InvalidTemperature { .. }
            | E::InvalidBeta { .. }
            | E::InvalidEpsilon { .. }
            | E::InvalidTolerance { .. }
            | E::NoSweeps
            | E::ScaleOverflow { .. }
    )
}
