//! Which format a path holds, and opening it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cache::Cached;
use super::cifar::{self, Variant};
use super::{Error, Source, Split, embedded, folder, idx};

/// How a data set is stored; in recipes by its [`name`](Self::name).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// Found out from the path's content; the embedded set without a path.
    #[default]
    Auto,
    /// The 6,000 + 1,000 images of Fashion-MNIST inside the program.
    Embedded,
    /// The IDX files of MNIST and its relatives.
    Idx,
    /// CIFAR-10, binary version.
    Cifar10,
    /// CIFAR-100, binary version, with its fine labels.
    Cifar100,
    /// Image files in class folders, or without labels.
    ImageFolder,
    /// Parquet files as on the Hugging Face hub.
    Parquet,
}

impl Format {
    /// The format's name in recipes and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Embedded => "embedded",
            Self::Idx => "idx",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::ImageFolder => "image-folder",
            Self::Parquet => "parquet",
        }
    }
}

/// Opens one part of a data set.
///
/// # Errors
/// [`Error`] saying what was looked for if there is no such set, or what is wrong with its files. Images themselves are read later.
pub fn open(format: Format, path: Option<&Path>, split: Split) -> Result<Arc<dyn Source>, Error> {
    let Some(path) = path else {
        return match format {
            Format::Auto | Format::Embedded => Ok(Arc::new(embedded::open(split)?)),
            _ => Err(Error::Format { format: format.name(), problem: "give the path of the data" }),
        };
    };
    let format = recognise(format, path)?;
    if path.is_file() && format != Format::Parquet && format != Format::Embedded {
        return Err(file_for_folder(path));
    }
    Ok(match format {
        Format::Auto | Format::Embedded => {
            let problem = "the embedded data take no path; give another format or no path";
            return Err(Error::Format { format: format.name(), problem });
        }
        Format::Idx => Arc::new(idx::open(path, split)?),
        Format::Cifar10 => Arc::new(cifar::open(Variant::Cifar10, path, split)?),
        Format::Cifar100 => Arc::new(cifar::open(Variant::Cifar100, path, split)?),
        Format::ImageFolder => Arc::new(Cached::new(folder::open(path, split)?)),
        #[cfg(feature = "parquet")]
        Format::Parquet => Arc::new(Cached::new(super::parquet::open(path, split)?)),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            let problem = "this build lacks it; build with the feature `parquet`";
            return Err(Error::Format { format: format.name(), problem });
        }
    })
}

/// The format a path is opened as: the one asked for or, if that is [`Format::Auto`], the one found out.
///
/// # Errors
/// [`Error`] if there is nothing at the path, or nothing that is known.
pub fn recognise(format: Format, path: &Path) -> Result<Format, Error> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { path: path.into() }),
        Err(e) => Err(Error::unreadable(path)(e)),
        Ok(_) if format == Format::Auto => detect(path),
        Ok(_) => Ok(format),
    }
}

fn file_for_folder(path: &Path) -> Error {
    let problem = "it is a file; give the folder it is in, or a .parquet file".into();
    Error::NotRecognised { path: path.into(), problem }
}

/// By the training files: a set is recognised as the same format for both parts.
fn detect(path: &Path) -> Result<Format, Error> {
    if path.is_file() {
        return if is_parquet(path) { Ok(Format::Parquet) } else { Err(file_for_folder(path)) };
    }
    let is_there = |split| -> Option<Format> {
        if idx::find(path, split).is_some() {
            Some(Format::Idx)
        } else if Variant::Cifar10.find(path, split).is_some() {
            Some(Format::Cifar10)
        } else if Variant::Cifar100.find(path, split).is_some() {
            Some(Format::Cifar100)
        } else {
            None
        }
    };
    if let Some(format) = is_there(Split::Train).or_else(|| is_there(Split::Test)) {
        return Ok(format);
    }
    let mut entries = fs::read_dir(path).map_err(Error::unreadable(path))?.flatten().peekable();
    if entries.peek().is_none() {
        return Err(Error::NotRecognised { path: path.into(), problem: "it is empty".into() });
    }
    let holds_parquet = |folder: &Path| {
        fs::read_dir(folder).is_ok_and(|files| files.flatten().any(|f| is_parquet(&f.path())))
    };
    if holds_parquet(path) || entries.any(|e| e.path().is_dir() && holds_parquet(&e.path())) {
        return Ok(Format::Parquet);
    }
    if folder::is_image_folder(path) {
        return Ok(Format::ImageFolder);
    }
    Err(Error::NotRecognised {
        path: path.into(),
        problem: format!(
            "looked for {}; {}; {}; *.parquet; {}",
            idx::LOOKED_FOR,
            Variant::Cifar10.looked_for(),
            Variant::Cifar100.looked_for(),
            folder::LOOKED_FOR
        ),
    })
}

