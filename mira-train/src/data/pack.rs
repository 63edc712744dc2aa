//! Packed sets: the images of a data set in a few large files with an index, memory-mapped, every byte under a checksum.
//!
//! A folder of a million small files is slow to list, to copy and to read in random order. [`pack`] turns any set that
//! [`open`](super::open()) reads into this; `mira-train data pack` is its command.
//!
//! ```text
//! index               what the images are and where; written last, so its presence makes the set complete
//! blobs-00000, …      the images one after the other, 1 GiB a file
//! names               what the images' files were called, for lists of labels; only where they had names
//! skipped.jsonl       images left out because they cannot be decoded, one JSON object a line; only where there are any
//! journal, lock       while it is being made: see below
//! ```
//!
//! # The index, version 1
//! Integers are little-endian. Checksums are XXH3-64 with seed 0.
//!
//! | bytes | what                                                                                   |
//! |-------|----------------------------------------------------------------------------------------|
//! | 0–7   | magic `\x89MPK\r\n\x1a\n`, which a transfer in text mode would break                   |
//! | 8–11  | format version, u32                                                                    |
//! | 12–15 | number of shards S (`blobs-` files), u32                                               |
//! | 16–23 | length of the whole file, u64                                                          |
//! | 24–31 | checksum of the body: byte 64 to the end                                               |
//! | 32–39 | fingerprint of source and settings, u64: the same in every file of a set               |
//! | 40–43 | number of classes C, u32                                                               |
//! | 44–47 | number of training images, u32                                                         |
//! | 48–51 | number of test images, u32                                                             |
//! | 52–55 | zeros                                                                                  |
//! | 56–63 | checksum of the prologue: bytes 0–55                                                   |
//! | body  | S lengths of the shards, u64; C class names, each a length (u32) and UTF-8; the images |
//!
//! An image is 40 bytes, first those of the training split, then those of the test split:
//!
//! | bytes | what                                                                  |
//! |-------|-----------------------------------------------------------------------|
//! | 0–7   | offset in the shard, u64                                              |
//! | 8–15  | checksum of its bytes                                                 |
//! | 16–19 | length in bytes, u32                                                  |
//! | 20–23 | shard, u32                                                            |
//! | 24–27 | label, u32; 2³² − 1 for none                                          |
//! | 28–31 | width, u32                                                            |
//! | 32–35 | height, u32                                                           |
//! | 36–39 | kind, u32: 0 a JPEG, PNG or WebP file, 1 `height × width × 3` RGB bytes |
//!
//! A shard begins with 16 bytes, the magic `\x89MPB\r\n\x1a\n` and the fingerprint; images follow without gaps. The prologue keeps its
//! layout in every version, so that a newer index is told from a damaged one.
//!
//! Checksums are those of images, not of blocks: an image is what is read at once, in random order, so its checksum costs no byte of a
//! neighbour; at memory speed it is small against decoding.
//!
//! # Memory-mapping
//! Shards are mapped, so the page cache is the only cache, shared by all processes. What is mapped must not be changed by others: bytes
//! changed underneath fail their checksum; a shard *cut short* while it is in use ends the process (SIGBUS on Unix). The lengths are
//! compared when the set is opened. Replace a set by packing into another folder, not in place; deleting it while it is in use is safe.
//!
//! # Interruption
//! Work is committed every 64 MiB: the shard is synced, then the images' entries are appended to the journal under a checksum, and that
//! is synced. So the journal never says more than the shards hold, and the same command goes on from the last commit after SIGKILL, a
//! power cut or a full disk, to the same bytes as without. The index is written under another name, synced and renamed; then the
//! journal goes.

mod blobs;
mod error;
mod fingerprint;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod index;
mod input;
mod journal;
mod map;
mod names;
mod prepare;
mod run;
mod source;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use error::PackError;
pub use input::{PackInput, PackOptions, PackProgress, PackReport, SplitReport};
pub use prepare::Pixels;
pub use run::{Estimate, estimate, pack};
#[cfg(feature = "object-store")]
pub(super) use source::open_remote;
pub(super) use source::{LOOKED_FOR, is_packed, open};

const INDEX: &str = "index";
const SKIPPED: &str = "skipped.jsonl";
const LOCK: &str = "lock";

/// The newest version of the index that is read, and the one that is written.
const VERSION: u32 = 1;

fn shard_name(shard: usize) -> String {
    format!("blobs-{shard:05}")
}

/// The file of a shard.
fn shard_path(folder: &Path, shard: usize) -> PathBuf {
    folder.join(shard_name(shard))
}

/// The first bytes of a shard.
fn shard_header(fingerprint: u64) -> [u8; SHARD_HEADER] {
    let mut header = [0; SHARD_HEADER];
    header[..8].copy_from_slice(b"\x89MPB\r\n\x1a\n");
    header[8..].copy_from_slice(&fingerprint.to_le_bytes());
    header
}

const SHARD_HEADER: usize = 16;
