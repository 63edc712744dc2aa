//! Sets of several files: which of them belong to which split, and what their labels are called.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::packed::numbered;
use super::{Error, Source, Split};

/// Labels without names count classes up to the largest, so that one label could make names without end: beyond this number, and beyond
/// [`CLASSES_PER_LABEL`] for each label there is, a label is taken for a mistake.
const UNNAMED_CLASSES: usize = 1 << 15;
const CLASSES_PER_LABEL: usize = 4;

const TRAIN: [&str; 1] = ["train"];
/// As of image folders: of many sets only the validation images have labels.
const TEST: [&str; 4] = ["val", "validation", "valid", "test"];

/// The words in names of files that say which split they are of, the first choice first.
const fn parts(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &TRAIN,
        Split::Test => &TEST,
    }
}

/// All of them.
#[cfg(feature = "fetch")]
pub(crate) fn all_parts() -> impl Iterator<Item = &'static str> {
    TRAIN.into_iter().chain(TEST)
}

/// What `open` makes of each item, by all threads. The error is that of the first item that has one, whichever thread was faster; those behind it are left out where that
/// saves time.
pub(super) fn each<T: Send, U: Send>(
    items: impl IndexedParallelIterator<Item = T>,
    open: impl Fn(T) -> Result<U, Error> + Sync,
) -> Result<Vec<U>, Error> {
    let failed = AtomicUsize::new(usize::MAX);
    let opened: Vec<_> = items
        .enumerate()
        .map(|(i, item)| {
            (i < failed.load(Ordering::Relaxed)).then(|| {
                open(item).inspect_err(|_| {
                    failed.fetch_min(i, Ordering::Relaxed);
                })
            })
        })
        .collect();
    opened.into_iter().flatten().collect()
}

/// A kind of file that sets are made of.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Without the dot.
    pub(super) extension: &'static str,
    /// Whether files are for training where no name says anything.
    pub(super) unnamed_is_train: bool,
}

impl Kind {
    pub(super) const PARQUET: Self = Self { extension: "parquet", unnamed_is_train: false };
    pub(super) const TAR: Self = Self { extension: "tar", unnamed_is_train: true };

    pub(super) fn is_of(self, path: &Path) -> bool {
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case(self.extension))
    }

    /// Whether a folder holds such files, or a folder in it does.
    pub(super) fn is_in(self, path: &Path) -> bool {
        let holds = |folder: &Path| {
            fs::read_dir(folder).is_ok_and(|files| files.flatten().any(|f| self.is_of(&f.path())))
        };
        holds(path)
            || fs::read_dir(path).is_ok_and(|entries| {
                entries.flatten().any(|e| e.path().is_dir() && holds(&e.path()))
            })
    }

    /// The files of a split, in the order of names: in the folder, or in the one folder below that has any.
    pub(super) fn find(self, path: &Path, split: Split) -> Result<Choices, Error> {
        let mut folders = vec![path.to_path_buf()];
        folders.extend(entries(path)?.into_iter().filter(|entry| entry.is_dir()));
        let mut groups = Vec::new();
        for folder in folders {
            let files = entries(&folder)?.into_iter().filter(|file| self.is_of(file)).collect();
            groups.push(files);
        }
        let Choices { first, mut others } = self.of_split(path, &groups, split)?;
        if let Some(problem) = incomplete(&first) {
            return Err(Error::inconsistent(path, problem));
        }
        others.retain(|files| incomplete(files).is_none());
        Ok(Choices { first, others })
    }

    /// The files of a split, all of one group; `path` is what they were looked for in.
    pub(super) fn of_split(
        self,
        path: &Path,
        groups: &[Vec<PathBuf>],
        split: Split,
    ) -> Result<Choices, Error> {
        let of_part = |part: Option<&str>| -> Result<Option<Vec<PathBuf>>, Error> {
            let chosen = groups.iter().map(|files| {
                let files = files.iter().filter(|file| part_of(file, path) == part);
                files.cloned().collect::<Vec<_>>()
            });
            let mut found: Vec<_> = chosen.filter(|files| !files.is_empty()).collect();
            if found.len() > 1 {
                let problem = format!(
                    "both {} and {} have {} files; give the folder of one set",
                    found[0][0].display(),
                    found[1][0].display(),
                    part.unwrap_or(self.extension)
                );
                return Err(Error::inconsistent(path, problem));
            }
            Ok(found.pop())
        };
        let mut parts_left = parts(split).iter().copied();
        while let Some(part) = parts_left.next() {
            if let Some(first) = of_part(Some(part))? {
                let others = parts_left.filter_map(|part| of_part(Some(part)).ok().flatten());
                return Ok(Choices { first, others: others.collect() });
            }
        }
        let no_name_says = || {
            let mut files = groups.iter().flatten();
            files.all(|file| part_of(file, path).is_none())
        };
        if self.unnamed_is_train
            && split == Split::Train
            && no_name_says()
            && let Some(first) = of_part(None)?
        {
            return Ok(Choices { first, others: Vec::new() });
        }
        let problem = format!(
            "looked for {}*.{} in it and in the folders below",
            parts(split).join("*, "),
            self.extension
        );
        Err(Error::NotRecognised { path: path.into(), problem })
    }
}

