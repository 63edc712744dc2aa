//! `quarantine.jsonl`: the images of a run that could not be read, of both splits, one JSON object a line, each image once.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Error, RunFolder};
use crate::data::{Quarantined, Split};

const NAME: &str = "quarantine.jsonl";

/// The list of a run; there is no file before there is an image in it.
#[derive(Debug)]
pub struct Quarantine {
    path: PathBuf,
    known: BTreeSet<(Split, u32)>,
    /// The last line has no end.
    is_torn: bool,
}

/// A line; without a split it is of the training images.
#[derive(Serialize, Deserialize)]
struct Line<T> {
    #[serde(default = "train")]
    split: Split,
    #[serde(flatten)]
    image: T,
}

const fn train() -> Split {
    Split::Train
}

impl Quarantine {
    /// The list in a folder, as far as it goes; a line that is torn by the end of the process is left out.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn open(folder: &RunFolder) -> Result<Self, Error> {
        let path = folder.path().join(NAME);
        let list = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            list => list.map_err(|source| Error::Unreadable { path: path.clone(), source })?,
        };
        let is_torn = !list.is_empty() && !list.ends_with(b"\n");
        Ok(Self { path, known: entries(&list), is_torn })
    }

    /// Indices of a split's images in it.
    pub fn indices(&self, split: Split) -> impl Iterator<Item = u32> {
        self.known.iter().filter(move |known| known.0 == split).map(|known| known.1)
    }

    /// Appends an image unless it is in the list; whether it was not.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn append(&mut self, split: Split, image: &Quarantined) -> Result<bool, Error> {
        if self.known.contains(&(split, image.index)) {
            return Ok(false);
        }
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
            let mut line = if self.is_torn { vec![b'\n'] } else { Vec::new() };
            serde_json::to_writer(&mut line, &Line { split, image })?;
            line.push(b'\n');
            file.write_all(&line)
        };
        write().map_err(|source| Error::WriteFailed { path: self.path.clone(), source })?;
        self.is_torn = false;
        self.known.insert((split, image.index));
        Ok(true)
    }
}

/// The images of a list; bytes, for a line may be torn within a character.
pub(super) fn entries(list: &[u8]) -> BTreeSet<(Split, u32)> {
    let lines = list.split(|&byte| byte == b'\n');
    let known = lines.filter_map(|line| serde_json::from_slice::<Line<Quarantined>>(line).ok());
    known.map(|line| (line.split, line.image.index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_goes_on_after_a_torn_line() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(out.path().join("run"), "").unwrap();
        let image = |index| Quarantined {
            index,
            name: format!("dog/{index}.jpg"),
            problem: "it is empty".into(),
        };
        let path = folder.path().join(NAME);
        let listed = |list: &Quarantine| {
            [Split::Train, Split::Test].map(|split| list.indices(split).collect::<Vec<_>>())
        };
        let mut list = Quarantine::open(&folder).unwrap();
        assert!(listed(&list).concat().is_empty() && !path.exists());
        assert!(list.append(Split::Train, &image(3)).unwrap());
        assert!(list.append(Split::Test, &image(3)).unwrap(), "another image than the first");
        assert!(list.append(Split::Train, &image(7)).unwrap());
        assert!(!list.append(Split::Train, &image(3)).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let line = r#"{"split":"train","index":3,"name":"dog/3.jpg","problem":"it is empty"}"#;
        assert_eq!((text.lines().next(), text.lines().count()), (Some(line), 3));

        // As a kill leaves it: the next line must not be glued to half of this one.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"split\":\"train\",\"index\":8,\"name\":\"h\xC3").unwrap();
        let mut list = Quarantine::open(&folder).unwrap();
        assert_eq!(listed(&list), [vec![3, 7], vec![3]]);
        assert!(list.append(Split::Train, &image(9)).unwrap());
        assert_eq!(listed(&list), [vec![3, 7, 9], vec![3]]);
        assert_eq!(listed(&Quarantine::open(&folder).unwrap()), [vec![3, 7, 9], vec![3]]);
    }

    #[test]
    fn lists_from_before_test_images_were_in_them_are_of_training_images() {
        let out = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(out.path().join("run"), "").unwrap();
        let line = r#"{"index":3,"name":"dog/3.jpg","problem":"it is empty"}"#;
        fs::write(folder.path().join(NAME), format!("{line}\n")).unwrap();
        let list = Quarantine::open(&folder).unwrap();
        assert_eq!(list.indices(Split::Train).collect::<Vec<_>>(), [3]);
        assert_eq!(list.indices(Split::Test).count(), 0);
    }
}
