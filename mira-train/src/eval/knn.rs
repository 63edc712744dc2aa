//! Weighted k-nearest-neighbour classification of L2-normalised features.
//!
//! Each of the `k` training samples with the largest cosine votes for its class with weight `exp(cos/T)` (Wu et al. 2018; the protocol of
//! DINO, with k = 20 and T = 0.07; its code resizes images bicubically where evaluations here are bilinear, as linear probes'). A vector of zeros has cosine 0 with everything.

mod search;

use rayon::prelude::*;

use super::accuracy::Outcome;
use super::{Accuracy, Error, Features, NEVER, Stop, check_pair};
pub use search::{Neighbours, check_num_neighbours, neighbours, neighbours_within};

/// How many neighbours vote, and how sharply their cosines are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Number of neighbours, from 1 to the number of training samples.
    pub k: usize,
    /// Temperature `T > 0` of the weights `exp(cos/T)`; `+∞` counts every neighbour the same.
    pub temperature: f64,
}

/// Accuracy at one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct KnnResult {
    /// Where it was measured.
    pub setting: Setting,
    /// What came out; classes nobody voted for do not count among the first five.
    pub accuracy: Accuracy,
}

/// Classifies `test` by the `k` nearest samples of `train`; equal votes go to the smaller class, equal cosines to the earlier sample.
///
/// # Errors
/// Unusable features, sets that do not belong together, `k` of 0 or above the number of training samples, a temperature that is not
/// positive.
///
/// # Example
/// ```
/// use mira_train::eval::{Features, knn};
/// let set = |rows: &[f32], labels: &[u32]| Features { dim: 2, rows: rows.into(), labels: labels.into(), num_classes: 2 };
/// let train = set(&[1.0, 0.0, 0.0, 1.0, 0.1, 0.9], &[0, 1, 1]);
/// let test = set(&[5.0, 0.2, 0.0, 0.3], &[0, 1]);
/// assert_eq!(knn::top1(&train, &test, 2, 0.07)?.accuracy.top1, 1.0);
/// # Ok::<(), mira_train::eval::Error>(())
/// ```
pub fn top1(
    train: &Features,
    test: &Features,
    k: usize,
    temperature: f64,
) -> Result<KnnResult, Error> {
    top1_unless(NEVER, train, test, k, temperature)
}

/// [`top1`], given up where `stop` says so.
///
/// # Errors
/// As [`top1`], and [`Error::Stopped`].
pub fn top1_unless(
    stop: Stop<'_>,
    train: &Features,
    test: &Features,
    k: usize,
    temperature: f64,
) -> Result<KnnResult, Error> {
    let mut results = sweep_unless(stop, train, test, &[Setting { k, temperature }])?;
    results.pop().ok_or(Error::Empty { set: "settings" })
}

/// [`top1`] at several settings from one search for neighbours; results in the order of the settings.
///
/// # Errors
/// As [`top1`].
pub fn sweep(
    train: &Features,
    test: &Features,
    settings: &[Setting],
) -> Result<Vec<KnnResult>, Error> {
    sweep_unless(NEVER, train, test, settings)
}

fn sweep_unless(
    stop: Stop<'_>,
    train: &Features,
    test: &Features,
    settings: &[Setting],
) -> Result<Vec<KnnResult>, Error> {
    check_pair(train, test)?;
    for &Setting { k, temperature } in settings {
        search::check_num_neighbours(k, train.len())?;
        if temperature.is_nan() || temperature <= 0.0 {
            let (name, expected) = ("knn_temperature", "above 0");
            return Err(Error::Setting { name, expected, got: temperature });
        }
    }
    let Some(largest) = settings.iter().map(|setting| setting.k).max() else {
        return Ok(Vec::new());
    };
    let found = search::neighbours_unless(stop, train, test, largest)?;
    let result = |&setting: &Setting| {
        let outcomes: Vec<Outcome> = (0..test.len())
            .into_par_iter()
            .map_init(
                || vec![0.0; train.num_classes],
                |votes, row| {
                    vote(&found, row, setting, &train.labels, votes);
                    Outcome::of(votes, test.labels[row])
                },
            )
            .collect();
        KnnResult { setting, accuracy: Accuracy::new(&outcomes, &test.labels, test.num_classes) }
    };
    Ok(settings.iter().map(result).collect())
}

/// Sums the votes for each class, −∞ where there is none.
fn vote(found: &Neighbours, row: usize, setting: Setting, labels: &[u32], votes: &mut [f64]) {
    votes.fill(f64::NEG_INFINITY);
    let (indices, cosines) = found.of(row);
    // Relative to the nearest: the same order of classes, and no overflow at any temperature.
    let nearest = f64::from(cosines[0]);
    for (&index, &cosine) in indices.iter().zip(cosines).take(setting.k) {
        let weight = ((f64::from(cosine) - nearest) / setting.temperature).exp();
        let vote = &mut votes[labels[index as usize] as usize];
        *vote = vote.max(0.0) + weight;
    }
}

#[cfg(test)]
mod tests;
