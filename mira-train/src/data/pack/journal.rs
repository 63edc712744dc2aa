//! What has been packed so far, so that packing goes on after whatever ended it.
//!
//! | bytes  | what                                                                             |
//! |--------|----------------------------------------------------------------------------------|
//! | 0–7    | magic `\x89MPJ\r\n\x1a\n`                                                        |
//! | 8–15   | fingerprint of the set, u64                                                      |
//! | 16–23  | checksum of bytes 0–15                                                           |
//! | 24–…   | commits: length of the records (u32), checksum of that and them (u64), records   |
//! | record | 0 and the image's 40 bytes as in the index; or 1 and a skipped image's JSON line behind its length (u32) |
//!
//! Records are in the order of the images. A commit that is cut short or damaged ends the journal, and what comes after it is packed
//! again.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::PackError;
use super::index::Entry;
use super::map::map;
use crate::data::bytes::{Unread, push_text};
use crate::run_folder::write_bytes_atomically;

pub(super) const NAME: &str = "journal";
pub(super) const MAGIC: [u8; 8] = *b"\x89MPJ\r\n\x1a\n";
const HEADER: usize = 24;

/// What became of one image.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    Packed(Entry),
    Skipped(Skipped),
}

/// A line of `skipped.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Skipped {
    pub(super) split: String,
    /// In the source's split.
    pub(super) index: u64,
    pub(super) name: String,
    pub(super) problem: String,
}

/// Open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// A new one, complete with its header or not there at all.
    pub(super) fn create(folder: &Path, fingerprint: u64) -> Result<Self, PackError> {
        let path = folder.join(NAME);
        let header = header(fingerprint);
        write_bytes_atomically(folder, NAME, &header).map_err(PackError::write(&path))?;
        let mut journal = Self { file: open(&path)?, path };
        journal.cut(HEADER as u64)?;
        Ok(journal)
    }

    /// Opens one and returns the records of its commits, up to the first that is damaged or that `is_there` refuses.
    pub(super) fn resume(
        folder: &Path,
        fingerprint: u64,
        is_there: impl FnMut(&Record) -> bool,
    ) -> Result<(Self, Vec<Record>), PackError> {
        let path = folder.join(NAME);
        let refuse = |problem: &str| {
            Err(PackError::Occupied { path: folder.into(), problem: problem.into() })
        };
        let bytes = map(&path)?;
        let Some((found, commits)) = bytes.split_at_checked(HEADER) else {
            return refuse("its journal is damaged; remove the folder and begin again");
        };
        if found[..8] != MAGIC || XxHash3_64::oneshot(&found[..16]).to_le_bytes() != found[16..] {
            return refuse("its journal is damaged; remove the folder and begin again");
        }
        if found != header(fingerprint) {
            return refuse(
                "packing another source, or with other settings, was begun there, or by an earlier version; give the same ones to go on, or another folder",
            );
        }
        let (records, length) = replay(commits, is_there);
        drop(bytes);
        let mut journal = Self { file: open(&path)?, path };
        journal.cut((HEADER + length) as u64)?;
        Ok((journal, records))
    }

    fn cut(&mut self, length: u64) -> Result<(), PackError> {
        let cut = |file: &mut File| -> io::Result<()> {
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length)).map(drop)
        };
        cut(&mut self.file).map_err(PackError::write(&self.path))
    }

    /// Adds a commit and waits until it is on the disk. What the records say must be there before.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), PackError> {
        let commit = commit(records);
        self.file
            .write_all(&commit)
            .and_then(|()| self.file.sync_data())
            .map_err(PackError::write(&self.path))
    }
}

fn open(path: &Path) -> Result<File, PackError> {
    OpenOptions::new().write(true).open(path).map_err(PackError::write(path))
}

fn header(fingerprint: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&fingerprint.to_le_bytes());
    let checksum = XxHash3_64::oneshot(&header[..16]);
    header[16..].copy_from_slice(&checksum.to_le_bytes());
    header
}

pub(super) fn commit(records: &[Record]) -> Vec<u8> {
    let mut payload = Vec::new();
    for record in records {
        match record {
            Record::Packed(entry) => {
                payload.push(0);
                entry.write(&mut payload);
            }
            Record::Skipped(skipped) => {
                payload.push(1);
                push_text(&serde_json::to_string(skipped).unwrap_or_default(), &mut payload);
            }
        }
    }
    // Commits are of some thousands of images.
    let mut commit = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    commit.extend_from_slice(&checksum(&commit, &payload).to_le_bytes());
    commit.extend_from_slice(&payload);
    commit
}

pub(super) fn checksum(length: &[u8], payload: &[u8]) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = XxHash3_64::new();
    hasher.write(length);
    hasher.write(payload);
    hasher.finish()
}

/// The records of the whole commits at the start, and how many bytes these are.
pub(super) fn replay(
    commits: &[u8],
    mut is_there: impl FnMut(&Record) -> bool,
) -> (Vec<Record>, usize) {
    let (mut records, mut good) = (Vec::new(), 0);
    let mut unread = Unread(commits);
    while let Some(found) = next_commit(&mut unread) {
        if !found.iter().all(&mut is_there) {
            break;
        }
        records.extend(found);
        good = commits.len() - unread.0.len();
    }
    (records, good)
}

fn next_commit(unread: &mut Unread) -> Option<Vec<Record>> {
    let length = unread.u32()?;
    let expected = unread.u64()?;
    let payload = unread.bytes(length as usize)?;
    if checksum(&length.to_le_bytes(), payload) != expected {
        return None;
    }
    let (mut records, mut unread) = (Vec::new(), Unread(payload));
    while let Some(tag) = unread.bytes(1) {
        records.push(match tag {
            [0] => Record::Packed(Entry::read(&mut unread)?),
            [1] => Record::Skipped(serde_json::from_str(unread.text()?).ok()?),
            _ => return None,
        });
    }
    Some(records)
}
