//! Reading a packed set.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use twox_hash::XxHash3_64;

use super::index::{self, Entry, Index, Kind};
use super::{INDEX, SHARD_HEADER, journal, map, shard_header, shard_path};
use crate::data::{Error, Image, Source, Split, decode};

/// What [`is_packed`] looks for, for messages.
pub(in crate::data) const LOOKED_FOR: &str = "index and blobs-00000 (a packed set)";

/// One split of a packed set.
pub(in crate::data) struct PackedSet {
    entries: Vec<Entry>,
    class_names: Vec<String>,
    is_labelled: bool,
    /// In the index's order; only those that this split has images in are mapped.
    shards: Vec<Shard>,
    split: Split,
}

struct Shard {
    path: PathBuf,
    map: Option<Mmap>,
}

/// Whether a folder holds a packed set, or one that was begun.
pub(in crate::data) fn is_packed(folder: &Path) -> bool {
    begins_with(&folder.join(INDEX), index::MAGIC)
        || begins_with(&folder.join(journal::NAME), journal::MAGIC)
}

fn begins_with(path: &Path, magic: [u8; 8]) -> bool {
    let mut first = [0; 8];
    path.is_file()
        && File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok()
        && first == magic
}

/// The index of a set, which must be complete.
pub(super) fn read_index(folder: &Path) -> Result<Index, Error> {
    let path = folder.join(INDEX);
    let map = map::map(&path)?;
    Index::parse(&map).map_err(|problem| Error::malformed(path, problem))
}

pub(in crate::data) fn open(folder: &Path, split: Split) -> Result<PackedSet, Error> {
    let refuse = |problem: String| Err(Error::NotRecognised { path: folder.into(), problem });
    if !folder.join(INDEX).exists() {
        return refuse(if folder.join(journal::NAME).exists() {
            "packing it has not been finished; run the same `mira-train data pack` again, it goes on where it stopped".into()
        } else {
            format!("looked for {LOOKED_FOR}")
        });
    }
    let Index { fingerprint, class_names, shards: lengths, mut entries, num_train } =
        read_index(folder)?;
    let entries = match split {
        Split::Test => entries.split_off(num_train),
        Split::Train => {
            entries.truncate(num_train);
            entries
        }
    };
    if entries.is_empty() {
        let part = if split == Split::Train { "training" } else { "test" };
        return refuse(format!("the packed set has no {part} images"));
    }
    let mut is_used = vec![false; lengths.len()];
    for entry in &entries {
        is_used[entry.shard as usize] = true;
    }
    let mut shards = Vec::with_capacity(lengths.len());
    for (number, (expected, is_used)) in lengths.into_iter().zip(is_used).enumerate() {
        let path = shard_path(folder, number);
        let map = if is_used { Some(open_shard(&path, expected, fingerprint)?) } else { None };
        shards.push(Shard { path, map });
    }
    let is_labelled = entries.iter().any(|entry| entry.label.is_some());
    Ok(PackedSet { entries, class_names, is_labelled, shards, split })
}

fn open_shard(path: &Path, expected: u64, fingerprint: u64) -> Result<Mmap, Error> {
    let map = map::map(path)?;
    let got = map.len();
    if got as u64 != expected {
        let problem = format!(
            "it has {got} bytes, the index says {expected}; copy it again or pack the images again"
        );
        return Err(Error::malformed(path, problem));
    }
    if map.get(..SHARD_HEADER) != Some(&shard_header(fingerprint)) {
        let problem = "it belongs to another packed set or is damaged; copy the whole set again";
        return Err(Error::malformed(path, problem));
    }
    Ok(map)
}

impl PackedSet {
    /// Whether it holds pixels only, and no files to be decoded.
    pub(in crate::data) fn is_raw(&self) -> bool {
        self.entries.iter().all(|entry| entry.kind == Kind::Raw)
    }

    /// An image's bytes, as they were packed.
    fn bytes(&self, index: usize) -> Result<(&Entry, &[u8]), Error> {
        let Some(entry) = self.entries.get(index) else {
            return Err(Error::image(self.name(index), "there are fewer images"));
        };
        let shard = &self.shards[entry.shard as usize];
        let range = entry.offset as usize..entry.end() as usize;
        let bytes = shard.map.as_ref().and_then(|map| map.get(range)).unwrap_or_default();
        let (expected, got) = (entry.checksum, XxHash3_64::oneshot(bytes));
        if got != expected {
            let problem = format!(
                "image {index} at byte {} is damaged: checksum {got:016x}, expected {expected:016x}; copy the file again or pack the \
                 images again",
                entry.offset
            );
            return Err(Error::malformed(&shard.path, problem));
        }
        Ok((entry, bytes))
    }
}

impl Source for PackedSet {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn num_classes(&self) -> Option<usize> {
        self.is_labelled.then_some(self.class_names.len())
    }

    fn class_names(&self) -> &[String] {
        if self.is_labelled { &self.class_names } else { &[] }
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.entries.get(index)?.label
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        let (entry, bytes) = self.bytes(index)?;
        match entry.kind {
            Kind::Raw => {
                into.reshape(entry.width as usize, entry.height as usize);
                into.pixels.copy_from_slice(bytes);
                Ok(())
            }
            Kind::File => {
                decode::decode(bytes, into)
                    .map_err(|problem| Error::image(self.name(index), problem))?;
                let (got, expected) = ((into.width, into.height), (entry.width, entry.height));
                if got == (expected.0 as usize, expected.1 as usize) {
                    return Ok(());
                }
                let problem = format!(
                    "it is {got:?} pixels, the index says {expected:?}; pack the images again"
                );
                Err(Error::image(self.name(index), problem))
            }
        }
    }

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        into.clear();
        let (entry, bytes) = self.bytes(index)?;
        if entry.kind == Kind::File {
            into.extend_from_slice(bytes);
        }
        Ok(entry.kind == Kind::File)
    }

    fn name(&self, index: usize) -> String {
        let part = if self.split == Split::Train { "training" } else { "test" };
        match self.entries.get(index).map(|entry| (entry, &self.shards[entry.shard as usize])) {
            Some((entry, shard)) => {
                format!("{part} image {index}, byte {} of {}", entry.offset, shard.path.display())
            }
            None => format!("{part} image {index}"),
        }
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        self.entries.get(index).map(|entry| entry.length.into())
    }
}
