//! `out = Σ_j weight_j · line_j` over lines of 16-bit values: one direction of a resampling or of a blur, in integers, so that every
//! machine has the same bits.

use mira_simd::Isa;

use super::planes::MAX;

/// Bits after the point of a weight; weights are below 2.
pub(super) const PRECISION: i32 = 14;

/// Values that are written at once. As many beyond the last line's end are read, and do not count.
pub(super) const SLACK: usize = 16;

/// Weights in fixed point: each is where their running sum, rounded, grows. Were each rounded by itself, grey would not stay the same grey, and
/// thousands of small weights would all become 0.
pub(super) fn to_fixed(weights: &[f32], fixed: &mut Vec<i16>) {
    // What makes sums positive, so that cutting off rounds; casts round towards zero, and rounding itself is a call.
    const OFFSET: i32 = 1 << (PRECISION + 1);
    let scale = f64::from(1 << PRECISION) / weights.iter().map(|w| f64::from(*w)).sum::<f64>();
    let (mut sum, mut rounded) = (f64::from(OFFSET) + 0.5, OFFSET);
    fixed.extend(weights.iter().map(|weight| {
        sum += f64::from(*weight) * scale;
        let before = std::mem::replace(&mut rounded, sum as i32);
        (rounded - before) as i16
    }));
}

/// Lines of values `stride` apart, the first from the start of `values`; one a weight.
pub(super) struct Lines<'a> {
    pub(super) values: &'a [i16],
    pub(super) stride: usize,
    pub(super) weights: &'a [i16],
}

impl Lines<'_> {
    /// Their weighted sum, rounded to the nearest and clipped to what 8 bits have; to be called from a kernel of `I`.
    #[inline(always)]
    pub(super) fn sum<I: Isa>(&self, out: &mut [i16]) {
        let last = self.weights.len().saturating_sub(1) * self.stride;
        assert!(last + out.len().next_multiple_of(SLACK) <= self.values.len(), "lines have slack");
        #[cfg(target_arch = "x86_64")]
        if I::AVX2 {
            // SAFETY: the set has AVX2, and the lines are as long as asserted.
            return unsafe { self.sum_avx2(out) };
        }
        for (x, out) in out.iter_mut().enumerate() {
            let lines = self.weights.iter().zip(self.values[x..].iter().step_by(self.stride));
            let sum: i32 = lines.map(|(w, v)| i32::from(*w) * i32::from(*v)).sum();
            *out = ((sum + HALF) >> PRECISION).clamp(0, i32::from(MAX)) as i16;
        }
    }

    /// # Safety
    /// Each line can be read in blocks of [`SLACK`] values.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn sum_avx2(&self, out: &mut [i16]) {
        let (wide, rest) = out.as_chunks_mut::<{ 2 * SLACK }>();
        let (narrow, rest) = rest.as_chunks_mut::<SLACK>();
        let mut start = 0;
        // SAFETY: as the caller promises; what is written has the length of a block.
        unsafe {
            for to in wide {
                self.block::<2>(start, to.as_mut_ptr());
                start += to.len();
            }
            for to in narrow {
                self.block::<1>(start, to.as_mut_ptr());
                start += to.len();
            }
            if !rest.is_empty() {
                let mut block = [0; SLACK];
                self.block::<1>(start, block.as_mut_ptr());
                rest.copy_from_slice(&block[..rest.len()]);
            }
        }
    }

    /// # Safety
    /// `N` × [`SLACK`] values can be read from each line at `start`, and written.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn block<const N: usize>(&self, start: usize, to: *mut i16) {
        use std::arch::x86_64::{
            __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_max_epi16,
            _mm256_min_epi16, _mm256_packs_epi32, _mm256_set1_epi16, _mm256_set1_epi32,
            _mm256_setzero_si256, _mm256_srai_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi16,
            _mm256_unpacklo_epi16,
        };

        let half = _mm256_set1_epi32(HALF);
        let (mut low, mut high) = ([half; N], [half; N]);
        // Two lines at a time: an instruction multiplies pairs and adds them.
        let mut add = |one: [__m256i; N], other: [__m256i; N], weights: __m256i| {
            for i in 0..N {
                let near = _mm256_unpacklo_epi16(one[i], other[i]);
                let far = _mm256_unpackhi_epi16(one[i], other[i]);
                low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(near, weights));
                high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(far, weights));
            }
        };
        // SAFETY: by the contract; a pair of weights is 4 bytes.
        unsafe {
            let mut at = self.values.as_ptr().add(start);
            let load = |at: *const i16| {
                std::array::from_fn(|i| _mm256_loadu_si256(at.add(i * SLACK).cast()))
            };
            let (pairs, single) = self.weights.as_chunks::<2>();
            for pair in pairs {
                let weights = _mm256_set1_epi32(pair.as_ptr().cast::<i32>().read_unaligned());
                add(load(at), load(at.add(self.stride)), weights);
                at = at.add(2 * self.stride);
            }
            if let [weight] = single {
                let weight = _mm256_set1_epi32(i32::from(*weight as u16));
                add(load(at), [_mm256_setzero_si256(); N], weight);
            }
            for i in 0..N {
                let low = _mm256_srai_epi32::<PRECISION>(low[i]);
                let high = _mm256_srai_epi32::<PRECISION>(high[i]);
                let sums = _mm256_packs_epi32(low, high);
                let clipped = _mm256_max_epi16(sums, _mm256_setzero_si256());
                let clipped = _mm256_min_epi16(clipped, _mm256_set1_epi16(MAX));
                _mm256_storeu_si256(to.add(i * SLACK).cast(), clipped);
            }
        }
    }
}

