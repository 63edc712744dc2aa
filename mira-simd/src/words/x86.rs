//! Those of x86-64's instruction sets, one register each.

#[allow(clippy::wildcard_imports)] // sixty intrinsics
use std::arch::x86_64::*;

use super::Words;

/// For each of three times 16 bytes of pixels, where in 16 bytes of a channel they come from; 128 for those of other channels.
const IN_PIXELS: [[[u8; 16]; 3]; 3] = {
    let mut places = [[[128; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        places[at / 16][at % 3][at % 16] = (at / 3) as u8;
        at += 1;
    }
    places
};

/// A vector in one register. The macro is given the names of all instructions.
macro_rules! words {
    ($name:ident, $register:ty, $lanes:literal, $load:ident, $store:ident, $broadcast:ident, $shuffle:ident, $or:ident, $lane:path, $gather_pixels:path, $store_pairs:path, $in_order:path,
     $($method:ident: $intrinsic:ident)*; $($shift:ident: $shift_intrinsic:ident)*) => {
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name($register);

        // SAFETY of every intrinsic: `dispatch` makes these vectors only where their instruction set was detected, and
        // memory accesses are covered by the trait's contract.
        impl Words for $name {
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn load(from: *const i16) -> Self {
                Self(unsafe { $load(from.cast()) })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut i16) {
                unsafe { $store(to.cast(), self.0) }
            }
            #[inline(always)]
            unsafe fn load_bytes(from: *const u8) -> Self {
                Self(unsafe { $load(from.cast()) })
            }
            #[inline(always)]
            unsafe fn load_lane(from: *const u8) -> Self {
                Self(unsafe { $broadcast(_mm_loadu_si128(from.cast())) })
            }
            #[inline(always)]
            unsafe fn store_half_lane(self, lane: usize, is_upper: bool, to: *mut u8) {
                unsafe {
                    let lane = _mm_castsi128_pd($lane(self.0, lane));
                    if is_upper {
                        _mm_storeh_pd(to.cast(), lane);
                    } else {
                        _mm_storel_pd(to.cast(), lane);
                    }
                }
            }
            #[inline(always)]
            unsafe fn gather_pixels(from: *const u8, offsets: *const u32) -> [Self; 2] {
                // Both reds, both greens, both blues.
                const PLACES: [u8; 16] =
                    [0, 128, 3, 128, 1, 128, 4, 128, 2, 128, 5, 128, 128, 128, 128, 128];
                const NEXT: [u8; 16] =
                    [6, 128, 9, 128, 7, 128, 10, 128, 8, 128, 11, 128, 128, 128, 128, 128];
                let lane = |lane: usize| unsafe { from.add(*offsets.add(lane) as usize) };
                let pixels = Self(unsafe { $gather_pixels(lane) });
                [
                    pixels.shuffle(PLACES),
                    pixels.shuffle(NEXT),
                ]
            }
            #[inline(always)]
            unsafe fn store_channels(self, to: [*mut i16; 3]) {
                // Of each channel both words, one beside the other.
                const PLACES: [u8; 16] =
                    [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15];
                unsafe { $store_pairs(self.shuffle(PLACES).0, to) }
            }
            #[inline(always)]
            unsafe fn store_pixels([red, green, blue]: [Self; 3], to: *mut [u8; 3]) {
                for (part, [reds, greens, blues]) in IN_PIXELS.iter().enumerate() {
                    let bytes = red.shuffle(*reds).or(green.shuffle(*greens));
                    let bytes = bytes.or(blue.shuffle(*blues));
                    for lane in 0..Self::LANES {
                        let to = unsafe { to.cast::<u8>().add(48 * lane + 16 * part) };
                        unsafe { _mm_storeu_si128(to.cast(), $lane(bytes.0, lane)) };
                    }
                }
            }
            #[inline(always)]
            fn to_u8(self, upper: Self) -> Self {
                Self(unsafe { $in_order(self.pack_u8(upper).0) })
            }
            words!(@methods $($method: $intrinsic)*);
            $(
                #[inline(always)]
                fn $shift<const BITS: u32>(self) -> Self {
                    Self(unsafe { $shift_intrinsic(self.0, _mm_cvtsi32_si128(BITS.cast_signed())) })
                }
            )*
        }

        impl $name {
            /// For each byte the one of its lane with that place, or 0 where that is 128.
            #[inline(always)]
            fn shuffle(self, places: [u8; 16]) -> Self {
                Self(unsafe { $shuffle(self.0, $broadcast(_mm_loadu_si128(places.as_ptr().cast()))) })
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                Self(unsafe { $or(self.0, other.0) })
            }
        }
    };
    (@methods splat: $splat:ident splat_32: $splat_32:ident $($method:ident: $intrinsic:ident)*) => {
        #[inline(always)]
        fn splat(value: i16) -> Self {
            Self(unsafe { $splat(value) })
        }
        #[inline(always)]
        fn splat_32(value: i32) -> Self {
            Self(unsafe { $splat_32(value) })
        }
        $(
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(unsafe { $intrinsic(self.0, other.0) })
            }
        )*
    };
}

#[inline(always)]
unsafe fn gather_avx2(lane: impl Fn(usize) -> *const u8) -> __m256i {
    // SAFETY: as for the vectors.
    unsafe {
        let (lower, upper) = (_mm_loadu_si128(lane(0).cast()), _mm_loadu_si128(lane(1).cast()));
        _mm256_set_m128i(upper, lower)
    }
}

#[inline(always)]
unsafe fn gather_avx512(lane: impl Fn(usize) -> *const u8) -> __m512i {
    // SAFETY: as for the vectors.
    unsafe {
        let lanes = _mm512_castsi128_si512(_mm_loadu_si128(lane(0).cast()));
        let lanes = _mm512_inserti32x4::<1>(lanes, _mm_loadu_si128(lane(1).cast()));
        let lanes = _mm512_inserti32x4::<2>(lanes, _mm_loadu_si128(lane(2).cast()));
        _mm512_inserti32x4::<3>(lanes, _mm_loadu_si128(lane(3).cast()))
    }
}

#[inline(always)]
unsafe fn lane_avx2(from: __m256i, lane: usize) -> __m128i {
    // SAFETY: as for the vectors.
    unsafe {
        if lane == 0 { _mm256_castsi256_si128(from) } else { _mm256_extracti128_si256::<1>(from) }
    }
}

#[inline(always)]
unsafe fn lane_avx512(from: __m512i, lane: usize) -> __m128i {
    // SAFETY: as for the vectors.
    unsafe {
        match lane {
            0 => _mm512_castsi512_si128(from),
            1 => _mm512_extracti32x4_epi32::<1>(from),
            2 => _mm512_extracti32x4_epi32::<2>(from),
            _ => _mm512_extracti32x4_epi32::<3>(from),
        }
    }
}

#[inline(always)]
unsafe fn store_pairs_avx2(from: __m256i, [one, two, three]: [*mut i16; 3]) {
    // SAFETY: as for the vectors.
    unsafe {
        let columns = _mm256_permutevar8x32_epi32(from, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        let lower = _mm_castsi128_pd(_mm256_castsi256_si128(columns));
        _mm_storel_pd(one.cast(), lower);
        _mm_storeh_pd(two.cast(), lower);
        _mm_storel_epi64(three.cast(), _mm256_extracti128_si256::<1>(columns));
    }
}

#[inline(always)]
unsafe fn store_pairs_avx512(from: __m512i, [one, two, three]: [*mut i16; 3]) {
    // SAFETY: as for the vectors.
    unsafe {
        let places = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let columns = _mm512_permutexvar_epi32(places, from);
        _mm_storeu_si128(one.cast(), _mm512_castsi512_si128(columns));
        _mm_storeu_si128(two.cast(), _mm512_extracti32x4_epi32::<1>(columns));
        _mm_storeu_si128(three.cast(), _mm512_extracti32x4_epi32::<2>(columns));
    }
}

/// The lower halves of all lanes, and then the upper ones.
#[inline(always)]
unsafe fn halves_avx2(from: __m256i) -> __m256i {
    // SAFETY: as for the vectors.
    unsafe { _mm256_permute4x64_epi64::<0b11_01_10_00>(from) }
}

#[inline(always)]
unsafe fn halves_avx512(from: __m512i) -> __m512i {
    // SAFETY: as for the vectors.
    unsafe { _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), from) }
}

