//! Plain Rust, for machines whose instruction set has no vectors of ours.

use super::Words;
use crate::array::array;

const IS_LITTLE: bool = cfg!(target_endian = "little");

/// One lane, which LLVM may vectorise for the baseline.
#[derive(Clone, Copy, Debug)]
pub struct Lane([i16; 8]);

impl Lane {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(i16, i16) -> i16) -> Self {
        Self(array(|i| f(self.0[i], other.0[i])))
    }

    // The lower byte of a word, and the lower word of 32 bits, is first in memory, so these are no work where that is how numbers are stored.

    #[inline(always)]
    fn bytes(self) -> [u8; 16] {
        let words = if IS_LITTLE { self.0 } else { array(|i| self.0[i].to_le()) };
        // SAFETY: any bits are bytes.
        unsafe { std::mem::transmute(words) }
    }

    #[inline(always)]
    fn of_bytes(bytes: [u8; 16]) -> Self {
        // SAFETY: any bits are words.
        let words = unsafe { std::mem::transmute::<[u8; 16], [i16; 8]>(bytes) };
        Self(if IS_LITTLE { words } else { array(|i| i16::from_le(words[i])) })
    }

    #[inline(always)]
    fn ints(self) -> [i32; 4] {
        // SAFETY: any bits are integers.
        let ints = unsafe { std::mem::transmute::<[u8; 16], [i32; 4]>(self.bytes()) };
        if IS_LITTLE { ints } else { array(|i| i32::from_le(ints[i])) }
    }

    #[inline(always)]
    fn of_ints(ints: [i32; 4]) -> Self {
        let ints: [i32; 4] = if IS_LITTLE { ints } else { array(|i| ints[i].to_le()) };
        // SAFETY: any bits are bytes.
        Self::of_bytes(unsafe { std::mem::transmute::<[i32; 4], [u8; 16]>(ints) })
    }

    /// Pieces of `N` words, in turns, from the piece `first` on.
    #[inline(always)]
    fn unpack<const N: usize>(self, other: Self, first: usize) -> Self {
        Self(array(|i| {
            let (piece, within) = (i / N, i % N);
            let from = if piece % 2 == 0 { self } else { other };
            from.0[(first + piece / 2) * N + within]
        }))
    }

    #[inline(always)]
    fn unpack_8(self, other: Self, first: usize) -> Self {
        let [one, other] = [self.bytes(), other.bytes()];
        Self::of_bytes(array(
            |i| {
                if i % 2 == 0 { one[first + i / 2] } else { other[first + i / 2] }
            },
        ))
    }

    #[inline(always)]
    fn pack_8(self, upper: Self, min: i16, max: i16) -> Self {
        let clipped = |words: Self| words.max(Self::splat(min)).min(Self::splat(max));
        let [lower, upper] = [clipped(self), clipped(upper)];
        let bytes = array(|i| if i < 8 { lower.0[i] as u8 } else { upper.0[i - 8] as u8 });
        Self::of_bytes(bytes)
    }
}

impl Words for Lane {
    const LANES: usize = 1;