const HALF: i32 = 1 << (PRECISION - 1);

#[cfg(test)]
mod tests {
    use mira_simd::{Kernel, Portable, dispatch};
    use proptest::prelude::*;

    use super::*;

    struct Sum<'a>(Lines<'a>, &'a mut [i16]);

    impl Kernel for Sum<'_> {
        type Output = ();

        #[inline(always)]
        fn run<I: Isa>(self) {
            self.0.sum::<I>(self.1);
        }
    }

    fn fixed(weights: &[f32]) -> Vec<i16> {
        let mut fixed = Vec::new();
        to_fixed(weights, &mut fixed);
        fixed
    }

    proptest! {
        /// The sum by its definition, in 64 bits; on this machine and on one without vectors.
        #[test]
        fn sums_are_those_of_the_definition(
            weights in prop::collection::vec(-1.0_f32..3.0, 1..9),
            width in 1_usize..70,
            gap in 0_usize..9,
            seed: u64,
        ) {
            prop_assume!(weights.iter().sum::<f32>() > 1.0);
            let (weights, stride) = (fixed(&weights), width + gap);
            let len = weights.len() * stride + SLACK;
            let values: Vec<i16> = (0..len as u64)
                .map(|i| (seed.wrapping_add(i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50) as i16)
                .collect();
            let expected: Vec<i16> = (0..width)
                .map(|x| {
                    let products = weights.iter().zip(values[x..].iter().step_by(stride));
                    let sum: i64 = products.map(|(w, v)| i64::from(*w) * i64::from(*v)).sum();
                    (sum as f64 / 16384.0 + 0.5).floor().clamp(0.0, 255.0 * 64.0) as i16
                })
                .collect();
            let lines = || Lines { values: &values, stride, weights: &weights };
            let mut got = vec![-1; width];
            dispatch(Sum(lines(), &mut got));
            prop_assert_eq!(&got, &expected);
            got.fill(-1);
            Sum(lines(), &mut got).run::<Portable>();
            prop_assert_eq!(&got, &expected);
        }
    }

    /// However many there are; and none is further from its exact value than the running sum's rounding takes it.
    #[test]
    fn weights_keep_their_sum() {
        for n in [1, 2, 3, 7, 100, 5000, 70_000] {
            let weights: Vec<f32> = (0..n).map(|i| 1.0 + (i as f32 * 0.7).sin()).collect();
            let fixed = fixed(&weights);
            assert_eq!(fixed.iter().map(|w| i32::from(*w)).sum::<i32>(), 1 << PRECISION, "{n}");
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            for (fixed, exact) in fixed.iter().zip(&weights) {
                let exact = f64::from(*exact) / total * 16384.0;
                assert!((f64::from(*fixed) - exact).abs() <= 1.0 + 1e-6, "{n}: {fixed} {exact}");
            }
        }
    }
}
