//! Hard labels and usage statistics of an assignment.

#![allow(clippy::needless_pass_by_value)] // views are passed by value, as everywhere with ndarray

use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array1, Array2, ArrayView2};

use crate::Error;
use crate::element::Real;
use crate::parallel::{Disjoint, with_team};

/// Rows that a thread takes at once.
const BLOCK: usize = 64;

/// The most probable prototype of every row: `argmax_j w_ij`, B indices.
///
/// Ties go to the lowest index, so labels do not depend on threads or instruction sets.
///
/// # Errors
/// [`mira_core::Error::EmptyShape`]; [`mira_core::Error::NotAnAssignment`] for a row with NaN, naming it.
///
/// # Example
/// ```
/// let w = ndarray::array![[0.2f32, 0.7, 0.1], [0.4, 0.4, 0.2]];
/// assert_eq!(mira_cpu::argmax(w.view())?.to_vec(), [1, 0]);
/// # Ok::<(), mira_cpu::Error>(())
/// ```
pub fn argmax<A: Real>(assignment: ArrayView2<'_, A>) -> Result<Array1<usize>, Error> {
    mira_core::Shape::new(assignment.nrows(), assignment.ncols())?;
    Ok(top_k(assignment, 1)?.0.remove_axis(ndarray::Axis(1)))
}

/// The k most probable prototypes of every row, B × k indices and probabilities, in descending order of probability; ties go to
/// the lowest index.
///
/// # Errors
/// [`Error::InvalidTopK`] unless 1 ≤ k ≤ K; [`mira_core::Error::NotAnAssignment`] for a row with NaN, naming it.
///
/// # Example
/// ```
/// let w = ndarray::array![[0.2f32, 0.7, 0.1], [0.4, 0.4, 0.2]];
/// let (indices, probabilities) = mira_cpu::top_k(w.view(), 2)?;
/// assert_eq!(indices, ndarray::array![[1, 0], [0, 1]]);
/// assert_eq!(probabilities, ndarray::array![[0.7, 0.2], [0.4, 0.4]]);
/// # Ok::<(), mira_cpu::Error>(())
/// ```
pub fn top_k<A: Real>(
    assignment: ArrayView2<'_, A>,
    k: usize,
) -> Result<(Array2<usize>, Array2<A>), Error> {
    let (batch, num_prototypes) = assignment.dim();
    if !(1..=num_prototypes).contains(&k) {
        return Err(Error::InvalidTopK { k, num_prototypes });
    }
    let mut indices = Array2::zeros((batch, k));
    let mut probabilities = Array2::from_elem((batch, k), A::zero());
    // The first row with a NaN.
    let refused = AtomicUsize::new(usize::MAX);
    // Both are their own, and so in order.
    let into_indices = Disjoint::new(indices.as_slice_mut().unwrap_or_default());
    let into_probabilities = Disjoint::new(probabilities.as_slice_mut().unwrap_or_default());
    let block = |block: usize| {
        let first = block * BLOCK;
        // SAFETY: both arrays are borrowed until the team has done every block, and blocks have rows of their own.
        let (indices, probabilities) = unsafe {
            (into_indices.part(first * k, BLOCK * k), into_probabilities.part(first * k, BLOCK * k))
        };
        let rows = indices.chunks_exact_mut(k).zip(probabilities.chunks_exact_mut(k));
        for (row, (indices, probabilities)) in (first..).zip(rows) {
            let Some(best) = best_of(assignment.row(row).iter().copied(), k) else {
                refused.fetch_min(row, Ordering::Relaxed);
                return;
            };
            for ((index, probability), found) in indices.iter_mut().zip(probabilities).zip(best) {
                (*index, *probability) = found;
            }
        }
    };
    if batch > 0 {
        with_team(|team| team.for_each_block(batch.div_ceil(BLOCK), block));
    }
    match refused.into_inner() {
        usize::MAX => Ok((indices, probabilities)),
        row => {
            let problem = "it has a NaN".to_owned();
            Err(mira_core::Error::NotAnAssignment { row, problem }.into())
        }
    }
}

/// The k largest with their indices, largest first, earlier before later among equals; `None` if there is a NaN.
fn best_of<A: Real>(row: impl Iterator<Item = A>, k: usize) -> Option<Vec<(usize, A)>> {
    let mut best: Vec<(usize, A)> = Vec::with_capacity(k + 1);
    for (index, value) in row.enumerate() {
        if value.is_nan() {
            return None;
        }
        if best.len() < k || best.last().is_some_and(|(_, lowest)| value > *lowest) {
            // After all that are at least as large: earlier ones win ties.
            let place = best.partition_point(|(_, other)| *other >= value);
            best.insert(place, (index, value));
            best.truncate(k);
        }
    }
    Some(best)
}

/// How a batch uses the prototypes.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// `w̄_j = (1/B) Σ_i w_ij`, K values that sum to 1.
    pub marginal: Array1<f64>,
    /// Entropy of the marginal `−Σ w̄ log w̄` in nats, in [0, log K].
    pub entropy: f64,
    /// `exp(entropy)`, the effective number of prototypes in use, in [1, K].
    pub perplexity: f64,
    /// Mean entropy of the rows in nats: 0 for hard labels, `log K` for uniform ones.
    pub mean_row_entropy: f64,
    /// Mutual information of sample and prototype, `entropy − mean_row_entropy`, in nats.
    pub mutual_information: f64,
    /// Prototypes that are the most probable of no row.
    pub num_unused: usize,
}

