//! Where tensors lie decides who computes: the one place that maps candle's devices to backends, and says what each can do.

use std::cell::Cell;

use candle_core::{DType, DeviceLocation, Tensor};
use mira_core::FixedPoint;

use crate::assigner::shape_of;
use crate::operation::{self, Options};
use crate::{Error, Workspace};

/// A device there is a backend for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Cpu,
    /// With feature `cuda`.
    Cuda {
        gpu_id: usize,
    },
}

impl Backend {
    /// The backend for `what` where it is.
    pub(crate) fn of(what: &'static str, location: DeviceLocation) -> Result<Self, Error> {
        match location {
            DeviceLocation::Cpu => Ok(Self::Cpu),
            DeviceLocation::Cuda { gpu_id } if cfg!(feature = "cuda") => Ok(Self::Cuda { gpu_id }),
            DeviceLocation::Cuda { gpu_id } => Err(Error::NoCuda { what, gpu_id }),
            DeviceLocation::Metal { gpu_id } => Err(Error::Metal { what, gpu_id }),
        }
    }

    /// Whether the backend computes what is asked for in `arithmetic`, F32 or F64.
    pub(crate) fn check(self, options: &Options, arithmetic: DType) -> Result<(), Error> {
        match self {
            Self::Cpu => Ok(()),
            Self::Cuda { gpu_id } if arithmetic == DType::F64 => Err(Error::CudaF64 { gpu_id }),
            Self::Cuda { .. } => match options.collective.world_size() {
                1 => Ok(()),
                world_size => Err(Error::CudaCollective { world_size }),
            },
        }
    }

    /// Whether assignments may be of type `dtype` that is not the arithmetic's.
    pub(crate) fn also_writes(self, dtype: DType) -> bool {
        match self {
            Self::Cpu => false,
            Self::Cuda { .. } => dtype == DType::BF16,
        }
    }

    /// Whether logits whose rows start `stride` elements apart are read where they lie.
    pub(crate) fn reads(self, dims: &[usize], stride: usize) -> bool {
        match self {
            Self::Cpu => true,
            // Its kernels are promised rows that do not overlap, which one row broadcast to many does.
            Self::Cuda { .. } => dims.last().is_some_and(|columns| stride >= *columns),
        }
    }
}

/// Tensors and workspace must be on one device.
fn check_places(
    logits: DeviceLocation,
    assignment: DeviceLocation,
    workspace: DeviceLocation,
) -> Result<(), Error> {
    if assignment != logits {
        return Err(Error::DeviceMismatch { logits, assignment });
    }
    if workspace != logits {
        return Err(Error::WorkspaceDevice { expected: logits, got: workspace });
    }
    Ok(())
}

/// Assigns `logits` into the memory of `assignment`. The other ranks hear of a refusal.
pub(crate) fn assign(
    options: &Options,
    logits: &Tensor,
    assignment: &Tensor,
    workspace: &mut Workspace,
) -> Result<(), Error> {
    let has_begun = Cell::new(false);
    let outcome = begin(options, logits, assignment, workspace, &has_begun);
    if outcome.is_err() && !has_begun.get() {
        FixedPoint::refuse(&*options.collective);
    }
    outcome
}

/// Sets `has_begun` where the backend was called, which sees to the other ranks itself.
fn begin(
    options: &Options,
    logits: &Tensor,
    assignment: &Tensor,
    workspace: &mut Workspace,
    has_begun: &Cell<bool>,
) -> Result<(), Error> {
    for (what, tensor) in [("logits", logits), ("assignment", assignment)] {
        let (expected, got) = (workspace.shape(), shape_of(what, tensor)?);
        if got != expected {
            return Err(mira_core::Error::ShapeMismatch { what, expected, got }.into());
        }
    }
    if assignment.track_op() {
        return Err(Error::TrackedAssignment);
    }
    if address(logits) == address(assignment) {
        return Err(Error::SharedMemory);
    }
    let [from, to] = [logits, assignment].map(|tensor| tensor.device().location());
    let backend = Backend::of("logits", from)?;
    Backend::of("assignment", to)?;
    let memory = workspace.device();
    check_places(from, to, memory.location())?;
    for (what, device) in [("assignment", assignment.device()), ("workspace", &memory)] {
        if !device.same_device(logits.device()) {
            return Err(Error::SeparateDevices { what, location: from });
        }
    }
    operation::assign(backend, options, logits, assignment, workspace, has_begun)
}

