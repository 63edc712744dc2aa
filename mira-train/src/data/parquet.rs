//! Images in Parquet files, in the layout of the Hugging Face hub.
//!
//! A column `img` or `image` of bytes (or a group of `bytes` and `path`), a column `label` or `fine_label` of whole numbers (−1: no
//! label), and the classes' names in the metadata `huggingface`. The encoded images are held in memory.

mod columns;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::open::is_parquet;
use super::packed::numbered;
use super::{Error, Image, Source, Split, decode};
use columns::Columns;

/// The most bytes of encoded images of one set: 8 GiB.
const MAX_BYTES: usize = 8 << 30;

/// Labels without names count classes up to the largest; more are taken for a mistake.
const MAX_UNNAMED_CLASSES: u32 = 1 << 20;

const TRAIN: [&str; 1] = ["train"];
const TEST: [&str; 4] = ["test", "validation", "valid", "val"];

/// Encoded images.
#[derive(Default)]
pub(super) struct Encoded {
    bytes: Vec<u8>,
    /// Where each image ends.
    ends: Vec<usize>,
    labels: Vec<Option<u32>>,
    class_names: Vec<String>,
    /// The first image of each file.
    files: Vec<(usize, PathBuf)>,
}

pub(super) fn open(path: &Path, split: Split) -> Result<Encoded, Error> {
    let files = if path.is_file() { vec![path.into()] } else { find(path, split)? };
    let mut set = Encoded::default();
    for file in &files {
        // The library's checks of damaged files are not complete: some make it panic.
        catch_unwind(AssertUnwindSafe(|| read(file, &mut set)))
            .unwrap_or_else(|_| Err(malformed(file, "the Parquet library panicked on it")))?;
    }
    if set.ends.is_empty() {
        return Err(malformed(&files[0], "there is no row in it"));
    }
    if set.labels.iter().all(Option::is_none) {
        set.class_names.clear();
    } else {
        name_classes(&mut set, &files[0])?;
    }
    Ok(set)
}

fn malformed(file: &Path, problem: impl std::fmt::Display) -> Error {
    Error::malformed(file, format!("{problem}; fetch it again or convert it to an image folder"))
}

/// The files of a part, in the order of names: in the folder, or in the one folder below that has any.
fn find(path: &Path, split: Split) -> Result<Vec<PathBuf>, Error> {
    let parts: &[&str] = match split {
        Split::Train => &TRAIN,
        Split::Test => &TEST,
    };
    let entries = |folder: &Path| -> Result<Vec<PathBuf>, Error> {
        let entries = fs::read_dir(folder).map_err(Error::unreadable(folder))?;
        let mut found: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        found.sort_unstable();
        Ok(found)
    };
    let mut folders = vec![path.to_path_buf()];
    folders.extend(entries(path)?.into_iter().filter(|entry| entry.is_dir()));
    for part in parts {
        let mut found = Vec::new();
        for folder in &folders {
            let files: Vec<_> =
                entries(folder)?.into_iter().filter(|f| is_parquet(f) && is_of(f, part)).collect();
            if !files.is_empty() {
                found.push(files);
            }
        }
        if found.len() > 1 {
            let problem = format!(
                "both {} and {} have {part} files; give the folder of one set",
                found[0][0].display(),
                found[1][0].display()
            );
            return Err(Error::NotRecognised { path: path.into(), problem });
        }
        if let Some(files) = found.pop() {
            return Ok(files);
        }
    }
    let problem =
        format!("looked for {}*.parquet in it and in the folders below", parts.join("*, "));
    Err(Error::NotRecognised { path: path.into(), problem })
}

/// What the names of files begin with, for either part.
#[cfg(feature = "fetch")]
pub(crate) fn parts() -> impl Iterator<Item = &'static str> {
    TRAIN.into_iter().chain(TEST)
}

/// `train.parquet`, `train-00000-of-00003.parquet`, but not `training_notes.parquet`.
pub(crate) fn is_of(file: &Path, part: &str) -> bool {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    name.strip_prefix(part).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

fn read(path: &Path, set: &mut Encoded) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::unreadable(path))?;
    let reader = SerializedFileReader::new(file).map_err(|e| malformed(path, e))?;
    let columns =
        Columns::find(reader.metadata().file_metadata()).map_err(|e| malformed(path, e))?;
    if set.files.is_empty() {
        set.class_names = columns.class_names;
    } else if set.class_names != columns.class_names {
        return Err(malformed(path, "its class names differ from those of the files before"));
    }
    set.files.push((set.ends.len(), path.into()));
    for i in 0..reader.num_row_groups() {
        let group = reader.get_row_group(i).map_err(|e| malformed(path, e))?;
        let num_rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let images = group.get_column_reader(columns.image).map_err(|e| malformed(path, e))?;
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
        if let Some(label) = columns.label {
            let labels = group.get_column_reader(label).map_err(|e| malformed(path, e))?;
            columns::read_labels(labels, num_rows, &mut set.labels)
                .map_err(|e| malformed(path, e))?;
        }
        // Without a column of labels, or with too few.
        set.labels.resize(set.ends.len(), None);
    }
    Ok(())
}

/// Holds the labels against the names, or names classes by their numbers.
fn name_classes(set: &mut Encoded, path: &Path) -> Result<(), Error> {
    let Some(largest) = set.labels.iter().flatten().copied().max() else { return Ok(()) };
    if set.class_names.is_empty() {
        if largest >= MAX_UNNAMED_CLASSES {
            return Err(malformed(path, format!("label {largest} is too large for a class")));
        }
        set.class_names = numbered(largest as usize + 1);
    } else if largest as usize >= set.class_names.len() {
        let num_classes = set.class_names.len();
        return Err(malformed(
            path,
            format!("label {largest} is not below the {num_classes} classes"),
        ));
    }
    Ok(())
}

impl Encoded {
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
        let Some(span) = self.span(index) else {
            return Err(Error::image(self.name(index), "there are fewer images"));
        };
        decode::decode(&self.bytes[span], into)
            .map_err(|problem| Error::image(self.name(index), problem))
    }

    fn name(&self, index: usize) -> String {
        let after = self.files.partition_point(|&(first, _)| first <= index);
        match after.checked_sub(1).map(|i| &self.files[i]) {
            Some((first, path)) => format!("row {} of {}", index - first, path.display()),
            None => format!("image {index}"),
        }
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        self.span(index).map(|span| span.len() as u64)
    }
}
