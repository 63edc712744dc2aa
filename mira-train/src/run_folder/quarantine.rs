//! `quarantine.jsonl`: the images of a run that could not be read and were replaced, one JSON object a line, each image once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::{Error, RunFolder};
use crate::data::Quarantined;

const NAME: &str = "quarantine.jsonl";

/// The list of a run; there is no file before there is an image in it.
#[derive(Debug)]
pub struct Quarantine {
    path: PathBuf,
    known: Vec<u32>,
    /// The last line has no end.
    is_torn: bool,
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
        Ok(Self { path, known: indices(&list), is_torn })
    }

    /// Indices of the images in it.
    pub fn indices(&self) -> &[u32] {
        &self.known
    }

    /// Appends an image.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn append(&mut self, image: &Quarantined) -> Result<(), Error> {
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).open(&self.path)?;
            let mut line = if self.is_torn { vec![b'\n'] } else { Vec::new() };
            serde_json::to_writer(&mut line, image)?;
            line.push(b'\n');
            file.write_all(&line)
        };
        write().map_err(|source| Error::WriteFailed { path: self.path.clone(), source })?;
        self.is_torn = false;
        self.known.push(image.index);
        Ok(())
    }
}

/// The images of a list; bytes, for a line may be torn within a character.
pub(super) fn indices(list: &[u8]) -> Vec<u32> {
    let lines = list.split(|&byte| byte == b'\n');
    let images = lines.filter_map(|line| serde_json::from_slice::<Quarantined>(line).ok());
    images.map(|image| image.index).collect()
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
        let mut list = Quarantine::open(&folder).unwrap();
        assert!(list.indices().is_empty() && !path.exists());
        list.append(&image(3)).unwrap();
        list.append(&image(7)).unwrap();
        let line = fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
        assert_eq!(line, r#"{"index":3,"name":"dog/3.jpg","problem":"it is empty"}"#);

        // As a kill leaves it: the next line must not be glued to half of this one.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"index\":8,\"name\":\"h\xC3").unwrap();
        let mut list = Quarantine::open(&folder).unwrap();
        assert_eq!(list.indices(), [3, 7]);
        list.append(&image(9)).unwrap();
        assert_eq!(list.indices(), [3, 7, 9]);
        assert_eq!(Quarantine::open(&folder).unwrap().indices(), [3, 7, 9]);
    }
}
