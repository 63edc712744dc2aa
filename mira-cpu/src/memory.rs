//! Memory for large arrays: outputs in huge pages where the system has them, so that a first write is not thousands of page faults.

use crate::element::Real;

/// Arrays above this many bytes ask for huge pages.
const LARGE: usize = 4 << 20;

/// `len` zeros. A large array asks the system for huge pages: a sweep over tens of megabytes otherwise spends a
/// noticeable part of its time on address translation.
pub(crate) fn zeroed<A: Real>(len: usize) -> Vec<A> {
    let mut values = Vec::with_capacity(len);
    if len * size_of::<A>() >= LARGE {
        prefer_huge_pages(values.as_mut_ptr(), values.capacity());
    }
    values.resize(len, A::zero());
    values
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
