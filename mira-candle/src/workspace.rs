//! Memory and state between batches: the CPU backend's, in one of its two arithmetics.

use candle_core::DType;
use mira_core::Shape;
use mira_cpu::CpuWorkspace;

use crate::Error;

/// Scratch and state for problems of one shape; made by [`CandleAssigner`](crate::CandleAssigner).
///
/// Wraps [`CpuWorkspace`] in f32 or, for f64 logits, in f64. No B × K memory is in it. Keep one per stream of batches: it carries the
/// column weights (a warm start) and DINO's centre.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use mira_candle::CandleAssigner;
/// use mira_core::{Assigner, Mira, Shape};
///
/// let logits = Tensor::new(&[[0.9f32, 0.1], [0.2, 0.3], [-0.4, 0.8]], &Device::Cpu)?;
/// let assigner = CandleAssigner::new(Mira::default());
/// let (mut workspace, output) = (assigner.workspace(Shape::new(3, 2)?)?, assigner.output(Shape::new(3, 2)?)?);
/// assigner.assign_into(&logits, &output, &mut workspace)?;
/// assert_eq!(workspace.log_weights().len(), 2);
/// assert_eq!(workspace.copied_bytes(), 0);
/// # Ok::<(), mira_candle::Error>(())
/// ```
#[derive(Debug)]
pub struct Workspace {
    pub(crate) memory: Memory,
    pub(crate) copied_bytes: usize,
}

/// By arithmetic.
#[derive(Debug)]
pub(crate) enum Memory {
    F32(CpuWorkspace<f32>),
    F64(CpuWorkspace<f64>),
}

/// `$body` with the workspace of either arithmetic.
macro_rules! either {
    ($memory:expr, $workspace:ident => $body:expr) => {
        match $memory {
            Memory::F32($workspace) => $body,
            Memory::F64($workspace) => $body,
        }
    };
}

impl Workspace {
    /// The shape this memory is for.
    pub fn shape(&self) -> Shape {
        either!(&self.memory, workspace => workspace.shape())
    }

    /// The arithmetic, and the assignment's type: F32 or F64.
    pub fn dtype(&self) -> DType {
        match self.memory {
            Memory::F32(_) => DType::F32,
            Memory::F64(_) => DType::F64,
        }
    }

    /// Natural-log column weights `a` of the last assignment (`W_ij ∝ e^{a_j + S_ij/ε}`; K values), up to an additive constant.
    ///
    /// What [`verify_at`](mira_core::verify_at) takes as the dual point, and what a warm start continues from.
    pub fn log_weights(&self) -> &[f64] {
        either!(&self.memory, workspace => workspace.log_weights())
    }

    /// Restores a warm start, as from a checkpoint.
    ///
    /// # Errors
    /// [`mira_core::Error::LengthMismatch`] unless there are K finite values.
    pub fn set_log_weights(&mut self, log_weights: &[f64]) -> Result<(), Error> {
        either!(&mut self.memory, workspace => Ok(workspace.set_log_weights(log_weights)?))
    }

    /// DINO's centre `c` (K values), in units of the logits.
    pub fn center(&self) -> &[f64] {
        either!(&self.memory, workspace => workspace.center())
    }

    /// Restores the centre, as from a checkpoint.
    ///
    /// # Errors
    /// [`mira_core::Error::LengthMismatch`] unless there are K finite values.
    pub fn set_center(&mut self, center: &[f64]) -> Result<(), Error> {
        either!(&mut self.memory, workspace => Ok(workspace.set_center(center)?))
    }

    /// Bytes of logits the last assignment had to copy: 0, unless their columns are not contiguous (a transposed tensor).
    pub fn copied_bytes(&self) -> usize {
        self.copied_bytes
    }
}