/// A file opened as a set: of training images, unless its name says something else.
pub(super) fn of_file(path: &Path, split: Split) -> Result<Choices, Error> {
    let part = part_of(path, path.parent().unwrap_or(path));
    if parts(split).contains(&part.unwrap_or(TRAIN[0])) {
        return Ok(Choices { first: vec![path.into()], others: Vec::new() });
    }
    let problem = match part {
        Some(part) => format!("by its name it is one of {part} images; rename it, or give another"),
        None => "it is one of training images, as its name says nothing else; give a folder with files of both, named by their split".into(),
    };
    Err(Error::NotRecognised { path: path.into(), problem })
}

/// The files that a split may be.
pub(super) struct Choices {
    /// At least one file.
    pub(super) first: Vec<PathBuf>,
    /// Those of other words for the same, such as `test` beside `validation`.
    others: Vec<Vec<PathBuf>>,
}

impl Choices {
    /// The first one that has labels, or the first one where none has.
    pub(super) fn first_labelled<S: Source>(
        self,
        open: impl Fn(Vec<PathBuf>) -> Result<S, Error>,
    ) -> Result<S, Error> {
        let first = open(self.first)?;
        if first.num_classes().is_some() {
            return Ok(first);
        }
        for files in self.others {
            let other = open(files)?;
            if other.num_classes().is_some() {
                return Ok(other);
            }
        }
        Ok(first)
    }
}

/// What is wrong with files that are numbered, as in `train-00000-of-00003.parquet`: some are missing, or there are two versions of them.
fn incomplete(files: &[PathBuf]) -> Option<String> {
    let mut series: BTreeMap<&str, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
    for name in files.iter().filter_map(|file| file.file_name()?.to_str()) {
        if let Some((prefix, number, total)) = place_in_series(name) {
            series.entry(prefix).or_default().entry(total).or_default().push(number);
        }
    }
    series.into_iter().find_map(|(prefix, totals)| {
        if totals.len() > 1 {
            let totals: Vec<_> = totals.keys().map(ToString::to_string).collect();
            let totals = totals.join(" and of ");
            return Some(format!(
                "it has {prefix}-… files of {totals}, which are versions of the same; remove all but one"
            ));
        }
        let (total, mut numbers) = totals.into_iter().next()?;
        let num_files = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.len() < num_files {
            return Some(format!(
                "it has several files of one number among {prefix}-…-of-{total}; remove all but one"
            ));
        }
        let is_complete =
            numbers.iter().copied().eq(0..total) || numbers.iter().copied().eq(1..=total);
        (!is_complete).then(|| {
            format!(
                "of the {total} files named {prefix}-… there are {num_files}, and not each number; fetch the others (`mira-train data fetch` does where it began), or name these \
                 otherwise to use them alone"
            )
        })
    })
}

