//! Where images are in shards, kept in the file `.mira-webdataset` beside them.
//!
//! | bytes | what                                                                                                   |
//! |-------|--------------------------------------------------------------------------------------------------------|
//! | 0–7   | magic `\x89MWD\r\n\x1a\n`                                                                              |
//! | 8–11  | version, u32: 1                                                                                        |
//! | 12–15 | number of shards, u32                                                                                  |
//! | 16–23 | checksum (XXH3-64) of byte 24 to the end                                                               |
//! | …     | a shard: length of its name (u32), name, size (u64), time of change (ns since 1970, u64), number of samples (u32), samples |
//! | …     | a sample: offset (u64), length (u32), label (u32; 2³² − 1 for none)                                      |
//!
//! A shard is indexed again when its size or its time of change is another. A cache that is damaged or of another version is made anew;
//! where it cannot be written, shards are indexed at every start.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::samples::Sample;
use crate::data::bytes::{Unread, push_text};
use crate::run_folder::write_bytes_atomically;

pub(super) const NAME: &str = ".mira-webdataset";
const MAGIC: [u8; 8] = *b"\x89MWD\r\n\x1a\n";
const VERSION: u32 = 1;
const SAMPLE: usize = 16;
/// 100 million samples take less.
const MAX_BYTES: u64 = 2 << 30;

/// What tells whether a shard has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// 0 where the system does not say; such a shard is indexed every time.
    pub(super) modified: u64,
}

/// Shards by the names of their files.
#[derive(Debug, Default)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
    shards: BTreeMap<String, (Stamp, Vec<Sample>)>,
    has_news: bool,
}

impl Cache {
    /// That of the folder the files are in; none is kept where they are in several.
    pub(super) fn beside(files: &[PathBuf]) -> Self {
        let folder = files.first().and_then(|file| file.parent());
        let Some(folder) = folder.filter(|&f| files.iter().all(|file| file.parent() == Some(f)))
        else {
            return Self::default();
        };
        let mut bytes = Vec::new();
        let read = File::open(folder.join(NAME))
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        let shards = read.ok().and_then(|_| parse(&bytes)).unwrap_or_default();
        Self { folder: Some(folder.into()), shards, has_news: false }
    }

    /// The samples of a shard that has not changed.
    pub(super) fn get(&self, path: &Path, stamp: Stamp) -> Option<&[Sample]> {
        let (known, samples) = self.shards.get(path.file_name()?.to_str()?)?;
        (stamp.modified != 0 && *known == stamp).then_some(samples)
    }

    /// What [`get`](Self::get) is to return from now on.
    pub(super) fn put(&mut self, path: &Path, stamp: Stamp, samples: &[Sample]) {
        if self.get(path, stamp).is_none()
            && stamp.modified != 0
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            self.shards.insert(name.into(), (stamp, samples.to_vec()));
            self.has_news = true;
        }
    }

    /// Writes what is new, if it can be.
    pub(super) fn save(&self) {
        if let (Some(folder), true) = (&self.folder, self.has_news) {
            // Shards may lie where nothing can be written; the next start is slower, and nothing else.
            let _ = write_bytes_atomically(folder, NAME, &self.to_bytes());
        }
    }

    /// One that is kept nowhere.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of(shards: BTreeMap<String, (Stamp, Vec<Sample>)>) -> Self {
        Self { shards, ..Self::default() }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut body = Vec::new();
        for (name, (stamp, samples)) in &self.shards {
            push_text(name, &mut body);
            body.extend_from_slice(&stamp.size.to_le_bytes());
            body.extend_from_slice(&stamp.modified.to_le_bytes());
            body.extend_from_slice(&number(samples.len()));
            for sample in samples {
                body.extend_from_slice(&sample.offset.to_le_bytes());
                body.extend_from_slice(&sample.length.to_le_bytes());
                body.extend_from_slice(&sample.label.unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&number(self.shards.len()));
        file.extend_from_slice(&XxHash3_64::oneshot(&body).to_le_bytes());
        file.extend_from_slice(&body);
        file
    }
}

/// `None` for anything but a whole cache of this version. Memory is taken for what is there, never for what is claimed.
pub(super) fn parse(file: &[u8]) -> Option<BTreeMap<String, (Stamp, Vec<Sample>)>> {
    let mut unread = Unread(file);
    if unread.bytes(8)? != MAGIC || unread.u32()? != VERSION {
        return None;
    }
    let num_shards = unread.u32()?;
    if unread.u64()? != XxHash3_64::oneshot(unread.0) {
        return None;
    }
    let mut shards = BTreeMap::new();
    for _ in 0..num_shards {
        let name = unread.text()?.to_owned();
        let stamp = Stamp { size: unread.u64()?, modified: unread.u64()? };
        let num_samples = unread.u32()? as usize;
        if !unread.has(num_samples, SAMPLE) {
            return None;
        }
        let mut samples = Vec::with_capacity(num_samples);
        for _ in 0..num_samples {
            let (offset, length, label) = (unread.u64()?, unread.u32()?, unread.u32()?);
            if offset.checked_add(length.into())? > stamp.size && length != u32::MAX {
                return None;
            }
            samples.push(Sample { offset, length, label: (label != u32::MAX).then_some(label) });
        }
        shards.insert(name, (stamp, samples));
    }
    unread.0.is_empty().then_some(shards)
}