/// Whether a file by its name is one of those that sets other than Parquet's are made of: an image file, or IDX.
#[cfg(feature = "fetch")]
pub(crate) fn is_picture(path: &Path) -> bool {
    folder::is_image(path) || idx::is_idx(path)
}

pub(crate) fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"?").unwrap();
        }
        root
    }

    #[test]
    fn formats_are_recognised_by_what_is_there() {
        let batches: Vec<_> = (1..=5).map(|i| format!("data_batch_{i}.bin")).collect();
        let batches: Vec<_> = batches.iter().map(String::as_str).collect();
        for (files, expected) in [
            (&["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"][..], Format::Idx),
            (&["raw/t10k-images-idx3-ubyte", "raw/t10k-labels-idx1-ubyte"], Format::Idx),
            (&batches, Format::Cifar10),
            (&["cifar-10-batches-bin/test_batch.bin"], Format::Cifar10),
            (&["cifar-100-binary/train.bin"], Format::Cifar100),
            (&["data/train-00000-of-00001.parquet", "README.md"], Format::Parquet),
            (&["train.parquet"], Format::Parquet),
            (&["train/a/1.jpg"], Format::ImageFolder),
            (&["a/1.WEBP", "readme.txt"], Format::ImageFolder),
            (&["1.png"], Format::ImageFolder),
        ] {
            let root = folder(files);
            assert_eq!(detect(root.path()).unwrap(), expected, "{files:?}");
        }
        let root = folder(&["x.parquet"]);
        assert_eq!(detect(&root.path().join("x.parquet")).unwrap(), Format::Parquet);
    }

    #[test]
    fn what_is_not_recognised_is_refused_with_what_was_looked_for() {
        let refused = |format, path: Option<&Path>, words: &[&str]| {
            for split in [Split::Train, Split::Test] {
                let error = open(format, path, split).err().expect(words[0]).to_string();
                assert!(words.iter().all(|word| error.contains(word)), "{error}");
            }
        };
        let root = folder(&["notes.txt", "empty/.keep"]);
        let (path, file) = (Some(root.path()), root.path().join("notes.txt"));
        refused(Format::Auto, Some(&root.path().join("nowhere")), &["nowhere does not exist"]);
        refused(Format::Auto, Some(&file), &["it is a file; give the folder"]);
        refused(Format::ImageFolder, Some(&file), &["it is a file"]);
        refused(Format::Auto, Some(&folder(&[]).path().join(".")), &["it is empty"]);
        refused(Format::Auto, path, &["IDX", "data_batch_", "CIFAR-100", "parquet", "val/", "jpg"]);
        refused(Format::Idx, path, &["looked for", "idx3-ubyte"]);
        refused(Format::Cifar10, path, &["looked for", "data_batch_"]);
        refused(Format::Idx, None, &["idx: give the path"]);
        refused(Format::Embedded, path, &["take no path"]);
    }

    #[test]
    fn without_a_path_the_embedded_set_is_there() {
        for format in [Format::Auto, Format::Embedded] {
            assert_eq!(open(format, None, Split::Train).unwrap().len(), 6000);
            assert_eq!(open(format, None, Split::Test).unwrap().num_classes(), Some(10));
        }
    }
}
