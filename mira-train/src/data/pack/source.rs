//! Reading a packed set.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;
use twox_hash::XxHash3_64;

use super::blobs::Blobs;
use super::index::{self, Entry, Index, Kind};
use super::{INDEX, SHARD_HEADER, journal, map, names, shard_header, shard_path};
use crate::data::bytes::with_buffer;
#[cfg(feature = "object-store")]
use crate::data::remote::{Limits, Remote};
use crate::data::shards::each;
use crate::data::strings::Strings;
use crate::data::{Error, Image, Source, Split, decode};

/// What [`is_packed`] looks for, for messages.
pub(in crate::data) const LOOKED_FOR: &str = "index and blobs-00000 (a packed set)";

/// One split of a packed set.
pub(in crate::data) struct PackedSet {
    entries: Vec<Entry>,
    class_names: Vec<String>,
    is_labelled: bool,
    /// In the index's order; only those that this split has images in are open.
    shards: Vec<Shard>,
    split: Split,
    home: Home,
    fingerprint: u64,
    /// The first of this split among all images of the set, and how many those are.
    position: (usize, usize),
    /// Read when somebody asks for them.
    names: OnceLock<Option<Strings>>,
}

struct Shard {
    path: PathBuf,
    blobs: Option<Blobs>,
}

/// Where the set is.
enum Home {
    Folder(PathBuf),
    #[cfg(feature = "object-store")]
    Remote(Remote),
}

impl Home {
    /// For messages.
    fn path(&self) -> PathBuf {
        match self {
            Self::Folder(path) => path.clone(),
            #[cfg(feature = "object-store")]
            Self::Remote(remote) => remote.url().into(),
        }
    }
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
    let index = read_index(folder)?;
    let fingerprint = index.fingerprint;
    let shard = |number, expected| open_shard(&shard_path(folder, number), expected, fingerprint);
    from_index(Home::Folder(folder.into()), index, split, shard)
}

/// The same of a folder on a server. All shards are asked for their lengths, a few at a time.
#[cfg(feature = "object-store")]
pub(in crate::data) fn open_remote(
    url: &Path,
    limits: Limits,
    split: Split,
) -> Result<PackedSet, Error> {
    let remote = Remote::new(url, limits)?;
    let file = remote.file(INDEX);
    let Some(bytes) = file.whole()? else {
        let problem = "there is no packed set; give the address of the folder that `index` is in";
        return Err(Error::Remote { url: file.url(), problem: problem.into() });
    };
    let index = Index::parse(&bytes).map_err(|problem| Error::malformed(file.url(), problem))?;
    let fingerprint = index.fingerprint;
    let shard = |number, expected| {
        let file = remote.file(super::shard_name(number));
        let (header, got) = file.range(0..SHARD_HEADER as u64)?;
        check_shard(Path::new(&file.url()), (expected, got), &header, fingerprint)?;
        Ok(Blobs::Remote(file))
    };
    from_index(Home::Remote(remote.clone()), index, split, shard)
}

fn from_index(
    home: Home,
    index: Index,
    split: Split,
    open_shard: impl Fn(usize, u64) -> Result<Blobs, Error> + Sync,
) -> Result<PackedSet, Error> {
    let Index { fingerprint, class_names, shards: lengths, mut entries, num_train } = index;
    let (num_images, first) = (entries.len(), if split == Split::Test { num_train } else { 0 });
    let entries = match split {
        Split::Test => entries.split_off(num_train),
        Split::Train => {
            entries.truncate(num_train);
            entries
        }
    };
    if entries.is_empty() {
        let part = if split == Split::Train { "training" } else { "test" };
        let problem = format!("the packed set has no {part} images");
        return Err(Error::NotRecognised { path: home.path(), problem });
    }
    let mut is_used = vec![false; lengths.len()];
    for entry in &entries {
        is_used[entry.shard as usize] = true;
    }
    let shards = each((0..lengths.len()).into_par_iter(), |number| {
        let path = shard_path(&home.path(), number);
        let blobs = is_used[number].then(|| open_shard(number, lengths[number])).transpose()?;
        Ok(Shard { path, blobs })
    })?;
    let is_labelled = entries.iter().any(|entry| entry.label.is_some());
    Ok(PackedSet {
        entries,
        class_names,
        is_labelled,
        shards,
        split,
        home,
        fingerprint,
        position: (first, num_images),
        names: OnceLock::new(),
    })
}

fn open_shard(path: &Path, expected: u64, fingerprint: u64) -> Result<Blobs, Error> {
    let map = map::map(path)?;
    let header = map.get(..SHARD_HEADER).unwrap_or_default();
    check_shard(path, (expected, map.len() as u64), header, fingerprint)?;
    Ok(Blobs::Mapped(map))
}

fn check_shard(
    path: &Path,
    (expected, got): (u64, u64),
    header: &[u8],
    fingerprint: u64,
) -> Result<(), Error> {
    if got != expected {
        let problem = format!(
            "it has {got} bytes, the index says {expected}; copy it again or pack the images again"
        );
        return Err(Error::malformed(path, problem));
    }
    if *header != shard_header(fingerprint) {
        let problem = "it belongs to another packed set or is damaged; copy the whole set again";
        return Err(Error::malformed(path, problem));
    }
    Ok(())
}

impl PackedSet {
    /// Whether it holds pixels only, and no files to be decoded.
    pub(in crate::data) fn is_raw(&self) -> bool {
        self.entries.iter().all(|entry| entry.kind == Kind::Raw)
    }

    /// An image's bytes, as they were packed.
    fn bytes<'a>(
        &'a self,
        index: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<(&'a Entry, &'a [u8]), Error> {
        let Some(entry) = self.entries.get(index) else {
            return Err(Error::image(self.name(index), "there are fewer images"));
        };
        let shard = &self.shards[entry.shard as usize];
        let bytes = match &shard.blobs {
            Some(blobs) => blobs.read(entry.offset..entry.end(), buffer)?,
            None => &[],
        };
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
        with_buffer(|buffer| {
            let (entry, bytes) = self.bytes(index, buffer)?;
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
        })
    }

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        into.clear();
        with_buffer(|buffer| {
            let (entry, bytes) = self.bytes(index, buffer)?;
            if entry.kind == Kind::File {
                into.extend_from_slice(bytes);
            }
            Ok(entry.kind == Kind::File)
        })
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

    fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
        let (first, num_images) = self.position;
        let read = || match &self.home {
            Home::Folder(folder) => names::read(folder, self.fingerprint, num_images),
            #[cfg(feature = "object-store")]
            Home::Remote(remote) => {
                let file = remote.file(names::NAME).whole().ok()??;
                names::parse(&file, self.fingerprint, num_images)
            }
        };
        let names = self.names.get_or_init(read).as_ref()?;
        names.text(first + index).filter(|name| index < self.entries.len() && !name.is_empty())
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        self.entries.get(index).map(|entry| entry.length.into())
    }
}
