//! `out = Σ_j weight_j · line_j` over lines of 16-bit values: one direction of a resampling or of a blur, in integers, so that every
//! machine has the same bits.

use mira_simd::{MAX_LANES, Words};

use super::planes::MAX;

/// Bits after the point of a weight; weights are below 2.
pub(super) const PRECISION: i32 = 14;

/// Values of any vector, at most. As many beyond the last line's end are read, and do not count.
pub(super) const SLACK: usize = 8 * MAX_LANES;

/// Lines of values `stride` apart, the first from the start of `values`; one a weight.
pub(super) struct Lines<'a> {
    pub(super) values: &'a [i16],
    pub(super) stride: usize,
    pub(super) weights: &'a [i16],
}

impl Lines<'_> {
    /// Their weighted sum, rounded to the nearest and clipped to what 8 bits have.
    #[inline(always)]
    pub(super) fn sum<W: Words>(&self, out: &mut [i16]) {
        self.sum_of_terms::<W, false>(out);
    }

    /// The same, of an odd number of weights which from the last to the first are those from the first to the last, and values from 0 to [`MAX`]: lines of
    /// the same weight are added first.
    #[inline(always)]
    pub(super) fn symmetric_sum<W: Words>(&self, out: &mut [i16]) {
        self.sum_of_terms::<W, true>(out);
    }

    #[inline(always)]
    fn sum_of_terms<W: Words, const SYMMETRIC: bool>(&self, out: &mut [i16]) {
        let last = self.weights.len().saturating_sub(1) * self.stride;
        assert!(last + out.len().next_multiple_of(W::LEN) <= self.values.len(), "lines have slack");
        let num_whole = out.len() / W::LEN;
        let mut i = 0;
        // SAFETY: the lines are as long as asserted; what is written has the length of a block.
        unsafe {
            while i + 2 <= num_whole {
                self.block::<W, SYMMETRIC, 2>(i * W::LEN, out.as_mut_ptr().add(i * W::LEN));
                i += 2;
            }
            if i < num_whole {
                self.block::<W, SYMMETRIC, 1>(i * W::LEN, out.as_mut_ptr().add(i * W::LEN));
            }
            let rest = &mut out[num_whole * W::LEN..];
            if !rest.is_empty() {
                let mut block = [0; SLACK];
                self.block::<W, SYMMETRIC, 1>(num_whole * W::LEN, block.as_mut_ptr());
                rest.copy_from_slice(&block[..rest.len()]);
            }
        }
    }

    /// # Safety
    /// `N` vectors can be read from each line at `start`, and written.
    #[inline(always)]
    unsafe fn block<W: Words, const SYMMETRIC: bool, const N: usize>(
        &self,
        start: usize,
        to: *mut i16,
    ) {
        let mut sums = Sums { low: [W::splat_32(HALF); N], high: [W::splat_32(HALF); N] };
        let weights = self.weights;
        // Lines that are added to their opposites first: all before the middle.
        let num_double = if SYMMETRIC { weights.len() / 2 } else { 0 };
        let num_terms = weights.len() - num_double;
        // Two terms at a time: an instruction multiplies pairs and adds them.
        // SAFETY: of all that is unsafe here, by the contract.
        unsafe {
            let mut term = 0;
            while term + 2 <= num_double {
                let (one, other) = (self.double(term, start), self.double(term + 1, start));
                sums.add(one, other, weights[term], weights[term + 1]);
                term += 2;
            }
            if term < num_double {
                let (one, other) = (self.double(term, start), self.line(term + 1, start));
                sums.add(one, other, weights[term], weights[term + 1]);
                term += 2;
            }
            while term + 2 <= num_terms {
                let (one, other) = (self.line(term, start), self.line(term + 1, start));
                sums.add(one, other, weights[term], weights[term + 1]);
                term += 2;
            }
            if term < num_terms {
                sums.add(self.line(term, start), [W::splat(0); N], weights[term], 0);
            }
        }
        let Sums { low, high } = sums;
        for i in 0..N {
            let (low, high) = (
                low[i].shift_right_32::<{ PRECISION.cast_unsigned() }>(),
                high[i].shift_right_32::<{ PRECISION.cast_unsigned() }>(),
            );
            let clipped = low.pack_32(high).max(W::splat(0)).min(W::splat(MAX));
            // SAFETY: by the contract.
            unsafe { clipped.store(to.add(i * W::LEN)) };
        }
    }

    /// # Safety
    /// `N` vectors can be read from each line at `start`.
    #[inline(always)]
    unsafe fn line<W: Words, const N: usize>(&self, line: usize, start: usize) -> [W; N] {
        let mut values = [W::splat(0); N];
        for (i, value) in values.iter_mut().enumerate() {
            let from = line * self.stride + start + i * W::LEN;
            // SAFETY: by the contract.
            *value = unsafe { W::load(self.values.as_ptr().add(from)) };
        }
        values
    }

    /// A line and its opposite, added.
    ///
    /// # Safety
    /// As for [`line`](Self::line).
    #[inline(always)]
    unsafe fn double<W: Words, const N: usize>(&self, line: usize, start: usize) -> [W; N] {
        // SAFETY: by the contract.
        let (mut values, opposite) = unsafe {
            (
                self.line::<W, N>(line, start),
                self.line::<W, N>(self.weights.len() - 1 - line, start),
            )
        };
        for i in 0..N {
            values[i] = values[i].add(opposite[i]);
        }
        values
    }
}

