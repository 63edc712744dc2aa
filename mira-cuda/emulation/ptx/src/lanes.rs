//! Values of the 32 lanes of a warp, and what instructions compute of them.

use std::array;
use std::cmp::Ordering;

use half::{bf16, f16};

pub(crate) const LANES: usize = 32;

/// A register of a warp: bits of each lane, with zeros above those of its type.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Lanes(pub(crate) [u64; LANES]);

impl Lanes {
    pub(crate) const fn all(bits: u64) -> Self {
        Self([bits; LANES])
    }

    /// `other` where `mask` says so.
    pub(crate) fn replace(&mut self, other: &Self, mask: u32) {
        if mask == u32::MAX {
            *self = *other;
            return;
        }
        for lane in 0..LANES {
            if mask >> lane & 1 == 1 {
                self.0[lane] = other.0[lane];
            }
        }
    }
}

/// A type of PTX.
pub(crate) trait Value: Copy {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! integers {
    ($($type:ty as $unsigned:ty),*) => { $(
        impl Value for $type {
            fn of(bits: u64) -> Self {
                bits as Self
            }
            fn bits(self) -> u64 {
                u64::from(self as $unsigned)
            }
        }
    )* };
}
integers!(
    u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64
);

macro_rules! floats {
    ($($type:ty, $bits:ty, $nan:literal);*) => { $(
        impl Value for $type {
            fn of(bits: u64) -> Self {
                Self::from_bits(bits as $bits)
            }
            /// Every NaN is the device's own.
            fn bits(self) -> u64 {
                if self.is_nan() { $nan } else { u64::from(self.to_bits()) }
            }
        }
    )* };
}
floats!(f16, u16, 0x7fff; bf16, u16, 0x7fff; f32, u32, 0x7fff_ffff; f64, u64, 0x7fff_ffff_ffff_ffff);

pub(crate) fn map<A: Value, R: Value>(a: &Lanes, f: impl Fn(A) -> R) -> Lanes {
    Lanes(array::from_fn(|i| f(A::of(a.0[i])).bits()))
}

pub(crate) fn map2<A: Value, B: Value, R: Value>(
    a: &Lanes,
    b: &Lanes,
    f: impl Fn(A, B) -> R,
) -> Lanes {
    Lanes(array::from_fn(|i| f(A::of(a.0[i]), B::of(b.0[i])).bits()))
}

pub(crate) fn map3<A: Value, B: Value, C: Value, R: Value>(
    a: &Lanes,
    b: &Lanes,
    c: &Lanes,
    f: impl Fn(A, B, C) -> R,
) -> Lanes {
    Lanes(array::from_fn(|i| f(A::of(a.0[i]), B::of(b.0[i]), C::of(c.0[i])).bits()))
}

/// The lanes for whose order it holds.
pub(crate) fn compare<T: Value + PartialOrd>(
    a: &Lanes,
    b: &Lanes,
    holds: impl Fn(Option<Ordering>) -> bool,
) -> u32 {
    let bit = |i: usize| u32::from(holds(T::of(a.0[i]).partial_cmp(&T::of(b.0[i])))) << i;
    (0..LANES).fold(0, |mask, i| mask | bit(i))
}
