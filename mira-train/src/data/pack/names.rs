//! What the images' files were called, so that lists can name them in a packed set, too: the file `names`.
//!
//! A [`CacheFile`] with the magic `\x89MPN\r\n\x1a\n` and the version 1: the set's fingerprint (u64) and [`Strings`], one an image in the
//! index's order, empty for an image without a name. Nothing else needs it; sets packed from sources without names have none.

use std::path::Path;

use super::PackError;
use super::input::PackInput;
use super::journal::Record;
use crate::data::bytes::Unread;
use crate::data::cache_file::CacheFile;
use crate::data::strings::Strings;
use crate::run_folder::write_bytes_atomically;

pub(super) const NAME: &str = "names";
const KIND: CacheFile = CacheFile { magic: *b"\x89MPN\r\n\x1a\n", version: 1 };

/// Writes the names of the images that were packed.
pub(super) fn write(
    folder: &Path,
    fingerprint: u64,
    input: &PackInput,
    records: &[Record],
) -> Result<(), PackError> {
    let mut names = Strings::default();
    let mut has_names = false;
    for (position, record) in records.iter().enumerate() {
        if let Record::Packed(_) = record {
            let (_, source, index) = input.at(position);
            let name = source.relative_path(index).unwrap_or_default();
            has_names |= !name.is_empty();
            names.push(name.as_bytes());
        }
    }
    if !has_names {
        return Ok(());
    }
    let mut body = fingerprint.to_le_bytes().to_vec();
    names.write(&mut body);
    write_bytes_atomically(folder, NAME, &KIND.to_bytes(&body))
        .map_err(PackError::write(folder.join(NAME)))
}

/// The names of a set, if it has them.
pub(super) fn read(folder: &Path, fingerprint: u64, num_images: usize) -> Option<Strings> {
    KIND.read(&folder.join(NAME), |unread| own(unread, fingerprint, num_images))
}

/// The same of the file's bytes.
#[cfg(feature = "object-store")]
pub(super) fn parse(file: &[u8], fingerprint: u64, num_images: usize) -> Option<Strings> {
    KIND.parse(file, |unread| own(unread, fingerprint, num_images))
}

fn own(unread: &mut Unread, fingerprint: u64, num_images: usize) -> Option<Strings> {
    let is_own = unread.u64()? == fingerprint;
    Strings::read(unread).filter(|names| is_own && names.len() == num_images)
}
