//! Vectorised exponentials, accurate for any size of the argument.
//!
//! A kernel element is `2^(s·c − M)` with `c = log2(e)/ε` and an integer row shift M. Rounding the product `s·c` would cost
//! `|s·c|` ulps in the result. Instead the nearest integer `n` is subtracted inside a fused multiply-add, where the product is exact:
//! `f = fma(s, c, −n)`, corrected by the low part of `c`; then `2^f · 2^(n−M)`. The result is good to about 1.5 ulp however large s is,
//! with two instructions instead of a double-word product.

use num_traits::Zero;

use crate::element::Real;
use mira_simd::{Isa, Kernel, Scalar, Vector};

/// The factor `c = log2(e)/ε` in the forms the two arithmetics need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale<A> {
    high: A,
    low: A,
    exact: f64,
    /// What `exact` lacks of the quotient.
    rest: f64,
}

impl<A: Real> Scale<A> {
    pub(crate) fn new(epsilon: f64) -> Self {
        // log2(e) = LOG2_E + 2.0355e-17; the quotient's remainder by a fused multiply-add.
        const LOG2_E_LOW: f64 = 2.035_527_374_093_103_3e-17;
        let exact = std::f64::consts::LOG2_E / epsilon;
        let high = A::from_f64(exact);
        let rest = (f64::mul_add(-exact, epsilon, std::f64::consts::LOG2_E) + LOG2_E_LOW) / epsilon;
        let low = if A::IS_F32 { exact - high.as_() } else { rest };
        Self { high, low: A::from_f64(low), exact, rest }
    }

    /// `log2` of the kernel at logit `s`.
    pub(crate) fn log2(self, s: f64) -> f64 {
        s * self.exact
    }
}

/// `s·c = n + f` with n an integer and |f| ≤ ½ (a little more at ties); needs fused multiply-add.
#[inline(always)]
pub(crate) fn split<V: Vector>(s: V, scale: Scale<V::Scalar>) -> (V, V) {
    let (high, round) = (V::splat(scale.high), V::splat(V::Scalar::ROUND));
    let n = s.mul_add(high, round).sub(round);
    let f = s.mul_add(high, V::splat(V::Scalar::zero()).sub(n));
    (n, s.mul_add(V::splat(scale.low), f))
}

/// The same for one logit, by the product in f64: for f64 logits in f32 arithmetic, and where there is no fused multiply-add in vectors. In f64 arithmetic
/// one of a single number, which may be a call, or else the result would lose `|s·c|` ulps.
#[inline(always)]
pub(crate) fn split_scalar<A: Scalar>(s: f64, scale: Scale<A>) -> (A, A) {
    let product = s * scale.exact;
    let n = (product + f64::ROUND) - f64::ROUND;
    let f = if A::IS_F32 { product - n } else { s.mul_add(scale.exact, -n) + s * scale.rest };
    (A::from_f64(n), A::from_f64(f))
}

/// `2^f · 2^e` for |f| ≤ ½ and integer-valued e; 0 below the smallest normal number.
#[inline(always)]
pub(crate) fn exp2_split<V: Vector>(f: V, e: V) -> V {
    let coefficients = V::Scalar::EXP2;
    let mut p = V::splat(coefficients[coefficients.len() - 1]);
    for c in coefficients[..coefficients.len() - 1].iter().rev() {
        p = p.mul_add(f, V::splat(*c));
    }
    p.mul(e.max(V::splat(V::Scalar::from_f64(V::Scalar::MIN_EXPONENT - 1.0))).exp2_integer())
}

/// `2^x` for f64 vectors of any x ≤ 1000; 0 for very negative x, −∞ and NaN.
#[inline(always)]
pub(crate) fn exp2<V: Vector<Scalar = f64>>(x: V) -> V {
    let x = x.max(V::splat(-2000.0));
    let round = V::splat(f64::ROUND);
    let n = x.add(round).sub(round);
    exp2_split(x.sub(n), n)
}

/// `e^(a − reference)` of f64 vectors, rounded to `A`, for column weights.
#[derive(Debug)]
pub struct Weights<'a, A> {
    pub(crate) exponents: &'a [f64],
    /// Subtracted: the weights already in the kernel.
    pub(crate) reference: &'a [f64],
    /// Padded with zeros.
    pub(crate) out: &'a mut [A],
}

impl<A: Real> Kernel for Weights<'_, A> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let (out, padding) = self.out.split_at_mut(self.exponents.len());
        padding.fill(A::zero());
        let mut buffer = [0.0; 16];
        for ((out, a), r) in
            out.chunks_mut(16).zip(self.exponents.chunks(16)).zip(self.reference.chunks(16))
        {
            for ((b, a), r) in buffer.iter_mut().zip(a).zip(r) {
                *b = (a - r) * std::f64::consts::LOG2_E;
            }
            for half in buffer.chunks_exact_mut(I::F64::LEN) {
                // SAFETY: the chunk has LEN elements.
                unsafe { exp2(I::F64::load(half.as_ptr())).store(half.as_mut_ptr()) };
            }
            for (out, b) in out.iter_mut().zip(&buffer) {
                *out = A::from_f64(*b);
            }
        }
    }
}

