//! WebDataset shards: tar files in which the files of one sample share a name up to its first dot.
//!
//! ```text
//! train-000000.tar   n01440764_10026.jpg  n01440764_10026.cls  n01440764_10027.jpg  n01440764_10027.json …
//! val-000000.tar     …
//! classes.txt        optional (or classnames.txt): one class name a line, in the order of the labels
//! ```
//!
//! The image is the first `.jpg`, `.jpeg`, `.png` or `.webp` of a sample. The label is the whole number in `.cls`, or the field `label`
//! or `cls` of the object in `.json`; −1 and nothing are no label. Samples without an image are left out. Names of files or folders say
//! which split a shard is of (`train`; `test`, `validation`, `valid`, `val`); where none does, all are for training. A path may have
//! ranges in braces: `shards/train-{000000..000146}.tar`.
//!
//! Shards are read in random order: their headers are read once, and where the images are is kept beside the shards ([`cache`]).
//! They are opened and read at an offset for each image rather than mapped: others replace and rewrite shards, and a file that changes
//! is then an error by name and not the end of the process; one open and one read more are little beside decoding an image.

mod cache;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod samples;
mod tar;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::bytes::with_buffer;
use super::cache_file::modified;
use super::folder::MAX_FILE;
use super::shards::{Kind, name_classes};
use super::strings::Strings;
use super::{Error, Image, Source, Split, decode};
use cache::{Cache, Stamp};
use samples::{Problem, Sample, Samples};

/// Shards that a pattern may stand for.
const MAX_SHARDS: usize = 1 << 20;

/// The most bytes of a file of class names.
const MAX_CLASS_NAMES: u64 = 16 << 20;

/// One split of a set of shards.
pub(super) struct WebDataset {
    shards: Vec<Shard>,
    images: Vec<Place>,
    class_names: Vec<String>,
}

struct Shard {
    path: PathBuf,
    /// The number of its first image.
    first: usize,
    /// Of its images.
    names: Strings,
    /// When it was indexed.
    stamp: Stamp,
}

struct Place {
    shard: u32,
    sample: Sample,
}

/// Whether a folder holds shards, or a file is one.
pub(super) fn is_web_dataset(path: &Path) -> bool {
    if path.is_file() { Kind::TAR.is_of(path) } else { Kind::TAR.is_in(path) }
}

/// Whether a path that is no file stands for several.
pub(super) fn is_pattern(path: &Path) -> bool {
    let text = path.to_string_lossy();
    Kind::TAR.is_of(path) && text.contains('{') && text.contains("..") && !path.exists()
}

pub(super) fn open(path: &Path, split: Split) -> Result<WebDataset, Error> {
    let files = if is_pattern(path) {
        Kind::TAR.of_split(path.parent().unwrap_or(path), &[expand(path)?], split)?
    } else if path.is_file() {
        Kind::TAR.of_split(path.parent().unwrap_or(path), &[vec![path.into()]], split)?
    } else {
        Kind::TAR.find(path, split)?
    };
    let (mut shards, samples) = index(files)?;
    let mut images = Vec::with_capacity(samples.iter().map(|samples| samples.places.len()).sum());
    for ((number, shard), samples) in (0..).zip(&mut shards).zip(samples) {
        (shard.first, shard.names) = (images.len(), samples.names);
        images.extend(samples.places.into_iter().map(|sample| Place { shard: number, sample }));
    }
    let first = &shards[0].path;
    if images.is_empty() {
        let problem = "there is no sample with an image (jpg, jpeg, png, webp) in it";
        return Err(Error::malformed(first, problem));
    }
    let mut class_names = class_names(path, first)?;
    let labels = images.iter().filter_map(|place| place.sample.label);
    name_classes(&mut class_names, labels).map_err(|problem| {
        Error::malformed(first, format!("{problem}; correct the labels or the file of class names"))
    })?;
    Ok(WebDataset { shards, images, class_names })
}

/// Every number of the ranges in braces, with as many digits as the first has.
fn expand(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let refuse = |problem: String| Error::NotRecognised { path: path.into(), problem };
    let mut names = vec![String::new()];
    let text = path.to_string_lossy();
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once('{') {
        let range = after.split_once('}').and_then(|(range, after)| {
            let (first, last) = range.split_once("..")?;
            Some((first, first.parse().ok()?, last.parse().ok()?, after))
        });
        let Some((digits, first, last, after)) = range else {
            return Err(refuse("ranges are written like {000000..000146}".into()));
        };
        let (first, last): (usize, usize) = (first, last);
        let count = last.checked_sub(first).and_then(|n| n.checked_add(1));
        let total = count.and_then(|count| count.checked_mul(names.len()));
        if total.is_none_or(|total| total > MAX_SHARDS) {
            let problem =
                format!("{{{first}..{last}}} counts down or is more than {MAX_SHARDS} shards");
            return Err(refuse(problem));
        }
        let width = digits.len();
        names = names
            .iter()
            .flat_map(|name| (first..=last).map(move |i| format!("{name}{before}{i:0width$}")))
            .collect();
        rest = after;
    }
    Ok(names.into_iter().map(|name| PathBuf::from(name + rest)).collect())
}

