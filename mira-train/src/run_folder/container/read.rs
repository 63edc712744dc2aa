//! Reading, without trusting a byte: sizes are held against the file's before anything is allocated, bytes against checksums.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;
use twox_hash::XxHash3_64;

use super::header::{Dtype, Header, Section, data_start};
use super::{ALIGNMENT, BLOCK, MAGIC, MAX_HEADER, PROLOGUE, Snapshot, Tensor, TensorData, VERSION};
use crate::run_folder::Error;

/// Reads a checkpoint and checks all of it.
///
/// # Errors
/// [`Error::Unreadable`], [`Error::NotACheckpoint`], [`Error::NewerVersion`], [`Error::Truncated`], [`Error::Trailing`],
/// [`Error::Checksum`], [`Error::Header`], [`Error::Memory`]; each names the file.
pub fn read(path: &Path) -> Result<Snapshot, Error> {
    let (mut file, size) = open(path)?;
    read_from(&mut file, size, path)
}

/// Reads a checkpoint's meta and checks prologue and header, but no tensor.
///
/// # Errors
/// As [`read`].
pub fn read_meta(path: &Path) -> Result<Value, Error> {
    let (mut file, size) = open(path)?;
    Ok(Reader { input: &mut file, size, position: 0, path }.header()?.meta)
}

/// Reads a checkpoint of `size` bytes from anywhere; `path` serves messages only.
///
/// # Errors
/// As [`read`].
pub fn read_from(input: &mut dyn Read, size: u64, path: &Path) -> Result<Snapshot, Error> {
    let mut reader = Reader { input, size, position: 0, path };
    let header = reader.header()?;
    let mut block = vec![0; BLOCK.min(usize::try_from(size).unwrap_or(BLOCK))];
    let tensors = header.sections.into_iter().map(|section| reader.tensor(section, &mut block));
    Ok(Snapshot { tensors: tensors.collect::<Result<_, _>>()?, meta: header.meta })
}

fn open(path: &Path) -> Result<(File, u64), Error> {
    let unreadable = |source| Error::Unreadable { path: path.into(), source };
    // Asked before opening, which would wait for the writer of a pipe.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Error::NotACheckpoint { path: path.into() });
    }
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    Ok((file, size))
}

struct Reader<'a> {
    input: &'a mut dyn Read,
    /// The file's true size.
    size: u64,
    /// Bytes read so far.
    position: u64,
    path: &'a Path,
}

impl Reader<'_> {
    fn header(&mut self) -> Result<Header, Error> {
        let (path, size) = (self.path, self.size);
        let refuse = |problem| Error::Header { path: path.into(), problem };
        let truncated = |expected| Error::Truncated { path: path.into(), expected, got: size };
        if size < PROLOGUE as u64 {
            return Err(truncated(PROLOGUE as u64));
        }
        let mut prologue = [0; PROLOGUE];
        self.fill(&mut prologue)?;
        let field = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| prologue[at + i]));
        let expected = field(32);
        let got = XxHash3_64::oneshot(&prologue[8..32]);
        if prologue[..8] != MAGIC && got != expected {
            return Err(Error::NotACheckpoint { path: path.into() });
        }
        if prologue[..8] != MAGIC || got != expected {
            // A damaged magic leaves the checksum right, so it is named beside it.
            let magic = prologue[..8] != MAGIC;
            let section = if magic { "the prologue (its magic)" } else { "the prologue" };
            let expected = if magic { u64::from_le_bytes(MAGIC) } else { expected };
            let got = if magic { field(0) } else { got };
            return Err(self.checksum(section, expected, got));
        }
        let [version, num_json] = [field(8) & 0xffff_ffff, field(8) >> 32];
        if version != u64::from(VERSION) {
            let got = u32::try_from(version).unwrap_or(u32::MAX);
            if got == 0 {
                return Err(refuse("format version 0 does not exist".into()));
            }
            let path = path.into();
            return Err(Error::NewerVersion { path, got, supported: VERSION });
        }
        let total = field(16);
        if size < total {
            return Err(truncated(total));
        }
        if size > total {
            let path = path.into();
            return Err(Error::Trailing { path, expected: total, got: size });
        }
        let num_json = usize::try_from(num_json).unwrap_or(usize::MAX);
        if num_json > MAX_HEADER {
            return Err(refuse(format!("{num_json} bytes long, expected at most {MAX_HEADER}")));
        }
        let start = data_start(num_json);
        let Some(data_len) = size.checked_sub(start as u64) else {
            return Err(refuse(format!("{num_json} bytes long, more than the file has")));
        };
        let mut json = vec![0; start - PROLOGUE];
        self.fill(&mut json)?;
        let got = XxHash3_64::oneshot(&json);
        if got != field(24) {
            return Err(self.checksum("the header", field(24), got));
        }
        Header::parse(&json[..num_json], data_len).map_err(refuse)
    }

    fn tensor(&mut self, section: Section, block: &mut [u8]) -> Result<Tensor, Error> {
        let Section { name, dtype, shape, length, checksum, .. } = section;
        let data = match dtype {
            Dtype::F32 => {
                TensorData::F32(self.decode(&name, length, checksum, block, f32::from_le_bytes)?)
            }
            Dtype::U8 => {
                TensorData::U8(self.decode(&name, length, checksum, block, u8::from_le_bytes)?)
            }
            Dtype::U64 => {
                TensorData::U64(self.decode(&name, length, checksum, block, u64::from_le_bytes)?)
            }
            Dtype::F64 => {
                TensorData::F64(self.decode(&name, length, checksum, block, f64::from_le_bytes)?)
            }
        };
        // A shape with a zero in it may have other dimensions of any size.
        let shape = shape.into_iter().map(|d| usize::try_from(d).unwrap_or(usize::MAX)).collect();
        Ok(Tensor { name, shape, data })
    }

    fn decode<T, const N: usize>(
        &mut self,
        name: &str,
        length: u64,
        expected: u64,
        block: &mut [u8],
        from_bytes: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        let section = || format!("section {name:?}");
        let memory =
            || Error::Memory { path: self.path.into(), section: section(), num_bytes: length };
        let len = usize::try_from(length).map_err(|_| memory())?;
        let mut data = Vec::new();
        data.try_reserve_exact(len / N).map_err(|_| memory())?;
        let mut hasher = XxHash3_64::new();
        let mut left = len.next_multiple_of(ALIGNMENT);
        while left > 0 {
            let block_len = left.min(block.len());
            let block = &mut block[..block_len];
            self.fill(block)?;
            hasher.write(block);
            // The last block ends with the padding.
            let num_elements = (len / N - data.len()).min(block.len() / N);
            let (elements, _) = block.as_chunks::<N>();
            data.extend(elements[..num_elements].iter().map(|&bytes| from_bytes(bytes)));
            left -= block.len();
        }
        let got = hasher.finish();
        if got != expected {
            return Err(self.checksum(&section(), expected, got));
        }
        Ok(data)
    }

    /// The next bytes, all of which lie within the file's size.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.input.read_exact(bytes).map_err(|source| match source.kind() {
            // It has shrunk since its size was asked for.
            io::ErrorKind::UnexpectedEof => {
                Error::Truncated { path: self.path.into(), expected: self.size, got: self.position }
            }
            _ => Error::Unreadable { path: self.path.into(), source },
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn checksum(&self, section: &str, expected: u64, got: u64) -> Error {
        Error::Checksum { path: self.path.into(), section: section.into(), expected, got }
    }
}
