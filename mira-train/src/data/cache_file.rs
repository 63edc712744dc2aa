//! Files that only save time: under a checksum, written atomically, and made anew when anything is wrong with them.
//!
//! | bytes | what                                   |
//! |-------|----------------------------------------|
//! | 0–7   | magic                                  |
//! | 8–11  | version, u32                           |
//! | 12–19 | checksum (XXH3-64) of byte 20 to the end |
//! | 20–   | whatever the kind of file holds        |

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use twox_hash::XxHash3_64;

use super::bytes::Unread;
use crate::run_folder::write_bytes_atomically;

/// 100 million images take less.
const MAX_BYTES: u64 = 8 << 30;

/// A kind of such files.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheFile {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
}

impl CacheFile {
    /// The file's content, if there is a whole file of this kind and version and `parse` understands it.
    pub(super) fn read<T>(
        self,
        path: &Path,
        parse: impl FnOnce(&mut Unread) -> Option<T>,
    ) -> Option<T> {
        // Asked before opening, which would wait for the writer of a pipe.
        fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        self.parse(&bytes, parse)
    }

    /// The same of bytes; all of them must be used.
    pub(super) fn parse<T>(
        self,
        file: &[u8],
        parse: impl FnOnce(&mut Unread) -> Option<T>,
    ) -> Option<T> {
        let mut unread = Unread(file);
        if unread.bytes(8)? != self.magic || unread.u32()? != self.version {
            return None;
        }
        if unread.u64()? != XxHash3_64::oneshot(unread.0) {
            return None;
        }
        let content = parse(&mut unread)?;
        unread.0.is_empty().then_some(content)
    }

    /// Writes a file, if that can be: without it the next start is slower, and nothing else.
    pub(super) fn write(self, folder: &Path, name: &str, body: &[u8]) {
        let _ = write_bytes_atomically(folder, name, &self.to_bytes(body));
    }

    pub(super) fn to_bytes(self, body: &[u8]) -> Vec<u8> {
        let mut file = self.magic.to_vec();
        file.extend_from_slice(&self.version.to_le_bytes());
        file.extend_from_slice(&XxHash3_64::oneshot(body).to_le_bytes());
        file.extend_from_slice(body);
        file
    }
}

/// Where programs of this user keep what only saves time; a folder for each kind.
pub(super) fn user_folder(kind: &str) -> Option<PathBuf> {
    // As the XDG base directory specification has it, relative paths are ignored.
    let of = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?;
    Some(caches.join("mira").join(kind))
}

/// When a file or folder was changed, in nanoseconds since 1970; 0 where the system does not say.
pub(super) fn modified(metadata: &fs::Metadata) -> u64 {
    let time = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    time.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0)
}