/// Where the images of each shard are: from the cache, or from the shards.
fn index(files: Vec<PathBuf>) -> Result<(Vec<Shard>, Vec<Samples>), Error> {
    let mut cache = Cache::beside(&files);
    let shards = files
        .into_iter()
        .map(|path| Ok(Shard { stamp: stamp(&path)?, path, first: 0, names: Strings::default() }))
        .collect::<Result<Vec<_>, Error>>()?;
    let samples = shards
        .par_iter()
        .map(|shard| match cache.get(&shard.path, shard.stamp) {
            Some(samples) => Ok(samples.clone()),
            None => scan(shard),
        })
        .collect::<Result<Vec<_>, Error>>()?;
    for (shard, samples) in shards.iter().zip(&samples) {
        cache.put(&shard.path, shard.stamp, samples);
    }
    cache.save();
    Ok((shards, samples))
}

fn stamp(path: &Path) -> Result<Stamp, Error> {
    // Not opened, which would wait for the writer of a pipe.
    let metadata = fs::metadata(path).map_err(Error::unreadable(path))?;
    if !metadata.is_file() {
        return Err(Error::malformed(path, "it is no file"));
    }
    Ok(stamp_of(&metadata))
}

fn stamp_of(metadata: &fs::Metadata) -> Stamp {
    Stamp { size: metadata.len(), modified: modified(metadata) }
}

fn scan(shard: &Shard) -> Result<Samples, Error> {
    let path = &shard.path;
    let file = File::open(path).map_err(Error::unreadable(path))?;
    samples::scan(file, shard.stamp.size).map_err(|problem| match problem {
        Problem::Io(error) => Error::unreadable(path)(error),
        Problem::Malformed(problem) => Error::malformed(path, problem),
    })
}

/// The names in the file beside the shards, or in the folder that was opened; none where there is no such file.
fn class_names(opened: &Path, shard: &Path) -> Result<Vec<String>, Error> {
    let folders = [shard.parent(), opened.is_dir().then_some(opened)];
    for folder in folders.into_iter().flatten() {
        for name in ["classes.txt", "classnames.txt"] {
            let path = folder.join(name);
            if path.is_file() {
                let mut text = String::new();
                File::open(&path)
                    .and_then(|file| file.take(MAX_CLASS_NAMES).read_to_string(&mut text))
                    .map_err(Error::unreadable(&path))?;
                return Ok(text.lines().map(|line| line.trim().to_owned()).collect());
            }
        }
    }
    Ok(Vec::new())
}

impl WebDataset {
    /// Reads an image's bytes. What is wrong with the shard itself is no bad image.
    fn read(&self, place: &Place, into: &mut Vec<u8>) -> Result<(), Error> {
        let Shard { path, stamp, .. } = &self.shards[place.shard as usize];
        let lost = |error: io::Error| {
            Error::malformed(path, format!("it cannot be read any more ({error}); put it back"))
        };
        let mut file = File::open(path).map_err(lost)?;
        let now = stamp_of(&file.metadata().map_err(lost)?);
        if now.size != stamp.size {
            let problem = format!(
                "it has {} bytes, but had {} when it was opened; start again with the files as they are now",
                now.size, stamp.size
            );
            return Err(Error::malformed(path, problem));
        }
        into.resize(place.sample.length as usize, 0);
        file.seek(SeekFrom::Start(place.sample.offset)).map_err(lost)?;
        file.read_exact(into).map_err(lost)
    }
}

impl Source for WebDataset {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn num_classes(&self) -> Option<usize> {
        (!self.class_names.is_empty()).then_some(self.class_names.len())
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.images.get(index)?.sample.label
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        with_buffer(|bytes| {
            self.encoded(index, bytes)?;
            decode::decode(bytes, into).map_err(|problem| Error::image(self.name(index), problem))
        })
    }

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        into.clear();
        let Some(place) = self.images.get(index) else {
            return Err(Error::image(self.name(index), "there are fewer images"));
        };
        if u64::from(place.sample.length) > MAX_FILE {
            let problem = format!("it has more than {MAX_FILE} bytes; shrink it");
            return Err(Error::image(self.name(index), problem));
        }
        self.read(place, into)?;
        Ok(true)
    }

    fn name(&self, index: usize) -> String {
        self.images.get(index).map_or_else(
            || format!("image {index}"),
            |place| {
                let path = &self.shards[place.shard as usize].path;
                format!("image at byte {} of {}", place.sample.offset, path.display())
            },
        )
    }

    fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
        let shard = &self.shards[self.images.get(index)?.shard as usize];
        shard.names.text(index - shard.first)
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        self.images.get(index).map(|place| place.sample.length.into())
    }
}
