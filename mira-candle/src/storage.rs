//! Where tensors lie decides who computes: the one place that maps candle's devices to backends.
//!
//! A further backend takes over its arm of the `match` in [`assign`].

use candle_core::{DeviceLocation, Tensor};

use crate::cpu::{self, Options};
use crate::{Error, Workspace};

/// A device there is a backend for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Cpu,
}

impl Backend {
    /// The backend for logits and assignment where they are.
    fn of(logits: DeviceLocation, assignment: DeviceLocation) -> Result<Self, Error> {
        for (what, location) in [("logits", logits), ("assignment", assignment)] {
            match location {
                DeviceLocation::Cpu => {}
                DeviceLocation::Cuda { gpu_id } => return Err(Error::Cuda { what, gpu_id }),
                DeviceLocation::Metal { gpu_id } => return Err(Error::Metal { what, gpu_id }),
            }
        }
        Ok(Self::Cpu)
    }
}

/// Assigns `logits` into the memory of `assignment`, both of the workspace's shape.
pub(crate) fn assign(
    options: &Options,
    logits: &Tensor,
    assignment: &Tensor,
    workspace: &mut Workspace,
) -> Result<(), Error> {
    if assignment.track_op() {
        return Err(Error::TrackedAssignment);
    }
    if address(logits) == address(assignment) {
        return Err(Error::SharedMemory);
    }
    match Backend::of(logits.device().location(), assignment.device().location())? {
        Backend::Cpu => cpu::assign(options, logits, assignment, workspace),
    }
}

/// Tells storages apart. Slices of one tensor have the same, whatever their offsets.
fn address(tensor: &Tensor) -> usize {
    let (storage, _) = tensor.storage_and_layout();
    std::ptr::from_ref(&*storage).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cpu_has_a_backend_and_the_others_are_told_the_way_round() {
        const CPU: DeviceLocation = DeviceLocation::Cpu;
        let (cuda, metal) =
            (DeviceLocation::Cuda { gpu_id: 3 }, DeviceLocation::Metal { gpu_id: 1 });
        assert_eq!(Backend::of(CPU, CPU).unwrap(), Backend::Cpu);
        for (logits, assignment, argument) in
            [(cuda, cuda, "logits"), (cuda, CPU, "logits"), (CPU, cuda, "assignment")]
        {
            let error = Backend::of(logits, assignment).unwrap_err();
            assert!(
                matches!(error, Error::Cuda { what, gpu_id: 3 } if what == argument),
                "{error}"
            );
            let message = error.to_string();
            assert!(
                message.contains("without CUDA") && message.contains("to_device(&Device::Cpu)")
            );
        }
        let error = Backend::of(metal, metal).unwrap_err();
        assert!(matches!(error, Error::Metal { what: "logits", gpu_id: 1 }), "{error}");
        assert!(error.to_string().contains("fall back to the CPU with `logits.to_device"));
    }
}
