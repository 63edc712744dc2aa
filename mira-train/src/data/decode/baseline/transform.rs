//! The inverse cosine transform, to the bit that of libjpeg's accurate integer method (`jidctint.c`: Loeffler, Ligtenberg, Moschytz 1989).
//!
//! Coefficients and samples between the directions have 16 bits: those of files that an encoder made fit.

use mira_simd::Isa;

/// Bits after the point of the constants.
const PRECISION: u32 = 13;

/// Bits after the point between the two directions.
const BETWEEN: u32 = 2;

/// Bits that each direction cuts off; the second one divides by eight.
const AFTER_COLUMNS: u32 = PRECISION - BETWEEN;
const AFTER_ROWS: u32 = PRECISION + BETWEEN + 3;

/// Writes the 8 × 8 samples of coefficients in rows, each row `stride` after the one before. If a block `is_flat`, all of them but the first are 0.
#[inline(always)]
pub(super) fn inverse<I: Isa>(
    coefficients: &[i16; 64],
    is_flat: bool,
    samples: &mut [u8],
    stride: usize,
) {
    let block = if is_flat {
        [sample(descaled(i32::from(coefficients[0]) << BETWEEN, BETWEEN + 3)); 64]
    } else {
        inverse_whole::<I>(coefficients)
    };
    for (row, from) in block.as_chunks::<8>().0.iter().enumerate() {
        samples[row * stride..][..8].copy_from_slice(from);
    }
}

#[inline(always)]
fn inverse_whole<I: Isa>(coefficients: &[i16; 64]) -> [u8; 64] {
    #[cfg(target_arch = "x86_64")]
    if I::AVX2 {
        // SAFETY: the set has AVX2.
        return unsafe { avx2::inverse(coefficients) };
    }
    let columns = pass::<AFTER_COLUMNS>(coefficients);
    let rows = pass::<AFTER_ROWS>(&transposed(&columns));
    transposed(&rows).map(|value| sample(value.into()))
}

fn transposed(from: &[i16; 64]) -> [i16; 64] {
    std::array::from_fn(|i| from[8 * (i % 8) + i / 8])
}

#[inline(always)]
fn descaled(value: i32, shift: u32) -> i32 {
    value.wrapping_add(1 << (shift - 1)) >> shift
}

