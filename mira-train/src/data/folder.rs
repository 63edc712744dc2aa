//! Folders of image files: `train/` and `val/` or `test/` with a folder a class, class folders alone, or images without labels. Images beside
//! class folders have no class, and are an error.

mod above;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod listing;

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bytes::with_buffer;
use super::{Error, Image, Source, Split, decode};
use listing::{Files, Lister, Listing, Options};

const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Of images, too, which are left out.
const UNREAD: [&str; 9] = ["avif", "bmp", "gif", "heic", "heif", "jp2", "jxl", "tif", "tiff"];

/// Larger files are refused unread: 256 MiB.
pub(super) const MAX_FILE: u64 = 256 << 20;

/// Folders inside class folders, at most.
const MAX_DEPTH: usize = 8;

const TRAIN: [&str; 2] = ["train", "training"];
const TEST: [&str; 4] = ["val", "validation", "valid", "test"];

/// What [`find`] looks for, for messages.
pub(super) const LOOKED_FOR: &str =
    "train/ and val/ or test/ with class folders, or image files (jpg, jpeg, png, webp)";

/// Images as files.
pub(super) struct ImageFolder {
    /// The folder of the split.
    root: PathBuf,
    files: Files,
    class_names: Vec<String>,
    /// Images of [`UNREAD`] formats in it and its class folders.
    num_unread: u64,
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
    let set = open_with(path, split, &Options::default())?;
    if set.num_unread > 0 {
        let problem = format!(
            "{} has images of formats that are not read ({}), {} in all; they are left out, convert them to PNG",
            set.root.display(),
            UNREAD.join(", "),
            set.num_unread
        );
        crate::complain("warning", &problem);
    }
    Ok(set)
}

fn open_with(path: &Path, split: Split, options: &Options) -> Result<ImageFolder, Error> {
    let lacks = |problem: String| Err(Error::NotRecognised { path: path.into(), problem });
    let refuse = |problem: String| Err(Error::inconsistent(path, problem));
    let train = part(path, &TRAIN);
    let root = match (split, &train) {
        (Split::Train, Some(train)) => train.clone(),
        (Split::Train, None) => path.to_path_buf(),
        (Split::Test, _) => match part(path, &TEST) {
            Some(test) => test,
            None => {
                return lacks("looked for val/ or test/ with class folders to evaluate on".into());
            }
        },
    };
    let lister = Lister::new(&root, options);
    let top = lister.list(Path::new(""))?;
    // The labels of the test images are those of the training images' classes.
    let classes = above::below(&root, Path::new(""), &top, true);
    let known: Vec<OsString> = match train.filter(|train| *train != root) {
        Some(train) => {
            let listing = Listing::read(&train, options.settled)?;
            // Told when they are opened.
            above::below(&train, Path::new(""), &listing, false)
                .into_iter()
                .map(OsStr::to_owned)
                .collect()
        }
        None => classes.iter().copied().map(OsStr::to_owned).collect(),
    };
    // Names that are no Unicode may look alike as text.
    let class_names: Vec<String> =
        known.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let mut folders = Vec::new();
    if class_names.is_empty() {
        lister.give_back(Path::new(""), top.clone());
        folders.push((PathBuf::new(), None));
    } else {
        for class in classes {
            let Some(label) = known.iter().position(|known| known == class) else {
                return refuse(format!(
                    "class folder '{}' of {} is not among the training classes; rename or remove it",
                    class.display(),
                    root.display()
                ));
            };
            folders.push((class.into(), Some(u32::try_from(label).unwrap_or(u32::MAX))));
        }
    }
    let files = lister.images(&folders)?;
    for (class, label) in folders.iter().filter(|(_, label)| label.is_some()) {
        if !files.has(*label) {
            let class = class.display();
            return refuse(format!(
                "class folder '{class}' has no image file (jpg, jpeg, png, webp) in {}; remove it",
                root.display()
            ));
        }
    }
    if files.len() == 0 && split == Split::Test {
        let problem = "has no class folder with images, as the training images have; put images into class folders, or remove it";
        return refuse(format!("{} {problem}", root.display()));
    }
    if files.len() == 0 {
        return lacks(format!("looked for {LOOKED_FOR}"));
    }
    let num_loose = if class_names.is_empty() { 0 } else { top.num_loose_images() };
    if num_loose > 0 {
        return refuse(format!(
            "{num_loose} images of {} lie beside its class folders and would be left out; move them into class folders or away, or put all images \
             into one folder if they have no classes",
            root.display()
        ));
    }
    lister.keep(&top, &files);
    let beside = if class_names.is_empty() { 0 } else { top.num_unread() };
    let num_unread = files.num_unread().saturating_add(beside);
    Ok(ImageFolder { root, files, class_names, num_unread })
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

pub(super) fn is_image(path: &Path) -> bool {
    has_ending(path, &EXTENSIONS)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|e| endings.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

impl ImageFolder {
    fn path(&self, index: usize) -> Option<PathBuf> {
        let (folder, name) = self.files.path(index)?;
        Some(self.root.join(folder).join(name))
    }
}

/// Before a file that could not be read is tried again: file systems on a network fail for moments.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

impl ImageFolder {
    fn read(&self, index: usize, path: &Path, into: &mut Vec<u8>) -> Result<(), Error> {
        for pause in PAUSES {
            match self.try_to_read(index, path, into) {
                Err(Error::Unreadable { .. }) => std::thread::sleep(pause),
                result => return result,
            }
        }
        self.try_to_read(index, path, into)
    }

    fn try_to_read(&self, index: usize, path: &Path, into: &mut Vec<u8>) -> Result<(), Error> {
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
        Ok(())
    }
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
        self.files.label(index)
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        with_buffer(|bytes| {
            self.encoded(index, bytes)?;
            decode::decode(bytes, into).map_err(|problem| Error::image(self.name(index), problem))
        })
    }

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        thread_local! {
            /// So that no image takes memory for its path.
            static PATH: Cell<PathBuf> = const { Cell::new(PathBuf::new()) };
        }
        let Some((folder, name)) = self.files.path(index) else {
            return Err(Error::image(self.name(index), "there are fewer images"));
        };
        let mut path = PATH.take();
        path.clear();
        path.extend([self.root.as_os_str(), folder.as_os_str(), name]);
        let read = self.read(index, &path, into);
        PATH.set(path);
        read.map(|()| true)
    }

    fn name(&self, index: usize) -> String {
        self.path(index).map_or_else(|| format!("image {index}"), |path| path.display().to_string())
    }

    fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
        let (folder, name) = self.files.path(index)?;
        Some(folder.join(name).to_string_lossy().into_owned().into())
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        fs::metadata(self.path(index)?).ok().map(|metadata| metadata.len())
    }
}

#[cfg(test)]
mod tests;
