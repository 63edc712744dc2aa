//! Element types: what logits may be stored in ([`Logit`]) and what assignments are computed in ([`Real`]).

use half::{bf16, f16};
use mira_core::Arithmetic;
use mira_simd::Scalar;
use num_traits::AsPrimitive;

use crate::compiled;

/// Arithmetic and output types: `f32` and `f64`.
pub trait Real: Scalar + compiled::RealKernels {
    /// Unit roundoff and default tolerance.
    #[doc(hidden)]
    const ARITHMETIC: Arithmetic;
}

impl Real for f32 {
    const ARITHMETIC: Arithmetic = Arithmetic::F32;
}

impl Real for f64 {
    const ARITHMETIC: Arithmetic = Arithmetic::F64;
}

/// Storage types of logits: `f32`, `f64`, and [`half::f16`], [`half::bf16`], which are widened exactly to f32 before any arithmetic.
pub trait Logit:
    Copy + Default + Send + Sync + AsPrimitive<f64> + std::fmt::Debug + compiled::LogitKernels
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
}
