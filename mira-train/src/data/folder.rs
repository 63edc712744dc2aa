//! Folders of image files: `train/` and `val/` or `test/` with a folder a class, class folders alone, or images without labels.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Error, Image, Source, Split, decode};

const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Larger files are refused unread: 256 MiB.
pub(super) const MAX_FILE: u64 = 256 << 20;

/// Folders inside class folders, at most; a link to a folder above it ends here.
const MAX_DEPTH: usize = 8;

const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 4] = ["val", "validation", "valid", "test"];

/// What [`find`] looks for, for messages.
pub(super) const LOOKED_FOR: &str =
    "train/ and val/ or test/ with class folders, or image files (jpg, jpeg, png, webp)";

/// Images as files.
pub(super) struct ImageFolder {
    root: PathBuf,
    files: Vec<PathBuf>,
    /// As many as files, or none.
    labels: Vec<u32>,
    class_names: Vec<String>,
}

/// Whether there seem to be images: in the folder, in class folders, or below `train/`.
pub(super) fn is_image_folder(path: &Path) -> bool {
    let has_images =
        |folder: &Path| entries(folder).is_ok_and(|files| files.iter().any(|file| is_image(file)));
    let has_class_folders = |folder: &Path| {
        entries(folder)
            .is_ok_and(|found| found.iter().any(|entry| entry.is_dir() && has_images(entry)))
    };
    has_images(path)
        || has_class_folders(path)
        || part(path, &TRAIN).is_some_and(|train| has_images(&train) || has_class_folders(&train))
}

pub(super) fn open(path: &Path, split: Split) -> Result<ImageFolder, Error> {
    let refuse = |problem: String| Err(Error::NotRecognised { path: path.into(), problem });
    let train = part(path, &TRAIN);
    let root = match (split, &train) {
        (Split::Train, Some(train)) => train.clone(),
        (Split::Train, None) => path.to_path_buf(),
        (Split::Test, _) => match part(path, &TEST) {
            Some(test) => test,
            None => {
                return refuse("looked for val/ or test/ with class folders to evaluate on".into());
            }
        },
    };
    // The labels of the test images are those of the training images' classes.
    let classes = class_folders(&train.unwrap_or_else(|| root.clone()))?;
    let mut set = ImageFolder {
        root: root.clone(),
        files: Vec::new(),
        labels: Vec::new(),
        class_names: Vec::new(),
    };
    if classes.is_empty() {
        collect(&root, 0, &mut set.files)?;
    } else {
        set.class_names = classes;
        for class in class_folders(&root)? {
            let Some(label) = set.class_names.iter().position(|name| *name == class) else {
                return refuse(format!(
                    "class folder '{class}' of {} is not among the training classes",
                    root.display()
                ));
            };
            let first = set.files.len();
            collect(&root.join(&class), 0, &mut set.files)?;
            if set.files.len() == first {
                return refuse(format!(
                    "class folder '{class}' has no image file (jpg, jpeg, png, webp)"
                ));
            }
            set.labels.resize(set.files.len(), u32::try_from(label).unwrap_or(u32::MAX));
        }
    }
    if set.files.is_empty() {
        return refuse(format!("looked for {LOOKED_FOR}"));
    }
    Ok(set)
}

fn part(path: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| path.join(name)).find(|folder| folder.is_dir())
}

