//! What a run shows: its measurements read back ([`metrics`]), `TensorBoard` events ([`tensorboard`]), the report of one run
//! ([`report`]), curves of several ([`plot`]) and the results of a comparison ([`compare`]). What a run is to learn from, before there is one: [`sheet`].
//!
//! Charts are drawn once, as a `Drawing` of lines, shapes and text; that becomes inline SVG in a page or pixels in a PNG.
//! A page is one file: no script, no font, no image is loaded from elsewhere.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels, colours and numbers of ticks are small and not negative; a cast of what is not saturates"
)]
#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "a page is built once; what it says counts for more than an allocation"
)]

mod chart;
pub mod compare;
mod drawing;
mod html;
pub mod metrics;
pub mod plot;
pub mod projection;
pub mod report;
pub mod sheet;
pub mod tensorboard;
mod theme;
pub mod thumbnail;

use std::io;
use std::path::PathBuf;

/// What can go wrong while a run is being shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {source}; give a run folder or its metrics.jsonl", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file without a single record in it.
    #[error(
        "{} holds no measurement in its {num_lines} lines; expected the metrics.jsonl of a run that has made at least one step",
        path.display()
    )]
    NoMeasurements {
        /// The file.
        path: PathBuf,
        /// How many lines it has.
        num_lines: u64,
    },
    /// A file that cannot be made or finished.
    #[error("writing {} failed: {source}; {}", path.display(), remedy(source))]
    WriteFailed {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A kind of picture that is not known.
    #[error("cannot tell what to write to {}: expected a name that ends in .html, .png or .svg", path.display())]
    UnknownPicture {
        /// The file.
        path: PathBuf,
    },
    /// Features that are not a matrix of finite numbers.
    #[error("cannot project {num_values} features in rows of {dim}: {problem}")]
    Features {
        /// How many numbers there are.
        num_values: usize,
        /// Numbers a row.
        dim: usize,
        /// What is wrong with them, and the remedy.
        problem: &'static str,
    },
    /// A contact sheet too large to become pixels.
    #[error(
        "a sheet of {width}×{height} pixels is too large; show fewer images with --images, or a recipe with fewer views"
    )]
    SheetTooLarge {
        /// Its width.
        width: u64,
        /// Its height.
        height: u64,
    },
    /// A drawing too large to become pixels.
    #[error("a picture of {width}×{height} pixels is too large; compare fewer runs or write .html")]
    TooLarge {
        /// Its width.
        width: u64,
        /// Its height.
        height: u64,
    },
}

impl Error {
    /// The process's exit code: 2 for what the caller can put right, 1 for failures inside.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::WriteFailed { source, .. } if is_about_the_path(source) => 2,
            Self::WriteFailed { .. } | Self::Features { .. } => 1,
            _ => 2,
        }
    }
}

/// Whether a file cannot be made because of where it is to be, rather than of the disk.
pub(crate) fn is_about_the_path(source: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        source.kind(),
        E::NotFound
            | E::NotADirectory
            | E::IsADirectory
            | E::PermissionDenied
            | E::ReadOnlyFilesystem
            | E::InvalidFilename
    )
}

fn remedy(source: &io::Error) -> &'static str {
    use io::ErrorKind as E;
    match source.kind() {
        E::NotFound | E::NotADirectory => "name a file in a folder that is there",
        E::IsADirectory => "name a file, this is a folder",
        E::StorageFull | E::QuotaExceeded => "free space there or choose another place",
        _ => "choose another place",
    }
}
