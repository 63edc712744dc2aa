//! A file that is not complete yet: `NAME.part`, and beside it `NAME.part.json`, which says what it is a part of.
//!
//! A part is gone on with only if the hub still lists the same checksum; otherwise, or where there is any doubt, it starts anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::PlannedFile;
use super::digest::{Digest, Hasher, Mismatch};
use crate::run_folder::sync_folder;

/// Notes are a line.
const MAX_NOTE: u64 = 64 << 10;

/// Where the part of a file is.
pub(super) fn path(file: &Path) -> PathBuf {
    with_suffix(file, ".part")
}

fn note_path(file: &Path) -> PathBuf {
    with_suffix(file, ".part.json")
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The checksum of the whole.
    content: String,
    /// What the server called it.
    etag: Option<String>,
}

/// A part, open and locked by its folder's lock.
pub(super) struct Part {
    /// What it is to become.
    target: PathBuf,
    file: File,
    len: u64,
    size: u64,
    digest: Digest,
    hasher: Hasher,
    etag: Option<String>,
}

impl Part {
    /// Goes on with the part of `planned` that becomes `target`, or starts one.
    pub(super) fn open(target: &Path, planned: &PlannedFile) -> io::Result<Self> {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let path = path(target);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let (size, digest) = (planned.size, planned.digest);
        let mut hasher = digest.hasher(size);
        let note = read_note(target).filter(|note| note.content == digest.to_string());
        let mut len = file.metadata()?.len();
        if note.is_none() || len > size {
            file.set_len(0)?;
            len = 0;
        }
        if len > 0 {
            each_block(&mut file, |block| hasher.update(block))?;
        }
        file.seek(SeekFrom::Start(len))?;
        let etag = note.filter(|_| len > 0).and_then(|note| note.etag);
        Ok(Self { target: target.into(), file, len, size, digest, hasher, etag })
    }

    /// Bytes that are there.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// What the server called the content when it began, if it did.
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Throws away what there is; the next bytes are the first of content that the server calls `etag`.
    pub(super) fn restart(&mut self, etag: Option<&str>) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.len = 0;
        self.hasher = self.digest.hasher(self.size);
        self.etag = etag.map(Into::into);
        let note = Note { content: self.digest.to_string(), etag: self.etag.clone() };
        fs::write(note_path(&self.target), serde_json::to_vec(&note)?)
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Holds the checksum against the hub's; if they agree, the file gets its name.
    pub(super) fn finish(&mut self) -> io::Result<Result<(), Mismatch>> {
        if let Err(mismatch) = self.digest.check(self.hasher.clone()) {
            return Ok(Err(mismatch));
        }
        self.file.sync_all()?;
        fs::rename(path(&self.target), &self.target)?;
        let _ = fs::remove_file(note_path(&self.target));
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(Path::new(".")))?;
        Ok(Ok(()))
    }
}

/// Whether there is a complete file, with the right checksum.
pub(super) fn is_complete(target: &Path, planned: &PlannedFile) -> io::Result<bool> {
    match fs::metadata(target) {
        Ok(metadata) if metadata.is_file() && metadata.len() == planned.size => {}
        Ok(metadata) if metadata.is_dir() => {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        _ => return Ok(false),
    }
    let mut hasher = planned.digest.hasher(planned.size);
    each_block(&mut File::open(target)?, |block| hasher.update(block))?;
    Ok(planned.digest.check(hasher).is_ok())
}

fn read_note(target: &Path) -> Option<Note> {
    let mut text = Vec::new();
    File::open(note_path(target)).ok()?.take(MAX_NOTE).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn each_block(file: &mut File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    file.rewind()?;
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(n) => each(&block[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
