//! A shard's bytes, of a file here or on a server.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::cache::Stamp;
use super::samples::{self, Problem, Samples};
#[cfg(feature = "object-store")]
use super::tar::BLOCK;
use crate::data::Error;
use crate::data::cache_file::modified;
#[cfg(feature = "object-store")]
use crate::data::remote::{RemoteFile, Version};

/// Where a shard is; its path says so to people.
#[derive(Debug)]
pub(super) enum Location {
    /// At its path.
    Here,
    /// At its address.
    #[cfg(feature = "object-store")]
    Remote(RemoteFile),
}

impl Location {
    pub(super) fn stamp(&self, path: &Path) -> Result<Stamp, Error> {
        match self {
            Self::Here => {
                // Not opened, which would wait for the writer of a pipe.
                let metadata = fs::metadata(path).map_err(Error::unreadable(path))?;
                if !metadata.is_file() {
                    return Err(Error::malformed(path, "it is no file"));
                }
                Ok(stamp_of(&metadata))
            }
            #[cfg(feature = "object-store")]
            Self::Remote(file) => file.part(0..BLOCK as u64).map(|(_, version)| version.into()),
        }
    }

    pub(super) fn scan(&self, path: &Path, stamp: Stamp) -> Result<Samples, Error> {
        let found = match self {
            Self::Here => {
                let file = File::open(path).map_err(Error::unreadable(path))?;
                samples::scan(file, stamp.size)
            }
            #[cfg(feature = "object-store")]
            Self::Remote(file) => {
                samples::scan(Parts { file, path, stamp, position: 0 }, stamp.size)
            }
        };
        found.map_err(|problem| match problem {
            Problem::Io(error) => match error.downcast::<Error>() {
                Ok(error) => error,
                Err(error) => Error::unreadable(path)(error),
            },
            Problem::Malformed(problem) => Error::malformed(path, problem),
        })
    }

    /// Reads `length` bytes from `offset` on. What is wrong with the shard itself is no bad image.
    pub(super) fn read(
        &self,
        path: &Path,
        stamp: Stamp,
        offset: u64,
        length: u32,
        into: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self {
            Self::Here => {
                let lost = |error: io::Error| {
                    let problem = format!("it cannot be read any more ({error}); put it back");
                    Error::malformed(path, problem)
                };
                let mut file = File::open(path).map_err(lost)?;
                let now = stamp_of(&file.metadata().map_err(lost)?);
                // Its time may be another one, as that of a copy.
                if now.size != stamp.size {
                    return Err(changed(path, now, stamp));
                }
                into.resize(length as usize, 0);
                file.seek(SeekFrom::Start(offset)).map_err(lost)?;
                file.read_exact(into).map_err(lost)
            }
            #[cfg(feature = "object-store")]
            Self::Remote(file) => {
                into.clear();
                if length > 0 {
                    *into = part(file, path, stamp, offset, u64::from(length))?;
                }
                Ok(())
            }
        }
    }
}

fn stamp_of(metadata: &fs::Metadata) -> Stamp {
    Stamp { size: metadata.len(), modified: modified(metadata) }
}

fn changed(path: &Path, now: Stamp, before: Stamp) -> Error {
    let problem = if now.size == before.size {
        "it is another file than when it was opened".into()
    } else {
        format!("it has {} bytes, but had {} when it was opened", now.size, before.size)
    };
    Error::malformed(path, format!("{problem}; start again with the files as they are now"))
}

#[cfg(feature = "object-store")]
impl From<Version> for Stamp {
    fn from(version: Version) -> Self {
        Self { size: version.size, modified: version.tag }
    }
}

/// Some bytes of the file that was opened, and as many.
#[cfg(feature = "object-store")]
fn part(
    file: &RemoteFile,
    path: &Path,
    stamp: Stamp,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, Error> {
    let (bytes, now) = file.part(offset..offset + length)?;
    if stamp != now.into() {
        return Err(changed(path, now.into(), stamp));
    }
    if bytes.len() as u64 == length {
        return Ok(bytes);
    }
    let problem = format!("the server sent {} bytes of {length}; start again", bytes.len());
    Err(Error::malformed(path, problem))
}

/// A file on a server as something to read: a request each time, for as much as is asked for.
#[cfg(feature = "object-store")]
struct Parts<'a> {
    file: &'a RemoteFile,
    path: &'a Path,
    stamp: Stamp,
    position: u64,
}

#[cfg(feature = "object-store")]
impl io::Read for Parts<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = (into.len() as u64).min(self.stamp.size.saturating_sub(self.position));
        if length == 0 {
            return Ok(0);
        }
        let bytes = part(self.file, self.path, self.stamp, self.position, length)
            .map_err(io::Error::other)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        self.position += length;
        Ok(bytes.len())
    }
}

#[cfg(feature = "object-store")]
impl io::Seek for Parts<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.stamp.size.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
