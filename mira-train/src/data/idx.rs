//! The IDX files of MNIST and its relatives, gzip-compressed or not.
//!
//! A big-endian header (two zero bytes, type 8 = u8, the number of dimensions, the dimensions as u32), then the bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::packed::{MAX_BYTES, Packed, numbered};
use super::{Error, Split};

/// File names end in one of these; the first part is free, as in `emnist-letters-train-images-idx3-ubyte`.
const fn parts(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &["train"],
        Split::Test => &["t10k", "test"],
    }
}

/// The file of images and that of labels.
type Pair = (PathBuf, PathBuf);

/// The sets in a folder, by what the names of their files begin with.
fn sets(folder: &Path, split: Split) -> BTreeMap<String, Pair> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort_unstable();
    let of_kind = |part: &str, kind: &str, rank: u8| {
        let mut found = BTreeMap::new();
        for path in &files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.strip_suffix(".gz").unwrap_or(&name);
            let set = name
                .strip_suffix(&format!("{part}-{kind}-idx{rank}-ubyte"))
                .or_else(|| name.strip_suffix(&format!("{part}-{kind}.idx{rank}-ubyte")));
            if let Some(set) = set {
                found.entry(set.to_owned()).or_insert_with(|| path.clone());
            }
        }
        found
    };
    let mut sets = BTreeMap::new();
    for part in parts(split) {
        let mut labels = of_kind(part, "labels", 1);
        for (set, images) in of_kind(part, "images", 3) {
            if let Some(labels) = labels.remove(&set) {
                sets.entry(set).or_insert((images, labels));
            }
        }
    }
    sets
}

/// The files of a split, in the folder or in its `raw` (where torchvision puts them).
///
/// # Errors
/// Those of several sets, for either split: which one is meant is not known.
fn find(folder: &Path, split: Split) -> Result<Option<Pair>, Error> {
    for folder in [folder.to_path_buf(), folder.join("raw")] {
        let (mut train, mut test) = (sets(&folder, Split::Train), sets(&folder, Split::Test));
        let mut names: Vec<String> = train.keys().chain(test.keys()).cloned().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 {
            let problem = format!(
                "it has the files of several sets, whose names begin with '{}'; give a folder of one of them",
                names.join("', '")
            );
            return Err(Error::inconsistent(folder, problem));
        }
        let found = if split == Split::Train { train.pop_first() } else { test.pop_first() };
        if let Some((_, pair)) = found {
            return Ok(Some(pair));
        }
    }
    Ok(None)
}

/// Whether a folder has such files, of one set or of several.
pub(super) fn is_there(folder: &Path, split: Split) -> bool {
    !matches!(find(folder, split), Ok(None))
}

/// What [`find`] looks for, for messages.
pub(super) const LOOKED_FOR: &str =
    "{train,t10k}-images-idx3-ubyte[.gz] with labels-idx1-ubyte (IDX)";

pub(super) fn open(folder: &Path, split: Split) -> Result<Packed, Error> {
    let Some((images, labels)) = find(folder, split)? else {
        return Err(Error::NotRecognised {
            path: folder.into(),
            problem: format!("looked for {LOOKED_FOR}"),
        });
    };
    let images_reader = reader(&images)?;
    let labels_reader = reader(&labels)?;
    read((&images, images_reader), (&labels, labels_reader), None)
}

fn reader(path: &Path) -> Result<Box<dyn Read>, Error> {
    let open = || unpacked(BufReader::new(File::open(path)?));
    open().map_err(Error::unreadable(path))
}

/// Recognises compressed files by their first bytes.
pub(super) fn unpacked<'a>(mut file: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let is_gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Whether a file's name ends as those of IDX files do.
#[cfg(feature = "fetch")]
pub(super) fn is_idx(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.ends_with("idx3-ubyte") || name.ends_with("idx1-ubyte")
}

/// Reads a pair of files; without `class_names`, classes are numbered up to the largest label.
pub(super) fn read(
    images: (&Path, impl Read),
    labels: (&Path, impl Read),
    class_names: Option<Vec<String>>,
) -> Result<Packed, Error> {
    let (labels_path, images_path) = (labels.0, images.0);
    let ([num_labels], labels) = read_array::<1>(labels_path, labels.1)?;
    let ([num_images, height, width], pixels) = read_array::<3>(images_path, images.1)?;
    if num_labels != num_images {
        let problem = format!(
            "it has {num_labels} labels for the {num_images} images of {}; use files of one set",
            images_path.display()
        );
        return Err(Error::malformed(labels_path, problem));
    }
    if num_images == 0 || height == 0 || width == 0 {
        let problem =
            format!("its shape is {num_images} × {height} × {width}, so there is no image");
        return Err(Error::malformed(images_path, problem));
    }
    let num_classes = labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
    let class_names = class_names.unwrap_or_else(|| numbered(num_classes));
    if num_classes > class_names.len() {
        let problem =
            format!("label {} is not below the {} classes", num_classes - 1, class_names.len());
        return Err(Error::malformed(labels_path, problem));
    }
    Ok(Packed {
        width,
        height,
        num_channels: 1,
        pixels,
        labels: labels.into_iter().map(u32::from).collect(),
        class_names,
        origin: images_path.display().to_string(),
    })
}

