//! Part of a set: some of its classes, and the labels of some of its images.
//!
//! Classes are those of a list such as ImageNet-100's; labels are kept where a list of files says so (`1percent.txt`), or for a share of
//! every class. Images whose labels are withheld stay in the set: they are trained on, and evaluations leave them out.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Error, Image, Source, Split, folder};
use crate::recipe::names::nearest;
use crate::rng::{Purpose, Rng};
use crate::text::shortened;

/// The most bytes of a list: the names of ImageNet's images take 30 MB.
const MAX_LIST: u64 = 256 << 20;

/// Entries that a message names.
const MAX_NAMED: usize = 3;

/// The draw of [`Labels::Fraction`] is the same in every run, as a published list is.
const SEED: u64 = 0;

/// Names of classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Classes {
    /// In a file, one a line; what follows a space is ignored unless the class has it in its name, and so are lines from `#`.
    List(PathBuf),
    /// Themselves.
    Names(Vec<String>),
}

/// Which training images keep their labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// Those named in a file, one a line: by file name (`n01440764_10026.JPEG`) or with as many of its folders as tell it from others.
    /// Endings of images are interchangeable, since shards and packed sets may have others than the original files.
    List(PathBuf),
    /// This share of every class, as [`Features::label_subset`](crate::eval::Features::label_subset) with seed 0 takes it.
    Fraction(f64),
}

/// Which images and labels of a set are used; all by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subset {
    /// The classes that are kept, of both splits. They keep their order in the set, whatever that of the list: for image folders the
    /// order of names, as torchvision's `ImageFolder` of these classes has it.
    pub classes: Option<Classes>,
    /// The labels that are kept, of the training split.
    pub labels: Option<Labels>,
}

impl Subset {
    /// What of a set is used.
    ///
    /// # Errors
    /// [`Error::Subset`] for lists that name what is not there, with the nearest class; [`Error::Unreadable`] for lists themselves;
    /// [`Error::Setting`] for a share outside (0, 1].
    pub fn of(&self, source: Arc<dyn Source>, split: Split) -> Result<Arc<dyn Source>, Error> {
        let labels = self.labels.as_ref().filter(|_| split == Split::Train);
        if self.classes.is_none() && labels.is_none() {
            return Ok(source);
        }
        let mut part = Part::all(source);
        // A list of files is of all classes, a share is of those that are kept.
        if let Some(Labels::List(path)) = labels {
            part.keep_listed_labels(path)?;
        }
        if let Some(classes) = &self.classes {
            part.keep_classes(classes, split)?;
        }
        if let Some(&Labels::Fraction(fraction)) = labels {
            part.keep_labels_of(fraction)?;
        }
        Ok(Arc::new(part))
    }
}

/// The images of a set that have a label; `None` where all have one.
pub(crate) fn labelled_indices(source: &dyn Source) -> Option<Vec<u32>> {
    let is_labelled = |index: &usize| source.label(*index).is_some();
    let first = (0..source.len()).find(|index| !is_labelled(index))?;
    let labelled = (0..first).chain((first..source.len()).filter(is_labelled));
    // Loaders refuse more images than can be numbered so.
    Some(labelled.map(|index| u32::try_from(index).unwrap_or(u32::MAX)).collect())
}

/// The images of a set at these places.
pub(crate) fn selected(source: Arc<dyn Source>, indices: &[u32]) -> Arc<dyn Source> {
    let mut part = Part::all(source);
    part.labels = indices.iter().map(|&i| part.labels.get(i as usize).copied().flatten()).collect();
    part.images = indices.iter().map(|&i| i as usize).collect();
    Arc::new(part)
}

/// Positions of a share of every class: `round(fraction·n_c)` of the `n_c` members of class `c`, but at least one, drawn without
/// replacement, in order. Smaller fractions of one seed are subsets of larger ones.
pub(crate) fn share_of_classes(
    labels: impl Iterator<Item = (usize, u32)>,
    num_classes: usize,
    fraction: f64,
    seed: u64,
) -> Vec<usize> {
    let mut classes = vec![Vec::new(); num_classes];
    for (index, label) in labels {
        classes[label as usize].push(index);
    }
    let mut chosen = Vec::new();
    for (class, members) in (0u32..).zip(&mut classes) {
        Rng::new(seed, Purpose::Eval, [u32::MAX, class, 0]).shuffle(members);
        let share = (fraction * members.len() as f64).round() as usize;
        chosen.extend(members.iter().take(share.max(1)));
    }
    chosen.sort_unstable();
    chosen
}

/// Some images of a set, with labels of their own.
struct Part {
    source: Arc<dyn Source>,
    images: Vec<usize>,
    labels: Vec<Option<u32>>,
    class_names: Vec<String>,
    is_labelled: bool,
}

