//! Where images are in shards, kept in the file `.mira-webdataset` beside them.
//!
//! A [`CacheFile`] with the magic `\x89MWD\r\n\x1a\n` and the version 2: number of shards (u32); for each the length of its name (u32), name,
//! size (u64), time of change (ns since 1970, u64), number of samples (u32), samples, names of the samples' images ([`Strings`]). A sample
//! is an offset (u64), a length (u32) and a label (u32; 2³² − 1 for none).
//!
//! A shard is indexed again when its size or its time of change is another. Of shards on a server the file is in the user's cache folder
//! (`$XDG_CACHE_HOME/mira/webdataset`, else `~/.cache/mira/webdataset`), in one named by a checksum of their address, and the time is a checksum of what the server
//! says of the version. A cache that is damaged or of another version is made anew;
//! where it cannot be written, shards are indexed at every start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::samples::{Sample, Samples};
use crate::data::bytes::{Unread, push_text};
use crate::data::cache_file::CacheFile;
use crate::data::strings::Strings;

pub(super) const NAME: &str = ".mira-webdataset";
pub(super) const KIND: CacheFile = CacheFile { magic: *b"\x89MWD\r\n\x1a\n", version: 2 };
const SAMPLE: usize = 16;

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
    shards: BTreeMap<String, (Stamp, Samples)>,
    has_news: bool,
}

impl Cache {
    /// That of the folder the files are in; none is kept where they are in several.
    pub(super) fn beside(files: &[PathBuf]) -> Self {
        let folder = files.first().and_then(|file| file.parent());
        let folder = folder.filter(|&f| files.iter().all(|file| file.parent() == Some(f)));
        folder.map_or_else(Self::default, |folder| Self::in_folder(folder.into()))
    }

    /// That of a folder of its own.
    pub(super) fn in_folder(folder: PathBuf) -> Self {
        let shards = KIND.read(&folder.join(NAME), parse).unwrap_or_default();
        Self { folder: Some(folder), shards, has_news: false }
    }

    /// The samples of a shard that has not changed.
    pub(super) fn get(&self, path: &Path, stamp: Stamp) -> Option<&Samples> {
        let (known, samples) = self.shards.get(path.file_name()?.to_str()?)?;
        (stamp.modified != 0 && *known == stamp).then_some(samples)
    }

    /// What [`get`](Self::get) is to return from now on.
    pub(super) fn put(&mut self, path: &Path, stamp: Stamp, samples: &Samples) {
        if self.get(path, stamp).is_none()
            && stamp.modified != 0
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            self.shards.insert(name.into(), (stamp, samples.clone()));
            self.has_news = true;
        }
    }

    /// Writes what is new, if it can be.
    pub(super) fn save(&self) {
        if let (Some(folder), true) = (&self.folder, self.has_news) {
            let _ = fs::create_dir_all(folder);
            KIND.write(folder, NAME, &self.to_bytes());
        }
    }

    /// One that is kept nowhere.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of(shards: BTreeMap<String, (Stamp, Samples)>) -> Self {
        Self { shards, ..Self::default() }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut body = number(self.shards.len()).to_vec();
        for (name, (stamp, samples)) in &self.shards {
            push_text(name, &mut body);
            body.extend_from_slice(&stamp.size.to_le_bytes());
            body.extend_from_slice(&stamp.modified.to_le_bytes());
            body.extend_from_slice(&number(samples.places.len()));
            for sample in &samples.places {
                body.extend_from_slice(&sample.offset.to_le_bytes());
                body.extend_from_slice(&sample.length.to_le_bytes());
                body.extend_from_slice(&sample.label.unwrap_or(u32::MAX).to_le_bytes());
            }
            samples.names.write(&mut body);
        }
        body
    }
}

/// Memory is taken for what is there, never for what is claimed.
pub(super) fn parse(unread: &mut Unread) -> Option<BTreeMap<String, (Stamp, Samples)>> {
    let mut shards = BTreeMap::new();
    for _ in 0..unread.u32()? {
        let name = unread.text()?.to_owned();
        let stamp = Stamp { size: unread.u64()?, modified: unread.u64()? };
        let num_samples = unread.u32()? as usize;
        if !unread.has(num_samples, SAMPLE) {
            return None;
        }
        let mut places = Vec::with_capacity(num_samples);
        for _ in 0..num_samples {
            let (offset, length, label) = (unread.u64()?, unread.u32()?, unread.u32()?);
            if offset.checked_add(length.into())? > stamp.size && length != u32::MAX {
                return None;
            }
            places.push(Sample { offset, length, label: (label != u32::MAX).then_some(label) });
        }
        let names = Strings::read(unread).filter(|names| names.len() == num_samples)?;
        shards.insert(name, (stamp, Samples { places, names }));
    }
    Some(shards)
}