/// An array of u8. Memory grows with what is there, not with what the header claims.
fn read_array<const RANK: usize>(
    path: &Path,
    mut reader: impl Read,
) -> Result<([usize; RANK], Vec<u8>), Error> {
    let mut header = Vec::new();
    let length = 4 + 4 * RANK;
    let unreadable = |source| Error::Unreadable { path: path.into(), source };
    reader.by_ref().take(length as u64).read_to_end(&mut header).map_err(unreadable)?;
    let expected = [0, 0, 8, u8::try_from(RANK).unwrap_or(u8::MAX)];
    if !header.starts_with(&expected) {
        let problem = format!(
            "it begins with {:?}, expected {expected:?}: an IDX array of u8 with {RANK} dimensions",
            &header[..header.len().min(4)]
        );
        return Err(Error::malformed(path, problem));
    }
    if header.len() < length {
        return Err(Error::malformed(path, "it ends within the IDX header; fetch it again"));
    }
    let mut shape = [0; RANK];
    let mut total = 1_u64;
    for (size, bytes) in shape.iter_mut().zip(header[4..].as_chunks::<4>().0) {
        let n = u32::from_be_bytes(*bytes);
        *size = n as usize;
        total = total.saturating_mul(u64::from(n));
    }
    if total > MAX_BYTES {
        let problem = format!("its header claims {shape:?} bytes, more than {MAX_BYTES}");
        return Err(Error::malformed(path, problem));
    }
    let mut data = Vec::new();
    reader.take(total + 1).read_to_end(&mut data).map_err(Error::unreadable(path))?;
    if data.len() as u64 != total {
        let more = if data.len() as u64 > total { " or more" } else { "" };
        let problem =
            format!("its header claims {total} bytes of data, there are {}{more}", data.len());
        return Err(Error::malformed(path, problem));
    }
    Ok((shape, data))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::data::{Image, Source};

    fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, u8::try_from(shape.len()).unwrap()];
        file.extend(shape.iter().flat_map(|n| n.to_be_bytes()));
        file.extend(data);
        file
    }

    fn folder(images: &[u8], labels: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train-images-idx3-ubyte"), images).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(labels).unwrap();
        fs::write(folder.path().join("train-labels-idx1-ubyte.gz"), gz.finish().unwrap()).unwrap();
        folder
    }

    #[test]
    fn plain_and_compressed_files_are_read_row_by_row() {
        let pixels: Vec<u8> = (0..12).collect();
        let folder = folder(&idx(&[2, 2, 3], &pixels), &idx(&[2], &[1, 4]));
        let set = open(folder.path(), Split::Train).unwrap();
        assert_eq!((set.len(), set.num_classes()), (2, Some(5)));
        assert_eq!([set.label(0), set.label(1), set.label(2)], [Some(1), Some(4), None]);
        let mut image = Image::default();
        set.load(1, &mut image).unwrap();
        assert_eq!((image.width, image.height), (3, 2));
        let expected: Vec<u8> = (6..12).flat_map(|grey| [grey; 3]).collect();
        assert_eq!(image.pixels, expected);
        assert!(set.load(2, &mut image).unwrap_err().to_string().contains("image 2 of"));
        assert!(open(folder.path(), Split::Test).is_err());
    }

    #[test]
    fn images_and_labels_of_one_name_are_a_pair() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, shape: &[u32], byte: u8| {
            fs::write(folder.path().join(name), idx(shape, &[byte])).unwrap();
        };
        let opened = |split| open(folder.path(), split).map(|set| set.label(0).unwrap());
        // Neither of the images has labels here.
        file("emnist-digits-train-labels-idx1-ubyte", &[1], 3);
        file("emnist-letters-train-images-idx3-ubyte", &[1, 1, 1], 0);
        assert!(matches!(opened(Split::Train), Err(Error::NotRecognised { .. })));
        file("emnist-letters-train-labels-idx1-ubyte", &[1], 4);
        file("emnist-letters-test-images.idx3-ubyte", &[1, 1, 1], 0);
        file("emnist-letters-test-labels-idx1-ubyte", &[1], 5);
        assert_eq!(opened(Split::Train).unwrap(), 4);
        assert_eq!(opened(Split::Test).unwrap(), 5);
        // With another set's test images alone, those of which training images?
        file("t10k-images-idx3-ubyte", &[1, 1, 1], 0);
        file("t10k-labels-idx1-ubyte", &[1], 6);
        for split in [Split::Train, Split::Test] {
            let error = opened(split).unwrap_err();
            assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
            assert!(error.to_string().contains("'', 'emnist-letters-'"), "{error}");
            assert!(is_there(folder.path(), split));
        }
    }

    #[test]
    fn damaged_files_are_refused_with_what_is_wrong() {
        let images = idx(&[2, 1, 1], &[7, 8]);
        let labels = idx(&[2], &[0, 1]);
        for (images, labels, words) in [
            (images[..9].to_vec(), labels.clone(), "ends within"),
            (idx(&[2, 1, 1], &[7]), labels.clone(), "2 bytes of data, there are 1"),
            (idx(&[2, 1, 1], &[7, 8, 9]), labels.clone(), "3 or more"),
            (idx(&[u32::MAX; 3], &[7]), labels.clone(), "more than"),
            (idx(&[0, 1, 1], &[]), idx(&[0], &[]), "no image"),
            (idx(&[2, 1], &[7, 8]), labels.clone(), "3 dimensions"),
            (images.clone(), idx(&[3], &[0, 1, 2]), "3 labels for the 2 images"),
        ] {
            let folder = folder(&images, &labels);
            let error = open(folder.path(), Split::Train).err().expect(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
