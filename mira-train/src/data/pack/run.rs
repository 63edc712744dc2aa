//! Packing: images are prepared by threads and written in order.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::fingerprint::fingerprint;
use super::index::Index;
use super::input::{PackInput, PackOptions, PackProgress, PackReport, SplitReport};
use super::journal::{self, Journal, Record, Skipped};
use super::names;
use super::prepare::{Blob, Scratch};
use super::source::read_index;
use super::writer::Writer;
use super::{INDEX, LOCK, PackError, SKIPPED, shard_path};
use crate::data::{Error, Source, are_too_many};
use crate::run_folder::{Lock, is_leftover, remove_leftovers, write_bytes_atomically};

/// Images a thread prepares ahead of the writing.
const AHEAD: usize = 8;

/// Packs a data set into a folder, which is made, or goes on where an interrupted run stopped. A set that is complete is left as it is.
///
/// Training images come first, each split in its source's order, so the same input and options give the same bytes.
///
/// # Errors
/// [`PackError`]; all but [`PackError::Occupied`] keep what is packed so far.
///
/// # Example
/// ```
/// use mira_train::data::{Format, PackInput, PackOptions, Pixels, Source, Split, open, pack};
///
/// let folder = tempfile::tempdir()?;
/// let input = PackInput {
///     train: open(Format::Embedded, None, Split::Train)?,
///     test: Some(open(Format::Embedded, None, Split::Test)?),
/// };
/// let options = PackOptions { pixels: Pixels::Raw { short_side: 14 }, ..PackOptions::default() };
/// let report = pack(&input, folder.path(), &options, &mut |_| {})?;
/// assert_eq!(report.train.num_packed, 6000);
///
/// let packed = open(Format::Auto, Some(folder.path()), Split::Test)?;
/// assert_eq!((packed.len(), packed.label(7)), (1000, input.test.unwrap().label(7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pack(
    input: &PackInput,
    folder: &Path,
    options: &PackOptions,
    progress: &mut (dyn FnMut(PackProgress) + Send),
) -> Result<PackReport, PackError> {
    options.validate(input)?;
    if folder.exists() && !folder.is_dir() {
        let problem = "it is no folder; give a new one".into();
        return Err(PackError::Occupied { path: folder.into(), problem });
    }
    fs::create_dir_all(folder).map_err(PackError::write(folder))?;
    let _lock = lock(folder)?;
    let fingerprint = fingerprint(input, options);
    let occupied =
        |problem: &str| PackError::Occupied { path: folder.into(), problem: problem.into() };
    if folder.join(INDEX).exists() {
        let index = read_index(folder)?;
        if index.fingerprint != fingerprint {
            return Err(occupied(
                "it holds another packed set, or this one with other settings or of an earlier version; give another folder",
            ));
        }
        finish(folder)?;
        return report(input, &index, folder, input.num_images());
    }
    let mut packing = if folder.join(journal::NAME).exists() {
        Packing::resume(input, folder, options, fingerprint)?
    } else {
        if let Some(name) = first_stranger(folder)? {
            return Err(occupied(&format!("it is not empty ({name}); give a new folder")));
        }
        Packing::begin(input, folder, options, fingerprint)?
    };
    remove_leftovers(folder).map_err(PackError::write(folder))?;
    let num_resumed = packing.num_done;
    packing.run(progress)?;
    names::write(folder, fingerprint, input, &packing.records)?;
    let index = packing.into_index()?;
    write_bytes_atomically(folder, INDEX, &index.to_bytes())
        .map_err(PackError::write(folder.join(INDEX)))?;
    finish(folder)?;
    report(input, &index, folder, num_resumed)
}

fn lock(folder: &Path) -> Result<Lock, PackError> {
    use crate::run_folder::Error as E;
    Lock::acquire(folder, LOCK).map_err(|error| match error {
        E::Locked { path, owner } => PackError::Locked { path, owner },
        E::LockFailed { path, source }
        | E::Unwritable { path, source }
        | E::WriteFailed { path, source } => PackError::Write { path, source },
        other => PackError::Write { path: folder.into(), source: std::io::Error::other(other) },
    })
}

