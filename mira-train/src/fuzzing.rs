//! Every format that is read from outside, as a function of any bytes, for the fuzz targets in `fuzz/` and for tests.
//!
//! Whatever the bytes are, reading them must end soon, without a panic, in a typed error or in something consistent: what is written reads
//! back, images have the sizes that were declared. It must not take more memory than [`Format`] says, which [`Counting`] counts. Formats with
//! checksums are read twice, as the bytes are and with checksums made right, so that what is behind them is reached, too.
//!
//! `cargo test` reads every file of `fuzz/corpus` and `fuzz/regressions`, and changed seeds. No version of this module is promised to anybody.

mod general;
mod memory;
#[cfg(test)]
mod mutate;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::PathBuf;

use tempfile::TempDir;

pub use memory::{Counting, peak};

/// A kind of bytes that come from outside.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// That of its fuzz target, and of its folders in `fuzz/corpus` and `fuzz/regressions`.
    pub name: &'static str,
    /// Reads bytes; the error is what a user would be told. Panics where a promise is broken.
    pub(crate) read: fn(&[u8]) -> Result<(), String>,
    /// The most memory that may be held while as many bytes are read.
    pub(crate) memory: fn(usize) -> usize,
    /// Bytes that are good, made by the project's own writers where there are any.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const FORMATS: &[Format] = &[
    crate::data::fuzzing::DECODE,
    crate::data::fuzzing::IDX,
    crate::data::fuzzing::CIFAR,
    #[cfg(feature = "parquet")]
    crate::data::fuzzing::PARQUET,
    crate::data::webdataset_fuzzing::SHARD,
    crate::data::webdataset_fuzzing::CACHE,
    crate::data::folder_fuzzing::INDEX,
    crate::data::pack_fuzzing::INDEX,
    crate::data::pack_fuzzing::JOURNAL,
    crate::data::pack_fuzzing::SET,
    crate::run_folder::container::fuzzing::CONTAINER,
    crate::run_folder::fuzzing::METRICS,
    crate::run_folder::fuzzing::QUARANTINE,
    general::NPY,
    general::WEIGHTS,
    general::RECIPE,
    #[cfg(feature = "fetch")]
    crate::fetch::fuzzing::HUB,
];

/// What is held beside what a format takes: names, messages, a buffer for a file.
const SLACK: usize = 128 << 10;

impl Format {
    /// The format of this name.
    pub fn find(name: &str) -> Option<Self> {
        FORMATS.iter().copied().find(|format| format.name == name)
    }

    /// Bytes that are good.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        (self.seeds)()
    }

    /// Reads bytes; what a user would be told of bytes that are refused.
    ///
    /// # Errors
    /// That they are refused, which is no fault.
    ///
    /// # Panics
    /// Where a promise is broken.
    pub fn check(&self, bytes: &[u8]) -> Result<(), String> {
        #[cfg(test)]
        memory::leave_out_panics();
        let (result, peak) = peak(|| (self.read)(bytes));
        let allowed = (self.memory)(bytes.len()) + SLACK;
        assert!(
            peak <= allowed,
            "{}: {peak} bytes of memory for {} bytes, expected at most {allowed}: {result:?}",
            self.name,
            bytes.len()
        );
        assert!(
            result.as_ref().err().is_none_or(|message| !message.trim().is_empty()),
            "an error without a word"
        );
        result
    }
}

/// Two parts of bytes, for formats of two files: the first is as long as the first two bytes say, little-endian.
pub(crate) fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else { return (bytes, &[]) };
    rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()))
}

/// What [`halves`] takes apart.
pub(crate) fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let length = u16::try_from(first.len()).expect("the first of two files is short");
    [&length.to_le_bytes(), first, second].concat()
}

/// A file of this thread that holds the bytes, for readers that take a path.
pub(crate) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("a temporary file can be written");
    path
}

/// This thread's folder of such files.
pub(crate) fn folder() -> PathBuf {
    thread_local! {
        static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    FOLDER.with_borrow_mut(|folder| {
        let made = folder
            .get_or_insert_with(|| tempfile::tempdir().expect("a temporary folder can be made"));
        made.path().to_path_buf()
    })
}