/// What comes before the number in `train-00000-of-00003.parquet`, the number, and that of all.
fn place_in_series(name: &str) -> Option<(&str, usize, usize)> {
    let (before, after) = name.rsplit_once("-of-")?;
    let (prefix, number) = before.rsplit_once('-')?;
    let total = &after[..after.find(['.', '-'])?];
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(number) || !is_number(total) {
        return None;
    }
    Some((prefix, number.parse().ok()?, total.parse().ok()?))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::unreadable(folder))?;
    let mut found: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    found.sort_unstable();
    Ok(found)
}

/// The first word of a name that says which part it is of.
pub(crate) fn part_in(name: &str) -> Option<&'static str> {
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    words.find_map(|word| TRAIN.iter().chain(&TEST).copied().find(|part| *part == word))
}

/// What a file is of by the first word of its name that says so: `train.parquet`, `imagenet1k-train-0000.tar`, but not
/// `training_notes.parquet`. Where none does, the name of its folder below `root` decides.
fn part_of(file: &Path, root: &Path) -> Option<&'static str> {
    let folder = file.parent().filter(|folder| *folder != root).and_then(Path::file_name);
    let name =
        |part: Option<&std::ffi::OsStr>| part_in(&part.unwrap_or_default().to_string_lossy());
    name(file.file_stem()).or_else(|| name(folder))
}