/// What is only needed until the set is complete goes; nobody is kept out of a complete set.
fn finish(folder: &Path) -> Result<(), PackError> {
    for name in [journal::NAME, LOCK] {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(PackError::write(path)(e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An entry that no interrupted run leaves before it has a journal.
fn first_stranger(folder: &Path) -> Result<Option<String>, PackError> {
    for entry in fs::read_dir(folder).map_err(Error::unreadable(folder))? {
        let name = entry.map_err(Error::unreadable(folder))?.file_name();
        let name = name.to_string_lossy();
        if name != LOCK && !is_leftover(&name) {
            return Ok(Some(name.into_owned()));
        }
    }
    Ok(None)
}

fn report(
    input: &PackInput,
    index: &Index,
    folder: &Path,
    num_resumed: usize,
) -> Result<PackReport, PackError> {
    let split = |source: &Arc<dyn Source>, num_packed| SplitReport {
        num_packed,
        num_skipped: source.len() - num_packed,
    };
    let path = folder.join(INDEX);
    let index_bytes = fs::metadata(&path).map_err(Error::unreadable(&path))?.len();
    let name_bytes = fs::metadata(folder.join(names::NAME)).map_or(0, |file| file.len());
    Ok(PackReport {
        train: split(&input.train, index.num_train),
        test: input.test.as_ref().map(|test| split(test, index.entries.len() - index.num_train)),
        num_bytes: index.shards.iter().sum::<u64>() + index_bytes + name_bytes,
        num_resumed,
    })
}

/// Work in progress.
struct Packing<'a> {
    input: &'a PackInput,
    folder: &'a Path,
    options: &'a PackOptions,
    fingerprint: u64,
    journal: Journal,
    writer: Writer,
    /// All of them; the last are not in the journal yet.
    records: Vec<Record>,
    num_committed: usize,
    num_done: usize,
    num_bytes: u64,
    num_skipped: usize,
}

impl<'a> Packing<'a> {
    fn begin(
        input: &'a PackInput,
        folder: &'a Path,
        options: &'a PackOptions,
        fingerprint: u64,
    ) -> Result<Self, PackError> {
        let journal = Journal::create(folder, fingerprint)?;
        Self::after(input, folder, options, fingerprint, (journal, Vec::new()))
    }

    fn resume(
        input: &'a PackInput,
        folder: &'a Path,
        options: &'a PackOptions,
        fingerprint: u64,
    ) -> Result<Self, PackError> {
        // The shards' true lengths, asked once each.
        let mut lengths: Vec<u64> = Vec::new();
        let is_there = |record: &Record| match record {
            Record::Skipped(_) => true,
            Record::Packed(entry) => {
                let shard = entry.shard as usize;
                // No further than there are shards, whatever number is claimed.
                while lengths.len() <= shard {
                    let Ok(metadata) = fs::metadata(shard_path(folder, lengths.len())) else {
                        return false;
                    };
                    lengths.push(metadata.len());
                }
                entry.end() <= lengths[shard]
            }
        };
        let found = Journal::resume(folder, fingerprint, is_there)?;
        Self::after(input, folder, options, fingerprint, found)
    }

    fn after(
        input: &'a PackInput,
        folder: &'a Path,
        options: &'a PackOptions,
        fingerprint: u64,
        (journal, records): (Journal, Vec<Record>),
    ) -> Result<Self, PackError> {
        let entries = || {
            records.iter().filter_map(|record| match record {
                Record::Packed(entry) => Some(entry),
                Record::Skipped(_) => None,
            })
        };
        let writer = Writer::resume(folder, fingerprint, options.shard_bytes, entries())?;
        let num_bytes = entries().map(|entry| u64::from(entry.length)).sum();
        let num_skipped = records.len() - entries().count();
        let num_done = records.len();
        Ok(Self {
            input,
            folder,
            options,
            fingerprint,
            journal,
            writer,
            records,
            num_committed: num_done,
            num_done,
            num_bytes,
            num_skipped,
        })
    }

    fn run(&mut self, progress: &mut (dyn FnMut(PackProgress) + Send)) -> Result<(), PackError> {
        let num_images = self.input.num_images();
        let num_threads = self.options.threads();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(num_threads)
            .thread_name(|i| format!("mira-pack-{i}"))
            .build()
            .map_err(|e| PackError::Threads(e.to_string()))?;
        let (input, pixels) = (self.input, self.options.pixels);
        let prepare = |first: usize| -> Vec<Result<Blob, Error>> {
            let end = num_images.min(first + AHEAD * num_threads);
            let prepare = |scratch: &mut Scratch, position| {
                let (_, source, index) = input.at(position);
                scratch.prepare(&**source, index, pixels)
            };
            (first..end).into_par_iter().map_init(Scratch::default, prepare).collect()
        };
        let mut ready = pool.install(|| prepare(self.num_done));
        while !ready.is_empty() {
            let next = self.num_done + ready.len();
            // The next images are prepared while these are written.
            let (prepared, written) =
                pool.join(|| prepare(next), || self.write(std::mem::take(&mut ready), progress));
            written?;
            ready = prepared;
        }
        self.commit()
    }

    fn write(
        &mut self,
        ready: Vec<Result<Blob, Error>>,
        progress: &mut (dyn FnMut(PackProgress) + Send),
    ) -> Result<(), PackError> {
        for prepared in ready {
            let (split, source, index) = self.input.at(self.num_done);
            let record = match prepared {
                Ok(blob) => {
                    self.num_bytes += blob.bytes.len() as u64;
                    Record::Packed(self.writer.push(&blob, source.label(index))?)
                }
                // A file that holds many images is no bad image, nor is one that is gone.
                Err(error @ Error::Image { .. }) => {
                    self.num_skipped += 1;
                    Record::Skipped(Skipped {
                        split: split.into(),
                        index: index as u64,
                        name: source.name(index),
                        problem: error.to_string(),
                    })
                }
                Err(error) => return Err(error.into()),
            };
            self.records.push(record);
            self.num_done += 1;
            self.check_bad()?;
            if self.writer.unsynced >= self.options.commit_bytes {
                self.commit()?;
            }
        }
        progress(PackProgress {
            num_done: self.num_done,
            num_images: self.input.num_images(),
            num_skipped: self.num_skipped,
            num_bytes: self.num_bytes,
        });
        Ok(())
    }

    /// Ends the work when too many images are bad. They are listed, so that they can be seen to.
    fn check_bad(&self) -> Result<(), PackError> {
        let Some(Record::Skipped(last)) = self.records.last() else { return Ok(()) };
        let (num_images, max_bad_fraction) =
            (self.input.num_images(), self.options.max_bad_fraction);
        let num_bad = self.num_skipped;
        if !are_too_many(num_bad, num_images, max_bad_fraction) {
            return Ok(());
        }
        self.list_skipped()?;
        let last = last.problem.clone();
        Err(Error::TooManyBad { num_bad, num_images, max_bad_fraction, last }.into())
    }

    fn commit(&mut self) -> Result<(), PackError> {
        let news = &self.records[self.num_committed..];
        if !news.is_empty() {
            self.writer.sync()?;
            self.journal.append(news)?;
            self.num_committed = self.records.len();
        }
        Ok(())
    }

    fn list_skipped(&self) -> Result<(), PackError> {
        if self.num_skipped == 0 {
            return Ok(());
        }
        let lines = self.records.iter().filter_map(|record| match record {
            Record::Skipped(skipped) => serde_json::to_string(skipped).ok(),
            Record::Packed(_) => None,
        });
        let text: String = lines.map(|line| line + "\n").collect();
        write_bytes_atomically(self.folder, SKIPPED, text.as_bytes())
            .map_err(PackError::write(self.folder.join(SKIPPED)))
    }

    fn into_index(self) -> Result<Index, PackError> {
        self.list_skipped()?;
        let is_packed = |record: &&Record| matches!(record, Record::Packed(_));
        let train = &self.records[..self.input.train.len().min(self.records.len())];
        let num_train = train.iter().filter(is_packed).count();
        let entries = self.records.into_iter().filter_map(|record| match record {
            Record::Packed(entry) => Some(entry),
            Record::Skipped(_) => None,
        });
        Ok(Index {
            fingerprint: self.fingerprint,
            class_names: self.input.train.class_names().to_vec(),
            shards: self.writer.shards,
            entries: entries.collect(),
            num_train,
        })
    }
}

/// What packing would come to, from some images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Bytes of the set.
    pub num_bytes: u64,
    /// Time, if threads do not hinder each other.
    pub duration: Duration,
    /// Images looked at.
    pub num_looked_at: usize,
    /// Of these, unreadable.
    pub num_bad: usize,
}

/// Prepares some images, spread over the set, and says what all would come to; writes nothing.
///
/// # Errors
/// [`PackError::Data`] for a setting out of its range.
pub fn estimate(
    input: &PackInput,
    options: &PackOptions,
    num_looked_at: usize,
) -> Result<Estimate, PackError> {
    options.validate(input)?;
    let num_images = input.num_images();
    let num_looked_at = num_looked_at.clamp(1, num_images.max(1));
    let (mut scratch, started) = (Scratch::default(), Instant::now());
    let (mut num_bytes, mut num_bad) = (0.0, 0);
    for i in 0..num_looked_at {
        let (_, source, index) = input.at(i * num_images / num_looked_at);
        match scratch.prepare(&**source, index, options.pixels) {
            Ok(blob) => {
                let name = source.relative_path(index).map_or(0, |name| name.len() + 4);
                num_bytes += (blob.bytes.len() + name) as f64;
            }
            Err(_) => num_bad += 1,
        }
    }
    let share = num_images as f64 / num_looked_at as f64;
    let duration = started.elapsed().mul_f64(share / options.threads() as f64);
    let num_bytes = (num_bytes * share) as u64 + 40 * num_images as u64;
    Ok(Estimate { num_bytes, duration, num_looked_at, num_bad })
}