/// What is in a folder, in the order of names; hidden entries are left out.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::unreadable(folder))? {
        let entry = entry.map_err(Error::unreadable(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn class_folders(folder: &Path) -> Result<Vec<String>, Error> {
    let folders = entries(folder)?.into_iter().filter(|entry| entry.is_dir());
    Ok(folders.filter_map(|f| Some(f.file_name()?.to_string_lossy().into_owned())).collect())
}

pub(super) fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in entries(folder)? {
        if is_image(&entry) {
            files.push(entry);
        } else if depth < MAX_DEPTH && entry.is_dir() {
            collect(&entry, depth + 1, files)?;
        }
    }
    Ok(())
}

impl Source for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn num_classes(&self) -> Option<usize> {
        (!self.class_names.is_empty()).then_some(self.class_names.len())
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        let mut bytes = Vec::new();
        self.encoded(index, &mut bytes)?;
        decode::decode(&bytes, into).map_err(|problem| Error::image(self.name(index), problem))
    }

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        let Some(path) = self.files.get(index) else {
            return Err(Error::image(self.name(index), "there are fewer images"));
        };
        let metadata = fs::metadata(path).map_err(Error::unreadable(path))?;
        if !metadata.is_file() {
            // Opening a named pipe would wait for somebody to write to it.
            return Err(Error::image(self.name(index), "it is no regular file; remove it"));
        }
        let file = File::open(path).map_err(Error::unreadable(path))?;
        let length = metadata.len();
        if length > MAX_FILE {
            let problem = format!("it has {length} bytes, more than {MAX_FILE}; shrink it");
            return Err(Error::image(self.name(index), problem));
        }
        into.clear();
        into.reserve(length as usize + 1);
        file.take(MAX_FILE).read_to_end(into).map_err(Error::unreadable(path))?;
        Ok(true)
    }

    fn name(&self, index: usize) -> String {
        self.files
            .get(index)
            .map_or_else(|| format!("image {index}"), |path| path.display().to_string())
    }

    fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
        Some(self.files.get(index)?.strip_prefix(&self.root).ok()?.to_string_lossy())
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        fs::metadata(self.files.get(index)?).ok().map(|metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 2 × 1 picture of two greys.
    fn png(left: u8, right: u8) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 2, 1);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[left, right]).unwrap();
        file
    }

    fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        root
    }

    fn names(set: &ImageFolder, root: &Path) -> Vec<String> {
        let relative = |f: &PathBuf| f.strip_prefix(root).unwrap().to_str().unwrap().to_string();
        set.files.iter().map(relative).collect()
    }

    #[test]
    fn classes_are_folders_in_the_order_of_names() {
        let root = tree(&[
            ("train/b/2.PNG", &png(3, 4)),
            ("train/b/10.png", &png(1, 2)),
            ("train/a/x/y.jpeg", b"?"),
            ("train/a/.hidden.png", b"?"),
            ("train/a/notes.txt", b"?"),
            ("val/b/1.webp", b"?"),
        ]);
        let set = open(root.path(), Split::Train).unwrap();
        assert_eq!(
            names(&set, root.path()),
            ["train/a/x/y.jpeg", "train/b/10.png", "train/b/2.PNG"]
        );
        assert_eq!(
            (set.class_names(), set.num_classes()),
            (&["a".into(), "b".into()][..], Some(2))
        );
        assert_eq!((set.label(0), set.label(1), set.label(2)), (Some(0), Some(1), Some(1)));
        let mut image = Image::default();
        set.load(2, &mut image).unwrap();
        assert_eq!((image.width, image.height, &image.pixels[..]), (2, 1, &[3, 3, 3, 4, 4, 4][..]));
        let error = set.load(0, &mut image).unwrap_err().to_string();
        assert!(error.contains("y.jpeg: it is neither"), "{error}");

        // `a` is missing from val/, and b keeps its label.
        let set = open(root.path(), Split::Test).unwrap();
        assert_eq!((set.len(), set.label(0), set.num_classes()), (1, Some(1), Some(2)));
    }

    #[test]
    fn class_folders_may_be_at_the_top_and_images_may_have_no_labels() {
        let root = tree(&[("cats/1.jpg", b"?"), ("dogs/1.jpg", b"?")]);
        let set = open(root.path(), Split::Train).unwrap();
        assert_eq!((set.len(), set.label(1), set.num_classes()), (2, Some(1), Some(2)));
        let error = open(root.path(), Split::Test).err().unwrap().to_string();
        assert!(error.contains("val/ or test/"), "{error}");

        let root = tree(&[("1.jpg", b"?"), ("2.jpg", b"?")]);
        let set = open(root.path(), Split::Train).unwrap();
        assert_eq!((set.len(), set.label(1), set.num_classes()), (2, None, None));
    }

    #[test]
    fn mistakes_in_the_layout_are_named() {
        for (files, split, words) in [
            (&["train/a/1.jpg", "val/c/1.jpg"][..], Split::Test, "'c'"),
            (&["train/a/1.jpg", "train/b/readme.txt"], Split::Train, "'b' has no image"),
            (&["train/readme.txt"], Split::Train, "looked for"),
        ] {
            let files: Vec<_> = files.iter().map(|file| (*file, &b"?"[..])).collect();
            let root = tree(&files);
            let error = open(root.path(), split).err().expect(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_above_does_not_go_round_for_ever() {
        let root = tree(&[("a/1.jpg", b"?")]);
        std::os::unix::fs::symlink(root.path().join("a"), root.path().join("a/again")).unwrap();
        assert_eq!(open(root.path(), Split::Train).unwrap().len(), MAX_DEPTH + 1);
    }
}
