//! What can go wrong with data; each message is one sentence that names the file and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of [`data`](super).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path at which nothing is.
    #[error("{} does not exist; give the folder of a data set, or none for the embedded one", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder that cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A path that holds no such data set, or not the part that was asked for.
    #[error("{} holds no data set: {problem}", path.display())]
    NotRecognised {
        /// The path.
        path: PathBuf,
        /// What was looked for.
        problem: String,
    },
    /// A data set, or a part of one, that is there, but whose files do not belong together.
    #[error("{} cannot be used: {problem}", path.display())]
    Inconsistent {
        /// The path.
        path: PathBuf,
        /// What does not fit, and the remedy.
        problem: String,
    },
    /// A format that needs a path, or one that takes none.
    #[error("data format {format}: {problem}")]
    Format {
        /// The format.
        format: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A file of a data set whose content is damaged or not supported.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An image that cannot be decoded.
    #[error("{name}: {problem}")]
    Image {
        /// The image's file or position.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting out of its range.
    #[error("{name} is {got}; expected {expected}")]
    Setting {
        /// The setting.
        name: String,
        /// Its value.
        got: String,
        /// Its range.
        expected: String,
    },
    /// A file on a server that cannot be read.
    #[error("{url}: {problem}")]
    Remote {
        /// Its address.
        url: String,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// A list of classes or images that does not fit the data set.
    #[error("{list}: {problem}")]
    Subset {
        /// The list's file, or the key it is in.
        list: String,
        /// What it names that is not there.
        problem: String,
    },
    /// A batch that no epoch could fill.
    #[error(
        "batch size {batch_size} is larger than the training set of {num_images} images; use at most {num_images}"
    )]
    BatchTooLarge {
        /// Images a batch.
        batch_size: usize,
        /// Images in the set.
        num_images: usize,
    },
    /// More images are unreadable than the caller allows.
    #[error(
        "{num_bad} of {num_images} images cannot be read, more than a max_bad_fraction of {max_bad_fraction} allows; see to them (`mira-train data info --check` \
         lists all) or raise it; the last is {last}"
    )]
    TooManyBad {
        /// Distinct images found unreadable so far.
        num_bad: usize,
        /// Images in the set.
        num_images: usize,
        /// The fraction allowed.
        max_bad_fraction: f64,
        /// The last one's own error.
        last: String,
    },
    /// A worker thread panicked on an image.
    #[error("loading {name} panicked ({message}); this is a bug, please report it")]
    Panicked {
        /// The image's file or position.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// An image whose reading does not end.
    #[error(
        "{name}: reading it has not ended within {limit:?}; see whether the file system it lies on is still there, then resume; \
         a larger data.read_timeout waits longer, 0 for ever"
    )]
    Stuck {
        /// The image's file or position.
        name: String,
        /// How long it was waited for.
        limit: std::time::Duration,
    },
    /// A loader used again after it failed.
    #[error("the loader has stopped after an earlier error; make a new one")]
    Stopped,
    /// The system gives no thread.
    #[error("cannot start a data worker: {source}; use fewer workers")]
    Thread {
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// Whether it says that one image is bad, which it then always is. A damaged file that holds many images is no bad image: its others are
    /// not to be used, either. Nor is a file that is gone, or a file system that fails: a run without it would be another run.
    pub(super) fn is_of_one_image(&self) -> bool {
        !matches!(
            self,
            Self::Malformed { .. }
                | Self::Unreadable { .. }
                | Self::Remote { .. }
                | Self::Panicked { .. }
                | Self::Stuck { .. }
                | Self::Stopped
        )
    }

    pub(super) fn inconsistent(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Inconsistent { path: path.into(), problem: problem.into() }
    }

    pub(super) fn malformed(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), problem: problem.into() }
    }

    pub(super) fn image(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Image { name: name.into(), problem: problem.into() }
    }

    pub(super) fn setting(
        name: impl Into<String>,
        got: &impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting { name: name.into(), got: got.to_string(), expected: expected.into() }
    }

    pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unreadable { path: path.into(), source }
    }
}
