//! What can go wrong with a download; each message is one sentence that names the remedy.

use std::io;
use std::path::PathBuf;

use crate::run_folder::Signal;
use crate::text::bytes;

/// Errors of [`fetch`](super).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that stands for no data set.
    #[error("'{got}' names no data set; {problem}")]
    Name {
        /// As given.
        got: String,
        /// What was expected.
        problem: String,
    },
    /// An address at which no hub can be.
    #[error("the endpoint '{got}' {problem}; expected an address such as https://huggingface.co")]
    Endpoint {
        /// As given.
        got: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A token that no header can carry.
    #[error(
        "HF_TOKEN is not a token (it has spaces or characters beyond ASCII); copy it anew from the hub's settings"
    )]
    Token,
    /// Certificates that cannot be used.
    #[error("SSL_CERT_FILE: {problem} in {}; give a file of PEM certificates, or unset it for the built-in ones", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A connection that cannot be trusted.
    #[error(
        "no safe connection to {url}: {problem}; where a proxy opens connections, name its certificates in SSL_CERT_FILE"
    )]
    Tls {
        /// The address.
        url: String,
        /// The reason.
        problem: String,
    },
    /// 401 or 403.
    #[error("{url}: the hub answers {status}; {}", denied(*has_token))]
    Denied {
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// 404 or 410.
    #[error(
        "{url}: there is no such data set, revision or file ({status}); check the name, and the revision after @"
    )]
    NotFound {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// Another status that a repetition does not change.
    #[error("{url}: unexpected status {status}; check that the endpoint is a hub")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// A redirection that is not followed.
    #[error("{url}: {problem}; check the endpoint")]
    Redirect {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A server that asks for more patience than this program has.
    #[error(
        "{what}: the server asks to wait {seconds} s; run the same command again after that, what has been fetched is kept"
    )]
    Wait {
        /// What was asked for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// The same failure, too often.
    #[error(
        "{what}: {problem}; given up after {num_failures} failure(s) in a row: check the network and run the same command again, what has been fetched is kept"
    )]
    GaveUp {
        /// What was asked for.
        what: String,
        /// The last failure.
        problem: String,
        /// How many there were.
        num_failures: u32,
    },
    /// A list of files that is none.
    #[error("{url}: the list of files is invalid ({problem}); check that the endpoint is a hub")]
    Listing {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A path from the server that would leave the folder.
    #[error("the hub lists a file '{path}', which is no safe path; nothing is fetched")]
    UnsafePath {
        /// The path.
        path: String,
    },
    /// A file that cannot be meant.
    #[error(
        "the hub lists {path} with {size} bytes, more than the {limit} allowed; choose other files with hf:OWNER/NAME:SUBSET"
    )]
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
        /// The most allowed.
        limit: u64,
    },
    /// Nothing that can be opened.
    #[error(
        "{set} at {revision} has no files of images that mira-train opens (Parquet by split, JPEG, PNG, WebP, IDX){found}; choose another revision or subset: hf:OWNER/NAME@REVISION:SUBSET"
    )]
    Nothing {
        /// The set.
        set: String,
        /// The revision.
        revision: String,
        /// Some of what there is.
        found: String,
    },
    /// Several sets in one repository.
    #[error("{set} has several sets: {}; choose one, such as {set}:{}", choices.join(", "), choices.first().map_or("", String::as_str))]
    SeveralSets {
        /// The repository.
        set: String,
        /// Their folders.
        choices: Vec<String>,
    },
    /// Two files that would have one name.
    #[error("{first} and {second} would both be {}; choose one with hf:OWNER/NAME:SUBSET", local.display())]
    SameName {
        /// One path on the hub.
        first: String,
        /// The other.
        second: String,
        /// The name.
        local: PathBuf,
    },
    /// Not enough room.
    #[error("{} has {} free, but {} are to be fetched; free some space, or give --out a folder on another disk", path.display(), bytes(*free), bytes(*needed))]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes to be fetched.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A folder that cannot be made or written to.
    #[error("cannot write to {}: {source}; give --out a folder that can be written to", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The lock.
    #[error(transparent)]
    Folder(crate::run_folder::Error),
    /// A file that cannot be read or written.
    #[error("{} cannot be written: {source}; {}", path.display(), remedy(source))]
    WriteFailed {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Content that is not what the hub lists.
    #[error(
        "{path} has the checksum {got}, expected {expected}, also when fetched anew; it changed on the hub or is damaged there: run the same command again later, or name another revision or endpoint"
    )]
    Checksum {
        /// The file on the hub.
        path: String,
        /// What the hub lists.
        expected: String,
        /// What came.
        got: String,
    },
    /// A signal.
    #[error("stopped by {signal}; what has been fetched is kept")]
    Interrupted {
        /// The signal.
        signal: Signal,
    },
    /// Ended because another file failed, or because of a signal.
    #[error("cancelled")]
    Cancelled,
    /// A bug.
    #[error("a download panicked; this is a bug, please report it")]
    Panicked,
}

impl Error {
    /// The process's exit code: 1 for failures of network, server or disk, 2 for what the caller can put right.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::GaveUp { .. }
            | Self::Wait { .. }
            | Self::WriteFailed { .. }
            | Self::Checksum { .. }
            | Self::Panicked
            | Self::Cancelled => 1,
            Self::Interrupted { .. } => crate::run_folder::EXIT_INTERRUPTED,
            Self::Folder(error) => error.exit_code(),
            _ => 2,
        }
    }
}

const fn denied(has_token: bool) -> &'static str {
    if has_token {
        "check the name, and that the account of HF_TOKEN may read it (on the hub's page of the set, accept its terms)"
    } else {
        "check the name; if the set is private or has terms to accept, put your token into HF_TOKEN"
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space and run the same command again, what has been fetched is kept"
        }
        _ => "check the disk and run the same command again, what has been fetched is kept",
    }
}
