//! Global memory that notices writes beside it.

use std::slice;

use half::{bf16, f16};

/// What device memory may hold: any bytes are a value of it.
///
/// # Safety
/// The type has no padding and every pattern of bits is valid.
pub unsafe trait Element: Copy {}

macro_rules! elements {
    ($($t:ty),*) => { $(
        // SAFETY: a plain number.
        unsafe impl Element for $t {}
    )* };
}
elements!(u8, u16, u32, u64, i32, i64, f32, f64, f16, bf16);

/// 0xfff5 in both halves: a NaN as bf16, f16, f32 and f64, and not the 0xff of fresh memory.
const GUARD: [u8; 2] = 0xfff5_u16.to_le_bytes();

#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
struct Line([u8; 128]);

const POISON: Line = Line([0xff; 128]);

/// An array for a kernel: aligned to 128 bytes, with guards on both sides that read as NaN and are watched.
///
/// The guards begin right before the first and right behind the last element, so one element too many is seen.
#[derive(Debug, Clone)]
pub struct Guarded<T> {
    lines: Vec<Line>,
    len: usize,
    element: std::marker::PhantomData<T>,
}

/// A kernel wrote beside an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a write {} bytes {} the {len} elements of the array; check the kernel's indices against its length",
    distance, if *behind { "behind the end of" } else { "before the start of" }
)]
pub struct Overrun {
    /// Behind the end, or before the start.
    pub behind: bool,
    /// How far beside, in bytes; 0 is next to it.
    pub distance: usize,
    /// Elements of the array.
    pub len: usize,
}

impl<T: Element> Guarded<T> {
    /// Lines of guard on each side.
    const LINES: usize = 2;

    /// Fresh memory: all bytes 0xff, so floats are NaN.
    pub fn poisoned(len: usize) -> Self {
        let bytes = len * size_of::<T>();
        let mut lines = vec![POISON; bytes.div_ceil(128) + 2 * Self::LINES];
        let start = Self::LINES * 128;
        let all = bytes_of(&mut lines);
        for (i, byte) in all.iter_mut().enumerate() {
            if i < start || i >= start + bytes {
                *byte = GUARD[i % 2];
            }
        }
        Self { lines, len, element: std::marker::PhantomData }
    }

    /// A copy.
    pub fn from_slice(values: &[T]) -> Self {
        let mut array = Self::poisoned(values.len());
        array.as_mut_slice().copy_from_slice(values);
        array
    }

    /// For the kernel to read.
    pub fn as_ptr(&self) -> *const T {
        // Of the whole allocation, so that a mistaken kernel reads NaN from the guards and nothing else.
        self.lines.as_ptr().wrapping_add(Self::LINES).cast()
    }

    /// For the kernel to write.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.lines.as_mut_ptr().wrapping_add(Self::LINES).cast()
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `len` elements of any bits lie there, initialised and aligned to 128 bytes.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let len = self.len;
        // SAFETY: as above, and borrowed for as long.
        unsafe { slice::from_raw_parts_mut(self.as_mut_ptr(), len) }
    }

    /// # Errors
    /// [`Overrun`] if the guards are not what they were.
    pub fn check(&mut self) -> Result<(), Overrun> {
        let start = Self::LINES * 128;
        let end = start + self.len * size_of::<T>();
        let len = self.len;
        let all = bytes_of(&mut self.lines);
        let spoiled = |i: &usize| all[*i] != GUARD[i % 2];
        if let Some(i) = (end..all.len()).find(spoiled) {
            return Err(Overrun { behind: true, distance: i - end, len });
        }
        if let Some(i) = (0..start).rev().find(spoiled) {
            return Err(Overrun { behind: false, distance: start - 1 - i, len });
        }
        Ok(())
    }
}

fn bytes_of(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: lines are arrays of bytes without padding.
    unsafe { slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}
