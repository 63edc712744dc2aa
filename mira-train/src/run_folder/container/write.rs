//! Writing: two passes over the tensors, one for the checksums, one for the bytes, and no copy of them.

use std::hash::Hasher as _;
use std::io::{self, Write};

use twox_hash::XxHash3_64;

use super::header::{Header, data_start};
use super::{ALIGNMENT, BLOCK, DataRef, MAGIC, PROLOGUE, SnapshotRef, VERSION};
use crate::run_folder::Error;

/// A snapshot that can be written, its header made.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    snapshot: &'a SnapshotRef<'a>,
    /// Prologue, header and padding.
    front: Vec<u8>,
    /// Length of the file.
    total: u64,
}

/// Writes a checkpoint; the writer gets blocks of about 64 KiB, and no `flush`.
///
/// # Errors
/// [`Error::Snapshot`] before anything is written, where shapes and data disagree, a name comes twice or the header grows beyond
/// 1 MiB; [`Error::WriteFailed`] with `path`, which serves messages only.
pub fn write(
    out: &mut dyn Write,
    snapshot: &SnapshotRef,
    path: &std::path::Path,
) -> Result<(), Error> {
    let prepared = Prepared::new(snapshot)?;
    prepared.write(out).map_err(|source| Error::WriteFailed { path: path.into(), source })
}

/// The length in bytes of the file that [`write()`] makes.
///
/// # Errors
/// [`Error::Snapshot`] as [`write()`].
pub fn encoded_len(snapshot: &SnapshotRef) -> Result<u64, Error> {
    Ok(Prepared::new(snapshot)?.total)
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(snapshot: &'a SnapshotRef<'a>) -> Result<Self, Error> {
        let checksums: Vec<u64> = snapshot.tensors.iter().map(|t| checksum(t.data)).collect();
        let json =
            Header::json(snapshot, &checksums).map_err(|problem| Error::Snapshot { problem })?;
        let start = data_start(json.len());
        let data: u64 = snapshot.tensors.iter().map(|t| padded_len(t.data)).sum();
        let total = start as u64 + data;
        let mut front = vec![0; start];
        front[PROLOGUE..PROLOGUE + json.len()].copy_from_slice(&json);
        let header = XxHash3_64::oneshot(&front[PROLOGUE..]);
        front[..8].copy_from_slice(&MAGIC);
        front[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let num_json = u32::try_from(json.len()).unwrap_or(u32::MAX); // at most 1 MiB
        front[12..16].copy_from_slice(&num_json.to_le_bytes());
        front[16..24].copy_from_slice(&total.to_le_bytes());
        front[24..32].copy_from_slice(&header.to_le_bytes());
        let prologue = XxHash3_64::oneshot(&front[8..32]);
        front[32..40].copy_from_slice(&prologue.to_le_bytes());
        Ok(Self { snapshot, front, total })
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.front)?;
        for tensor in &self.snapshot.tensors {
            each_block(tensor.data, &mut |block| out.write_all(block))?;
        }
        Ok(())
    }
}

fn padded_len(data: DataRef) -> u64 {
    (data.len() as u64 * data.dtype().bytes()).next_multiple_of(ALIGNMENT as u64)
}

fn checksum(data: DataRef) -> u64 {
    let mut hasher = XxHash3_64::new();
    // Nothing fails in there.
    let _ = each_block(data, &mut |block| {
        hasher.write(block);
        Ok(())
    });
    hasher.finish()
}

/// Passes on the elements as little-endian bytes, then their padding.
fn each_block(data: DataRef, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    match data {
        DataRef::F32(data) => encode(data, f32::to_le_bytes, each),
        DataRef::U8(data) => data.chunks(BLOCK).try_for_each(&mut *each),
        DataRef::U64(data) => encode(data, u64::to_le_bytes, each),
        DataRef::F64(data) => encode(data, f64::to_le_bytes, each),
    }?;
    let length = data.len() as u64 * data.dtype().bytes();
    let padding = padded_len(data) - length; // below 64
    #[allow(clippy::cast_possible_truncation)]
    each(&[0; ALIGNMENT][..padding as usize])
}

fn encode<T: Copy, const N: usize>(
    data: &[T],
    to_bytes: impl Fn(T) -> [u8; N],
    each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = vec![0; BLOCK.min(data.len() * N)];
    for block in data.chunks(BLOCK / N) {
        let bytes = &mut bytes[..block.len() * N];
        for (bytes, &value) in bytes.chunks_exact_mut(N).zip(block) {
            bytes.copy_from_slice(&to_bytes(value));
        }
        each(bytes)?;
    }
    Ok(())
}