/// Tells storages apart. Slices of one tensor have the same, whatever their offsets.
fn address(tensor: &Tensor) -> usize {
    let (storage, _) = tensor.storage_and_layout();
    std::ptr::from_ref(&*storage).addr()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mira_core::{Mira, SingleProcess, ThreadCollective};

    use super::*;

    const CPU: DeviceLocation = DeviceLocation::Cpu;
    const CUDA: DeviceLocation = DeviceLocation::Cuda { gpu_id: 3 };
    const METAL: DeviceLocation = DeviceLocation::Metal { gpu_id: 1 };
    const ON_CUDA: Backend = Backend::Cuda { gpu_id: 3 };

    #[test]
    fn metal_is_told_the_way_round() {
        assert_eq!(Backend::of("logits", CPU).unwrap(), Backend::Cpu);
        let error = Backend::of("logits", METAL).unwrap_err();
        assert!(matches!(error, Error::Metal { what: "logits", gpu_id: 1 }), "{error}");
        assert!(error.to_string().contains("fall back to the CPU with `logits.to_device"));
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn cuda_has_a_backend() {
        assert_eq!(Backend::of("logits", CUDA).unwrap(), ON_CUDA);
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_is_told_the_feature_and_the_way_round() {
        let error = Backend::of("logits", CUDA).unwrap_err();
        assert!(matches!(error, Error::NoCuda { what: "logits", gpu_id: 3 }), "{error}");
        let message = error.to_string();
        assert!(message.contains("without its feature `cuda`"), "{message}");
        assert!(message.contains("logits.to_device(&Device::Cpu)"), "{message}");
    }

    #[test]
    fn all_must_be_on_one_device() {
        let other = DeviceLocation::Cuda { gpu_id: 0 };
        for place in [CPU, CUDA, METAL] {
            check_places(place, place, place).unwrap();
        }
        for (logits, assignment) in [(CPU, CUDA), (CUDA, CPU), (CUDA, other)] {
            let error = check_places(logits, assignment, logits).unwrap_err();
            assert!(
                matches!(error, Error::DeviceMismatch { logits: l, assignment: a } if (l, a) == (logits, assignment)),
                "{error}"
            );
            assert!(error.to_string().contains("logits.device()"), "{error}");
        }
        for (tensors, workspace) in [(CPU, CUDA), (CUDA, CPU), (CUDA, other)] {
            let error = check_places(tensors, tensors, workspace).unwrap_err();
            assert!(
                matches!(error, Error::WorkspaceDevice { expected, got } if (expected, got) == (tensors, workspace)),
                "{error}"
            );
            assert!(error.to_string().contains("with_device(logits.device())"), "{error}");
        }
    }

    #[test]
    fn cuda_refuses_f64_and_ranks_and_names_the_remedies() {
        let mut options = Options {
            method: Mira::default().into(),
            warm_start: false,
            objective: false,
            collective: Arc::new(SingleProcess),
        };
        ON_CUDA.check(&options, DType::F32).unwrap();
        let error = ON_CUDA.check(&options, DType::F64).unwrap_err();
        assert!(matches!(error, Error::CudaF64 { gpu_id: 3 }), "{error}");
        let message = error.to_string();
        assert!(message.contains("to_dtype(DType::F32)"), "{message}");
        assert!(message.contains("to_device(&Device::Cpu)"), "{message}");
        Backend::Cpu.check(&options, DType::F64).unwrap();

        options.collective = Arc::new(ThreadCollective::world(2).remove(0));
        let error = ON_CUDA.check(&options, DType::F32).unwrap_err();
        assert!(matches!(error, Error::CudaCollective { world_size: 2 }), "{error}");
        assert!(error.to_string().contains("mira-cuda"), "{error}");
        Backend::Cpu.check(&options, DType::F32).unwrap();
    }

    #[test]
    fn rows_that_overlap_are_lent_to_the_cpu_only() {
        for (stride, lent) in [(5, true), (9, true), (4, false), (0, false)] {
            assert_eq!(ON_CUDA.reads(&[3, 5], stride), lent, "{stride}");
            assert!(Backend::Cpu.reads(&[3, 5], stride), "{stride}");
        }
    }

    #[test]
    fn bf16_assignments_are_written_on_cuda_only() {
        assert!(ON_CUDA.also_writes(DType::BF16) && !Backend::Cpu.also_writes(DType::BF16));
        assert!(!ON_CUDA.also_writes(DType::F16) && !ON_CUDA.also_writes(DType::F64));
    }
}