words!(
    Avx2Words, __m256i, 2, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_broadcastsi128_si256,
    _mm256_shuffle_epi8, _mm256_or_si256, lane_avx2, gather_avx2, store_pairs_avx2, halves_avx2,
    splat: _mm256_set1_epi16
    splat_32: _mm256_set1_epi32
    add: _mm256_add_epi16
    sub: _mm256_sub_epi16
    max: _mm256_max_epi16
    min: _mm256_min_epi16
    mul_low: _mm256_mullo_epi16
    mul_high: _mm256_mulhi_epi16
    dot_pairs: _mm256_madd_epi16
    add_32: _mm256_add_epi32
    sub_32: _mm256_sub_epi32
    pack_32: _mm256_packs_epi32
    pack_i8: _mm256_packs_epi16
    pack_u8: _mm256_packus_epi16
    unpack_low_8: _mm256_unpacklo_epi8
    unpack_high_8: _mm256_unpackhi_epi8
    unpack_low: _mm256_unpacklo_epi16
    unpack_high: _mm256_unpackhi_epi16
    unpack_low_32: _mm256_unpacklo_epi32
    unpack_high_32: _mm256_unpackhi_epi32
    unpack_low_64: _mm256_unpacklo_epi64
    unpack_high_64: _mm256_unpackhi_epi64
    xor: _mm256_xor_si256;
    shift_right: _mm256_sra_epi16
    shift_right_32: _mm256_sra_epi32
);
words!(
    Avx512Words, __m512i, 4, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_broadcast_i32x4,
    _mm512_shuffle_epi8, _mm512_or_si512, lane_avx512, gather_avx512, store_pairs_avx512, halves_avx512,
    splat: _mm512_set1_epi16
    splat_32: _mm512_set1_epi32
    add: _mm512_add_epi16
    sub: _mm512_sub_epi16
    max: _mm512_max_epi16
    min: _mm512_min_epi16
    mul_low: _mm512_mullo_epi16
    mul_high: _mm512_mulhi_epi16
    dot_pairs: _mm512_madd_epi16
    add_32: _mm512_add_epi32
    sub_32: _mm512_sub_epi32
    pack_32: _mm512_packs_epi32
    pack_i8: _mm512_packs_epi16
    pack_u8: _mm512_packus_epi16
    unpack_low_8: _mm512_unpacklo_epi8
    unpack_high_8: _mm512_unpackhi_epi8
    unpack_low: _mm512_unpacklo_epi16
    unpack_high: _mm512_unpackhi_epi16
    unpack_low_32: _mm512_unpacklo_epi32
    unpack_high_32: _mm512_unpackhi_epi32
    unpack_low_64: _mm512_unpacklo_epi64
    unpack_high_64: _mm512_unpackhi_epi64
    xor: _mm512_xor_si512;
    shift_right: _mm512_sra_epi16
    shift_right_32: _mm512_sra_epi32
);
