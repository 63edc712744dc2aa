//! What this crate refuses, and what to do about it.

use candle_core::{DType, DeviceLocation};

/// Errors of `mira-candle`.
///
/// # Example
/// In functions that return candle's result, `?` converts:
/// ```
/// use candle_core::{DType, Device, Result, Tensor};
/// use mira_candle::CandleAssigner;
/// use mira_core::{Assigner, Mira};
///
/// fn labels(logits: &Tensor) -> Result<Tensor> {
///     Ok(CandleAssigner::new(Mira::default()).assign(logits)?.0)
/// }
/// let refused = labels(&Tensor::zeros((4, 3), DType::U8, &Device::Cpu)?).unwrap_err();
/// assert!(refused.to_string().contains("to_dtype"));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Empty or unequal shapes, invalid logits, failed collectives.
    #[error(transparent)]
    Core(#[from] mira_core::Error),
    /// A failure of the CPU backend's own.
    #[error(transparent)]
    Cpu(mira_cpu::Error),
    /// A failure of the CUDA backend's own.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(mira_cuda::Error),
    /// A failure inside candle.
    #[error("candle failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A tensor that is not a matrix.
    #[error(
        "{what} must have 2 dimensions, batch × prototypes, got shape {got:?}; reshape it, for example with `flatten_to`"
    )]
    Rank {
        /// Which argument.
        what: &'static str,
        /// Its dimensions.
        got: Vec<usize>,
    },
    /// Logits of a type that holds no logits.
    #[error(
        "logits must be F32, F64, F16 or BF16, got {got:?}; convert them with `logits.to_dtype(DType::F32)`"
    )]
    LogitsDType {
        /// Their type.
        got: DType,
    },
    /// A type assignments are not computed in.
    #[error("assignments are computed in F32 or F64, got {got:?}; pass one of the two")]
    ArithmeticDType {
        /// The type asked for.
        got: DType,
    },
    /// A workspace made for the other arithmetic.
    #[error(
        "{logits:?} logits need a workspace in {expected:?}, got one in {got:?}; make it with an assigner `with_dtype(DType::{expected:?})`"
    )]
    WorkspaceDType {
        /// Type of the logits.
        logits: DType,
        /// The arithmetic they need.
        expected: DType,
        /// The workspace's.
        got: DType,
    },
    /// An output of the wrong type.
    #[error(
        "the assignment of {logits:?} logits must be {expected:?}, got {got:?}; make it with `Tensor::zeros(shape, DType::{expected:?}, logits.device())`"
    )]
    AssignmentDType {
        /// Type of the logits.
        logits: DType,
        /// The type the output must have.
        expected: DType,
        /// The type it has.
        got: DType,
    },
    /// A tensor that cannot be used where it lies.
    #[error(
        "{what} must have contiguous rows (column stride 1) that do not overlap, got strides {strides:?}; pass a contiguous tensor"
    )]
    Layout {
        /// Which argument.
        what: &'static str,
        /// Its strides, in elements.
        strides: Vec<usize>,
    },
    /// An output that candle tracks for gradients.
    #[error(
        "the assignment tensor is a variable or depends on one, so gradients would ignore what is written into it; pass `assignment.detach()`, which shares its memory"
    )]
    TrackedAssignment,
    /// Logits and output in one allocation.
    #[error(
        "logits and assignment share their memory, and the logits are read until the last sweep; pass an assignment with memory of its own"
    )]
    SharedMemory,
    /// Tensors on a CUDA device, which this build has no backend for.
    #[error(
        "{what} are on CUDA device {gpu_id}, and mira-candle was built without its feature `cuda` (of the crate `mira`: `candle-cuda`; `cuda` and `candle` together are not it); turn that on, or use `logits.to_device(&Device::Cpu)` and an assignment on the CPU"
    )]
    NoCuda {
        /// Which argument.
        what: &'static str,
        /// Ordinal of the device.
        gpu_id: usize,
    },
    /// f64 logits, or an assigner of such, on a CUDA device.
    #[error(
        "assignments on CUDA device {gpu_id} are computed in F32, got F64; convert the logits with `logits.to_dtype(DType::F32)`, or use `logits.to_device(&Device::Cpu)` and an assignment on the CPU"
    )]
    CudaF64 {
        /// Ordinal of the device.
        gpu_id: usize,
    },
    /// A batch spread over ranks, on a CUDA device.
    #[error(
        "a collective of {world_size} ranks cannot be used on CUDA tensors: sums over ranks on CUDA go through mira-cuda's own collective; leave `with_collective` out, or assign on the CPU"
    )]
    CudaCollective {
        /// Ranks of the collective.
        world_size: usize,
    },
    /// Logits and assignment on different devices.
    #[error(
        "logits and assignment must be on one device, got logits on {logits:?} and an assignment on {assignment:?}; make the assignment with `Tensor::zeros(shape, dtype, logits.device())`"
    )]
    DeviceMismatch {
        /// Where the logits are.
        logits: DeviceLocation,
        /// Where the assignment is.
        assignment: DeviceLocation,
    },
    /// A workspace on another device than the tensors.
    #[error(
        "tensors on {expected:?} need a workspace there, got one on {got:?}; make it with an assigner `with_device(logits.device())`"
    )]
    WorkspaceDevice {
        /// Where the tensors are.
        expected: DeviceLocation,
        /// Where the workspace is.
        got: DeviceLocation,
    },
    /// Two `Device`s of one GPU.
    #[error(
        "the {what} was made with another `Device` of {location:?} than the logits were; each has a stream of its own, and they do not wait for each other: make one `Device` and clone it"
    )]
    SeparateDevices {
        /// The assignment or the workspace.
        what: &'static str,
        /// Where all of them are.
        location: DeviceLocation,
    },
    /// Tensors on a Metal device.
    #[error(
        "{what} are on Metal device {gpu_id}, for which mira has no backend; fall back to the CPU with `logits.to_device(&Device::Cpu)` and an assignment on the CPU"
    )]
    Metal {
        /// Which argument.
        what: &'static str,
        /// Ordinal of the device.
        gpu_id: usize,
    },
    /// A temperature of a loss so small that the loss's type does not hold its reciprocal.
    #[error(
        "1/{got:e} is not finite in {dtype:?}, in which the loss is computed; raise the temperature (SwAV and MIRA use 0.1), or convert the logits with `logits.to_dtype(DType::F64)`"
    )]
    LossTemperature {
        /// The temperature given.
        got: f64,
        /// The type of the loss.
        dtype: DType,
    },
    /// Views of different types.
    #[error(
        "view {index} is {got:?} and view 0 {expected:?}; convert one by `to_dtype`, so that all views have one type"
    )]
    LossDType {
        /// Which view, from 0.
        index: usize,
        /// The type of view 0.
        expected: DType,
        /// Its type.
        got: DType,
    },
    /// Targets that are no probabilities.
    #[error(
        "target {index} is {got:?}; expected probabilities in f16, bf16, f32 or f64: what an assignment writes, not labels' numbers"
    )]
    TargetDType {
        /// Which target, from 0.
        index: usize,
        /// Its type.
        got: DType,
    },
    /// A loss without a pair of target and prediction.
    #[error(
        "swapped prediction needs at least 2 views and 1 target, and no more targets than views, got {views} views and {targets} targets"
    )]
    NoPairs {
        /// Views given.
        views: usize,
        /// Targets given.
        targets: usize,
    },
    /// Views or targets of a loss that differ in shape.
    #[error(
        "{what} {index} must have the first view's shape {expected:?}, got {got:?}; all are batch × prototypes"
    )]
    LossShape {
        /// Views or targets.
        what: &'static str,
        /// Which of them, from 0.
        index: usize,
        /// The first view's dimensions.
        expected: Vec<usize>,
        /// Its dimensions.
        got: Vec<usize>,
    },
}

impl From<mira_cpu::Error> for Error {
    fn from(error: mira_cpu::Error) -> Self {
        match error {
            mira_cpu::Error::Core(error) => Self::Core(error),
            other => Self::Cpu(other),
        }
    }
}

#[cfg(feature = "cuda")]
impl From<mira_cuda::Error> for Error {
    fn from(error: mira_cuda::Error) -> Self {
        match error {
            mira_cuda::Error::Core(error) => Self::Core(error),
            other => Self::Cuda(other),
        }
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Tensor(error) => error,
            other => Self::wrap(other),
        }
    }
}
