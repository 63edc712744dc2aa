//! Images in Parquet files, in the layout of the Hugging Face hub.
//!
//! A column `img` or `image` of bytes (or a group of `bytes` and `path`), a column `label` or `fine_label` of whole numbers (−1: no
//! label), and the classes' names in the metadata `huggingface`. The encoded images are held in memory.
//!
//! Names of files or folders say which split a file is of, as those of tar shards; a single file whose name does not is of training images.

mod columns;
mod format;
mod pages;
mod thrift;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::file::metadata::ParquetMetaDataReader;

use super::shards::{Kind, name_classes, of_file};
use super::strings::Strings;
use super::{Error, Image, Source, Split, decode};
use columns::Columns;

/// The most bytes of encoded images of one set: 8 GiB.
const MAX_BYTES: usize = 8 << 30;

/// Encoded images.
#[derive(Default)]
pub(super) struct Encoded {
    bytes: Vec<u8>,
    /// Where each image ends.
    ends: Vec<usize>,
    labels: Vec<Option<u32>>,
    /// Names of files, empty where there are none; as many as images.
    paths: Strings,
    class_names: Vec<String>,
    /// The first image of each file.
    files: Vec<(usize, PathBuf)>,
}

pub(super) fn open(path: &Path, split: Split) -> Result<Encoded, Error> {
    let choices =
        if path.is_file() { of_file(path, split)? } else { Kind::PARQUET.find(path, split)? };
    choices.first_labelled(|files| read_all(&files))
}

fn read_all(files: &[PathBuf]) -> Result<Encoded, Error> {
    let mut set = Encoded::default();
    for file in files {
        // The library's checks of damaged files are not complete: some make it panic.
        catch_unwind(AssertUnwindSafe(|| read(file, &mut set)))
            .unwrap_or_else(|_| Err(malformed(file, "the Parquet library panicked on it")))?;
    }
    if set.ends.is_empty() {
        return Err(malformed(&files[0], "there is no row in it"));
    }
    name_classes(&mut set.class_names, set.labels.iter().flatten().copied())
        .map_err(|problem| malformed(&files[0], problem))?;
    Ok(set)
}

/// The most bytes of a file's name; longer ones are left out.
const MAX_NAME: usize = 4096;

fn malformed(file: &Path, problem: impl std::fmt::Display) -> Error {
    Error::malformed(file, format!("{problem}; fetch it again or convert it to an image folder"))
}

fn read(path: &Path, set: &mut Encoded) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::unreadable(path))?;
    let file = Arc::new(file);
    let length = file.metadata().map_err(Error::unreadable(path))?.len();
    pages::check_footer(&file, length).map_err(|e| malformed(path, e))?;
    let metadata =
        ParquetMetaDataReader::new().parse_and_finish(&*file).map_err(|e| malformed(path, e))?;
    let columns = Columns::find(metadata.file_metadata()).map_err(|e| malformed(path, e))?;
    if set.files.is_empty() {
        set.class_names = columns.class_names;
    } else if set.class_names != columns.class_names {
        return Err(malformed(path, "its class names differ from those of the files before"));
    }
    set.files.push((set.ends.len(), path.into()));
    for (i, group) in metadata.row_groups().iter().enumerate() {
        let num_rows = usize::try_from(group.num_rows()).unwrap_or(0);
        // Repeated rows may take no bytes, but images are not all the same.
        if num_rows as u64 > length {
            let problem = format!("row group {i} claims {num_rows} rows in {length} bytes");
            return Err(malformed(path, problem));
        }
        let reader =
            |column| pages::reader(&file, group, column, num_rows).map_err(|e| malformed(path, e));
        let images = reader(columns.image)?;
        let first = set.ends.len();
        columns::read_bytes(images, num_rows, |bytes| {
            // A row without an image stays, empty: loading it is the error, by name.
            let bytes = bytes.unwrap_or_default();
            if set.bytes.len() + bytes.len() > MAX_BYTES {
                return Err(format!("the images take more than {MAX_BYTES} bytes"));
            }
            set.bytes.extend_from_slice(bytes);
            set.ends.push(set.bytes.len());
            Ok(())
        })
        .map_err(|e| malformed(path, e))?;
        let got = set.ends.len() - first;
        if got != num_rows {
            return Err(malformed(path, format!("row group {i} has {got} of {num_rows} images")));
        }
        if let Some(names) = columns.path {
            columns::read_bytes(reader(names)?, num_rows, |name| {
                // Rows may repeat a name without taking bytes, so a long one could fill the memory.
                let name = name.filter(|name| name.len() <= MAX_NAME);
                set.paths.push(name.unwrap_or_default());
                Ok(())
            })
            .map_err(|e| malformed(path, e))?;
        }
        // Without a column of names, or with too few.
        while set.paths.len() < set.ends.len() {
            set.paths.push(b"");
        }
        if let Some(label) = columns.label {
            columns::read_labels(reader(label)?, num_rows, &mut set.labels)
                .map_err(|e| malformed(path, e))?;
        }
        // Without a column of labels, or with too few.
        set.labels.resize(set.ends.len(), None);
    }
    Ok(())
}

impl Encoded {
    fn file(&self, index: usize) -> Result<&[u8], Error> {
        let Some(span) = self.span(index) else {
            return Err(Error::image(self.name(index), "there are fewer images"));
        };
        Ok(&self.bytes[span])
    }

    /// Where an image is in `bytes`.
    fn span(&self, index: usize) -> Option<Range<usize>> {
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        Some(start..*self.ends.get(index)?)
    }
}

impl Source for Encoded {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn num_classes(&self) -> Option<usize> {
        (!self.class_names.is_empty()).then_some(self.class_names.len())
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        decode::decode(self.file(index)?, into)
            .map_err(|problem| Error::image(self.name(index), problem))
    }

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        into.clear();
        into.extend_from_slice(self.file(index)?);
        Ok(true)
    }

    fn name(&self, index: usize) -> String {
        let after = self.files.partition_point(|&(first, _)| first <= index);
        match after.checked_sub(1).map(|i| &self.files[i]) {
            Some((first, path)) => format!("row {} of {}", index - first, path.display()),
            None => format!("image {index}"),
        }
    }

    fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
        self.paths.text(index).filter(|path| !path.is_empty())
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        self.span(index).map(|span| span.len() as u64)
    }
}
