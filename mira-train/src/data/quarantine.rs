//! Images that cannot be read: each counted once, told by name, and no more of them than allowed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Error, Source, checked};

/// An image that cannot be read: training takes another in its place, evaluation does without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its index in the source.
    pub index: u32,
    /// What the source calls it.
    pub name: String,
    /// Why it cannot be read.
    pub problem: String,
}

/// The unreadable images of a set.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    known: BTreeSet<u32>,
    news: Vec<Quarantined>,
}

impl Quarantine {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Counts images as unreadable that are known to be so.
    pub(super) fn remember(&mut self, indices: impl IntoIterator<Item = u32>) {
        self.known.extend(indices);
    }

    /// Counts an image, which is an error if it is one too many.
    pub(super) fn add(
        &mut self,
        source: &dyn Source,
        (index, error): (u32, &Error),
        max_bad_fraction: f64,
    ) -> Result<(), Error> {
        if self.known.insert(index) {
            let name = checked::name(source, index as usize);
            self.news.push(Quarantined { index, name, problem: error.to_string() });
        }
        let (num_bad, num_images) = (self.len(), source.len());
        if num_bad as f64 > max_bad_fraction * num_images as f64 {
            let last = error.to_string();
            return Err(Error::TooManyBad { num_bad, num_images, max_bad_fraction, last });
        }
        Ok(())
    }

    /// The images found since this was last called.
    pub(super) fn take_news(&mut self) -> Vec<Quarantined> {
        std::mem::take(&mut self.news)
    }
}
