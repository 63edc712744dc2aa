//! Aligned memory, and its sharing among threads that write to different places.

use std::marker::PhantomData;

use mira_simd::Scalar;

/// One or two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line<T>([T; 16]);

/// A zeroed array that starts on a cache line.
#[derive(Clone, Debug, Default)]
pub(super) struct Aligned<T> {
    lines: Vec<Line<T>>,
    len: usize,
}

impl<T: Scalar> Aligned<T> {
    pub(super) fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line([T::zero(); 16]); len.div_ceil(16)], len }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        // SAFETY: `lines` are arrays of T without padding (16·size_of T is a multiple of 64), and there are at least `len`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// A slice to which several threads write, each to places of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared<'a, T> {
    pointer: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: handing out places is unsafe; whoever does it promises that they are disjoint.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { pointer: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The values from `start`.
    ///
    /// # Safety
    /// No other thread may use them meanwhile.
    #[allow(clippy::mut_from_ref)] // that is what this type is for
    pub(super) unsafe fn slice(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start + len <= self.len, "{start}+{len} is beyond {}", self.len);
        // SAFETY: in bounds; not shared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), len) }
    }

    /// The address of value `index`, which must exist or be one past the last.
    pub(super) fn address(&self, index: usize) -> *mut T {
        assert!(index <= self.len, "{index} is beyond {}", self.len);
        // SAFETY: in bounds.
        unsafe { self.pointer.add(index) }
    }
}
