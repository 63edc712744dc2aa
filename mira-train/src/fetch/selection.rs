//! Which of a repository's files are fetched, and under what names, so that the folder opens as one data set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::hub::RemoteFile;
use super::{DataSet, Error, Hub, Progress};
use crate::data::shards::{all_parts, part_in};
use crate::data::{is_parquet, is_picture};

/// Where the hub keeps a Parquet version of most sets: `CONFIG/SPLIT/0000.parquet`.
const CONVERTED: &str = "refs/convert/parquet";

/// The longest name of a file or folder that file systems allow, less what a part's name adds.
const MAX_NAME: usize = 240;

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The set, at the revision that the files are from.
    pub set: DataSet,
    /// The files, in the order of their names.
    pub files: Vec<PlannedFile>,
}

/// A file to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path on the hub.
    pub path: String,
    /// Its path in the folder.
    pub local: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Checksum.
    pub digest: Digest,
}

impl Plan {
    /// Bytes of all files.
    pub fn num_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }
}

/// Asks the hub for a set's files and chooses.
///
/// Parquet files whose names or folders say their split, of one folder; otherwise image and IDX files; otherwise, if no revision was
/// named, Parquet files of the branch that the hub converts sets to.
///
/// # Errors
/// Those of the hub; [`Error::Nothing`], [`Error::SeveralSets`], [`Error::UnsafePath`], [`Error::TooLarge`], [`Error::SameName`].
pub fn plan(hub: &Hub, set: &DataSet, progress: &Progress) -> Result<Plan, Error> {
    let listed = hub.list(set, progress)?;
    if let Some(files) = choose(set, &listed)? {
        return Ok(Plan { set: set.clone(), files });
    }
    if !set.has_revision() {
        let converted = set.at(CONVERTED);
        match hub.list(&converted, progress) {
            Ok(listed) => {
                if let Some(files) = choose(&converted, &listed)? {
                    return Ok(Plan { set: converted, files });
                }
            }
            // Not every set is converted; that of the main branch is the error to tell.
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let some: Vec<_> = listed.iter().take(5).map(|file| file.path.as_str()).collect();
    let found = if some.is_empty() { String::new() } else { format!(", but {}", some.join(", ")) };
    Err(Error::Nothing { set: set.to_string(), revision: set.revision().into(), found })
}

/// `None` where there is nothing to open.
pub(super) fn choose(
    set: &DataSet,
    listed: &[RemoteFile],
) -> Result<Option<Vec<PlannedFile>>, Error> {
    for file in listed {
        if !is_safe(&file.path) {
            return Err(Error::UnsafePath { path: file.path.clone() });
        }
    }
    let listed: Vec<_> = listed.iter().filter(|file| set.includes(&file.path)).collect();
    let split: Vec<_> =
        listed.iter().filter_map(|file| Some((*file, by_split(&file.path)?))).collect();
    let mut chosen: Vec<(&RemoteFile, PathBuf)> = Vec::new();
    if split.is_empty() {
        let pictures = listed.iter().filter(|file| is_picture(Path::new(&file.path)));
        chosen.extend(pictures.map(|file| (*file, PathBuf::from(&file.path))));
    } else {
        let folders: BTreeSet<_> = split.iter().map(|(_, (folder, _))| *folder).collect();
        if folders.len() > 1 {
            let choices = folders.into_iter().map(String::from).collect();
            return Err(Error::SeveralSets { set: without_subset(set), choices });
        }
        chosen.extend(split.into_iter().map(|(file, (_, name))| (file, PathBuf::from(name))));
    }
    if chosen.is_empty() {
        return Ok(None);
    }
    let mut by_name: BTreeMap<PathBuf, &RemoteFile> = BTreeMap::new();
    for (file, local) in chosen {
        if let Some(other) = by_name.insert(local.clone(), file) {
            let (first, second) = (other.path.clone(), file.path.clone());
            return Err(Error::SameName { first, second, local });
        }
    }
    let planned = |(local, file): (PathBuf, &RemoteFile)| PlannedFile {
        path: file.path.clone(),
        local,
        size: file.size,
        digest: file.digest,
    };
    Ok(Some(by_name.into_iter().map(planned).collect()))
}

fn without_subset(set: &DataSet) -> String {
    let text = set.to_string();
    text.split(':').take(2).collect::<Vec<_>>().join(":")
}

/// The folder of the set that a Parquet file is of, and a name that says its split; `None` for other files.
///
/// `data/train-00000-of-00001.parquet` is (`data`, `train-00000-of-00001.parquet`), and `plain_text/train/0000.parquet` is (`plain_text`,
/// `train-0000.parquet`).
fn by_split(path: &str) -> Option<(&str, String)> {
    if !is_parquet(Path::new(path)) {
        return None;
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
    if part_in(&stem).is_some() {
        return Some((folder, name.into()));
    }
    let (folder, split) = folder.rsplit_once('/').unwrap_or(("", folder));
    all_parts().any(|part| part == split).then(|| (folder, format!("{split}-{name}")))
}

/// Whether a path stays in the folder, on any system, and does not pass for one of this program's files.
fn is_safe(path: &str) -> bool {
    let is_safe_name = |name: &str| {
        !name.is_empty()
            && name != "."
            && name != ".."
            && name.len() <= MAX_NAME
            && !name.contains(['\\', ':'])
            && !name.chars().any(char::is_control)
    };
    path.split('/').all(is_safe_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(paths: &[&str]) -> Vec<RemoteFile> {
        let digest = Digest::GitBlob([0; 20]);
        paths.iter().map(|path| RemoteFile { path: (*path).into(), size: 1, digest }).collect()
    }

    fn chosen(set: &str, paths: &[&str]) -> Vec<(String, String)> {
        let files = choose(&set.parse().unwrap(), &listed(paths)).unwrap().unwrap_or_default();
        files.into_iter().map(|f| (f.path, f.local.display().to_string())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()
    }

    #[test]
    fn parquet_files_get_names_that_say_their_split() {
        let train = "plain_text/train-00000-of-00001.parquet";
        let test = "plain_text/test-00000-of-00001.parquet";
        assert_eq!(
            chosen("cifar10", &["README.md", train, test, "other/train.parquet"]),
            pairs(&[
                (test, "test-00000-of-00001.parquet"),
                (train, "train-00000-of-00001.parquet")
            ])
        );
        assert_eq!(
            chosen("hf:o/n", &["a/b/train/0000.parquet", "a/b/validation/0000.parquet", "a/1.jpg"]),
            pairs(&[
                ("a/b/train/0000.parquet", "train-0000.parquet"),
                ("a/b/validation/0000.parquet", "validation-0000.parquet"),
            ])
        );
        assert_eq!(
            chosen("hf:o/n", &["train/x.parquet", "test.parquet"]),
            pairs(&[("test.parquet", "test.parquet"), ("train/x.parquet", "train-x.parquet")])
        );
        assert_eq!(chosen("hf:o/n", &["data.parquet", "partial-train/0.parquet", "x.tar"]), []);
    }

    #[test]
    fn images_keep_their_places() {
        assert_eq!(
            chosen(
                "hf:o/n",
                &["train/a/1.jpg", "val/a/2.PNG", "t10k-images-idx3-ubyte.gz", "x.py"]
            ),
            pairs(&[
                ("t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
                ("train/a/1.jpg", "train/a/1.jpg"),
                ("val/a/2.PNG", "val/a/2.PNG"),
            ])
        );
    }

    #[test]
    fn several_sets_and_names_twice_are_refused() {
        let refused = |set: &str, paths: &[&str]| {
            choose(&set.parse().unwrap(), &listed(paths)).unwrap_err().to_string()
        };
        let several = refused("hf:o/n@v1:*", &["320px/train.parquet", "160px/train.parquet"]);
        assert!(several.contains("160px, 320px; choose one, such as hf:o/n@v1:160px"), "{several}");
        let twice = refused("hf:o/n", &["train/0.parquet", "train-0.parquet"]);
        assert!(twice.contains("train/0.parquet") && twice.contains("would both be"), "{twice}");
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for path in [
            "../x",
            "a/../x.parquet",
            "/etc/x",
            "a//x",
            "",
            "a/",
            "./x",
            "c:x",
            "a\\..\\x",
            "a\nb",
            "..",
        ] {
            assert!(!is_safe(path), "{path}");
            let refused = choose(&"hf:o/n".parse().unwrap(), &listed(&[path]));
            assert!(matches!(refused, Err(Error::UnsafePath { .. })), "{path}");
        }
        assert!(!is_safe(&"x".repeat(300)));
        assert!(is_safe(".gitattributes") && is_safe("a/..b/c d.parquet"));
    }
}