/// What is centred at 0 becomes a byte.
#[inline(always)]
fn sample(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

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

/// Transforms each of eight columns and cuts off `SHIFT` bits.
fn pass<const SHIFT: u32>(from: &[i16; 64]) -> [i16; 64] {
    let mut to = [0; 64];
    for column in 0..8 {
        let at = |row: usize| from[8 * row + column];
        let sum = |[a, b]: [i16; 2], [of_a, of_b]: [i16; 2]| {
            i32::from(a) * i32::from(of_a) + i32::from(b) * i32::from(of_b)
        };
        let (high, low) = (sum([at(2), at(6)], factors::HIGH), sum([at(2), at(6)], factors::LOW));
        let (plus, minus) =
            (sum([at(0), at(4)], factors::PLUS), sum([at(0), at(4)], factors::MINUS));
        let even = [
            plus.wrapping_add(high),
            minus.wrapping_add(low),
            minus.wrapping_sub(low),
            plus.wrapping_sub(high),
        ];
        let both = [at(7).wrapping_add(at(3)), at(5).wrapping_add(at(1))];
        let (first, second) = (sum(both, factors::FIRST), sum(both, factors::SECOND));
        let odd = [
            sum([at(1), at(7)], factors::ODD_1).wrapping_add(second),
            sum([at(3), at(5)], factors::ODD_3).wrapping_add(first),
            sum([at(5), at(3)], factors::ODD_5).wrapping_add(second),
            sum([at(7), at(1)], factors::ODD_7).wrapping_add(first),
        ];
        let saturated =
            |value: i32| descaled(value, SHIFT).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        for row in 0..4 {
            to[8 * row + column] = saturated(even[row].wrapping_add(odd[row]));
            to[8 * (7 - row) + column] = saturated(even[row].wrapping_sub(odd[row]));
        }
    }
    to
}

/// The same, eight columns at once: an instruction multiplies pairs and adds them.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_add_epi8, _mm_add_epi16, _mm_loadu_si128, _mm_packs_epi16,
        _mm_packs_epi32, _mm_set1_epi8, _mm_setzero_si128, _mm_storeu_si128, _mm_unpackhi_epi8,
        _mm_unpackhi_epi16, _mm_unpackhi_epi32, _mm_unpackhi_epi64, _mm_unpacklo_epi8,
        _mm_unpacklo_epi16, _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_set_m128i,
        _mm256_set1_epi32, _mm256_srai_epi32, _mm256_sub_epi32,
    };

    use super::{AFTER_COLUMNS, AFTER_ROWS, factors};

    // Loops and no closures that are handed to others: those would be compiled without the instructions.

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn inverse(coefficients: &[i16; 64]) -> [u8; 64] {
        let mut rows = [_mm_setzero_si128(); 8];
        for (row, values) in rows.iter_mut().zip(coefficients.as_chunks::<8>().0) {
            // SAFETY: a row has 16 bytes.
            *row = unsafe { _mm_loadu_si128(values.as_ptr().cast()) };
        }
        let columns = pass::<{ AFTER_COLUMNS.cast_signed() }>(rows);
        to_bytes(pass::<{ AFTER_ROWS.cast_signed() }>(transposed(columns)))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn pass<const SHIFT: i32>(at: [__m128i; 8]) -> [__m128i; 8] {
        let pairs = |a: __m128i, b: __m128i| {
            _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b))
        };
        let sum = |pairs: __m256i, [a, b]: [i16; 2]| {
            let factors = i32::from(a) & 0xFFFF | i32::from(b) << 16;
            _mm256_madd_epi16(pairs, _mm256_set1_epi32(factors))
        };
        let add = |a, b| _mm256_add_epi32(a, b);
        let (outer, inner) = (pairs(at[2], at[6]), pairs(at[0], at[4]));
        let (high, low) = (sum(outer, factors::HIGH), sum(outer, factors::LOW));
        let (plus, minus) = (sum(inner, factors::PLUS), sum(inner, factors::MINUS));
        let even = [
            add(plus, high),
            add(minus, low),
            _mm256_sub_epi32(minus, low),
            _mm256_sub_epi32(plus, high),
        ];
        let both = pairs(_mm_add_epi16(at[7], at[3]), _mm_add_epi16(at[5], at[1]));
        let (first, second) = (sum(both, factors::FIRST), sum(both, factors::SECOND));
        let (outer, inner) = (pairs(at[1], at[7]), pairs(at[3], at[5]));
        let swapped = |[a, b]: [i16; 2]| [b, a];
        let odd = [
            add(sum(outer, factors::ODD_1), second),
            add(sum(inner, factors::ODD_3), first),
            add(sum(inner, swapped(factors::ODD_5)), second),
            add(sum(outer, swapped(factors::ODD_7)), first),
        ];
        let half = _mm256_set1_epi32(1 << (SHIFT - 1));
        let saturated = |value: __m256i| {
            let value = _mm256_srai_epi32::<SHIFT>(add(value, half));
            _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256::<1>(value))
        };
        let mut to = [_mm_setzero_si128(); 8];
        for row in 0..4 {
            to[row] = saturated(add(even[row], odd[row]));
            to[7 - row] = saturated(_mm256_sub_epi32(even[row], odd[row]));
        }
        to
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn transposed(a: [__m128i; 8]) -> [__m128i; 8] {
        // Two, then four, then eight rows of a column beside each other.
        let (mut two, mut four, mut eight) = (a, a, a);
        for i in 0..4 {
            two[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
            two[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
        }
        for i in 0..4 {
            let upper = i / 2 * 4 + i % 2;
            four[2 * i] = _mm_unpacklo_epi32(two[upper], two[upper + 2]);
            four[2 * i + 1] = _mm_unpackhi_epi32(two[upper], two[upper + 2]);
        }
        for i in 0..4 {
            eight[2 * i] = _mm_unpacklo_epi64(four[i], four[i + 4]);
            eight[2 * i + 1] = _mm_unpackhi_epi64(four[i], four[i + 4]);
        }
        eight
    }

    /// Eight columns of eight values around 0 become rows of bytes around 128.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn to_bytes(columns: [__m128i; 8]) -> [u8; 64] {
        let centre = _mm_set1_epi8(i8::MIN);
        let bytes =
            |a: usize, b: usize| _mm_add_epi8(_mm_packs_epi16(columns[a], columns[b]), centre);
        let (even, odd) = (bytes(0, 2), bytes(1, 3));
        let (ab, cd) = (_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd));
        let (even, odd) = (bytes(4, 6), bytes(5, 7));
        let (ef, gh) = (_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd));
        let (abcd, efgh) = (_mm_unpacklo_epi16(ab, cd), _mm_unpacklo_epi16(ef, gh));
        let (abcd_below, efgh_below) = (_mm_unpackhi_epi16(ab, cd), _mm_unpackhi_epi16(ef, gh));
        let rows = [
            _mm_unpacklo_epi32(abcd, efgh),
            _mm_unpackhi_epi32(abcd, efgh),
            _mm_unpacklo_epi32(abcd_below, efgh_below),
            _mm_unpackhi_epi32(abcd_below, efgh_below),
        ];
        let mut to = [0; 64];
        for (to, rows) in to.as_chunks_mut::<16>().0.iter_mut().zip(rows) {
            // SAFETY: two rows have 16 bytes.
            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), rows) };
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use mira_simd::{Kernel, Portable, dispatch};
    use proptest::prelude::*;

    use super::*;

    struct Inverse<'a>(&'a [i16; 64], bool);

    impl Kernel for Inverse<'_> {
        type Output = [u8; 64];

        #[inline(always)]
        fn run<I: Isa>(self) -> [u8; 64] {
            let mut samples = [0; 64];
            inverse::<I>(self.0, self.1, &mut samples, 8);
            samples
        }
    }

    proptest! {
        /// By the transform's definition, in f64; integers may round what is near a half to the other side.
        #[test]
        fn samples_are_those_of_the_definition(
            first in -1000_i16..1000,
            others in prop::collection::vec(-90_i16..90, 0..64),
        ) {
            let mut coefficients = [0; 64];
            coefficients[0] = first;
            coefficients[1..].iter_mut().zip(&others).for_each(|(to, from)| *to = *from);
            let got = dispatch(Inverse(&coefficients, others.is_empty()));
            for (at, got) in got.into_iter().enumerate() {
                let wave = |u: usize, x: usize| {
                    let scale = if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
                    let angle = (2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0;
                    scale * angle.cos() / 2.0
                };
                let terms = coefficients.iter().enumerate();
                let exact: f64 =
                    terms.map(|(i, c)| f64::from(*c) * wave(i / 8, at / 8) * wave(i % 8, at % 8)).sum();
                let expected = (exact + 128.0).clamp(0.0, 255.0);
                prop_assert!((f64::from(got) - expected).abs() < 0.6, "{}: {} {}", at, got, expected);
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
            prop_assert_eq!(dispatch(Inverse(&all, false)), Inverse(&all, false).run::<Portable>());
        }
    }

    /// A flat block is what it is without being known to be.
    #[test]
    fn flat_blocks_need_no_transform() {
        for first in i16::MIN..=i16::MAX {
            let mut coefficients = [0; 64];
            coefficients[0] = first;
            assert_eq!(
                dispatch(Inverse(&coefficients, true)),
                dispatch(Inverse(&coefficients, false)),
                "{first}"
            );
        }
    }
}
