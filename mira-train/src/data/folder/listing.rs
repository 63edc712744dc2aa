//! What is in folders: listed by several threads, remembered between starts.
//!
//! A set of a million files in a thousand folders takes long to list, above all over a network. What a folder holds is kept in a file of
//! the user's cache folder (`$XDG_CACHE_HOME/mira`, else `~/.cache/mira`; never beside the data), and a folder whose times of change are
//! the same is not listed again. Sets of fewer than 10,000 images are listed in no time, and not kept.
//!
//! The file is a [`CacheFile`] with the magic `\x89MIF\r\n\x1a\n` and the version 1: the root's path; the number of folders (u32); for each
//! its path from the root, times of change of content and of status (ns since 1970, u64), images and folders in it ([`Strings`]). Paths are
//! [`Strings`] of one.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use twox_hash::XxHash3_64;

use super::above::below;
use super::{MAX_DEPTH, UNREAD, has_ending, is_image};
use crate::data::Error;
use crate::data::bytes::Unread;
use crate::data::cache_file::{CacheFile, modified, user_folder};
use crate::data::strings::Strings;

pub(super) const KIND: CacheFile = CacheFile { magic: *b"\x89MIF\r\n\x1a\n", version: 2 };

/// How folders are listed.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Folder of the kept lists; none are kept without.
    pub(super) cache: Option<PathBuf>,
    /// Images from which on a list is kept.
    pub(super) min_images: usize,
    /// Folders changed more recently are listed again next time: times of files have steps, within which a change may go unnoticed.
    pub(super) settled: Duration,
    /// Threads that list; waiting for a disk or a server, not for a processor.
    pub(super) num_threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        let settled = Duration::from_secs(2);
        Self { cache: user_folder("image-folders"), min_images: 10_000, settled, num_threads: 8 }
    }
}

/// What tells whether a folder's list still holds: when entries came or went, and when that or its attributes changed, which nobody can
/// set as an unpacking program sets the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    content: u64,
    status: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let status = {
            use std::os::unix::fs::MetadataExt as _;
            let nanoseconds = i128::from(metadata.ctime()) * 1_000_000_000;
            u64::try_from(nanoseconds + i128::from(metadata.ctime_nsec())).unwrap_or(0)
        };
        #[cfg(not(unix))]
        let status = 0;
        Self { content: modified(metadata), status }
    }

    /// Whether lists may be kept by it.
    fn is_known(self) -> bool {
        self.content != 0
    }
}

/// What a folder holds, in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    stamp: Stamp,
    /// By their endings, whatever they are.
    images: Strings,
    folders: Strings,
    /// Files of [`UNREAD`] formats.
    num_unread: u64,
}

impl Listing {
    /// Hidden entries are left out.
    pub(super) fn read(folder: &Path, settled: Duration) -> Result<Self, Error> {
        let now = SystemTime::now().checked_sub(settled).unwrap_or(UNIX_EPOCH);
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        // Before its entries, so that what changes meanwhile shows next time.
        let metadata = fs::metadata(folder).map_err(Error::unreadable(folder))?;
        let mut stamp = Stamp::of(&metadata);
        if u128::from(stamp.content.max(stamp.status)) > now {
            stamp = Stamp::default();
        }
        let (mut images, mut folders, mut num_unread) = (Vec::new(), Vec::new(), 0);
        for entry in fs::read_dir(folder).map_err(Error::unreadable(folder))? {
            let entry = entry.map_err(Error::unreadable(folder))?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let is_image = is_image(Path::new(&name));
            let kind = entry.file_type().map_err(Error::unreadable(folder))?;
            // Links to images are common; what they are is found when they are read.
            let is_folder =
                kind.is_dir() || (kind.is_symlink() && !is_image && entry.path().is_dir());
            if kind.is_symlink() && !is_image {
                // What a link leads to may become another thing, and the folder shows nothing of it.
                stamp = Stamp::default();
            }
            if is_folder {
                folders.push(name.clone());
            } else if has_ending(Path::new(&name), &UNREAD) {
                num_unread += 1;
            }
            if is_image {
                images.push(name);
            }
        }
        let sorted = |mut names: Vec<std::ffi::OsString>| {
            names.sort_unstable();
            let mut strings = Strings::default();
            for name in &names {
                strings.push(name.as_encoded_bytes());
            }
            strings.shrink();
            strings
        };
        Ok(Self { stamp, images: sorted(images), folders: sorted(folders), num_unread })
    }

    /// The names of the folders in it.
    pub(super) fn folders(&self) -> impl Iterator<Item = &OsStr> {
        self.folders.iter().map(os_str)
    }

