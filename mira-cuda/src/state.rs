//! What a workspace carries from batch to batch, as the host sees it: log weights and DINO's centre, for checkpoints and duals.

use std::ops::Range;

use mira_core::{Shape, check_state};

use crate::matrix::{fetched, not_captured};
use crate::params::{Control, KVector};
use crate::{CudaWorkspace, Error};

impl CudaWorkspace {
    /// The shape this memory is for.
    pub const fn shape(&self) -> Shape {
        self.plan.shape()
    }

    /// Whether there are log weights, of an assignment that was enqueued or restored ones: whether a checkpoint should keep them.
    pub const fn has_warm_start(&self) -> bool {
        self.assigned
    }

    /// Natural-log column weights `a` (`W_ij ∝ e^{a_j + S_ij/ε}`; K values) of the last assignment of `problem`, up to an additive
    /// constant; waits for the stream.
    ///
    /// What [`verify_at`](mira_core::verify_at) takes as the dual point, and what a warm start continues from.
    ///
    /// # Errors
    /// [`Error::Problems`] unless `problem` is one of the workspace's, [`Error::Capture`], [`Error::Driver`].
    pub fn log_weights(&self, problem: usize) -> Result<Vec<f64>, Error> {
        self.vector(KVector::LogWeights, problem)
    }

    /// Restores a warm start of `problem`, as from a checkpoint of a workspace that [had one](Self::has_warm_start). There is nothing to report until the next assignment.
    ///
    /// # Errors
    /// [`mira_core::Error::LengthMismatch`] unless there are K values, [`mira_core::Error::InvalidState`] unless all are at most 1e300 in
    /// magnitude; as [`log_weights`](Self::log_weights).
    pub fn set_log_weights(&mut self, problem: usize, log_weights: &[f64]) -> Result<(), Error> {
        let (control, start) = (self.plan.at_control(), self.start_of(problem)?);
        check_state("log weights", log_weights, self.plan.shape().num_prototypes())?;
        self.set_vector(KVector::LogWeights, problem, &centred(log_weights))?;
        // A new run's, in which weights are relative to 0.
        let at = start + control;
        let stream = self.memory.stream().clone();
        stream.memset_zeros(&mut self.memory.slice_mut(at..at + size_of::<Control>()))?;
        self.assigned = true;
        Ok(())
    }

    /// DINO's centre `c` (K values) of `problem`, in units of the logits; waits for the stream.
    ///
    /// # Errors
    /// As [`log_weights`](Self::log_weights).
    pub fn center(&self, problem: usize) -> Result<Vec<f64>, Error> {
        self.vector(KVector::Center, problem)
    }

    /// Restores the centre of `problem`, as from a checkpoint.
    ///
    /// # Errors
    /// As [`set_log_weights`](Self::set_log_weights).
    pub fn set_center(&mut self, problem: usize, center: &[f64]) -> Result<(), Error> {
        check_state("center", center, self.plan.shape().num_prototypes())?;
        self.set_vector(KVector::Center, problem, center)
    }

    fn vector(&self, vector: KVector, problem: usize) -> Result<Vec<f64>, Error> {
        let bytes = self.memory.slice(self.bytes_of(vector, problem)?);
        not_captured(self.memory.stream())?;
        self.leaving.wait_for_ranks()?;
        self.leaving.hand_over_to(self.memory.stream())?;
        let bytes = fetched(self.memory.stream(), &bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|b| f64::from_ne_bytes(*b)).collect())
    }

    /// Of as many values as [`check_state`] has seen.
    fn set_vector(&mut self, vector: KVector, problem: usize, values: &[f64]) -> Result<(), Error> {
        let range = self.bytes_of(vector, problem)?;
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        let stream = self.memory.stream().clone();
        not_captured(&stream)?;
        self.leaving.wait_for_ranks()?;
        self.leaving.hand_over_to(&stream)?;
        self.leaving.follow(&stream);
        stream.memcpy_htod(&bytes, &mut self.memory.slice_mut(range))?;
        // The copy may still be reading.
        Ok(stream.synchronize()?)
    }

    fn bytes_of(&self, vector: KVector, problem: usize) -> Result<Range<usize>, Error> {
        let at = self.start_of(problem)? + self.plan.at(vector);
        Ok(at..at + 8 * self.plan.shape().num_prototypes())
    }

    fn start_of(&self, problem: usize) -> Result<usize, Error> {
        if problem >= self.num_problems {
            let what = "index of a problem, below";
            return Err(Error::Problems { what, expected: self.num_problems, got: problem });
        }
        Ok(problem * self.plan.workspace_bytes)
    }
}

/// Weights whose extremes are as far above 0 as below it: a constant changes no assignment, and the kernels take weights as f32 powers.
fn centred(log_weights: &[f64]) -> Vec<f64> {
    let low = log_weights.iter().copied().fold(f64::INFINITY, f64::min);
    let high = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = 0.5 * low + 0.5 * high;
    log_weights.iter().map(|a| a - middle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restored_weights_lie_around_zero() {
        assert_eq!(centred(&[700.0, 705.0, 701.0]), [-2.5, 2.5, -1.5]);
        assert_eq!(centred(&[-1e308, 1e308]), [-1e308, 1e308], "no overflow on the way");
    }
}
