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
    /// The libcuda that CUDA's toolkit has for linking where there is no driver.
    #[error(
        "libcuda.so.1 is the stub of CUDA's toolkit, which is for linking only (CUDA error 34); take its folder (…/stubs) off LD_LIBRARY_PATH, and install driver 525 or later if there is no other"
    )]
    StubDriver,
    /// A driver that does not know the kernels' version of PTX, or lacks a function.
    #[error(
        "the NVIDIA driver is too old: expected one of CUDA 12.0 at least{}; install driver 525 or later",
        got(*.found)
    )]
    OldDriver {
        /// The newest version of CUDA that it says it knows, major and minor.
        found: Option<(i32, i32)>,
    },
    /// A libcuda beside the kernel module of another driver.
    #[error(
        "the NVIDIA driver's library and its kernel module are of different versions (CUDA error 803); reboot or reload the nvidia modules after an update; in containers use the host's libcuda.so.1"
    )]
    DriverMismatch,
    /// A libcuda of the cuda-compat packages on a device that they are not for.
    #[error(
        "libcuda.so.1 is of a cuda-compat package, which this device or driver does not support (CUDA error 804); take its folder (…/compat) off LD_LIBRARY_PATH, or hide devices without support by CUDA_VISIBLE_DEVICES"
    )]
    NoCompatibility,
    /// A machine whose devices are not set up yet.
    #[error(
        "the machine's devices are not ready (CUDA error 802); where they are connected by NVSwitch start nvidia-fabricmanager, of the driver's version; otherwise wait"
    )]
    NotReady,
    /// A device that is set to serve one process.
    #[error(
        "the device is in use by another process and serves one at a time (CUDA error 46); end that one, see nvidia-smi, or set the compute mode to default (nvidia-smi -c 0)"
    )]
    InUse,
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
    /// More prototypes than the shared memory of so few multiprocessors has place for.
    #[error(
        "{num_prototypes} prototypes are too many for {got} of {all} multiprocessors; give the assigner more (with_multiprocessors)"
    )]
    TooFewMultiprocessors {
        /// Prototypes.
        num_prototypes: usize,
        /// Multiprocessors that the assigner may take.
        got: u32,
        /// Those of the device.
        all: u32,
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
    /// Less memory than is asked for.
    #[error(
        "the device is out of memory (CUDA error 2); drop what is not needed, see nvidia-smi for other processes, or assign fewer rows at once"
    )]
    OutOfMemory,
    /// Something that a stream cannot do while it is captured in a graph.
    #[error(
        "not while a stream is captured in a graph (CUDA error {}); capture on a stream of its own (not default_stream()) with event tracking disabled, assign once before, and ask for reports and copies afterwards",
        .0.0 as u32
    )]
    Capture(#[source] DriverError),
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

/// Of a version of CUDA, if it is known.
fn got(found: Option<(i32, i32)>) -> String {
    found.map_or_else(String::new, |(major, minor)| format!(", got one of CUDA {major}.{minor}"))
}

impl From<DriverError> for Error {
    /// What has a remedy of its own is told apart, whichever call it comes from.
    fn from(error: DriverError) -> Self {
        match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Self::OutOfMemory,
            CUresult::CUDA_ERROR_STUB_LIBRARY => Self::StubDriver,
            CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE => Self::InUse,
            CUresult::CUDA_ERROR_SYSTEM_NOT_READY => Self::NotReady,
            CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => Self::DriverMismatch,
            CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => Self::NoCompatibility,
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => Self::OldDriver { found: None },
            CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND => Self::NoCompiler,
            CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED => Self::CompilerDisabled,
            CUresult::CUDA_ERROR_INVALID_PTX => Self::InvalidKernels,
            CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE => Self::CooperativeLaunch,
            CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
            | CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
            | CUresult::CUDA_ERROR_STREAM_CAPTURE_MERGE
            | CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED
            | CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED
            | CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION
            | CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
            | CUresult::CUDA_ERROR_CAPTURED_EVENT
            | CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD => Self::Capture(error),
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
            (CUresult::CUDA_ERROR_OUT_OF_MEMORY, "assign fewer rows"),
            (CUresult::CUDA_ERROR_STUB_LIBRARY, "stubs) off LD_LIBRARY_PATH"),
            (CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE, "nvidia-smi -c 0"),
            (CUresult::CUDA_ERROR_SYSTEM_NOT_READY, "start nvidia-fabricmanager"),
            (CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "reload the nvidia modules"),
            (CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, "compat) off LD_LIBRARY_PATH"),
            (CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "install driver 525"),
            (CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "afterwards"),
            (CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "not default_stream()"),
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
        let other = Error::from(DriverError(CUresult::CUDA_ERROR_LAUNCH_FAILED));
        assert!(matches!(other, Error::Driver(DriverError(CUresult::CUDA_ERROR_LAUNCH_FAILED))));
        let error = Error::OldDriver { found: Some((11, 8)) };
        assert!(
            error.to_string().contains("12.0 at least, got one of CUDA 11.8; install"),
            "{error}"
        );
    }
}