    /// How many of the images are no folders by such a name.
    pub(super) fn num_loose_images(&self) -> usize {
        let folders: HashSet<&[u8]> = self.folders.iter().collect();
        self.images.iter().filter(|image| !folders.contains(image)).count()
    }

    pub(super) fn num_unread(&self) -> u64 {
        self.num_unread
    }

    /// Of a folder that has links, or of which nothing is known.
    pub(super) fn may_have_links(&self) -> bool {
        !self.stamp.is_known()
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.stamp.content.to_le_bytes());
        to.extend_from_slice(&self.stamp.status.to_le_bytes());
        self.images.write(to);
        self.folders.write(to);
        to.extend_from_slice(&self.num_unread.to_le_bytes());
    }

    fn parse(unread: &mut Unread) -> Option<Self> {
        let stamp = Stamp { content: unread.u64()?, status: unread.u64()? };
        let (images, folders) = (Strings::read(unread)?, Strings::read(unread)?);
        Some(Self { stamp, images, folders, num_unread: unread.u64()? })
    }
}

/// A file's name from its bytes in a list.
fn os_str(name: &[u8]) -> &OsStr {
    #[cfg(unix)]
    {
        std::os::unix::ffi::OsStrExt::from_bytes(name)
    }
    #[cfg(not(unix))]
    {
        // Names that are no Unicode are not found.
        OsStr::new(std::str::from_utf8(name).unwrap_or_default())
    }
}

/// Files of one or more folders below a root, in order.
#[derive(Debug, Default)]
pub(super) struct Files {
    folders: Vec<(PathBuf, Listing)>,
    runs: Vec<Run>,
    num_images: usize,
}

/// Images that follow each other in a folder and in the set.
#[derive(Debug)]
struct Run {
    /// Its first image in the set,
    first: usize,
    /// and in its folder.
    offset: usize,
    folder: usize,
    label: Option<u32>,
}

impl Files {
    pub(super) fn len(&self) -> usize {
        self.num_images
    }

    fn run(&self, index: usize) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.first <= index);
        self.runs.get(after.checked_sub(1)?).filter(|_| index < self.num_images)
    }

    pub(super) fn label(&self, index: usize) -> Option<u32> {
        self.run(index)?.label
    }

    /// Images in its folders that are none of its images, since nobody reads their formats.
    pub(super) fn num_unread(&self) -> u64 {
        self.folders.iter().map(|(_, listing)| listing.num_unread).fold(0, u64::saturating_add)
    }

    /// Whether there is an image with a label.
    pub(super) fn has(&self, label: Option<u32>) -> bool {
        self.runs.iter().any(|run| run.label == label)
    }

    /// Its folder below the root, and its name there.
    pub(super) fn path(&self, index: usize) -> Option<(&Path, &OsStr)> {
        let run = self.run(index)?;
        let (folder, listing) = &self.folders[run.folder];
        Some((folder, os_str(listing.images.get(run.offset + index - run.first)?)))
    }

    fn push(&mut self, folder: usize, images: std::ops::Range<usize>, label: Option<u32>) {
        if !images.is_empty() {
            let first = self.num_images;
            self.runs.push(Run { first, offset: images.start, folder, label });
            self.num_images += images.len();
        }
    }

    fn append(&mut self, mut other: Self) {
        for run in &mut other.runs {
            run.first += self.num_images;
            run.folder += self.folders.len();
        }
        self.num_images += other.num_images;
        self.folders.append(&mut other.folders);
        self.runs.append(&mut other.runs);
    }
}

/// A root whose folders are listed.
pub(super) struct Lister<'a> {
    root: &'a Path,
    options: &'a Options,
    /// Lists of an earlier start that nobody has asked for yet, by path from the root.
    known: Mutex<HashMap<Vec<u8>, Listing>>,
    num_listed: AtomicUsize,
    file: Option<(PathBuf, String)>,
}

impl<'a> Lister<'a> {
    pub(super) fn new(root: &'a Path, options: &'a Options) -> Self {
        let file = options.cache.as_ref().and_then(|folder| {
            let root = root.canonicalize().ok()?;
            let name = XxHash3_64::oneshot(root.as_os_str().as_encoded_bytes());
            Some((folder.clone(), format!("{name:016x}")))
        });
        let known = file
            .as_ref()
            .and_then(|(folder, name)| KIND.read(&folder.join(name), |unread| parse(unread, root)));
        let known = Mutex::new(known.unwrap_or_default());
        Self { root, options, known, num_listed: AtomicUsize::new(0), file }
    }

