//! Memory for large arrays: outputs in huge pages where the system has them, so that a first write is not thousands of page faults.

use std::collections::TryReserveError;

use crate::element::Real;

/// Arrays above this many bytes ask for huge pages.
const LARGE: usize = 4 << 20;

/// `len` zeros. A large array asks the system for huge pages: a sweep over tens of megabytes otherwise spends a
/// noticeable part of its time on address translation.
///
/// # Errors
/// The system has not so much.
pub(crate) fn zeroed<A: Real>(len: usize) -> Result<Vec<A>, TryReserveError> {
    let mut values = Vec::new();
    values.try_reserve_exact(len)?;
    if len * size_of::<A>() >= LARGE {
        prefer_huge_pages(values.as_mut_ptr(), values.capacity());
    }
    values.resize(len, A::zero());
    Ok(values)
}

/// Whether so many bytes are to be had in one piece, before they are taken in several in ways that end the program where they are not.
pub(crate) fn is_there(num_bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(num_bytes).is_ok()
}

/// Advice about memory not yet touched; ignored where it is not known.
#[cfg(target_os = "linux")]
fn prefer_huge_pages<A>(first: *mut A, len: usize) {
    const PAGE: usize = 2 << 20;
    let start = first.addr().next_multiple_of(PAGE);
    let end = (first.addr() + len * size_of::<A>()) / PAGE * PAGE;
    if start < end {
        // SAFETY: the range lies inside the allocation, and the advice changes no contents.
        unsafe {
            libc::madvise(first.with_addr(start).cast(), end - start, libc::MADV_HUGEPAGE);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages<A>(_: *mut A, _: usize) {}
