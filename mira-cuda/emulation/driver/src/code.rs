//! `CUresult`: those that are given.

use std::ffi::CStr;

/// What a function of the driver returns when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

macro_rules! codes {
    ($($name:ident = $value:literal, $text:literal, $c:literal;)*) => {
        impl Code {
            $(pub(crate) const $name: Self = Self($value);)*

            /// CUDA's name, and ours of what it means.
            pub(crate) const fn texts(self) -> Option<(&'static CStr, &'static CStr)> {
                match self.0 {
                    0 => Some((c"CUDA_SUCCESS", c"no error")),
                    $($value => Some(($c, $text)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    INVALID_VALUE = 1, c"invalid argument", c"CUDA_ERROR_INVALID_VALUE";
    OUT_OF_MEMORY = 2, c"out of memory", c"CUDA_ERROR_OUT_OF_MEMORY";
    NOT_INITIALIZED = 3, c"initialization error", c"CUDA_ERROR_NOT_INITIALIZED";
    NO_DEVICE = 100, c"no CUDA-capable device is detected", c"CUDA_ERROR_NO_DEVICE";
    INVALID_DEVICE = 101, c"invalid device ordinal", c"CUDA_ERROR_INVALID_DEVICE";
    INVALID_IMAGE = 200, c"device kernel image is invalid", c"CUDA_ERROR_INVALID_IMAGE";
    INVALID_CONTEXT = 201, c"invalid device context", c"CUDA_ERROR_INVALID_CONTEXT";
    UNSUPPORTED_PTX_VERSION = 222, c"the provided PTX was compiled with an unsupported toolchain.", c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION";
    INVALID_HANDLE = 400, c"invalid resource handle", c"CUDA_ERROR_INVALID_HANDLE";
    NOT_FOUND = 500, c"named symbol not found", c"CUDA_ERROR_NOT_FOUND";
    NOT_READY = 600, c"device not ready", c"CUDA_ERROR_NOT_READY";
    ILLEGAL_ADDRESS = 700, c"an illegal memory access was encountered", c"CUDA_ERROR_ILLEGAL_ADDRESS";
    LAUNCH_FAILED = 719, c"unspecified launch failure", c"CUDA_ERROR_LAUNCH_FAILED";
    COOPERATIVE_LAUNCH_TOO_LARGE = 720, c"too many blocks in cooperative launch", c"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE";
    NOT_SUPPORTED = 801, c"operation not supported", c"CUDA_ERROR_NOT_SUPPORTED";
    CAPTURE_UNSUPPORTED = 900, c"operation not permitted when stream is capturing", c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
    CAPTURE_INVALIDATED = 901, c"operation failed due to a previous error during capture", c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
    CAPTURE_ISOLATION = 905, c"dependency created on uncaptured work in another stream", c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION";
    CAPTURED_EVENT = 907, c"operation not permitted on an event last recorded in a capturing stream", c"CUDA_ERROR_CAPTURED_EVENT";
}