impl Part {
    fn all(source: Arc<dyn Source>) -> Self {
        let num_classes = source.num_classes().unwrap_or(0);
        // Whatever a source says, labels are below the number of classes from here on.
        let label = |index| source.label(index).filter(|label| (*label as usize) < num_classes);
        Self {
            images: (0..source.len()).collect(),
            labels: (0..source.len()).map(label).collect(),
            class_names: source.class_names().to_vec(),
            is_labelled: source.num_classes().is_some(),
            source,
        }
    }

    fn keep_classes(&mut self, classes: &Classes, split: Split) -> Result<(), Error> {
        let (origin, wanted) = match classes {
            Classes::List(path) => (path.display().to_string(), read_list(path)?),
            Classes::Names(names) => ("data.classes".into(), names.clone()),
        };
        let refuse = |problem: String| Err(Error::Subset { list: origin.clone(), problem });
        if !self.is_labelled {
            return refuse("the images have no classes to choose from; leave the list out".into());
        }
        let known: HashMap<&str, usize> =
            self.class_names.iter().zip(0..).map(|(name, i)| (name.as_str(), i)).collect();
        let mut is_kept = vec![false; self.class_names.len()];
        let mut missing = Vec::new();
        for entry in &wanted {
            let first = entry.split_whitespace().next().unwrap_or(entry);
            match known.get(entry.as_str()).or_else(|| known.get(first)) {
                Some(&class) => is_kept[class] = true,
                None => missing.push(entry.as_str()),
            }
        }
        // Fewer classes may be among the test images, and their own classes are what those of the training images are held against.
        if !missing.is_empty() && (split == Split::Train || !is_kept.contains(&true)) {
            let names = || self.class_names.iter().map(String::as_str);
            let shown = missing.iter().map(|entry| match nearest(&shortened(entry), names()) {
                Some(near) => format!("{} (did you mean {}?)", quoted(entry), quoted(near)),
                None => quoted(entry),
            });
            return refuse(format!(
                "{} of {} classes are not in the data set: {}; it has {}",
                missing.len(),
                wanted.len(),
                listed(shown, missing.len()),
                listed(names().map(quoted), self.class_names.len())
            ));
        }
        if wanted.is_empty() {
            return refuse("it names no class; write one a line".into());
        }
        let mut number = 0;
        let numbers: Vec<Option<u32>> = is_kept
            .iter()
            .map(|&is_kept| {
                is_kept.then(|| {
                    number += 1;
                    number - 1
                })
            })
            .collect();
        let original = self.source.clone();
        let class_of = |image: usize| numbers.get(original.label(image)? as usize).copied()?;
        // Images of these classes stay also where their labels are withheld.
        let kept = self.images.iter().zip(&self.labels).filter_map(|(&image, label)| {
            let class = class_of(image)?;
            Some((image, label.map(|_| class)))
        });
        (self.images, self.labels) = kept.unzip();
        let mut is_kept = is_kept.into_iter();
        self.class_names.retain(|_| is_kept.next().unwrap_or(false));
        if self.images.is_empty() {
            let part = if split == Split::Train { "training" } else { "test" };
            return refuse(format!("there is no {part} image of its classes; choose others"));
        }
        Ok(())
    }

    fn keep_listed_labels(&mut self, path: &Path) -> Result<(), Error> {
        let refuse =
            |problem: String| Err(Error::Subset { list: path.display().to_string(), problem });
        // A list that is not there is told before a set that has no use for one.
        let entries = read_list(path)?;
        let Some(example) = self.source.relative_path(0).map(Cow::into_owned) else {
            return refuse(
                "the images of this data set have no file names to match; use data.label_fraction, or pack the set again if it is packed".into(),
            );
        };
        if !self.is_labelled {
            return refuse("the images have no labels; leave the list out".into());
        }
        let found = find(&entries, &*self.source);
        let bad = |wanted: &Found| {
            let all = entries.iter().zip(&found).filter(|(_, found)| *found == wanted);
            let names: Vec<_> = all.map(|(entry, _)| quoted(entry)).collect();
            (names.len(), listed(names.iter().cloned(), names.len()))
        };
        let total = entries.len();
        match (bad(&Found::Nothing), bad(&Found::Several)) {
            ((0, _), (0, _)) => {}
            ((0, _), (n, names)) => {
                return refuse(format!(
                    "{n} of {total} entries name several images: {names}; write them with their folders, such as '{example}'"
                ));
            }
            ((n, names), _) => {
                return refuse(format!(
                    "{n} of {total} entries name no training image: {names}; the images are named like '{example}'"
                ));
            }
        }
        if entries.is_empty() {
            return refuse("it names no image; write one a line".into());
        }
        let kept: HashSet<usize> = found
            .into_iter()
            .filter_map(
                |found| if let Found::One { image, .. } = found { Some(image) } else { None },
            )
            .collect();
        for (image, label) in self.images.iter().zip(&mut self.labels) {
            *label = label.filter(|_| kept.contains(image));
        }
        Ok(())
    }

