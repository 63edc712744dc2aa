//! What can go wrong between this backend and a device.

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;
use mira_core::Shape;

/// Errors of this backend; each names its remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Invalid logits, shapes and the like.
    #[error(transparent)]
    Core(#[from] mira_core::Error),
    /// A cross-entropy that cannot be computed as asked.
    #[error(transparent)]
    CrossEntropy(#[from] crate::cross_entropy::CrossEntropyError),
    /// No libcuda.
    #[error(
        "no NVIDIA driver: libcuda.so.1 was not found; install driver 525 or later, or use the CPU backend"
    )]
    NoDriver,
    /// A driver without a device.
    #[error(
        "no CUDA device {ordinal}: the driver sees {found}; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU backend"
    )]
    NoDevice {
        /// The device asked for.
        ordinal: usize,
        /// Devices the driver sees.
        found: usize,
    },
    /// A driver that does not know the kernels' version of PTX, or lacks a function.
    #[error(
        "the NVIDIA driver is too old: expected one of CUDA 12.0 at least; install driver 525 or later"
    )]
    OldDriver,
    /// A device below compute capability 8.0, or without cooperative launches.
    #[error(
        "device {name} has compute capability {major}.{minor}; expected at least 8.0 (A100, RTX 30) with cooperative launches; use the CPU backend"
    )]
    UnsupportedDevice {
        /// As the driver calls it.
        name: String,
        /// Of its compute capability.
        major: i32,
        /// Of its compute capability.
        minor: i32,
    },
    /// A matrix that does not fit into the memory it was said to be in.
    #[error(
        "{shape} rows {stride} elements apart need {expected} elements, got {got}; check the row stride (at least the number of columns)"
    )]
    Layout {
        /// The matrix.
        shape: Shape,
        /// Elements from row to row.
        stride: usize,
        /// Elements from its first to its last, at least.
        expected: usize,
        /// Elements there are.
        got: usize,
    },
    /// Problems of one launch that differ in number or layout.
    #[error("{what}: expected {expected}, got {got}; one launch takes problems of one layout")]
    Problems {
        /// What differs.
        what: &'static str,
        /// As the workspace or the first problem has it.
        expected: usize,
        /// As it was given.
        got: usize,
    },
    /// No usable libnccl.
    #[error(
        "no NCCL: {problem}; install NCCL 2.17 or later and put libnccl.so.2 on LD_LIBRARY_PATH, or use ThroughHost"
    )]
    NoNccl {
        /// What the loader says.
        problem: String,
    },
    /// A driver without its compiler.
    #[error(
        "the driver's compiler of PTX was not found (CUDA error 221); install libnvidia-ptxjitcompiler.so.1 of the driver's version beside libcuda.so.1 (containers: NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
    )]
    NoCompiler,
    /// A driver that may not compile.
    #[error(
        "the driver may not compile PTX (CUDA error 223), which all kernels are; unset CUDA_DISABLE_PTX_JIT and CUDA_DISABLE_JIT"
    )]
    CompilerDisabled,
    /// Kernels that the driver's compiler refuses.
    #[error(
        "the driver's compiler refuses the kernels inside this build (CUDA error 218); rebuild mira-cuda, install a newer driver, or report it with the driver's version"
    )]
    InvalidKernels,
    /// Blocks that wait for each other, but not all of which this process can have on the device at once.
    #[error(
        "a launch's blocks do not fit on the device at once (CUDA error 720): this process has a part of it only; unset CUDA_MPS_ACTIVE_THREAD_PERCENTAGE, use no green context, or use the CPU backend"
    )]
    CooperativeLaunch,
    /// The driver refused.
    #[error(
        "CUDA failed: {0}; run with CUDA_LAUNCH_BLOCKING=1 to see the call, and check nvidia-smi for the device's health"
    )]
    Driver(#[source] DriverError),
    /// The kernels inside this crate are damaged.
    #[error("the kernels inside this build cannot be read: {0}; rebuild mira-cuda")]
    Kernels(std::io::Error),
}

impl From<DriverError> for Error {
    /// What has a remedy of its own is told apart, whichever call it comes from.
    fn from(error: DriverError) -> Self {
        match error.0 {
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => Self::OldDriver,
            CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND => Self::NoCompiler,
            CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED => Self::CompilerDisabled,
            CUresult::CUDA_ERROR_INVALID_PTX => Self::InvalidKernels,
            CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE => Self::CooperativeLaunch,
            _ => Self::Driver(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_driver_that_have_a_remedy_name_it() {
        let named = [
            (CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "install driver 525"),
            (CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND, "libnvidia-ptxjitcompiler.so.1"),
            (CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED, "unset CUDA_DISABLE_PTX_JIT"),
            (CUresult::CUDA_ERROR_INVALID_PTX, "rebuild mira-cuda"),
            (
                CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                "unset CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
            ),
        ];
        for (code, remedy) in named {
            let error = Error::from(DriverError(code));
            assert!(error.to_string().contains(remedy), "{code:?}: {error}");
        }
        // (What it says is asked of the driver.)
        let other = Error::from(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
        assert!(matches!(other, Error::Driver(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY))));
    }
}
