//! Which format a path holds, and opening it.

use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cache::Cached;
#[cfg(feature = "object-store")]
use super::cache_file::user_folder;
use super::cifar::{self, Variant};
use super::shards::Kind;
use super::{Error, Source, Split, embedded, folder, idx, pack, remote, webdataset};

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
    /// A folder made by [`pack`](super::pack()).
    Packed,
    /// Tar files as WebDataset writes them.
    #[serde(rename = "webdataset")]
    WebDataset,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 9] = [
        Self::Auto,
        Self::Embedded,
        Self::Idx,
        Self::Cifar10,
        Self::Cifar100,
        Self::ImageFolder,
        Self::Parquet,
        Self::Packed,
        Self::WebDataset,
    ];

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
            Self::Packed => "packed",
            Self::WebDataset => "webdataset",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|format| format.name()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

/// Opens one part of a data set; with the feature `object-store`, the path of a packed set or of tar shards may be an address (https, http, s3, gs).
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
    if remote::is_url(path) {
        return open_remote(recognise(format, path)?, path, split);
    }
    let format = recognise(format, path)?;
    let may_be_file = matches!(format, Format::Parquet | Format::WebDataset | Format::Embedded);
    if path.is_file() && !may_be_file {
        return Err(file_for_folder(path));
    }
    Ok(match format {
        Format::Auto | Format::Embedded => {
            let problem = "the embedded data take no path; give another format or no path";
            return Err(Error::Format { format: format.name(), problem });
        }
        Format::Idx => Arc::new(idx::open(path, split)?),
        Format::Packed => match pack::open(path, split)? {
            // Decoded bytes need not be kept a second time.
            set if set.is_raw() => Arc::new(set),
            set => Arc::new(Cached::new(set)),
        },
        Format::Cifar10 => Arc::new(cifar::open(Variant::Cifar10, path, split)?),
        Format::Cifar100 => Arc::new(cifar::open(Variant::Cifar100, path, split)?),
        Format::ImageFolder => Arc::new(Cached::new(folder::open(path, split)?)),
        Format::WebDataset => Arc::new(Cached::new(webdataset::open(path, split)?)),
        #[cfg(feature = "parquet")]
        Format::Parquet => Arc::new(Cached::new(super::parquet::open(path, split)?)),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            let problem = "this build lacks it; build with the feature `parquet`";
            return Err(Error::Format { format: format.name(), problem });
        }
    })
}

#[cfg(feature = "object-store")]
fn open_remote(format: Format, url: &Path, split: Split) -> Result<Arc<dyn Source>, Error> {
    let limits = remote::Limits::default();
    // Also what is not to be decoded is kept, so that small images come over the network once.
    Ok(if format == Format::WebDataset {
        let caches = user_folder("webdataset");
        Arc::new(Cached::new(webdataset::open_remote(url, limits, caches.as_deref(), split)?))
    } else {
        Arc::new(Cached::new(pack::open_remote(url, limits, split)?))
    })
}

#[cfg(not(feature = "object-store"))]
fn open_remote(format: Format, _: &Path, _: Split) -> Result<Arc<dyn Source>, Error> {
    let problem = "this build does not read over the network; build with the feature `object-store`, or copy the data here";
    Err(Error::Format { format: format.name(), problem })
}

/// The format a path is opened as: the one asked for or, if that is [`Format::Auto`], the one found out.
///
/// # Errors
/// [`Error`] if there is nothing at the path, or nothing that is known.
pub fn recognise(format: Format, path: &Path) -> Result<Format, Error> {
    if remote::is_url(path) {
        let refuse = |problem| Err(Error::Format { format: format.name(), problem });
        return match (format, webdataset::is_address_of_shards(path)) {
            (Format::Auto | Format::WebDataset, true) => Ok(Format::WebDataset),
            (Format::Auto | Format::Packed, false) => Ok(Format::Packed),
            (Format::Packed, true) => {
                refuse("the address is one of tar shards; give that of the folder of a packed set")
            }
            (Format::WebDataset, false) => refuse(
                "give the address of the shards, which end in .tar, like https://host/train-{000000..000146}.tar",
            ),
            _ => refuse(
                "only packed sets and tar shards are read over the network; make one with `mira-train data pack`, or copy the data here",
            ),
        };
    }
    if let (Some(problem), false) = (remote::unsupported(path), path.exists()) {
        return Err(Error::Remote { url: path.display().to_string(), problem });
    }
    match fs::metadata(path) {
        // Patterns name files that are there, and are none themselves.
        Err(_) if webdataset::is_pattern(path) && format == Format::Auto => detect(path),
        Err(_) if webdataset::is_pattern(path) => Ok(format),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotFound { path: path.into() }),
        Err(e) => Err(Error::unreadable(path)(e)),
        Ok(_) if format == Format::Auto => detect(path),
        Ok(_) => Ok(format),
    }
}

