//! Element types: what logits may be stored in ([`Logit`]) and what assignments are computed in ([`Real`]).

use half::{bf16, f16};
use mira_core::Arithmetic;
use num_traits::{AsPrimitive, Float};

use crate::simd::Isa;
use crate::vector::Vector;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// Arithmetic and output types: `f32` and `f64`.
pub trait Real:
    Float + AsPrimitive<f64> + Default + Send + Sync + std::fmt::Debug + sealed::Sealed
{
    /// Unit roundoff and default tolerance.
    #[doc(hidden)]
    const ARITHMETIC: Arithmetic;
    /// Its vectors in an instruction set.
    #[doc(hidden)]
    type Vector<I: Isa>: Vector<Scalar = Self>;
    /// Coefficients of a polynomial for 2^x on [−½, ½], lowest first.
    #[doc(hidden)]
    const EXP2: &'static [Self];
    /// 1.5·2^mantissa bits: adding it rounds to an integer and leaves that integer in the low bits.
    #[doc(hidden)]
    const ROUND: Self;
    /// Exponents below this (2^x subnormal) are flushed to zero.
    #[doc(hidden)]
    const MIN_EXPONENT: f64;
    /// Largest |log2| that the rounding trick can take.
    #[doc(hidden)]
    const MAX_EXPONENT_ARGUMENT: f64;
    #[doc(hidden)]
    const IS_F32: bool;
    /// 2^e for integer-valued e in [MIN_EXPONENT − 1, MAX]; the lower end gives 0.
    #[doc(hidden)]
    fn exp2_integer(e: Self) -> Self;
    #[doc(hidden)]
    fn from_f64(x: f64) -> Self;
    #[doc(hidden)]
    fn from_f32(x: f32) -> Self;
    #[doc(hidden)]
    fn to_f32(self) -> f32;
    /// Conversion between the two types of this trait.
    #[doc(hidden)]
    #[inline(always)]
    fn from_wide<W: Real>(x: W) -> Self {
        if W::IS_F32 { Self::from_f32(x.to_f32()) } else { Self::from_f64(x.as_()) }
    }
}

impl Real for f32 {
    const ARITHMETIC: Arithmetic = Arithmetic::F32;
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

impl Real for f64 {
    const ARITHMETIC: Arithmetic = Arithmetic::F64;
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

/// Storage types of logits: `f32`, `f64`, and [`half::f16`], [`half::bf16`], which are widened exactly to f32 before any arithmetic.
pub trait Logit:
    Copy + Default + Send + Sync + AsPrimitive<f64> + std::fmt::Debug + sealed::Sealed
{
    /// The narrowest arithmetic that holds the type exactly.
    #[doc(hidden)]
    type Wide: Real;
    /// It is `Wide`.
    #[doc(hidden)]
    const IS_PLAIN: bool;
    #[doc(hidden)]
    fn widen(self) -> Self::Wide;
}

impl Logit for f32 {
    type Wide = f32;
    const IS_PLAIN: bool = true;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Logit for f64 {
    type Wide = f64;
    const IS_PLAIN: bool = true;
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
}

impl Logit for f16 {
    type Wide = f32;
    const IS_PLAIN: bool = false;
    /// In integer arithmetic, so that a loop over it becomes vector code on any machine: shift the bits into place and let one
    /// multiplication mend the exponent, subnormals included.
    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        // Infinities and NaN come out as 2^16 and more.
        let special = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }
}

impl Logit for bf16 {
    type Wide = f32;
    const IS_PLAIN: bool = false;
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_types_widen_exactly() {
        for bits in 0..=u16::MAX {
            let (h, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            let (wide_h, wide_b) = (h.widen(), b.widen());
            assert!(wide_h.is_nan() == h.is_nan() && wide_b.is_nan() == b.is_nan(), "{bits:#06x}");
            if !h.is_nan() {
                assert_eq!(wide_h.to_bits(), h.to_f32_const().to_bits(), "f16 {bits:#06x}");
            }
            if !b.is_nan() {
                assert_eq!(wide_b.to_bits(), b.to_f32_const().to_bits(), "bf16 {bits:#06x}");
            }
        }
    }

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
