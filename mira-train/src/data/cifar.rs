//! CIFAR-10 and CIFAR-100 in their binary version: records of labels and 3 × 32 × 32 bytes, channel after channel.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::packed::{MAX_BYTES, Packed, numbered};
use super::{Error, Split};

const SIDE: usize = 32;
const CHANNEL: usize = SIDE * SIDE;

/// The most bytes of a list of class names.
const MAX_NAMES: u64 = 1 << 20;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Cifar10,
    Cifar100,
}

impl Variant {
    /// The folder inside the archive.
    const fn folder(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar-10-batches-bin",
            Self::Cifar100 => "cifar-100-binary",
        }
    }

    const fn num_classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// Bytes before the pixels; the last is the (fine) label.
    const fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    const fn names_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }

    fn files(self, split: Split) -> Vec<String> {
        match (self, split) {
            (Self::Cifar10, Split::Train) => {
                (1..=5).map(|i| format!("data_batch_{i}.bin")).collect()
            }
            (Self::Cifar10, Split::Test) => vec!["test_batch.bin".into()],
            (Self::Cifar100, Split::Train) => vec!["train.bin".into()],
            (Self::Cifar100, Split::Test) => vec!["test.bin".into()],
        }
    }

    /// What [`find`](Self::find) looks for, for messages.
    pub(super) const fn looked_for(self) -> &'static str {
        match self {
            Self::Cifar10 => "data_batch_{1..5}.bin and test_batch.bin (CIFAR-10 binary version)",
            Self::Cifar100 => {
                "train.bin and test.bin of 3074-byte records (CIFAR-100 binary version)"
            }
        }
    }

    /// The folder of the files: the path itself or the archive's folder in it.
    pub(super) fn find(self, path: &Path, split: Split) -> Option<PathBuf> {
        [path.to_path_buf(), path.join(self.folder())]
            .into_iter()
            .find(|folder| self.files(split).iter().all(|file| folder.join(file).is_file()))
    }
}

pub(super) fn open(variant: Variant, path: &Path, split: Split) -> Result<Packed, Error> {
    let Some(folder) = variant.find(path, split) else {
        return Err(Error::NotRecognised {
            path: path.into(),
            problem: format!("looked for {}", variant.looked_for()),
        });
    };
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for name in variant.files(split) {
        read(variant, &folder.join(name), &mut labels, &mut pixels)?;
    }
    Ok(Packed {
        width: SIDE,
        height: SIDE,
        num_channels: 3,
        pixels,
        labels,
        class_names: class_names(variant, &folder),
        origin: folder.display().to_string(),
    })
}

fn read(
    variant: Variant,
    path: &Path,
    labels: &mut Vec<u32>,
    pixels: &mut Vec<u8>,
) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::unreadable(path))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(Error::unreadable(path))?;
    let record = variant.label_bytes() + 3 * CHANNEL;
    if bytes.is_empty() || bytes.len() % record != 0 {
        let problem =
            format!("its {} bytes are not a multiple of the {record} of a record", bytes.len());
        return Err(Error::malformed(path, problem));
    }
    for (index, record) in bytes.chunks_exact(record).enumerate() {
        let (label, image) = record.split_at(variant.label_bytes());
        let label = label[label.len() - 1];
        if usize::from(label) >= variant.num_classes() {
            let problem = format!(
                "image {index} has label {label}, expected less than {}",
                variant.num_classes()
            );
            return Err(Error::malformed(path, problem));
        }
        labels.push(label.into());
        let (red, rest) = image.split_at(CHANNEL);
        let (green, blue) = rest.split_at(CHANNEL);
        pixels.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
    }
    Ok(())
}

/// The names in the set's own list, if it is there and complete.
fn class_names(variant: Variant, folder: &Path) -> Vec<String> {
    let mut text = String::new();
    // A list that is not there, or is none, is no list.
    let _ = File::open(folder.join(variant.names_file()))
        .and_then(|file| file.take(MAX_NAMES).read_to_string(&mut text));
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    if names.len() == variant.num_classes() { names } else { numbered(variant.num_classes()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::{Image, Source};

    /// Record `i`: its labels, then red = i, green = i + 1, blue = the position.
    fn records(label_bytes: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for (i, labels) in (0_u8..).zip(label_bytes) {
            file.extend(*labels);
            file.extend([i; CHANNEL]);
            file.extend([i + 1; CHANNEL]);
            file.extend((0..CHANNEL).map(|p| (p % 251) as u8));
        }
        file
    }

    #[test]
    fn channels_are_interleaved_and_batches_joined_in_order() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cifar-10-batches-bin");
        fs::create_dir(&folder).unwrap();
        for i in 1..=5_u8 {
            fs::write(folder.join(format!("data_batch_{i}.bin")), records(&[&[i], &[9]])).unwrap();
        }
        let set = open(Variant::Cifar10, root.path(), Split::Train).unwrap();
        let labels: Vec<_> = (0..10).filter_map(|i| set.label(i)).collect();
        assert_eq!(labels, [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
        let mut image = Image::default();
        set.load(3, &mut image).unwrap();
        assert_eq!(image.pixels[3 * 500..3 * 501], [1, 2, (500 % 251) as u8]);
        assert!(open(Variant::Cifar10, root.path(), Split::Test).is_err());
    }

    #[test]
    fn cifar_100_takes_the_fine_label() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train.bin"), records(&[&[7, 99], &[3, 0]])).unwrap();
        let set = open(Variant::Cifar100, folder.path(), Split::Train).unwrap();
        assert_eq!((set.label(0), set.label(1)), (Some(99), Some(0)));
        assert_eq!((set.num_classes(), set.class_names()[42].as_str()), (Some(100), "42"));
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test_batch.bin");
        for (bytes, words) in [
            (records(&[&[1]])[1..].to_vec(), "multiple of the 3073"),
            (Vec::new(), "0 bytes"),
            (records(&[&[1], &[10]]), "image 1 has label 10"),
        ] {
            fs::write(&file, bytes).unwrap();
            let error = open(Variant::Cifar10, folder.path(), Split::Test).err().expect(words);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
