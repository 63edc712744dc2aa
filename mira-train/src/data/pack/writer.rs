//! The shards, written one after the other.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::index::Entry;
use super::prepare::Blob;
use super::{PackError, SHARD_HEADER, shard_header, shard_path};
use crate::run_folder::sync_folder;

/// Appends images to the last shard, and begins another when it is full.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    fingerprint: u64,
    /// A shard takes no image that would make it longer, unless that is its only one.
    max_length: u64,
    /// Lengths so far.
    pub(super) shards: Vec<u64>,
    file: Option<BufWriter<File>>,
    /// Bytes of images since the last [`sync`](Self::sync).
    pub(super) unsynced: u64,
}

impl Writer {
    /// Goes on behind images that are there: cuts off and removes whatever else is in shards.
    pub(super) fn resume<'a>(
        folder: &Path,
        fingerprint: u64,
        max_length: u64,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Result<Self, PackError> {
        let mut shards: Vec<u64> = Vec::new();
        for entry in entries {
            shards.resize(shards.len().max(entry.shard as usize + 1), 0);
            shards[entry.shard as usize] = entry.end();
        }
        for number in shards.len().. {
            let path = shard_path(folder, number);
            if !path.exists() {
                break;
            }
            fs::remove_file(&path).map_err(PackError::write(path))?;
        }
        let mut writer = Self {
            folder: folder.into(),
            fingerprint,
            max_length,
            shards,
            file: None,
            unsynced: 0,
        };
        if let Some((number, &length)) = writer.shards.iter().enumerate().next_back() {
            let path = shard_path(folder, number);
            let open = || {
                let mut file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(length)?;
                file.seek(SeekFrom::Start(length))?;
                Ok(file)
            };
            writer.file = Some(BufWriter::new(open().map_err(PackError::write(&path))?));
        }
        Ok(writer)
    }

    /// Appends an image.
    pub(super) fn push(&mut self, blob: &Blob, label: Option<u32>) -> Result<Entry, PackError> {
        let length = blob.bytes.len() as u64;
        let offset = match self.shards.last() {
            Some(&end) if end == SHARD_HEADER as u64 || end + length <= self.max_length => end,
            _ => self.begin_shard()?,
        };
        let number = self.shards.len() - 1;
        if let Some(file) = &mut self.file {
            file.write_all(&blob.bytes)
                .map_err(|e| PackError::write(shard_path(&self.folder, number))(e))?;
        }
        self.shards[number] = offset + length;
        self.unsynced += length;
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Entry {
            shard: small(number),
            offset,
            // An image has at most 2²⁶ pixels, and a file at most 2²⁸ bytes.
            length: small(blob.bytes.len()),
            checksum: blob.checksum,
            label,
            width: small(blob.width),
            height: small(blob.height),
            kind: blob.kind,
        })
    }

    fn begin_shard(&mut self) -> Result<u64, PackError> {
        self.sync()?;
        let path = shard_path(&self.folder, self.shards.len());
        let begin = || {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
            file.write_all(&shard_header(self.fingerprint))?;
            sync_folder(&self.folder)?;
            Ok(file)
        };
        self.file = Some(begin().map_err(PackError::write(&path))?);
        self.shards.push(SHARD_HEADER as u64);
        Ok(SHARD_HEADER as u64)
    }

    /// Waits until everything pushed is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), PackError> {
        if let Some(file) = &mut self.file {
            let path = shard_path(&self.folder, self.shards.len().saturating_sub(1));
            file.flush()
                .and_then(|()| file.get_ref().sync_data())
                .map_err(PackError::write(path))?;
        }
        self.unsynced = 0;
        Ok(())
    }
}