fn file_for_folder(path: &Path) -> Error {
    let problem = "it is a file; give the folder it is in, or a .parquet or .tar file".into();
    Error::NotRecognised { path: path.into(), problem }
}

/// By the training files: a set is recognised as the same format for both parts.
fn detect(path: &Path) -> Result<Format, Error> {
    if webdataset::is_pattern(path) {
        return Ok(Format::WebDataset);
    }
    if path.is_file() {
        return match path {
            _ if is_parquet(path) => Ok(Format::Parquet),
            _ if webdataset::is_web_dataset(path) => Ok(Format::WebDataset),
            _ => Err(file_for_folder(path)),
        };
    }
    if pack::is_packed(path) {
        return Ok(Format::Packed);
    }
    let is_there = |split| -> Option<Format> {
        if idx::is_there(path, split) {
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
    if fs::read_dir(path).map_err(Error::unreadable(path))?.next().is_none() {
        return Err(Error::NotRecognised { path: path.into(), problem: "it is empty".into() });
    }
    if Kind::PARQUET.is_in(path) {
        return Ok(Format::Parquet);
    }
    // Before shards: the archives that images were unpacked from may still be beside them.
    if folder::is_image_folder(path) {
        return Ok(Format::ImageFolder);
    }
    if webdataset::is_web_dataset(path) {
        return Ok(Format::WebDataset);
    }
    Err(Error::NotRecognised {
        path: path.into(),
        problem: format!(
            "looked for {}; {}; {}; {}; *.parquet; *.tar; {}",
            pack::LOOKED_FOR,
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
    Kind::PARQUET.is_of(path)
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
            (&["train-000000.tar", "notes.txt"], Format::WebDataset),
            (&["train/0.tar", "val/0.tar"], Format::WebDataset),
            (&["ILSVRC2012_img_train.tar", "train/a/1.jpg"], Format::ImageFolder),
        ] {
            let root = folder(files);
            assert_eq!(detect(root.path()).unwrap(), expected, "{files:?}");
        }
        let root = folder(&["x.parquet", "y.tar"]);
        assert_eq!(detect(&root.path().join("x.parquet")).unwrap(), Format::Parquet);
        assert_eq!(detect(&root.path().join("y.tar")).unwrap(), Format::WebDataset);
        assert_eq!(detect(&root.path().join("{0..9}.tar")).unwrap(), Format::WebDataset);
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

    #[cfg(not(feature = "object-store"))]
    #[test]
    fn addresses_name_the_feature_they_need() {
        for url in ["https://host/set", "HTTP://host/set", "s3://bucket/set", "gs://bucket/set"] {
            let error = open(Format::Auto, Some(Path::new(url)), Split::Train).err().unwrap();
            let text = error.to_string();
            assert!(text.contains("the feature `object-store`"), "{text}");
        }
    }

    #[test]
    fn addresses_of_other_kinds_name_those_that_are_read() {
        for format in [Format::Auto, Format::WebDataset, Format::Packed] {
            for (url, words) in [
                ("ftp://host/set", &["ftp://", "https, http, s3 or gs"][..]),
                ("ftp://host/{0..9}.tar", &["ftp://", "https, http, s3 or gs"]),
                ("hf://owner/set", &["hf://"]),
                ("file:///data/set", &["without file://", "as /data/set"]),
            ] {
                let error = open(format, Some(Path::new(url)), Split::Train).err().unwrap();
                let text = error.to_string();
                assert!(words.iter().all(|word| text.contains(word)), "{text}");
            }
        }
        let error = open(Format::Auto, Some(Path::new("a: b://c")), Split::Train).err();
        assert!(matches!(error, Some(Error::NotFound { .. })));
    }

    #[test]
    fn names_are_those_of_recipes() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
        let error = "tar".parse::<Format>().unwrap_err();
        assert!(error.contains("auto, embedded, idx") && error.contains("webdataset"), "{error}");
    }

    #[test]
    fn without_a_path_the_embedded_set_is_there() {
        for format in [Format::Auto, Format::Embedded] {
            assert_eq!(open(format, None, Split::Train).unwrap().len(), 6000);
            assert_eq!(open(format, None, Split::Test).unwrap().num_classes(), Some(10));
        }
    }
}
