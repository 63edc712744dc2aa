//! The functions of `libnccl` that are used here, loaded when they are first wanted.
//!
//! Loaded by name rather than linked: neither building nor starting needs NCCL, and any version from 2.17 on will do, since the
//! library goes by the size and version that stand in its structs.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys::CUstream;
use libloading::Library;

use crate::Error;

/// `ncclComm_t`.
pub(super) type Comm = *mut c_void;
/// `ncclResult_t`.
pub(super) type Status = c_int;

pub(super) const SUCCESS: Status = 0;
pub(super) const IN_PROGRESS: Status = 7;
/// `ncclFloat64`.
pub(super) const FLOAT64: c_int = 8;

/// `ncclUniqueId`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct UniqueId(pub(super) [u8; 128]);

/// `ncclConfig_t` as of 2.17; later versions only add fields at its end, the first of them where this one is padded.
#[repr(C)]
pub(super) struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
    cga_cluster_size: c_int,
    min_ctas: c_int,
    max_ctas: c_int,
    net_name: *const c_char,
    split_share: c_int,
    traffic_class: c_int,
}

impl Config {
    /// Calls return at once, so that a rank that is missing cannot hold this one for ever.
    pub(super) const fn non_blocking() -> Self {
        const UNDEFINED: c_int = c_int::MIN;
        Self {
            size: size_of::<Self>(),
            magic: 0xcafe_beef,
            version: 21_700,
            blocking: 0,
            cga_cluster_size: UNDEFINED,
            min_ctas: UNDEFINED,
            max_ctas: UNDEFINED,
            net_name: std::ptr::null(),
            split_share: UNDEFINED,
            traffic_class: UNDEFINED,
        }
    }
}

macro_rules! api {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)+) => {
        /// Its functions.
        #[derive(Clone, Copy)]
        pub(super) struct Api {
            $($(#[$doc])* pub(super) $name: unsafe extern "C" fn($($argument),*) -> $result,)+
        }

        impl Api {
            fn of(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those of nccl.h.
                Ok(Self { $($name: *unsafe { library.get($symbol) }?,)+ })
            }
        }
    };
}

api! {
    get_unique_id = b"ncclGetUniqueId\0": fn(*mut UniqueId) -> Status;
    init_rank = b"ncclCommInitRankConfig\0": fn(*mut Comm, c_int, UniqueId, c_int, *mut Config) -> Status;
    async_error = b"ncclCommGetAsyncError\0": fn(Comm, *mut Status) -> Status;
    all_gather = b"ncclAllGather\0": fn(*const c_void, *mut c_void, usize, c_int, Comm, CUstream) -> Status;
    finalize = b"ncclCommFinalize\0": fn(Comm) -> Status;
    destroy = b"ncclCommDestroy\0": fn(Comm) -> Status;
    abort = b"ncclCommAbort\0": fn(Comm) -> Status;
    error_string = b"ncclGetErrorString\0": fn(Status) -> *const c_char;
    /// What went wrong last, in NCCL's words; may be empty.
    last_error = b"ncclGetLastError\0": fn(Comm) -> *const c_char;
}

/// What the loader says, which names the file or the function; the error itself says no more than that it failed.
fn said(error: &libloading::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

impl Api {
    /// The library's functions; the first call loads it.
    pub(super) fn load() -> Result<&'static Self, Error> {
        static LOADED: OnceLock<Result<Api, String>> = OnceLock::new();
        let load = || {
            // SAFETY: loading it runs its initialisers, as any use of NCCL does.
            let load = |name: &str| unsafe { Library::new(name) };
            let library = load("libnccl.so.2")
                .or_else(|error| load("libnccl.so").map_err(|_| said(&error)))?;
            let api = Self::of(&library).map_err(|error| said(&error))?;
            // It stays loaded: its threads live as long as the process.
            std::mem::forget(library);
            Ok(api)
        };
        LOADED
            .get_or_init(load)
            .as_ref()
            .map_err(|problem| Error::NoNccl { problem: problem.clone() })
    }

    /// What a status means, with what NCCL has to say besides.
    pub(super) fn describe(&self, status: Status, comm: Comm) -> String {
        // SAFETY: both return static or the communicator's own strings, or null.
        let [what, detail] = unsafe {
            [(self.error_string)(status), (self.last_error)(comm)].map(|text| {
                if text.is_null() {
                    String::new()
                } else {
                    CStr::from_ptr(text).to_string_lossy().trim().to_owned()
                }
            })
        };
        if detail.is_empty() { format!("NCCL: {what}") } else { format!("NCCL: {what} ({detail})") }
    }
}