    fn keep_labels_of(&mut self, fraction: f64) -> Result<(), Error> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            return Err(Error::setting("label_fraction", &fraction, "above 0 and at most 1"));
        }
        let labels = (0..).zip(&self.labels).filter_map(|(i, label)| Some((i, (*label)?)));
        let chosen = share_of_classes(labels, self.class_names.len(), fraction, SEED);
        let mut chosen = chosen.into_iter().peekable();
        for (i, label) in (0..).zip(&mut self.labels) {
            *label = label.filter(|_| chosen.next_if_eq(&i).is_some());
        }
        Ok(())
    }
}

fn quoted(name: &str) -> String {
    format!("'{}'", shortened(name))
}

/// The first few, and that there are more.
fn listed(names: impl Iterator<Item = String>, total: usize) -> String {
    let mut shown: Vec<String> = names.take(MAX_NAMED).collect();
    if total > MAX_NAMED {
        shown.push(format!("… ({total} in all)"));
    }
    shown.join(", ")
}

/// The lines of a list, without empty ones and remarks.
fn read_list(path: &Path) -> Result<Vec<String>, Error> {
    // Not opened before it is known to be a file, which would wait for the writer of a pipe.
    let metadata = fs::metadata(path).map_err(Error::unreadable(path))?;
    let refuse = |problem: String| Error::Subset { list: path.display().to_string(), problem };
    if !metadata.is_file() {
        return Err(refuse("it is no file; give a text with one name a line".into()));
    }
    if metadata.len() > MAX_LIST {
        return Err(refuse(format!("it has more than {MAX_LIST} bytes; give a list of names")));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_LIST).read_to_end(&mut bytes))
        .map_err(Error::unreadable(path))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| refuse("it is no UTF-8 text; give one name a line".into()))?;
    // Editors of Windows begin files with a mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(String::from).collect())
}

/// The image that an entry of a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    One { image: usize, is_exact: bool },
    Several,
}

/// Looks for the images that entries name, in one pass over the set.
fn find(entries: &[String], source: &dyn Source) -> Vec<Found> {
    let mut by_stem: HashMap<&str, Vec<usize>> = HashMap::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        by_stem.entry(stem(entry)).or_default().push(i);
    }
    let mut found = vec![Found::Nothing; entries.len()];
    for image in 0..source.len() {
        let Some(path) = source.relative_path(image) else { continue };
        for &i in by_stem.get(stem(&path)).into_iter().flatten() {
            let entry = &entries[i];
            if !folders_agree(entry, &path) {
                continue;
            }
            // `a.jpg` is the image of that name rather than `a.png`.
            let is_exact = file_name(entry) == file_name(&path);
            found[i] = match found[i] {
                Found::Nothing => Found::One { image, is_exact },
                Found::One { is_exact: before, .. } if before != is_exact => {
                    if before {
                        found[i]
                    } else {
                        Found::One { image, is_exact }
                    }
                }
                Found::One { .. } | Found::Several => Found::Several,
            };
        }
    }
    found
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The file's name without an ending that images have.
fn stem(path: &str) -> &str {
    let name = file_name(path);
    if folder::is_image(Path::new(name)) {
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    } else {
        name
    }
}

/// Whether two paths have the same folders, from the last one up as far as both go.
fn folders_agree(a: &str, b: &str) -> bool {
    let folders = |path| str::rsplit(path, ['/', '\\']).skip(1).filter(|folder| *folder != ".");
    folders(a).zip(folders(b)).all(|(a, b)| a == b)
}

/// What the set around has for an image of this one.
macro_rules! by_position {
    ($self:ident, $index:ident, $method:ident($($argument:expr),*)) => {
        match $self.images.get($index) {
            Some(&image) => $self.source.$method(image, $($argument),*),
            None => Err(Error::image(format!("image {}", $index), "there are fewer images")),
        }
    };
}

impl Source for Part {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn num_classes(&self) -> Option<usize> {
        self.is_labelled.then_some(self.class_names.len())
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        by_position!(self, index, load(into))
    }

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        by_position!(self, index, encoded(into))
    }

    fn name(&self, index: usize) -> String {
        self.images
            .get(index)
            .map_or_else(|| format!("image {index}"), |&image| self.source.name(image))
    }

    fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
        self.source.relative_path(*self.images.get(index)?)
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        self.source.num_bytes(*self.images.get(index)?)
    }
}

#[cfg(test)]
mod tests;
