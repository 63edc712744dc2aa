//! The functions of `libnccl.so.2` that mira calls, for worlds of one rank: NCCL refuses two on one device, and so does this. As non-blocking
//! communicators may, every call says that it is in progress at first.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

use crate::device::locked;
use crate::stream::Work;

const SUCCESS: c_int = 0;
const UNHANDLED_CUDA_ERROR: c_int = 1;
const INVALID_ARGUMENT: c_int = 4;
const INVALID_USAGE: c_int = 5;
const IN_PROGRESS: c_int = 7;
const FLOAT64: c_int = 8;
/// Questions after which something is no longer in progress.
const PATIENCE: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; 128]);

/// What is left to ask of each communicator, by handle.
static COMMUNICATORS: Mutex<Option<HashMap<usize, u32>>> = Mutex::new(None);

fn with_all<T>(call: impl FnOnce(&mut HashMap<usize, u32>) -> T) -> T {
    let mut all = COMMUNICATORS.lock().unwrap_or_else(PoisonError::into_inner);
    call(all.get_or_insert_default())
}

/// A call on a communicator, whose calls before must have been waited for.
fn begin(communicator: usize, call: impl FnOnce() -> c_int) -> c_int {
    match with_all(|all| all.get(&communicator).copied()) {
        None => INVALID_ARGUMENT,
        Some(0) => {
            let status = call();
            if status == SUCCESS {
                with_all(|all| all.insert(communicator, PATIENCE));
                return IN_PROGRESS;
            }
            status
        }
        Some(_) => {
            eprintln!("stand-in: NCCL is called while a call before is in progress");
            INVALID_USAGE
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclGetUniqueId(to: *mut UniqueId) -> c_int {
    // SAFETY: as NCCL's documentation asks for; so below.
    unsafe { to.write(UniqueId([0x5a; 128])) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommInitRankConfig(
    to: *mut usize,
    ranks: c_int,
    _id: UniqueId,
    rank: c_int,
    _config: *const c_void,
) -> c_int {
    if rank < 0 || rank >= ranks {
        return INVALID_ARGUMENT;
    }
    if ranks != 1 {
        return INVALID_USAGE; // two ranks of one device
    }
    let handle = with_all(|all| {
        let handle = 0x4000 + 0x10 * all.len();
        all.insert(handle, PATIENCE);
        handle
    });
    // SAFETY: as above.
    unsafe { to.write(handle) };
    IN_PROGRESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommGetAsyncError(communicator: usize, to: *mut c_int) -> c_int {
    let status = with_all(|all| {
        let left = all.get_mut(&communicator)?;
        let status = if *left == 0 { SUCCESS } else { IN_PROGRESS };
        *left = left.saturating_sub(1);
        Some(status)
    });
    // SAFETY: as above.
    unsafe { to.write(status.unwrap_or(INVALID_ARGUMENT)) };
    status.map_or(INVALID_ARGUMENT, |_| SUCCESS)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclAllGather(
    from: u64,
    to: u64,
    count: usize,
    element: c_int,
    communicator: usize,
    stream: usize,
) -> c_int {
    if element != FLOAT64 {
        return INVALID_ARGUMENT;
    }
    begin(communicator, || {
        let enqueued = locked(|device| {
            let key = device.key(stream)?;
            device.enqueue(key, Work::Copy { from, to, len: 8 * count })
        });
        enqueued.map_or(UNHANDLED_CUDA_ERROR, |()| SUCCESS)
    })
}

#[unsafe(no_mangle)]
extern "C" fn ncclCommFinalize(communicator: usize) -> c_int {
    begin(communicator, || SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn ncclCommDestroy(communicator: usize) -> c_int {
    with_all(|all| all.remove(&communicator)).map_or(INVALID_ARGUMENT, |_| SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn ncclCommAbort(communicator: usize) -> c_int {
    ncclCommDestroy(communicator)
}

#[unsafe(no_mangle)]
extern "C" fn ncclGetErrorString(status: c_int) -> *const c_char {
    let text: &CStr = match status {
        SUCCESS => c"no error",
        UNHANDLED_CUDA_ERROR => c"unhandled cuda error",
        INVALID_ARGUMENT => c"invalid argument",
        INVALID_USAGE => c"invalid usage",
        IN_PROGRESS => c"NCCL operation in progress",
        _ => c"unknown result code",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn ncclGetLastError(_communicator: usize) -> *const c_char {
    c"".as_ptr()
}
