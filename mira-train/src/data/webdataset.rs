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
//! which split a shard is of (`train`; `val`, `validation`, `valid`, `test`, of which the first with labels counts); where none does, all are for training. A path may have
//! ranges in braces: `shards/train-{000000..000146}.tar`. With the feature `object-store` it may be an address, of one shard or with ranges; class names are
//! then looked for beside the shards, headers are asked for 8 KiB at a time, and images one by one.
//!
//! Shards are read in random order: their headers are read once, and where the images are is kept beside the shards ([`cache`]).
//! They are opened and read at an offset for each image rather than mapped: others replace and rewrite shards, and a file that changes
//! is then an error by name and not the end of the process; one open and one read more are little beside decoding an image.

mod cache;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod location;
mod samples;
mod tar;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
#[cfg(feature = "object-store")]
use std::collections::{BTreeMap, btree_map::Entry};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
#[cfg(feature = "object-store")]
use twox_hash::XxHash3_64;

use super::bytes::with_buffer;
use super::folder::MAX_FILE;
#[cfg(feature = "object-store")]
use super::remote::{Limits, Remote};
use super::shards::{Kind, each, name_classes, of_file};
use super::strings::Strings;
use super::{Error, Image, Source, Split, decode};
use cache::{Cache, Stamp};
use location::Location;
use samples::{Sample, Samples};

/// Shards that a pattern may stand for.
const MAX_SHARDS: usize = 1 << 20;

/// Files of class names, the first choice first.
const CLASS_NAMES: [&str; 2] = ["classes.txt", "classnames.txt"];

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
    location: Location,
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

/// Whether an address is that of shards.
pub(super) fn is_address_of_shards(url: &Path) -> bool {
    Kind::TAR.is_of(url)
}

/// Whether a path that is no file stands for several.
pub(super) fn is_pattern(path: &Path) -> bool {
    let text = path.to_string_lossy();
    Kind::TAR.is_of(path) && text.contains('{') && text.contains("..") && !path.exists()
}

pub(super) fn open(path: &Path, split: Split) -> Result<WebDataset, Error> {
    let choices = if is_pattern(path) {
        Kind::TAR.of_split(path.parent().unwrap_or(path), &[expand(path)?], split)?
    } else if path.is_file() {
        of_file(path, split)?
    } else {
        Kind::TAR.find(path, split)?
    };
    choices.first_labelled(|files| {
        let cache = Cache::beside(&files);
        let class_names = class_names(path, &files[0])?;
        let shards = files.into_iter().map(|path| (path, Location::Here)).collect();
        from_shards(shards, cache, class_names)
    })
}

/// Shards on a server, whose addresses cannot be looked for: of one shard or with ranges in braces. `caches` is where caches are kept.
#[cfg(feature = "object-store")]
pub(super) fn open_remote(
    url: &Path,
    limits: Limits,
    caches: Option<&Path>,
    split: Split,
) -> Result<WebDataset, Error> {
    let all = if is_pattern(url) { expand(url)? } else { vec![url.into()] };
    let files = Kind::TAR.of_split(url.parent().unwrap_or(url), &[all], split)?.first;
    let mut folders = BTreeMap::new();
    let mut shards = Vec::with_capacity(files.len());
    for path in files {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            let problem = "it is no address of a shard".into();
            return Err(Error::NotRecognised { path, problem });
        };
        let remote = match folders.entry(folder.to_path_buf()) {
            Entry::Vacant(new) => new.insert(Remote::new(folder, limits)?),
            Entry::Occupied(known) => known.into_mut(),
        };
        let file = remote.file(name.to_string_lossy());
        shards.push((path, Location::Remote(file)));
    }
    let mut class_names = Vec::new();
    let mut folders = folders.into_values();
    let (Some(remote), None) = (folders.next(), folders.next()) else {
        // In several folders: neither has the class names of all.
        return from_shards(shards, Cache::default(), class_names);
    };
    let cache = caches.map_or_else(Cache::default, |caches| {
        let key = XxHash3_64::oneshot(remote.url().as_bytes());
        Cache::in_folder(caches.join(format!("{key:016x}")))
    });
    for name in CLASS_NAMES {
        if let Some(bytes) = remote.file(name).whole()? {
            class_names = lines(&String::from_utf8_lossy(&bytes));
            break;
        }
    }
    from_shards(shards, cache, class_names)
}

/// Of at least one shard.
fn from_shards(
    shards: Vec<(PathBuf, Location)>,
    cache: Cache,
    mut class_names: Vec<String>,
) -> Result<WebDataset, Error> {
    let (mut shards, samples) = index(shards, cache)?;
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
fn index(
    shards: Vec<(PathBuf, Location)>,
    mut cache: Cache,
) -> Result<(Vec<Shard>, Vec<Samples>), Error> {
    let shards = each(shards.into_par_iter(), |(path, location)| {
        let stamp = location.stamp(&path)?;
        Ok(Shard { path, location, first: 0, names: Strings::default(), stamp })
    })?;
    let samples = each(shards.par_iter(), |shard| match cache.get(&shard.path, shard.stamp) {
        Some(samples) => Ok(samples.clone()),
        None => shard.location.scan(&shard.path, shard.stamp),
    })?;
    for (shard, samples) in shards.iter().zip(&samples) {
        cache.put(&shard.path, shard.stamp, samples);
    }
    cache.save();
    Ok((shards, samples))
}

/// The names in the file beside the shards, or in the folder that was opened; none where there is no such file.
fn class_names(opened: &Path, shard: &Path) -> Result<Vec<String>, Error> {
    let folders = [shard.parent(), opened.is_dir().then_some(opened)];
    for folder in folders.into_iter().flatten() {
        for name in CLASS_NAMES {
            let path = folder.join(name);
            if path.is_file() {
                let mut text = String::new();
                File::open(&path)
                    .and_then(|file| file.take(MAX_CLASS_NAMES).read_to_string(&mut text))
                    .map_err(Error::unreadable(&path))?;
                return Ok(lines(&text));
            }
        }
    }
    Ok(Vec::new())
}

/// One name a line; a line without one between others still counts.
fn lines(text: &str) -> Vec<String> {
    // Editors of Windows begin files with a mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.trim_end().lines().map(|line| line.trim().to_owned()).collect()
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
        let Shard { path, location, stamp, .. } = &self.shards[place.shard as usize];
        location.read(path, *stamp, place.sample.offset, place.sample.length, into)?;
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