/// Natural logarithms in place, of positive normal numbers, to about 1e-16 absolute and relative.
///
/// `x = 2^e m` with m in [√½, √2); `log m = 2 artanh((m−1)/(m+1))` by its series, whose 11th term is below 1e-17 there.
pub(crate) struct Ln<'a>(pub(crate) &'a mut [f64]);

impl Kernel for Ln<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
        const BIAS: u64 = 1023 << 52;
        // log 2 in two parts: the high one times e is exact.
        const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
        const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
        for x in self.0 {
            // Bit arithmetic that vectorises without 64-bit arithmetic shifts or conversions.
            let offset = x.to_bits().wrapping_sub(SQRT_HALF).wrapping_add(BIAS);
            let exponent = (offset >> 52).wrapping_sub(1023);
            let m = f64::from_bits(x.to_bits().wrapping_sub(exponent << 52));
            let e = f64::from_bits(exponent.wrapping_add(f64::ROUND.to_bits())) - f64::ROUND;
            let s = (m - 1.0) / (m + 1.0);
            let z = s * s;
            let mut p = 1.0 / 21.0;
            for n in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
                p = p * z + 1.0 / n;
            }
            *x = e * LN_2_HIGH + (2.0 * s + (2.0 * s * z * p + e * LN_2_LOW));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mira_simd::dispatch;

    struct Exp<'a, A>(&'a [A], f64, &'a mut [A]);
    impl<A: Real> Kernel for Exp<'_, A> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let scale = Scale::<A>::new(self.1);
            let len = <A::Vector<I> as Vector>::LEN;
            for (x, y) in self.0.chunks_exact(len).zip(self.2.chunks_exact_mut(len)) {
                // SAFETY: the chunks have LEN elements.
                let x = unsafe { A::Vector::<I>::load(x.as_ptr()) };
                let (n, f) = if I::FMA {
                    split(x, scale)
                } else {
                    let (mut n, mut f) = (x.to_array(), x.to_array());
                    for (n, f) in n.iter_mut().zip(&mut f) {
                        (*n, *f) = split_scalar(n.as_(), scale);
                    }
                    // SAFETY: arrays have 16 ≥ LEN elements.
                    unsafe { (Vector::load(n.as_ptr()), Vector::load(f.as_ptr())) }
                };
                // SAFETY: the chunks have LEN elements.
                unsafe { exp2_split(f, n).store(y.as_mut_ptr()) };
            }
        }
    }

    #[test]
    fn f32_exponential_is_accurate_for_large_arguments() {
        // exp(x/ε) with x/ε down to −87: the f64 result is exact to 1e-14 here.
        let x: Vec<f32> = (0..20_000u16).map(|i| f32::from(i) * -1.3e-4).collect();
        let mut y = vec![0.0; x.len()];
        dispatch(Exp(&x, 0.03, &mut y));
        let worst = x
            .iter()
            .zip(&y)
            .map(|(x, y)| (f64::from(*y) / (f64::from(*x) / 0.03).exp() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 1.5e-7, "{worst:e}");
    }

    #[test]
    fn f64_exponential_is_accurate_for_large_arguments() {
        let x: Vec<f64> = (0..20_000u16).map(|i| f64::from(i) * -1e-3).collect();
        let mut y = vec![0.0; x.len()];
        dispatch(Exp(&x, 0.03, &mut y));
        for (x, y) in x.iter().zip(&y) {
            // std's exp of the rounded quotient is itself off by |x/ε| ulp/2.
            let (exact, allowed) = ((x / 0.03).exp(), 3e-16 * (2.0 - x / 0.03));
            assert!((y - exact).abs() <= allowed * exact, "{x} {y:e} {exact:e}");
        }
    }

    #[test]
    fn logarithms_agree_with_the_standard_library() {
        let mut x: Vec<f64> =
            (0..60_000u16).map(|i| (f64::from(i) * 0.0213 - 700.0).exp()).collect();
        x.extend((0..20_000u16).map(|i| 0.5 + f64::from(i) * 1e-4));
        x.extend([1.0, f64::MIN_POSITIVE, f64::MAX, std::f64::consts::SQRT_2, 0.5f64.sqrt()]);
        let mut y = x.clone();
        dispatch(Ln(&mut y));
        for (x, y) in x.iter().zip(&y) {
            assert!((y - x.ln()).abs() <= 4e-16 * x.ln().abs().max(0.5), "{x:e}: {y} {}", x.ln());
        }
    }

    #[test]
    fn weights_subtract_the_reference_and_pad_with_zeros() {
        let (a, r) = ([1.0, -40.0, 3.0], [0.5, 2.0, 3.0]);
        let mut out = [9.0f32; 16];
        dispatch(Weights { exponents: &a, reference: &r, out: &mut out });
        for j in 0..3 {
            assert!((f64::from(out[j]) / (a[j] - r[j]).exp() - 1.0).abs() < 1.2e-7);
        }
        assert!(out[3..].iter().all(|w| *w == 0.0));
    }
}
