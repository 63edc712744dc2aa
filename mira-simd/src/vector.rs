//! Vectors of one instruction set each, all with the same few operations.

use num_traits::AsPrimitive;

use crate::Scalar;
use crate::array::array;

/// A fixed number of elements in registers.
///
/// Methods may use instructions of their set: a value must only be made on machines that have it, which
/// [`dispatch`](crate::dispatch) sees to.
#[allow(clippy::return_self_not_must_use)] // arithmetic
pub trait Vector: Copy {
    /// Element type.
    type Scalar: Scalar;
    /// Number of elements.
    const LEN: usize;
    /// Reads `LEN` elements.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load(from: *const Self::Scalar) -> Self;
    /// Writes `LEN` elements.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store(self, to: *mut Self::Scalar);
    /// The same value everywhere.
    fn splat(value: Self::Scalar) -> Self;
    /// Sum.
    fn add(self, other: Self) -> Self;
    /// Difference.
    fn sub(self, other: Self) -> Self;
    /// Product.
    fn mul(self, other: Self) -> Self;
    /// `self·factor + addend`, fused where the set can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller; `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// 2^e of integer-valued elements, see [`Scalar::exp2_integer`].
    fn exp2_integer(self) -> Self;

    /// The elements.
    #[inline(always)]
    fn to_array(self) -> [Self::Scalar; 16] {
        const { assert!(Self::LEN <= 16, "a vector has at most 16 elements") };
        let mut array = [Self::Scalar::default(); 16];
        // SAFETY: no vector has more than 16 elements: checked above, when this is compiled.
        unsafe { self.store(array.as_mut_ptr()) };
        array
    }

    /// Sum of the elements, in a fixed tree order.
    #[inline(always)]
    fn sum(self) -> f64 {
        let mut lanes = self.to_array();
        let mut half = Self::LEN / 2;
        while half > 0 {
            for l in 0..half {
                let upper = lanes[l + half];
                lanes[l] += upper;
            }
            half /= 2;
        }
        lanes[0].as_()
    }
}

/// Plain Rust: for machines whose instruction set has no vectors of ours.
#[derive(Clone, Copy, Debug)]
pub struct Lanes<T, const N: usize>([T; N]);

impl<T: Scalar, const N: usize> Lanes<T, N> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(array(|l| f(self.0[l], other.0[l])))
    }
}

