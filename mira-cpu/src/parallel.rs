//! Blocks of rows over threads.

use rayon::prelude::*;

/// Calls `work(block)` for every block, in parallel. What the blocks compute must not depend on the order.
pub(crate) fn for_each_block(num_blocks: usize, work: impl Fn(usize) + Sync + Send) {
    if num_blocks == 1 {
        work(0);
    } else {
        (0..num_blocks).into_par_iter().with_max_len(1).for_each(work);
    }
}

/// A slice whose disjoint parts different blocks write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disjoint<T> {
    first: *mut T,
    len: usize,
}

// SAFETY: parts are only handed out through an unsafe method whose contract is disjointness.
unsafe impl<T: Send> Send for Disjoint<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<T> {}

impl<T> Disjoint<T> {
    /// The caller keeps the borrow: parts must not be used after `slice` is gone.
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self { first: slice.as_mut_ptr(), len: slice.len() }
    }

    /// Elements `start..min(start + len, end of slice)`.
    ///
    /// # Safety
    /// The slice given to `new` must still be borrowed, and no other part that overlaps this one be alive.
    pub(crate) unsafe fn part<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        let end = (start + len).min(self.len);
        assert!(start <= end, "part {start}..{end} of {}", self.len);
        // SAFETY: in bounds by the assertion, exclusive by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), end - start) }
    }
}
