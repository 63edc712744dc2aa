//! What can be asked for: three names, and any data set of the hub.

use std::fmt;
use std::str::FromStr;

use super::Error;
use crate::recipe::names::nearest;

/// Names, what they stand for, and a line about it.
///
/// The layouts are those of the hub: `plain_text/train-00000-of-00001.parquet` and the like.
pub const NAMED: [(&str, &str, &str); 3] = [
    ("cifar10", "hf:uoft-cs/cifar10:plain_text/", "50,000 + 10,000 images of 32×32, 10 classes"),
    (
        "fashion-mnist",
        "hf:zalando-datasets/fashion_mnist:fashion_mnist/",
        "60,000 + 10,000 grey images of 28×28, 10 classes",
    ),
    ("imagenette", "hf:frgfm/imagenette:160px/", "10 classes of ImageNet, shorter side 160 pixels"),
];

/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// A data set of the hub: repository, revision, and which of its files.
///
/// Written `hf:OWNER/NAME[@REVISION][:SUBSET]`, or as one of [`NAMED`].
///
/// ```
/// use mira_train::fetch::DataSet;
///
/// let set: DataSet = "hf:frgfm/imagenette@refs/convert/parquet:320px".parse()?;
/// assert_eq!((set.repo(), set.revision()), ("frgfm/imagenette", "refs/convert/parquet"));
/// assert!(set.includes("320px/train/0000.parquet") && !set.includes("320px.txt"));
/// # Ok::<(), mira_train::fetch::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSet {
    name: String,
    repo: String,
    revision: Option<String>,
    subset: Option<String>,
}

impl DataSet {
    /// Owner and name; only a name for the hub's oldest sets.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Whether the revision was named.
    pub fn has_revision(&self) -> bool {
        self.revision.is_some()
    }

    /// The name of a folder for it.
    pub fn folder_name(&self) -> &str {
        &self.name
    }

    /// The same set at another revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Self { revision: Some(revision.into()), ..self.clone() }
    }

    /// Whether the subset has the file: it is that file, or is below that folder, or fits the pattern, in which `*` is any text.
    pub fn includes(&self, path: &str) -> bool {
        let Some(subset) = &self.subset else { return true };
        if subset.contains('*') {
            return fits(path, subset);
        }
        let folder = subset.trim_end_matches('/');
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && folder == subset))
    }
}

impl fmt::Display for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}", self.repo)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        self.subset.iter().try_for_each(|subset| write!(f, ":{subset}"))
    }
}

impl FromStr for DataSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some((name, meant, _)) = NAMED.iter().find(|(name, ..)| *name == text) {
            return Ok(Self { name: (*name).into(), ..meant.parse()? });
        }
        let refuse = |problem: String| Error::Name { got: text.into(), problem };
        let Some(rest) = text.strip_prefix("hf:") else {
            let names = NAMED.map(|(name, ..)| name);
            let hint = match nearest(text, names) {
                Some(name) => format!("did you mean {name}?"),
                None if text.contains('/') => format!("did you mean hf:{text}?"),
                None => format!("expected {}, or hf:OWNER/NAME", names.join(", ")),
            };
            return Err(refuse(hint));
        };
        let (head, subset) = match rest.split_once(':') {
            Some((head, subset)) => (head, Some(subset)),
            None => (rest, None),
        };
        let (repo, revision) = match head.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (head, None),
        };
        let parts: Vec<_> = repo.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_plain(part)) {
            let problem = "expected OWNER/NAME after hf:, of letters, digits, '-', '_' and '.'";
            return Err(refuse(problem.into()));
        }
        let is_text = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if revision.is_some_and(|revision| !is_text(revision)) {
            return Err(refuse("expected a branch, a tag or a commit after @".into()));
        }
        if subset.is_some_and(|subset| !is_text(subset) || subset.starts_with('/')) {
            return Err(refuse("expected a folder, a file or a pattern after ':'".into()));
        }
        Ok(Self {
            name: parts.last().copied().unwrap_or_default().into(),
            repo: repo.into(),
            revision: revision.map(Into::into),
            subset: subset.map(Into::into),
        })
    }
}

fn is_plain(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(allowed)
}

/// Whether the text is the pattern with every `*` replaced by some text.
fn fits(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> DataSet {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn names_are_taken_apart_and_put_together() {
        for text in ["hf:a/b", "hf:mnist", "hf:a/b@refs/convert/parquet", "hf:a/b@v1:x/*.parquet"] {
            assert_eq!(set(text).to_string(), text);
        }
        let whole = set("hf:a/b@v1:c:d@e");
        assert_eq!((whole.repo(), whole.revision(), whole.folder_name()), ("a/b", "v1", "b"));
        assert_eq!((set("hf:a/b").revision(), set("hf:a/b").has_revision()), ("main", false));
        for (name, meant, _) in NAMED {
            assert_eq!((set(name).to_string().as_str(), set(name).folder_name()), (meant, name));
        }
    }

    #[test]
    fn subsets_are_files_folders_or_patterns() {
        for (subset, path, expected) in [
            ("160px", "160px/train.parquet", true),
            ("160px/", "160px/train.parquet", true),
            ("160px", "160px-old/train.parquet", false),
            ("a/b.parquet", "a/b.parquet", true),
            ("a/", "a", false),
            ("*/train*", "x/y/train-0.parquet", true),
            ("*/train*", "train-0.parquet", false),
            ("data/*.parquet", "data/x.parquet", true),
            ("data/*.parquet", "data/x.parquet.part", false),
            ("ab*ba", "aba", false),
            ("*", "anything/at.all", true),
        ] {
            assert_eq!(
                set(&format!("hf:o/n:{subset}")).includes(path),
                expected,
                "{subset} {path}"
            );
        }
        assert!(set("hf:o/n").includes("anything"));
    }

    #[test]
    fn what_is_no_name_is_refused_with_what_was_meant() {
        for (text, word) in [
            ("cifar-10", "did you mean cifar10?"),
            ("fashion_mnist", "did you mean fashion-mnist?"),
            ("uoft-cs/cifar10", "did you mean hf:uoft-cs/cifar10?"),
            ("imagenet-22k-large", "expected cifar10, fashion-mnist, imagenette, or hf:OWNER/NAME"),
            ("hf:", "expected OWNER/NAME"),
            ("hf:a/b/c", "expected OWNER/NAME"),
            ("hf:../b", "expected OWNER/NAME"),
            ("hf:a/b?x=1", "expected OWNER/NAME"),
            ("hf:a/b@", "after @"),
            ("hf:a/b:", "after ':'"),
            ("hf:a/b:/etc", "after ':'"),
        ] {
            let error = text.parse::<DataSet>().unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(text), "{error}");
        }
    }
}
