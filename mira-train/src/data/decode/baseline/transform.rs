//! The inverse cosine transform, to the bit that of libjpeg's accurate integer method (`jidctint.c`: Loeffler, Ligtenberg, Moschytz 1989).
//!
//! Coefficients and samples between the directions have 16 bits: those of files that an encoder made fit.

use mira_simd::Words;

/// Bits after the point of the constants.
const PRECISION: u32 = 13;

/// Bits after the point between the two directions.
const BETWEEN: u32 = 2;

/// Bits that each direction cuts off; the second one divides by eight.
const AFTER_COLUMNS: u32 = PRECISION - BETWEEN;
const AFTER_ROWS: u32 = PRECISION + BETWEEN + 3;

/// Blocks that are transformed together.
pub(super) const TOGETHER: usize = 4;

/// Coefficients of [`TOGETHER`] blocks: of each row those of all blocks, one block after the other.
pub(super) type Rows = [i16; 64 * TOGETHER];

/// The samples of a block of which all coefficients but the first are 0; times its step.
#[inline(always)]
pub(super) fn flat(first: i16) -> u8 {
    (((i32::from(first) + 4) >> 3) + 128).clamp(0, 255) as u8
}

/// Samples of as many blocks as there are lanes, from block `first` on, all with the same quantisation `steps`: each lane has rows 0 and 1 of a block,
/// in the next vector rows 2 and 3, …
#[inline(always)]
pub(super) fn inverse<W: Words>(coefficients: &Rows, steps: &[i16; 64], first: usize) -> [W; 4] {
    assert!(first + W::LANES <= TOGETHER, "there are so many blocks");
    let mut rows = [W::splat(0); 8];
    let coefficients = coefficients.as_chunks::<{ 8 * TOGETHER }>().0;
    for ((row, values), steps) in rows.iter_mut().zip(coefficients).zip(steps.as_chunks::<8>().0) {
        // SAFETY: there are as many values as asserted; a row of steps has 16 bytes.
        *row = unsafe {
            let values = W::load(values.as_ptr().add(8 * first));
            values.mul_low(W::load_lane(steps.as_ptr().cast()))
        };
    }
    let columns = pass::<W, AFTER_COLUMNS>(rows);
    to_bytes(pass::<W, AFTER_ROWS>(transposed(columns)))
}

/// Writes a lane's block, each row `stride` after the one before.
#[inline(always)]
pub(super) fn write<W: Words>(rows: [W; 4], lane: usize, to: &mut [u8], stride: usize) {
    assert!(to.len() >= 7 * stride + 8, "there is place for a block");
    for (two, rows) in rows.into_iter().enumerate() {
        // SAFETY: there is as much place as asserted.
        unsafe {
            let to = to.as_mut_ptr().add(2 * two * stride);
            rows.store_half_lane(lane, false, to);
            rows.store_half_lane(lane, true, to.add(stride));
        }
    }
}

/// In each byte what turns signed bytes into unsigned ones.
const CENTRE: i16 = 0x8080_u16.cast_signed();

/// Factors of two values whose products are added; the method's constants times 2¹³, of which each is a sum.
#[rustfmt::skip]
mod factors {
    pub(super) const HIGH: [i16; 2] = [4433 + 6270, 4433];
    pub(super) const LOW: [i16; 2] = [4433, 4433 - 15_137];
    pub(super) const PLUS: [i16; 2] = [1 << super::PRECISION, 1 << super::PRECISION];
    pub(super) const MINUS: [i16; 2] = [1 << super::PRECISION, -(1 << super::PRECISION)];
    pub(super) const FIRST: [i16; 2] = [9633 - 16_069, 9633];
    pub(super) const SECOND: [i16; 2] = [9633, 9633 - 3196];
    pub(super) const ODD_1: [i16; 2] = [12_299 - 7373, -7373];
    pub(super) const ODD_3: [i16; 2] = [25_172 - 20_995, -20_995];
    pub(super) const ODD_5: [i16; 2] = [16_819 - 20_995, -20_995];
    pub(super) const ODD_7: [i16; 2] = [2446 - 7373, -7373];
}