/// Of the lower and of the upper half of each lane.
struct Sums<W, const N: usize> {
    low: [W; N],
    high: [W; N],
}

impl<W: Words, const N: usize> Sums<W, N> {
    #[inline(always)]
    fn add(&mut self, one: [W; N], other: [W; N], weight: i16, other_weight: i16) {
        let weights = W::splat_32(i32::from(weight) & 0xFFFF | i32::from(other_weight) << 16);
        for i in 0..N {
            let (low, high) = (one[i].unpack_low(other[i]), one[i].unpack_high(other[i]));
            self.low[i] = self.low[i].add_32(low.dot_pairs(weights));
            self.high[i] = self.high[i].add_32(high.dot_pairs(weights));
        }
    }
}

const HALF: i32 = 1 << (PRECISION - 1);

#[cfg(test)]
mod tests {
    use mira_simd::{Isa, Kernel, Portable, dispatch};
    use proptest::prelude::*;

    use super::*;

    struct Sum<'a>(Lines<'a>, bool, &'a mut [i16]);

    impl Kernel for Sum<'_> {
        type Output = ();

        #[inline(always)]
        fn run<I: Isa>(self) {
            if self.1 {
                self.0.symmetric_sum::<I::Words>(self.2);
            } else {
                self.0.sum::<I::Words>(self.2);
            }
        }
    }

    fn fixed(weights: &[f32]) -> Vec<i16> {
        weights.iter().map(|weight| (weight * f32::from(1_i16 << 12)) as i16).collect()
    }

    proptest! {
        /// The sum by its definition, in 64 bits; on this machine and on one without vectors.
        #[test]
        fn sums_are_those_of_the_definition(
            weights in prop::collection::vec(-1.0_f32..3.0, 1..9),
            is_symmetric: bool,
            width in 1_usize..140,
            gap in 0_usize..9,
            seed: u64,
        ) {
            let mut weights = fixed(&weights);
            if is_symmetric {
                // From the middle on, the same backwards.
                let before: Vec<i16> = weights.iter().skip(1).rev().copied().collect();
                weights = [before, weights].concat();
            }
            let stride = width + gap;
            let len = weights.len() * stride + SLACK;
            // From 0 to white.
            let values: Vec<i16> = (0..len as u64)
                .map(|i| (seed.wrapping_add(i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as i32 % (i32::from(MAX) + 1))
                .map(|value| value as i16)
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
            dispatch(Sum(lines(), is_symmetric, &mut got));
            prop_assert_eq!(&got, &expected);
            got.fill(-1);
            Sum(lines(), is_symmetric, &mut got).run::<Portable>();
            prop_assert_eq!(&got, &expected);
        }
    }
}
