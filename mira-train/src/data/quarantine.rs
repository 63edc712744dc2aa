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

/// The share of unreadable images that runs allow by default: no accuracy is then off by more than 0.1 points for want of them, while a
/// copy that broke off, or a decoder that cannot read a set, is far above it.
pub(crate) const DEFAULT_MAX_BAD_FRACTION: f64 = 0.001;

/// Whether so many unreadable images are more than a fraction allows. A fraction above 0 allows at least one, or the first would end
/// every run on a set of fewer than 1/fraction images.
pub(crate) fn are_too_many(num_bad: usize, num_images: usize, max_bad_fraction: f64) -> bool {
    let least = if max_bad_fraction > 0.0 { 1.0 } else { 0.0 };
    num_bad as f64 > (max_bad_fraction * num_images as f64).max(least)
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
        if are_too_many(num_bad, num_images, max_bad_fraction) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn a_fraction_allows_its_share_and_at_least_one() {
        for (num_bad, num_images, fraction, expected) in [
            (0, 10, 0.0, false),
            (1, 10, 0.0, true),
            (1, 1_000_000, 0.0, true),
            (1, 10, 0.001, false),
            (2, 10, 0.001, true),
            (2, 2000, 0.001, false),
            (2, 1999, 0.001, true),
            (1281, 1_281_167, 0.001, false),
            (1282, 1_281_167, 0.001, true),
            (5, 10, 0.5, false),
            (6, 10, 0.5, true),
            (10, 10, 1.0, false),
        ] {
            let got = are_too_many(num_bad, num_images, fraction);
            assert_eq!(got, expected, "{num_bad} of {num_images}, {fraction}");
        }
    }

    #[test]
    fn the_default_is_that_of_recipes() {
        let recipe = Recipe::builtin("default").unwrap();
        assert_eq!(recipe.data.max_bad_fraction, DEFAULT_MAX_BAD_FRACTION);
    }
}