/// Transforms each lane's eight columns and cuts off `SHIFT` bits.
#[inline(always)]
fn pass<W: Words, const SHIFT: u32>(at: [W; 8]) -> [W; 8] {
    // Pairs of the lower and of the upper half of each lane.
    let pairs = |a: W, b: W| [a.unpack_low(b), a.unpack_high(b)];
    let sum = |pairs: [W; 2], [a, b]: [i16; 2]| {
        let factors = W::splat_32(i32::from(a) & 0xFFFF | i32::from(b) << 16);
        pairs.map(|pairs| pairs.dot_pairs(factors))
    };
    let add = |a: [W; 2], b: [W; 2]| [a[0].add_32(b[0]), a[1].add_32(b[1])];
    let sub = |a: [W; 2], b: [W; 2]| [a[0].sub_32(b[0]), a[1].sub_32(b[1])];
    let (outer, inner) = (pairs(at[2], at[6]), pairs(at[0], at[4]));
    let (high, low) = (sum(outer, factors::HIGH), sum(outer, factors::LOW));
    // What rounds to the nearest is added here, once for all.
    let half = [W::splat_32(1 << (SHIFT - 1)); 2];
    let (plus, minus) =
        (add(sum(inner, factors::PLUS), half), add(sum(inner, factors::MINUS), half));
    let even = [add(plus, high), add(minus, low), sub(minus, low), sub(plus, high)];
    let both = pairs(at[7].add(at[3]), at[5].add(at[1]));
    let (first, second) = (sum(both, factors::FIRST), sum(both, factors::SECOND));
    let (outer, inner) = (pairs(at[1], at[7]), pairs(at[3], at[5]));
    let swapped = |[a, b]: [i16; 2]| [b, a];
    let odd = [
        add(sum(outer, factors::ODD_1), second),
        add(sum(inner, factors::ODD_3), first),
        add(sum(inner, swapped(factors::ODD_5)), second),
        add(sum(outer, swapped(factors::ODD_7)), first),
    ];
    let packed = |[lower, upper]: [W; 2]| {
        lower.shift_right_32::<SHIFT>().pack_32(upper.shift_right_32::<SHIFT>())
    };
    let mut to = at;
    for row in 0..4 {
        to[row] = packed(add(even[row], odd[row]));
        to[7 - row] = packed(sub(even[row], odd[row]));
    }
    to
}

/// Of each lane, rows become columns.
#[inline(always)]
fn transposed<W: Words>(a: [W; 8]) -> [W; 8] {
    // Two, then four, then eight rows of a column beside each other.
    let (mut two, mut four, mut eight) = (a, a, a);
    for i in 0..4 {
        two[2 * i] = a[2 * i].unpack_low(a[2 * i + 1]);
        two[2 * i + 1] = a[2 * i].unpack_high(a[2 * i + 1]);
    }
    for i in 0..4 {
        let upper = i / 2 * 4 + i % 2;
        four[2 * i] = two[upper].unpack_low_32(two[upper + 2]);
        four[2 * i + 1] = two[upper].unpack_high_32(two[upper + 2]);
    }
    for i in 0..4 {
        eight[2 * i] = four[i].unpack_low_64(four[i + 4]);
        eight[2 * i + 1] = four[i].unpack_high_64(four[i + 4]);
    }
    eight
}

/// Eight columns of eight values around 0 become rows of bytes around 128, two in a lane.
#[inline(always)]
fn to_bytes<W: Words>(columns: [W; 8]) -> [W; 4] {
    // Clipped as signed bytes, of which 128 more are unsigned ones: the upper bit is the other way round.
    let bytes = |a: usize, b: usize| columns[a].pack_i8(columns[b]).xor(W::splat(CENTRE));
    let (even, odd) = (bytes(0, 2), bytes(1, 3));
    let (ab, cd) = (even.unpack_low_8(odd), even.unpack_high_8(odd));
    let (even, odd) = (bytes(4, 6), bytes(5, 7));
    let (ef, gh) = (even.unpack_low_8(odd), even.unpack_high_8(odd));
    let (abcd, efgh) = (ab.unpack_low(cd), ef.unpack_low(gh));
    let (abcd_below, efgh_below) = (ab.unpack_high(cd), ef.unpack_high(gh));
    [
        abcd.unpack_low_32(efgh),
        abcd.unpack_high_32(efgh),
        abcd_below.unpack_low_32(efgh_below),
        abcd_below.unpack_high_32(efgh_below),
    ]
}