/// Holds labels against the classes' names, or names classes by their numbers where there are no names; without labels there are no
/// classes.
pub(super) fn name_classes(
    names: &mut Vec<String>,
    labels: impl Iterator<Item = u32>,
) -> Result<(), String> {
    let (count, largest) = labels.fold((0, None), |(n, max), label| (n + 1, max.max(Some(label))));
    let Some(largest) = largest else {
        names.clear();
        return Ok(());
    };
    if names.is_empty() {
        let limit = UNNAMED_CLASSES.max(CLASSES_PER_LABEL.saturating_mul(count));
        if largest as usize >= limit {
            return Err(format!(
                "label {largest} is too large: {count} labels whose classes have no names must be below {limit}"
            ));
        }
        *names = numbered(largest as usize + 1);
    } else if largest as usize >= names.len() {
        return Err(format!("label {largest} is not below the {} classes", names.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[&str], kind: Kind, split: Split) -> Result<Vec<String>, String> {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"?").unwrap();
        }
        let found = kind.find(root.path(), split).map_err(|e| e.to_string())?.first;
        let relative = |f: &PathBuf| f.strip_prefix(root.path()).unwrap().display().to_string();
        Ok(found.iter().map(relative).collect())
    }

    #[test]
    fn the_first_that_fails_is_told_of_however_long_it_takes() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let has_failed = AtomicUsize::new(0);
        let open = |i: usize| {
            // The first two halves are beside each other, and so the first waits for the second.
            while i == 1 && has_failed.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            has_failed.fetch_add(usize::from(i == 2), Ordering::Relaxed);
            let path = PathBuf::from(i.to_string());
            if i == 0 { Ok(path) } else { Err(Error::NotFound { path }) }
        };
        let error = pool.install(|| each((0..4).into_par_iter(), open)).unwrap_err();
        assert!(error.to_string().starts_with("1 does not exist"), "{error}");
        let all = each((0..100).into_par_iter(), |i: usize| Ok(2 * i)).unwrap();
        assert_eq!(all, (0..200).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn classes_without_names_are_as_many_as_labels_can_need() {
        let name = |names: &[&str], labels: &[u32]| {
            let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
            name_classes(&mut names, labels.iter().copied()).map(|()| names)
        };
        assert_eq!(name(&[], &[0, 2]).unwrap(), ["0", "1", "2"]);
        assert_eq!(name(&["a"], &[]).unwrap(), [""; 0]);
        assert_eq!(name(&["a", "b"], &[1]).unwrap(), ["a", "b"]);
        assert!(name(&["a", "b"], &[2]).unwrap_err().contains("not below the 2 classes"));
        assert_eq!(name(&[], &[0x7FFF]).unwrap().len(), 0x8000);
        assert!(name(&[], &[0, 0x8000]).unwrap_err().contains("2 labels"));
        // Of many labels, more.
        let mut many = vec![0; 0x3000];
        many[7] = 0xBFFF;
        assert_eq!(name(&[], &many).unwrap().len(), 0xC000);
        many[7] = 0xC000;
        assert!(name(&[], &many).unwrap_err().contains("below 49152"));
        assert!(name(&[], &[u32::MAX]).is_err());
    }

    #[test]
    fn of_numbered_files_none_is_missing_or_of_another_version() {
        let files = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| format!("{name}.parquet")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            [Split::Train, Split::Test].map(|split| found(&names, Kind::PARQUET, split))
        };
        let [train, test] = files(&["train-0-of-3", "train-2-of-3", "test-0-of-1"]);
        let error = train.unwrap_err();
        assert!(
            error.contains("of the 3 files named train-… there are 2")
                && error.contains("data fetch"),
            "{error}"
        );
        assert_eq!(test.unwrap(), ["test-0-of-1.parquet"]);
        for (names, words) in [
            (
                &["train-0-of-2", "train-1-of-2", "train-2-of-2"][..],
                "of the 2 files named train-… there are 3",
            ),
            (&["train-0-of-2", "train-1-of-2", "train-0-of-1"], "files of 1 and of 2"),
            (&["train-00-of-02-a1", "train-01-of-02-a1", "train-00-of-02-b2"], "several files"),
            (
                &["train-1-of-99999999999999999"],
                "of the 99999999999999999 files named train-… there are 1",
            ),
        ] {
            let [error, _] = files(names);
            let error = error.unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        for (names, count) in [
            (&["train-00000-of-00002-0a", "train-00001-of-00002-1b"][..], 2),
            (&["train-1-of-2", "train-2-of-2"], 2),
            (&["a-train-0-of-1", "b-train-0-of-2", "b-train-1-of-2"], 3),
            (&["train-of-cats-7", "train-3-of-hearts", "train-0"], 3),
        ] {
            assert_eq!(files(names)[0].as_ref().map(Vec::len), Ok(count), "{names:?}");
        }
    }

    #[test]
    fn names_say_which_split_a_file_is_of() {
        let train = |files: &[&str]| found(files, Kind::TAR, Split::Train);
        let test = |files: &[&str]| found(files, Kind::TAR, Split::Test);
        let hub = ["in1k-train-0001.tar", "in1k-train-0000.tar", "in1k-validation-00.tar", "x.txt"];
        assert_eq!(train(&hub).unwrap(), ["in1k-train-0000.tar", "in1k-train-0001.tar"]);
        assert_eq!(test(&hub).unwrap(), ["in1k-validation-00.tar"]);
        let folders = ["train/0.tar", "train/1.TAR", "val/0.tar"];
        assert_eq!(train(&folders).unwrap(), ["train/0.tar", "train/1.TAR"]);
        assert_eq!(test(&folders).unwrap(), ["val/0.tar"]);
        assert_eq!(test(&["train_val.tar", "val_train.tar"]).unwrap(), ["val_train.tar"]);
        assert_eq!(test(&["a/val.tar", "a/test.tar"]).unwrap(), ["a/val.tar"]);
        assert_eq!(train(&["x/trained.tar", "x/b.tar"]).unwrap(), ["x/b.tar", "x/trained.tar"]);
        assert!(test(&["0.tar", "1.tar"]).unwrap_err().contains("looked for val*, validation*"));
        assert!(train(&["val.tar", "other.tar"]).unwrap_err().contains("train*.tar"));
        assert!(train(&["a/train.tar", "b/train.tar"]).unwrap_err().contains("of one set"));
        assert!(found(&["0.parquet"], Kind::PARQUET, Split::Train).is_err());
    }
}