impl<T: Scalar, const N: usize> Vector for Lanes<T, N> {
    type Scalar = T;
    const LEN: usize = {
        assert!(
            N.is_power_of_two() && N <= 16,
            "sums halve the elements, and there are at most 16"
        );
        N
    };
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: by the trait's contract; the array is read unaligned.
        Self(unsafe { from.cast::<[T; N]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: by the trait's contract; the array is written unaligned.
        unsafe { to.cast::<[T; N]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    fn splat(value: T) -> Self {
        Self(array(|_| value))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |x, y| x * y)
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        if cfg!(target_arch = "aarch64") {
            Self(array(|l| self.0[l].mul_add(factor.0[l], addend.0[l])))
        } else {
            self.mul(factor).add(addend)
        }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    fn exp2_integer(self) -> Self {
        Self(array(|l| T::exp2_integer(self.0[l])))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    #[allow(clippy::wildcard_imports)] // sixty intrinsics
    use std::arch::x86_64::*;

    use super::Vector;
    use crate::Scalar;

    /// An array of this for each register. Not by a closure: that is a function without the instruction set, into which no intrinsic is inlined,
    /// and the optimiser does not always inline it first.
    macro_rules! each {
        (1, |$r:ident| $value:expr) => {{
            let $r = 0;
            unsafe { [$value] }
        }};
        (2, |$r:ident| $value:expr) => {{
            let first = {
                let $r = 0;
                unsafe { $value }
            };
            let $r = 1;
            [first, unsafe { $value }]
        }};
    }

    /// A vector of `$registers` registers of `$per` elements.
    macro_rules! vector {
        ($name:ident, $scalar:ty, $register:ty, $registers:tt * $per:literal,
         $load:ident, $store:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident, $max:ident, $min:ident,
         $exp2:expr) => {
            #[derive(Clone, Copy, Debug)]
            pub(crate) struct $name([$register; $registers]);

            // SAFETY of every intrinsic: `dispatch` makes these vectors only where their instruction set was detected, and
            // memory accesses are covered by the trait's contract.
            impl Vector for $name {
                type Scalar = $scalar;
                const LEN: usize = $registers * $per;
                #[inline(always)]
                unsafe fn load(from: *const $scalar) -> Self {
                    Self(each!($registers, |r| $load(from.add(r * $per))))
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $scalar) {
                    for (r, value) in self.0.into_iter().enumerate() {
                        unsafe { $store(to.add(r * $per), value) };
                    }
                }
                #[inline(always)]
                fn splat(value: $scalar) -> Self {
                    Self([unsafe { $splat(value) }; $registers])
                }
                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    Self(each!($registers, |r| $add(self.0[r], other.0[r])))
                }
                #[inline(always)]
                fn sub(self, other: Self) -> Self {
                    Self(each!($registers, |r| $sub(self.0[r], other.0[r])))
                }
                #[inline(always)]
                fn mul(self, other: Self) -> Self {
                    Self(each!($registers, |r| $mul(self.0[r], other.0[r])))
                }
                #[inline(always)]
                fn mul_add(self, factor: Self, addend: Self) -> Self {
                    Self(each!($registers, |r| $fma(self.0[r], factor.0[r], addend.0[r])))
                }
                #[inline(always)]
                fn max(self, other: Self) -> Self {
                    Self(each!($registers, |r| $max(self.0[r], other.0[r])))
                }
                #[inline(always)]
                fn min(self, other: Self) -> Self {
                    Self(each!($registers, |r| $min(self.0[r], other.0[r])))
                }
                #[inline(always)]
                fn exp2_integer(self) -> Self {
                    let rounded = self.add(Self::splat(<$scalar>::ROUND));
                    Self(each!($registers, |r| $exp2(rounded.0[r])))
                }
            }
        };
    }

    #[inline(always)]
    unsafe fn exponent_avx2_f32(x: __m256) -> __m256 {
        // SAFETY: as for the vectors.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn exponent_avx2_f64(x: __m256d) -> __m256d {
        // SAFETY: as for the vectors.
        unsafe {
            let biased = _mm256_add_epi64(_mm256_castpd_si256(x), _mm256_set1_epi64x(1023));
            _mm256_castsi256_pd(_mm256_slli_epi64::<52>(biased))
        }
    }
    #[inline(always)]
    unsafe fn exponent_avx512_f32(x: __m512) -> __m512 {
        // SAFETY: as for the vectors.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn exponent_avx512_f64(x: __m512d) -> __m512d {
        // SAFETY: as for the vectors.
        unsafe {
            let biased = _mm512_add_epi64(_mm512_castpd_si512(x), _mm512_set1_epi64(1023));
            _mm512_castsi512_pd(_mm512_slli_epi64::<52>(biased))
        }
    }

    vector!(
        Avx2F32,
        f32,
        __m256,
        2 * 8,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        _mm256_max_ps,
        _mm256_min_ps,
        exponent_avx2_f32
    );
    vector!(
        Avx2F64,
        f64,
        __m256d,
        2 * 4,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_set1_pd,
        _mm256_add_pd,
        _mm256_sub_pd,
        _mm256_mul_pd,
        _mm256_fmadd_pd,
        _mm256_max_pd,
        _mm256_min_pd,
        exponent_avx2_f64
    );
    vector!(
        Avx512F32,
        f32,
        __m512,
        1 * 16,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        _mm512_max_ps,
        _mm512_min_ps,
        exponent_avx512_f32
    );
    vector!(
        Avx512F64,
        f64,
        __m512d,
        1 * 8,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_set1_pd,
        _mm512_add_pd,
        _mm512_sub_pd,
        _mm512_mul_pd,
        _mm512_fmadd_pd,
        _mm512_max_pd,
        _mm512_min_pd,
        exponent_avx512_f64
    );
}