#[cfg(test)]
mod tests {
    use mira_simd::{Isa, Kernel, Portable, dispatch};
    use proptest::prelude::*;

    use super::*;

    /// Blocks of as many vectors as it takes, and steps of quantisation.
    struct Inverse([[i16; 64]; TOGETHER], [i16; 64]);

    impl Kernel for Inverse {
        type Output = [[u8; 64]; TOGETHER];

        #[inline(always)]
        fn run<I: Isa>(self) -> Self::Output {
            let mut rows = [0; 64 * TOGETHER];
            for (block, coefficients) in self.0.iter().enumerate() {
                for (i, value) in coefficients.iter().enumerate() {
                    rows[8 * (TOGETHER * (i / 8) + block) + i % 8] = *value;
                }
            }
            let mut samples = [[0; 64]; TOGETHER];
            for first in (0..TOGETHER).step_by(I::Words::LANES) {
                let rows = inverse::<I::Words>(&rows, &self.1, first);
                for lane in 0..I::Words::LANES {
                    write(rows, lane, &mut samples[first + lane], 8);
                }
            }
            samples
        }
    }

    /// Four blocks of which each has all coefficients, in another order.
    fn turned(coefficients: [i16; 64]) -> [[i16; 64]; TOGETHER] {
        std::array::from_fn(|i| {
            let mut turned = coefficients;
            turned[1..].rotate_left(17 * i);
            turned
        })
    }

    proptest! {
        /// By the transform's definition, in f64; integers may round what is near a half to the other side.
        #[test]
        fn samples_are_those_of_the_definition(
            first in -1000_i16..1000,
            others in prop::collection::vec(-30_i16..30, 0..64),
            steps in prop::array::uniform32(1_i16..4),
        ) {
            let mut coefficients = [0; 64];
            coefficients[0] = first;
            coefficients[1..].iter_mut().zip(&others).for_each(|(to, from)| *to = *from);
            let blocks = turned(coefficients);
            let mut all_steps = [1; 64];
            all_steps[1..33].copy_from_slice(&steps);
            for (coefficients, got) in blocks.iter().zip(dispatch(Inverse(blocks, all_steps))) {
                for (at, got) in got.into_iter().enumerate() {
                    let wave = |u: usize, x: usize| {
                        let scale = if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
                        let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
                        scale * angle.cos() / 2.0
                    };
                    let terms = coefficients.iter().zip(all_steps).enumerate();
                    let exact: f64 = terms
                        .map(|(i, (c, step))| f64::from(*c * step) * wave(i / 8, at / 8) * wave(i % 8, at % 8))
                        .sum();
                    let expected = (exact + 128.0).clamp(0.0, 255.0);
                    prop_assert!((f64::from(got) - expected).abs() < 0.6, "{}: {} {}", at, got, expected);
                }
            }
        }

        /// Of any coefficients, also such as no encoder makes.
        #[test]
        fn all_machines_have_the_same_bits(
            coefficients: [i16; 32],
            more: [i16; 32],
            shift in 0..12,
        ) {
            let mut all = [0; 64];
            all.iter_mut().zip(coefficients.iter().chain(&more)).for_each(|(to, from)| *to = from >> shift);
            let blocks = turned(all);
            let here = dispatch(Inverse(blocks, [1; 64]));
            prop_assert_eq!(here, Inverse(blocks, [1; 64]).run::<Portable>());
        }
    }

    /// A flat block is what it is without being known to be.
    #[test]
    fn flat_blocks_need_no_transform() {
        for first in i16::MIN..=i16::MAX {
            let mut coefficients = [0; 64];
            coefficients[0] = first;
            let blocks = [coefficients; TOGETHER];
            let got = dispatch(Inverse(blocks, [1; 64]));
            assert_eq!(got, [[flat(first); 64]; TOGETHER], "{first}");
        }
    }
}
