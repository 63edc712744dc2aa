//! The C++ half's types and functions, laid out as in `scheduler.h`.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

pub(crate) const MAX_WAITS: usize = 8;

#[repr(C)]
pub(crate) struct Request {
    pub(crate) name: *const u8,
    pub(crate) name_bytes: u64,
    pub(crate) params: *const c_void,
    pub(crate) params_bytes: u64,
    pub(crate) grid: [u32; 2],
    pub(crate) block_threads: u32,
    pub(crate) shared_bytes: u64,
    pub(crate) seed: u64,
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) threads: u64,
    pub(crate) barriers: u64,
    pub(crate) exchanges: u64,
    pub(crate) spins: u64,
    pub(crate) switches: u64,
    pub(crate) most_fibres: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) file: *const c_char,
    pub(crate) line: u32,
    pub(crate) threads: u32,
    pub(crate) state: u32,
}

#[repr(C)]
pub(crate) struct Failure {
    pub(crate) fault: u32,
    pub(crate) block: [u32; 2],
    pub(crate) thread: u32,
    pub(crate) expected: u64,
    pub(crate) got: u64,
    pub(crate) file: *const c_char,
    pub(crate) line: u32,
    pub(crate) ended: u32,
    pub(crate) num_waits: u32,
    pub(crate) waits: [Wait; MAX_WAITS],
}

impl Default for Failure {
    fn default() -> Self {
        let wait = Wait { file: ptr::null(), line: 0, threads: 0, state: 0 };
        Self {
            fault: 0,
            block: [0; 2],
            thread: 0,
            expected: 0,
            got: 0,
            file: ptr::null(),
            line: 0,
            ended: 0,
            num_waits: 0,
            waits: [wait; MAX_WAITS],
        }
    }
}

unsafe extern "C" {
    pub(crate) fn mira_emulation_launch(
        request: *const Request,
        stats: *mut Stats,
        failure: *mut Failure,
    );
    pub(crate) fn mira_emulation_kernel(index: u64) -> *const c_char;
}

/// A copy of the text, or `None` for null.
///
/// # Safety
/// `text` is null or ends with a zero byte.
pub(crate) unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: not null here, and the caller says it ends.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