    #[inline(always)]
    unsafe fn load(from: *const i16) -> Self {
        // SAFETY: by the trait's contract; the array is read unaligned.
        Self(unsafe { from.cast::<[i16; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i16) {
        // SAFETY: by the trait's contract; the array is written unaligned.
        unsafe { to.cast::<[i16; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        // SAFETY: by the trait's contract.
        Self::of_bytes(unsafe { from.cast::<[u8; 16]>().read() })
    }
    #[inline(always)]
    unsafe fn load_lane(from: *const u8) -> Self {
        // SAFETY: by the trait's contract.
        unsafe { Self::load_bytes(from) }
    }
    #[inline(always)]
    unsafe fn store_half_lane(self, _: usize, is_upper: bool, to: *mut u8) {
        let bytes = self.bytes();
        let half: [u8; 8] = array(|i| bytes[i + 8 * usize::from(is_upper)]);
        // SAFETY: by the trait's contract.
        unsafe { to.cast::<[u8; 8]>().write(half) }
    }
    #[inline(always)]
    unsafe fn gather_pixels(from: *const u8, offsets: *const u32) -> [Self; 2] {
        // SAFETY: by the trait's contract.
        let pixels = unsafe { from.add(*offsets as usize).cast::<[[[u8; 3]; 2]; 2]>().read() };
        pixels.map(|[one, other]| {
            let words = [one[0], other[0], one[1], other[1], one[2], other[2], 0, 0];
            Self(words.map(i16::from))
        })
    }
    #[inline(always)]
    unsafe fn store_channels(self, to: [*mut i16; 3]) {
        for (i, to) in to.into_iter().enumerate() {
            // SAFETY: by the trait's contract; the array is written unaligned.
            unsafe { to.cast::<[i16; 2]>().write_unaligned([self.0[i], self.0[i + 4]]) }
        }
    }
    #[inline(always)]
    unsafe fn store_pixels(channels: [Self; 3], to: *mut [u8; 3]) {
        let [red, green, blue] = channels.map(Self::bytes);
        // SAFETY: by the trait's contract.
        unsafe {
            to.cast::<[[u8; 3]; 16]>().write(array(|i| [red[i], green[i], blue[i]]));
        }
    }
    #[inline(always)]
    fn splat(value: i16) -> Self {
        Self(array(|_| value))
    }
    #[inline(always)]
    fn splat_32(value: i32) -> Self {
        Self::of_ints(array(|_| value))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_add)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_sub)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn mul_low(self, other: Self) -> Self {
        self.zip(other, i16::wrapping_mul)
    }
    #[inline(always)]
    fn mul_high(self, other: Self) -> Self {
        self.zip(other, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16)
    }
    #[inline(always)]
    fn shift_right<const BITS: u32>(self) -> Self {
        Self(array(|i| self.0[i] >> BITS))
    }
    #[inline(always)]
    fn dot_pairs(self, other: Self) -> Self {
        let product = |i: usize| i32::from(self.0[i]) * i32::from(other.0[i]);
        // Only twice −2¹⁵ · −2¹⁵ is too much, and wraps around as the instruction does.
        Self::of_ints(array(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
    }
    #[inline(always)]
    fn add_32(self, other: Self) -> Self {
        let [a, b] = [self.ints(), other.ints()];
        Self::of_ints(array(|i| a[i].wrapping_add(b[i])))
    }
    #[inline(always)]
    fn sub_32(self, other: Self) -> Self {
        let [a, b] = [self.ints(), other.ints()];
        Self::of_ints(array(|i| a[i].wrapping_sub(b[i])))
    }
    #[inline(always)]
    fn shift_right_32<const BITS: u32>(self) -> Self {
        let ints = self.ints();
        Self::of_ints(array(|i| ints[i] >> BITS))
    }
    #[inline(always)]
    fn pack_32(self, upper: Self) -> Self {
        let clipped = |ints: [i32; 4]| -> [i32; 4] {
            let above: [i32; 4] =
                array(|i| if ints[i] > i16::MIN.into() { ints[i] } else { i16::MIN.into() });
            array(|i| if above[i] < i16::MAX.into() { above[i] } else { i16::MAX.into() })
        };
        let [lower, upper] = [clipped(self.ints()), clipped(upper.ints())];
        let words = array(|i| if i < 4 { lower[i] as i16 } else { upper[i - 4] as i16 });
        Self(words)
    }
    #[inline(always)]
    fn pack_i8(self, upper: Self) -> Self {
        self.pack_8(upper, i8::MIN.into(), i8::MAX.into())
    }
    #[inline(always)]
    fn pack_u8(self, upper: Self) -> Self {
        self.pack_8(upper, 0, u8::MAX.into())
    }
    #[inline(always)]
    fn to_u8(self, upper: Self) -> Self {
        self.pack_u8(upper)
    }
    #[inline(always)]
    fn unpack_low_8(self, other: Self) -> Self {
        self.unpack_8(other, 0)
    }
    #[inline(always)]
    fn unpack_high_8(self, other: Self) -> Self {
        self.unpack_8(other, 8)
    }
    #[inline(always)]
    fn unpack_low(self, other: Self) -> Self {
        self.unpack::<1>(other, 0)
    }
    #[inline(always)]
    fn unpack_high(self, other: Self) -> Self {
        self.unpack::<1>(other, 4)
    }
    #[inline(always)]
    fn unpack_low_32(self, other: Self) -> Self {
        self.unpack::<2>(other, 0)
    }
    #[inline(always)]
    fn unpack_high_32(self, other: Self) -> Self {
        self.unpack::<2>(other, 2)
    }
    #[inline(always)]
    fn unpack_low_64(self, other: Self) -> Self {
        self.unpack::<4>(other, 0)
    }
    #[inline(always)]
    fn unpack_high_64(self, other: Self) -> Self {
        self.unpack::<4>(other, 1)
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.zip(other, |a, b| a ^ b)
    }
}