/// Usage statistics of an assignment.
///
/// # Errors
/// [`mira_core::Error::EmptyShape`]; [`mira_core::Error::NotAnAssignment`] for a row that has a NaN, an infinite or a negative entry, or does not sum to 1 within
/// 1e-3, as logits do not.
///
/// # Example
/// ```
/// let hard = ndarray::array![[1.0f32, 0.0, 0.0], [0.0, 1.0, 0.0]];
/// let usage = mira_cpu::usage(hard.view())?;
/// assert!((usage.perplexity - 2.0).abs() < 1e-12);
/// assert_eq!((usage.mean_row_entropy, usage.num_unused), (0.0, 1));
/// # Ok::<(), mira_cpu::Error>(())
/// ```
pub fn usage<A: Real>(assignment: ArrayView2<'_, A>) -> Result<Usage, Error> {
    let shape = mira_core::Shape::new(assignment.nrows(), assignment.ncols())?;
    let entropy_of = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    let mut used = vec![false; shape.num_prototypes()];
    for label in argmax(assignment)? {
        used[label] = true;
    }
    let mut marginal = Array1::<f64>::zeros(shape.num_prototypes());
    let mut row_entropy = 0.0;
    for (row, values) in assignment.rows().into_iter().enumerate() {
        let mut total = 0.0;
        for (column, (sum, w)) in marginal.iter_mut().zip(values).enumerate() {
            let w: f64 = w.as_();
            if !(w >= 0.0 && w.is_finite()) {
                let problem = format!("column {column} is {w}");
                return Err(mira_core::Error::NotAnAssignment { row, problem }.into());
            }
            *sum += w;
            total += w;
            row_entropy += entropy_of(w);
        }
        if (total - 1.0).abs() > 1e-3 {
            let problem = format!("it sums to {total}");
            return Err(mira_core::Error::NotAnAssignment { row, problem }.into());
        }
    }
    let batch = shape.batch() as f64;
    marginal /= batch;
    let entropy: f64 = marginal.iter().map(|p| entropy_of(*p)).sum();
    let mean_row_entropy = row_entropy / batch;
    Ok(Usage {
        marginal,
        entropy,
        perplexity: entropy.exp(),
        mean_row_entropy,
        mutual_information: entropy - mean_row_entropy,
        num_unused: used.iter().filter(|u| !**u).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn top_k_agrees_with_a_stable_sort() {
        // Few distinct values, so that ties are everywhere.
        let w = Array2::from_shape_fn((40, 23), |(i, j)| ((i * 7 + j * 13) % 5) as f64 / 4.0);
        for k in [1, 2, 7, 23] {
            let (indices, values) = top_k(w.view(), k).unwrap();
            for i in 0..40 {
                let mut order: Vec<usize> = (0..23).collect();
                order.sort_by(|a, b| w[[i, *b]].total_cmp(&w[[i, *a]]));
                assert_eq!(indices.row(i).to_vec(), order[..k], "row {i}, k {k}");
                assert!((0..k).all(|r| values[[i, r]] == w[[i, order[r]]]));
            }
        }
    }

    #[test]
    fn bad_requests_are_refused() {
        let w = array![[0.5, 0.5], [f64::NAN, 1.0]];
        assert_eq!(top_k(w.view(), 0), Err(Error::InvalidTopK { k: 0, num_prototypes: 2 }));
        assert_eq!(top_k(w.view(), 3), Err(Error::InvalidTopK { k: 3, num_prototypes: 2 }));
        let error = argmax(w.view()).unwrap_err().to_string();
        assert!(error.contains("row 1"), "{error}");
        assert!(usage(Array2::<f32>::zeros((0, 3)).view()).is_err());
    }

    #[test]
    fn what_is_no_assignment_has_no_usage() {
        for row in [[0.9f32, -0.1, 0.2], [0.5, f32::INFINITY, 0.1], [3.0, 1.0, 0.5], [0.0; 3]] {
            let found = usage(ndarray::array![[0.2, 0.3, 0.5], row].view());
            let expected = mira_core::Error::NotAnAssignment { row: 1, problem: String::new() };
            let Err(Error::Core(error)) = found else { panic!("{row:?}: {found:?}") };
            assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&expected));
            assert!(error.to_string().contains("row 1 "), "{error}");
        }
        let nothing = argmax(Array2::<f32>::zeros((4, 0)).view());
        assert!(matches!(nothing, Err(Error::Core(mira_core::Error::EmptyShape { .. }))));
    }

    #[test]
    fn usage_of_uniform_and_of_hard_labels() {
        let uniform = usage(Array2::from_elem((6, 4), 0.25f64).view()).unwrap();
        assert!((uniform.perplexity - 4.0).abs() < 1e-12);
        assert!(uniform.mutual_information.abs() < 1e-12);
        assert_eq!(uniform.num_unused, 3); // every row's argmax is the first of its ties
        let balanced = Array2::from_shape_fn((8, 4), |(i, j)| f64::from(u8::from(i % 4 == j)));
        let hard = usage(balanced.view()).unwrap();
        assert!((hard.mutual_information - 4f64.ln()).abs() < 1e-12);
        assert_eq!(hard.num_unused, 0);
    }
}