    /// What a folder below the root holds: as it was, if it has not changed since.
    pub(super) fn list(&self, folder: &Path) -> Result<Listing, Error> {
        let path = self.root.join(folder);
        let key = folder.as_os_str().as_encoded_bytes();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(known) = known
            && fs::metadata(&path).is_ok_and(|metadata| Stamp::of(&metadata) == known.stamp)
        {
            return Ok(known);
        }
        let listing = Listing::read(&path, self.options.settled)?;
        if listing.stamp.is_known() {
            self.num_listed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(listing)
    }

    /// Has a list that was asked for ready for another time.
    pub(super) fn give_back(&self, folder: &Path, listing: Listing) {
        let key = folder.as_os_str().as_encoded_bytes().to_vec();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, listing);
    }

    /// The images of folders, which have a label each, and of the folders in these.
    pub(super) fn images(&self, folders: &[(PathBuf, Option<u32>)]) -> Result<Files, Error> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((i, (folder, label))) = {
                let i = next.fetch_add(1, Ordering::Relaxed);
                folders.get(i).map(|folder| (i, folder))
            } {
                let mut files = Files::default();
                let result = self.walk(folder, *label, 0, &mut files).map(|()| files);
                done.push((i, result));
            }
            done
        };
        let num_threads = self.options.num_threads.clamp(1, folders.len().max(1));
        let mut done: Vec<_> = thread::scope(|scope| {
            let others: Vec<_> = (1..num_threads)
                .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut done = work();
            for other in others {
                done.extend(other.join().unwrap_or_default());
            }
            done
        });
        done.sort_by_key(|(i, _)| *i);
        let mut all = Files::default();
        for (_, files) in done {
            all.append(files?);
        }
        Ok(all)
    }

    fn walk(
        &self,
        folder: &Path,
        label: Option<u32>,
        depth: usize,
        into: &mut Files,
    ) -> Result<(), Error> {
        let listing = self.list(folder)?;
        let (number, num_images) = (into.folders.len(), listing.images.len());
        let mut inside = Vec::new();
        if depth < MAX_DEPTH {
            let folders = below(self.root, folder, &listing, true);
            for name in folders.into_iter().filter(|name| !is_image(Path::new(name))) {
                let bytes = name.as_encoded_bytes();
                // Images and folders come in one order, that of names.
                let mut images = 0..num_images;
                while !images.is_empty() {
                    let middle = images.start.midpoint(images.end);
                    let is_before = listing.images.get(middle).is_some_and(|image| image < bytes);
                    images = if is_before { middle + 1..images.end } else { images.start..middle };
                }
                inside.push((images.start, folder.join(name)));
            }
        }
        into.folders.push((folder.into(), listing));
        let mut done = 0;
        for (before, folder) in inside {
            into.push(number, done..before, label);
            done = before;
            self.walk(&folder, label, depth + 1, into)?;
        }
        into.push(number, done..num_images, label);
        Ok(())
    }

    /// Keeps the lists for the next start, if that can be and is worth it.
    pub(super) fn keep(&self, top: &Listing, files: &Files) {
        let Some((folder, name)) = &self.file else { return };
        let num_gone = self.known.lock().unwrap_or_else(PoisonError::into_inner).len();
        let has_news = self.num_listed.load(Ordering::Relaxed) + num_gone > 0;
        if files.len() < self.options.min_images || !has_news {
            return;
        }
        let text = |path: &Path| {
            let mut strings = Strings::default();
            strings.push(path.as_os_str().as_encoded_bytes());
            strings
        };
        let root = Path::new("");
        let walked = files.folders.iter().map(|(path, listing)| (path.as_path(), listing));
        let is_walked = files.folders.iter().any(|(path, _)| path == root);
        let all = (!is_walked).then_some((root, top)).into_iter().chain(walked);
        let kept: Vec<_> = all.filter(|(_, listing)| listing.stamp.is_known()).collect();
        let mut body = Vec::new();
        text(self.root).write(&mut body);
        body.extend_from_slice(&u32::try_from(kept.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (path, listing) in kept {
            text(path).write(&mut body);
            listing.write(&mut body);
        }
        if fs::create_dir_all(folder).is_ok() {
            KIND.write(folder, name, &body);
        }
    }
}

pub(super) fn parse(unread: &mut Unread, root: &Path) -> Option<HashMap<Vec<u8>, Listing>> {
    // Two roots may have one checksum.
    if Strings::read(unread)?.get(0)? != root.as_os_str().as_encoded_bytes() {
        return None;
    }
    let mut known = HashMap::new();
    for _ in 0..unread.u32()? {
        let path = Strings::read(unread)?.get(0)?.to_vec();
        known.insert(path, Listing::parse(unread)?);
    }
    Some(known)
}
