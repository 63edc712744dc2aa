//! Memory and state between batches: the CPU backend's, in one of its two arithmetics, or the CUDA backend's.

use candle_core::{DType, Device};
use mira_core::Shape;
use mira_cpu::CpuWorkspace;

use crate::Error;

/// Scratch and state for problems of one shape on one device; made by [`CandleAssigner`](crate::CandleAssigner).
///
/// Wraps [`CpuWorkspace`] in f32 or, for f64 logits, in f64; on a CUDA device, `mira_cuda`'s workspace. No B × K memory is in it. Keep one
/// per stream of batches: it carries the column weights (a warm start) and DINO's centre.
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
/// assert_eq!(workspace.log_weights()?.len(), 2);
/// assert_eq!(workspace.copied_bytes(), 0);
/// # Ok::<(), mira_candle::Error>(())
/// ```
#[derive(Debug)]
pub struct Workspace {
    pub(crate) memory: Memory,
    pub(crate) copied_bytes: usize,
}

/// By device and arithmetic.
#[derive(Debug)]
pub(crate) enum Memory {
    F32(CpuWorkspace<f32>),
    F64(CpuWorkspace<f64>),
    #[cfg(feature = "cuda")]
    Cuda(crate::cuda::CudaMemory),
}

/// `$on_cpu` with the CPU's workspace of either arithmetic, `$on_cuda` with CUDA's.
macro_rules! on {
    ($memory:expr, $cpu:ident => $on_cpu:expr, $cuda:ident => $on_cuda:expr) => {
        match $memory {
            Memory::F32($cpu) => $on_cpu,
            Memory::F64($cpu) => $on_cpu,
            #[cfg(feature = "cuda")]
            Memory::Cuda($cuda) => $on_cuda,
        }
    };
}

impl Workspace {
    /// The shape this memory is for.
    pub fn shape(&self) -> Shape {
        on!(&self.memory, cpu => cpu.shape(), cuda => cuda.shape())
    }

    /// The arithmetic, F32 or F64; also the assignment's type (on CUDA, that may be BF16 instead).
    pub fn dtype(&self) -> DType {
        if matches!(self.memory, Memory::F64(_)) { DType::F64 } else { DType::F32 }
    }

    /// The device this memory is on, which must be the tensors'.
    pub fn device(&self) -> Device {
        on!(&self.memory, _cpu => Device::Cpu, cuda => Device::Cuda(cuda.device.clone()))
    }

    /// Natural-log column weights `a` of the last assignment (`W_ij ∝ e^{a_j + S_ij/ε}`; K values), up to an additive constant. On CUDA they
    /// are fetched, which waits for the device.
    ///
    /// What [`verify_at`](mira_core::verify_at) takes as the dual point, and what a warm start continues from.
    ///
    /// # Errors
    /// When the device failed; never on the CPU.
    pub fn log_weights(&self) -> Result<Vec<f64>, Error> {
        on!(&self.memory, cpu => Ok(cpu.log_weights().to_vec()), cuda => Ok(cuda.workspace()?.log_weights(0)?))
    }

    /// Whether the next assignment can start from [`log_weights`](Self::log_weights): not before the first assignment, nor after one that
    /// failed (on CUDA, that could not be enqueued). Where it is false, a checkpoint must not keep the weights: restored, they would be a
    /// start that this workspace does not have.
    pub fn has_warm_start(&self) -> bool {
        on!(&self.memory, cpu => cpu.has_warm_start(), cuda => cuda.has_warm_start())
    }

    /// Restores a warm start, as from a checkpoint of a workspace that [had one](Self::has_warm_start). There is nothing to report until the next assignment.
    ///
    /// # Errors
    /// [`mira_core::Error::LengthMismatch`] unless there are K values, [`mira_core::Error::InvalidState`] unless all are at most 1e300 in
    /// magnitude; when the device failed.
    pub fn set_log_weights(&mut self, log_weights: &[f64]) -> Result<(), Error> {
        on!(
            &mut self.memory,
            cpu => Ok(cpu.set_log_weights(log_weights)?),
            cuda => cuda.set_log_weights(log_weights)
        )
    }

    /// DINO's centre `c` (K values), in units of the logits. On CUDA it is fetched, which waits for the device.
    ///
    /// # Errors
    /// When the device failed; never on the CPU.
    pub fn center(&self) -> Result<Vec<f64>, Error> {
        on!(&self.memory, cpu => Ok(cpu.center().to_vec()), cuda => Ok(cuda.workspace()?.center(0)?))
    }

    /// Restores the centre, as from a checkpoint.
    ///
    /// # Errors
    /// [`mira_core::Error::LengthMismatch`] unless there are K values, [`mira_core::Error::InvalidState`] unless all are at most 1e300 in
    /// magnitude; when the device failed.
    pub fn set_center(&mut self, center: &[f64]) -> Result<(), Error> {
        on!(
            &mut self.memory,
            cpu => Ok(cpu.set_center(center)?),
            cuda => Ok(cuda.workspace_mut()?.set_center(0, center)?)
        )
    }

    /// Bytes of logits the last assignment had to copy: 0, unless their columns are not contiguous (a transposed tensor) or, on CUDA,
    /// rows overlap (one row broadcast).
    pub fn copied_bytes(&self) -> usize {
        self.copied_bytes
    }
}
