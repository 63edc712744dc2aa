//! Memory of the CPU backend: K- and B-vectors and one column sum per block of rows; the kernel matrix lives in the output.

use mira_core::{Error, FixedPoint, Shape};

use crate::element::Real;
use crate::memory;
use crate::rows::BlockStats;
use mira_simd::padded;

/// Scratch and state for problems of one shape; made by [`CpuAssigner`](crate::CpuAssigner).
///
/// Holds about `(B/64 + 50)·K + B` numbers: the B × K kernel itself is built in the output array. (For problems that need the log
/// domain it reserves `3·(B/64)·K` more, address space only until then.) It also carries what a method remembers between batches:
/// MIRA's and Sinkhorn–Knopp's column weights (a warm start) and DINO's centre.
#[derive(Debug)]
pub struct CpuWorkspace<A> {
    pub(crate) shape: Shape,
    pub(crate) block_rows: usize,
    pub(crate) fixed_point: FixedPoint,
    pub(crate) memory: Memory<A>,
}

/// What a sweep works on, apart from the driver's vectors.
#[derive(Debug)]
pub(crate) struct Memory<A> {
    /// Blocks × padded K.
    pub(crate) partials: Vec<A>,
    pub(crate) weights: Vec<A>,
    /// Log weights already multiplied into the kernel.
    pub(crate) reference: Vec<f64>,
    /// Per row: `ln Σ_l e^{a_l + S_il/ε}` at the reference weights.
    pub(crate) log_rows: Vec<f64>,
    pub(crate) stats: Vec<BlockStats>,
    pub(crate) errors: Vec<Option<Error>>,
    /// For problems that need the log domain: the log2 weights, and per block a row, column maxima and column sums. Zeroed
    /// memory that is never touched costs address space only.
    pub(crate) log_domain: Vec<f64>,
}

impl<A: Real> CpuWorkspace<A> {
    pub(crate) fn new(shape: Shape) -> Result<Self, Error> {
        // Block size depends on the shape alone, so results do not depend on the number of threads. Small batches get small
        // blocks to have some parallelism; large ones at most 64 rows, which bounds the error of their f32 sums.
        let block_rows = (shape.batch() / 8).clamp(8, 64);
        let num_blocks = shape.batch().div_ceil(block_rows);
        let k = shape.num_prototypes();
        let of_k = size_of::<A>() * (num_blocks + 1) + size_of::<f64>() * (3 * num_blocks + 32);
        let of_block = size_of::<BlockStats>() + size_of::<Option<Error>>();
        let bytes = of_k
            .saturating_mul(padded(k))
            .saturating_add(of_block.saturating_mul(num_blocks))
            .saturating_add(size_of::<f64>().saturating_mul(shape.batch()));
        if !memory::is_there(bytes) {
            return Err(Error::OutOfMemory { what: "a workspace", shape, bytes });
        }
        Ok(Self {
            shape,
            block_rows,
            fixed_point: FixedPoint::new(k),
            memory: Memory {
                partials: vec![A::zero(); num_blocks * padded(k)],
                weights: vec![A::zero(); padded(k)],
                reference: vec![0.0; k],
                log_rows: vec![0.0; shape.batch()],
                stats: vec![BlockStats::default(); num_blocks],
                errors: vec![None; num_blocks],
                log_domain: vec![0.0; (3 * num_blocks + 1) * k],
            },
        })
    }

    /// The shape this memory is for.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Natural-log column weights `a` of the last assignment (`W_ij ∝ e^{a_j + S_ij/ε}`), up to an additive constant.
    ///
    /// What [`verify_at`](mira_core::verify_at) takes as the dual point, and what a warm start continues from.
    pub fn log_weights(&self) -> &[f64] {
        self.fixed_point.log_weights()
    }

    /// Whether the next assignment can start from [`log_weights`](Self::log_weights): not before the first assignment, nor after one that
    /// failed. Where it is false, a checkpoint must not keep the weights: restored, they would be a start that this workspace does not have.
    pub const fn has_warm_start(&self) -> bool {
        self.fixed_point.has_warm_start()
    }

    /// Restores a warm start, as from a checkpoint of a workspace that [had one](Self::has_warm_start): the next assignment has the bits of that
    /// workspace's. There is nothing to report until then.
    ///
    /// # Errors
    /// [`mira_core::Error::LengthMismatch`] unless there are K values, [`mira_core::Error::InvalidState`] unless all are at most 1e300 in magnitude.
    pub fn set_log_weights(&mut self, log_weights: &[f64]) -> Result<(), crate::Error> {
        Ok(self.fixed_point.set_log_weights(log_weights)?)
    }

    /// DINO's centre `c`, in units of the logits.
    pub fn center(&self) -> &[f64] {
        self.fixed_point.center()
    }

    /// Restores the centre, as from a checkpoint.
    ///
    /// # Errors
    /// [`mira_core::Error::LengthMismatch`] unless there are K values, [`mira_core::Error::InvalidState`] unless all are at most 1e300 in magnitude.
    pub fn set_center(&mut self, center: &[f64]) -> Result<(), crate::Error> {
        Ok(self.fixed_point.set_center(center)?)
    }
}
