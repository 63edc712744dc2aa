//! What vectors are made of.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::AddAssign;

use num_traits::{AsPrimitive, Float};

use crate::{Isa, Vector};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
use sealed::Sealed;

/// Elements of vectors: `f32` and `f64`.
pub trait Scalar:
    Float + AsPrimitive<f64> + AddAssign + Sum + Default + Send + Sync + Debug + Sealed + 'static
{
    /// Its vectors in an instruction set.
    type Vector<I: Isa>: Vector<Scalar = Self>;
    /// Coefficients of a polynomial for 2^x on [−½, ½], lowest first.
    const EXP2: &'static [Self];
    /// 1.5·2^mantissa bits: adding it rounds to an integer and leaves that integer in the low bits.
    const ROUND: Self;
    /// Exponents below this (2^x subnormal) are flushed to zero.
    const MIN_EXPONENT: f64;
    /// Largest |log2| that the rounding trick can take.
    const MAX_EXPONENT_ARGUMENT: f64;
    /// Whether it is the shorter one.
    const IS_F32: bool;
    /// 2^e for integer-valued e from `MIN_EXPONENT` − 1, which gives 0.
    fn exp2_integer(e: Self) -> Self;
    /// Nearest value.
    fn from_f64(x: f64) -> Self;
    /// Exact.
    fn from_f32(x: f32) -> Self;
    /// Nearest value.
    fn to_f32(self) -> f32;
    /// Conversion between the two types of this trait.
    #[inline(always)]
    fn from_wide<W: Scalar>(x: W) -> Self {
        if W::IS_F32 { Self::from_f32(x.to_f32()) } else { Self::from_f64(x.as_()) }
    }
}

impl Scalar for f32 {
    type Vector<I: Isa> = I::F32;
    // Minimax (Remez) in relative error, 1.9e-9.
    #[allow(clippy::excessive_precision)]
    const EXP2: &'static [f32] = &[
        1.000_000_000_554_166_3,
        0.693_147_205_737_252_54,
        0.240_226_468_906_395_72,
        0.055_503_287_769_976_638,
        0.009_618_488_956_522_791_6,
        0.001_339_993_120_947_414,
        0.000_153_458_121_587_401_82,
    ];
    const ROUND: f32 = 12_582_912.0;
    const MIN_EXPONENT: f64 = -126.0;
    const MAX_EXPONENT_ARGUMENT: f64 = 2_097_152.0;
    const IS_F32: bool = true;
    #[inline(always)]
    fn exp2_integer(e: f32) -> f32 {
        f32::from_bits((e + Self::ROUND).to_bits().wrapping_add(127) << 23)
    }
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // rounding to f32 is the point
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Scalar for f64 {
    type Vector<I: Isa> = I::F64;
    // Minimax (Remez) in relative error, 3.1e-18.
    #[allow(clippy::excessive_precision)]
    const EXP2: &'static [f64] = &[
        0.999_999_999_999_999_997_1,
        std::f64::consts::LN_2,
        0.240_226_506_959_101_562_05,
        0.055_504_108_664_819_921_483,
        0.009_618_129_107_588_335_083_3,
        0.001_333_355_814_678_995_031_8,
        0.000_154_035_304_625_146_130_26,
        0.000_015_252_733_489_960_804_6,
        1.321_543_308_959_462_903_7e-6,
        1.017_819_803_332_852_766_2e-7,
        7.074_105_626_245_659_370_8e-9,
        4.435_280_944_610_336_156_1e-10,
    ];
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const MIN_EXPONENT: f64 = -1022.0;
    const MAX_EXPONENT_ARGUMENT: f64 = 1_125_899_906_842_624.0;
    const IS_F32: bool = false;
    #[inline(always)]
    fn exp2_integer(e: f64) -> f64 {
        f64::from_bits((e + Self::ROUND).to_bits().wrapping_add(1023) << 52)
    }
    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f64 {
        f64::from(x)
    }
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // rounding to f32 is the point
    fn to_f32(self) -> f32 {
        self as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_powers_of_two_are_exact_and_flush() {
        for e in -126..=127i16 {
            assert_eq!(f32::exp2_integer(f32::from(e)), f32::from(e).exp2());
        }
        for e in -1022..=1023i16 {
            assert_eq!(f64::exp2_integer(f64::from(e)), f64::from(e).exp2());
        }
        assert_eq!((f32::exp2_integer(-127.0), f64::exp2_integer(-1023.0)), (0.0, 0.0));
    }
}
