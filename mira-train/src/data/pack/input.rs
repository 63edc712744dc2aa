//! What is packed and how, and what is said about it.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use super::Pixels;
use crate::data::classes::has_classes_of;
use crate::data::{self, Error, Format, Source, Split};

/// What is packed.
#[derive(Clone)]
pub struct PackInput {
    /// Training images.
    pub train: Arc<dyn Source>,
    /// Test images of the same classes, where there are any.
    pub test: Option<Arc<dyn Source>>,
}

/// How.
#[derive(Clone, Debug, PartialEq)]
pub struct PackOptions {
    /// What an image becomes.
    pub pixels: Pixels,
    /// Threads; 0 for one a processor. The bytes do not depend on it.
    pub num_threads: usize,
    /// Fraction of the images that may be unreadable and are left out, at least one unless it is 0; one more ends the work.
    pub max_bad_fraction: f64,
    /// Bytes of a shard, at most, unless a single image has more; part of what makes sets equal.
    pub shard_bytes: u64,
    /// Bytes of images between commits: as much work an interruption may cost.
    pub commit_bytes: u64,
}

impl Default for PackOptions {
    /// Original bytes in shards of 1 GiB; at most 1 % bad images.
    fn default() -> Self {
        Self {
            pixels: Pixels::Original,
            num_threads: 0,
            max_bad_fraction: 0.01,
            shard_bytes: 1 << 30,
            commit_bytes: 64 << 20,
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackProgress {
    /// Images packed or left out, those of an interrupted run before this one included.
    pub num_done: usize,
    /// All images.
    pub num_images: usize,
    /// Images left out.
    pub num_skipped: usize,
    /// Bytes of images.
    pub num_bytes: u64,
}

/// What a finished set holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackReport {
    /// Images in it and left out, by split.
    pub train: SplitReport,
    /// `None` where the input has no test split.
    pub test: Option<SplitReport>,
    /// Bytes of all files.
    pub num_bytes: u64,
    /// Images that an interrupted run had already packed or left out; all of them where the set was complete.
    pub num_resumed: usize,
}

/// Images of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitReport {
    /// In the set.
    pub num_packed: usize,
    /// Left out.
    pub num_skipped: usize,
}

impl std::fmt::Debug for PackInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let test = self.test.as_ref().map(|test| test.len());
        f.debug_struct("PackInput").field("train", &self.train.len()).field("test", &test).finish()
    }
}

impl PackInput {
    /// Opens both splits of a data set; the test split may be missing.
    ///
    /// # Errors
    /// As [`open`](data::open()), also for a test split that is there but cannot be used; [`Error::Inconsistent`] where the splits have
    /// different classes.
    pub fn open(format: Format, path: &Path) -> Result<Self, Error> {
        let train = data::open(format, Some(path), Split::Train)?;
        let test = match data::open(format, Some(path), Split::Test) {
            Ok(test) => Some(test),
            Err(Error::NotRecognised { .. }) => None,
            // Left out, it would not be missed before the set is used.
            Err(error) => return Err(error),
        };
        if let Some(test) = &test
            && test.num_classes().is_some()
            && !has_classes_of(&**test, &*train)
        {
            let problem = format!(
                "its test images have {} classes, its training images {}, or of other names; make them the same",
                test.class_names().len(),
                train.class_names().len()
            );
            return Err(Error::inconsistent(path, problem));
        }
        Ok(Self { train, test })
    }

    /// The splits that are there, with their names.
    pub(super) fn splits(&self) -> impl Iterator<Item = (&'static str, &Arc<dyn Source>)> {
        [("train", Some(&self.train)), ("test", self.test.as_ref())]
            .into_iter()
            .filter_map(|(name, source)| Some((name, source?)))
    }

    /// All images.
    pub fn num_images(&self) -> usize {
        self.splits().map(|(_, source)| source.len()).sum()
    }

    /// The split and the place in it of an image counted through all splits.
    pub(super) fn at(&self, position: usize) -> (&'static str, &Arc<dyn Source>, usize) {
        match &self.test {
            Some(test) if position >= self.train.len() => {
                ("test", test, position - self.train.len())
            }
            _ => ("train", &self.train, position),
        }
    }
}

impl PackOptions {
    pub(super) fn validate(&self, input: &PackInput) -> Result<(), Error> {
        self.pixels.validate()?;
        if !(0.0..=1.0).contains(&self.max_bad_fraction) {
            return Err(Error::setting("max_bad_fraction", &self.max_bad_fraction, "0 to 1"));
        }
        let num_images = input.num_images();
        if u32::try_from(num_images).is_err() {
            return Err(Error::setting("number of images", &num_images, "less than 2^32"));
        }
        Ok(())
    }

    pub(super) fn threads(&self) -> usize {
        match self.num_threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            n => n.min(1024),
        }
    }
}
