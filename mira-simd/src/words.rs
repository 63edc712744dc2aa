//! Vectors of 16-bit integers, for pixels: the operations that instruction sets have in lanes of 128 bits.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of wider words those halves are meant that casts leave"
)]

mod lane;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

pub use lane::Lane;

/// 16-bit integers in lanes of eight. Packing, unpacking and shuffling stay within a lane, as the instructions do, so a lane's results are the
/// same whatever the number of lanes. Sums wrap around.
///
/// Some methods take what is in the registers for something else, as their names say: pairs of neighbours for integers of 32 bits, lower half first,
/// or halves of a word for bytes, lower one first.
///
/// Methods may use instructions of their set: a value must only be made on machines that have it, which
/// [`dispatch`](crate::dispatch) sees to.
#[allow(clippy::return_self_not_must_use)] // arithmetic
pub trait Words: Copy {
    /// Number of lanes: at most [`MAX_LANES`].
    const LANES: usize;
    /// Number of words.
    const LEN: usize = 8 * Self::LANES;

    /// Reads `LEN` words.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load(from: *const i16) -> Self;
    /// Writes `LEN` words.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store(self, to: *mut i16);
    /// Reads twice as many bytes.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_bytes(from: *const u8) -> Self;
    /// The same 16 bytes in every lane.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_lane(from: *const u8) -> Self;
    /// Writes the lower or the upper 8 bytes of a lane.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store_half_lane(self, lane: usize, is_upper: bool, to: *mut u8);

    /// Reads four pixels of three bytes for each lane, so many bytes after `from` as its offset says: of two pixels as words the first channel of both,
    /// the second, the third, and two zeros; the other two in another vector.
    ///
    /// # Safety
    /// An offset a lane must be readable, and [`PIXEL_BYTES`] from there.
    unsafe fn gather_pixels(from: *const u8, offsets: *const u32) -> [Self; 2];
    /// Writes the words of three channels, `2 · LANES` each: a lane has one of each channel, something else, and then the same again.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store_channels(self, to: [*mut i16; 3]);
    /// Writes as many pixels of three bytes as there are bytes in a vector, from three that hold a channel each.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store_pixels(channels: [Self; 3], to: *mut [u8; 3]);

    /// The same word everywhere.
    fn splat(value: i16) -> Self;
    /// The same 32 bits everywhere.
    fn splat_32(value: i32) -> Self;

    /// Sum.
    fn add(self, other: Self) -> Self;
    /// Difference.
    fn sub(self, other: Self) -> Self;
    /// The larger.
    fn max(self, other: Self) -> Self;
    /// The smaller.
    fn min(self, other: Self) -> Self;
    /// Product.
    fn mul_low(self, other: Self) -> Self;
    /// The upper half of the products' 32 bits.
    fn mul_high(self, other: Self) -> Self;
    /// Divided by 2^`BITS`, rounded down.
    fn shift_right<const BITS: u32>(self) -> Self;
    /// Products of neighbours added in pairs: integers of 32 bits.
    fn dot_pairs(self, other: Self) -> Self;

    /// Sum of 32-bit integers.
    fn add_32(self, other: Self) -> Self;
    /// Difference of 32-bit integers.
    fn sub_32(self, other: Self) -> Self;
    /// 32-bit integers divided by 2^`BITS`, rounded down.
    fn shift_right_32<const BITS: u32>(self) -> Self;

    /// Words of the 32-bit integers of two vectors, each lane's one after the other's; clipped.
    fn pack_32(self, upper: Self) -> Self;
    /// Signed bytes of the words of two vectors, in the same way.
    fn pack_i8(self, upper: Self) -> Self;
    /// Bytes from 0 to 255 of the words of two vectors, in the same way.
    fn pack_u8(self, upper: Self) -> Self;
    /// Bytes from 0 to 255 of the words of two vectors, all of this one and then all of the other one.
    fn to_u8(self, upper: Self) -> Self;
    /// Bytes of the lower half of each lane, in turns with those of another vector's.
    fn unpack_low_8(self, other: Self) -> Self;
    /// Of the upper half.
    fn unpack_high_8(self, other: Self) -> Self;
    /// Words of the lower half of each lane, in turns.
    fn unpack_low(self, other: Self) -> Self;
    /// Of the upper half.
    fn unpack_high(self, other: Self) -> Self;
    /// 32 bits each.
    fn unpack_low_32(self, other: Self) -> Self;
    /// Of the upper half.
    fn unpack_high_32(self, other: Self) -> Self;
    /// 64 bits each.
    fn unpack_low_64(self, other: Self) -> Self;
    /// Of the upper half.
    fn unpack_high_64(self, other: Self) -> Self;
    /// Bits that are in one and not in the other.
    fn xor(self, other: Self) -> Self;
}

/// Lanes of any vector, at most.
pub const MAX_LANES: usize = 4;

/// Bytes that [`Words::gather_pixels`] reads for a lane.
pub const PIXEL_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::tests::on_all_levels;
    use crate::{Isa, Kernel};

    /// Words of the largest vector.
    type Most = [i16; 8 * MAX_LANES];

    /// Numbers without much order, the extremes among them.
    fn numbers(seed: u64) -> Most {
        std::array::from_fn(|i| {
            let mixed = (seed * 64 + i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            match mixed >> 60 {
                0 => i16::MIN,
                1 => i16::MAX,
                2 => -1,
                _ => (mixed >> 40) as i16,
            }
        })
    }

    type Operation<W> = (&'static str, fn(W, W) -> W);

    fn operations<W: Words>() -> [Operation<W>; 24] {
        [
            ("add", W::add),
            ("sub", W::sub),
            ("max", W::max),
            ("min", W::min),
            ("mul_low", W::mul_low),
            ("mul_high", W::mul_high),
            ("shift_right", |a, _| a.shift_right::<5>()),
            ("dot_pairs", W::dot_pairs),
            ("add_32", W::add_32),
            ("sub_32", W::sub_32),
            ("shift_right_32", |a, _| a.shift_right_32::<11>()),
            ("pack_32", W::pack_32),
            ("pack_i8", W::pack_i8),
            ("pack_u8", W::pack_u8),
            ("unpack_low_8", W::unpack_low_8),
            ("unpack_high_8", W::unpack_high_8),
            ("unpack_low", W::unpack_low),
            ("unpack_high", W::unpack_high),
            ("unpack_low_32", W::unpack_low_32),
            ("unpack_high_32", W::unpack_high_32),
            ("unpack_low_64", W::unpack_low_64),
            ("unpack_high_64", W::unpack_high_64),
            ("xor", W::xor),
            ("splat_32", |_, _| W::splat_32(0x0123_4567).xor(W::splat(7))),
        ]
    }

    /// All operations on as many vectors as it takes.
    #[derive(Clone)]
    struct All(Most, Most);

    impl Kernel for All {
        type Output = Vec<(&'static str, Most)>;

        #[inline(always)]
        fn run<I: Isa>(self) -> Self::Output {
            let mut all = Vec::new();
            for (name, operation) in operations::<I::Words>() {
                let mut out = [0; 8 * MAX_LANES];
                for first in (0..out.len()).step_by(I::Words::LEN) {
                    // SAFETY: vectors are no longer than a part of these.
                    unsafe {
                        let one = I::Words::load(self.0[first..].as_ptr());
                        let other = I::Words::load(self.1[first..].as_ptr());
                        operation(one, other).store(out[first..].as_mut_ptr());
                    }
                }
                all.push((name, out));
            }
            all
        }
    }

    /// Of 32-bit integers and of bytes, from the definitions.
    fn expected(name: &str, one: [i16; 8], other: [i16; 8]) -> Vec<u8> {
        let bytes = |words: [i16; 8]| words.map(i16::to_le_bytes).as_flattened().to_vec();
        let ints = |words: [i16; 8]| -> Vec<i32> {
            let bytes = bytes(words);
            bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
        };
        let words = |f: &dyn Fn(i32, i32) -> i32| -> Vec<u8> {
            let pairs = one.iter().zip(other);
            pairs.flat_map(|(a, b)| (f((*a).into(), b.into()) as i16).to_le_bytes()).collect()
        };
        let of_ints = |f: &dyn Fn(i64, i64) -> i64| -> Vec<u8> {
            let pairs = ints(one).into_iter().zip(ints(other));
            pairs.flat_map(|(a, b)| (f(a.into(), b.into()) as i32).to_le_bytes()).collect()
        };
        let packed = |min: i16, max: i16| -> Vec<u8> {
            one.iter().chain(&other).map(|value| (*value).clamp(min, max) as u8).collect()
        };
        let unpacked = |size: usize, start: usize| -> Vec<u8> {
            let (one, other) = (bytes(one), bytes(other));
            let pieces = one[start..start + 8].chunks(size).zip(other[start..].chunks(size));
            pieces.flat_map(|(a, b)| [a, b].concat()).collect()
        };
        match name {
            "add" => words(&|a, b| a + b),
            "sub" => words(&|a, b| a - b),
            "max" => words(&Ord::max),
            "min" => words(&Ord::min),
            "mul_low" => words(&|a, b| a * b),
            "mul_high" => words(&|a, b| (a * b).div_euclid(1 << 16)),
            "shift_right" => words(&|a, _| a.div_euclid(32)),
            "dot_pairs" => (0..4)
                .flat_map(|i| {
                    let product = |i: usize| i64::from(one[i]) * i64::from(other[i]);
                    ((product(2 * i) + product(2 * i + 1)) as i32).to_le_bytes()
                })
                .collect(),
            "add_32" => of_ints(&|a, b| a + b),
            "sub_32" => of_ints(&|a, b| a - b),
            "shift_right_32" => of_ints(&|a, _| a.div_euclid(2048)),
            "pack_32" => [ints(one), ints(other)]
                .concat()
                .into_iter()
                .flat_map(|value| (value.clamp(-32768, 32767) as i16).to_le_bytes())
                .collect(),
            "pack_i8" => packed(-128, 127),
            "pack_u8" => packed(0, 255),
            "unpack_low_8" => unpacked(1, 0),
            "unpack_high_8" => unpacked(1, 8),
            "unpack_low" => unpacked(2, 0),
            "unpack_high" => unpacked(2, 8),
            "unpack_low_32" => unpacked(4, 0),
            "unpack_high_32" => unpacked(4, 8),
            "unpack_low_64" => unpacked(8, 0),
            "unpack_high_64" => unpacked(8, 8),
            "xor" => words(&|a, b| a ^ b),
            "splat_32" => of_ints(&|_, _| 0x0123_4567 ^ 0x0007_0007),
            _ => panic!("{name} has no definition here"),
        }
    }

    #[test]
    fn operations_are_as_defined_on_every_lane() {
        for seed in 0..50 {
            let all = All(numbers(2 * seed), numbers(2 * seed + 1));
            for (level, results) in on_all_levels(&all) {
                for (name, result) in results {
                    for lane in 0..MAX_LANES {
                        let of = |words: Most| *words[8 * lane..].first_chunk::<8>().unwrap();
                        let got = of(result).map(i16::to_le_bytes);
                        let expected = expected(name, of(all.0), of(all.1));
                        assert_eq!(got.as_flattened(), expected, "{name}, {level:?}");
                    }
                }
            }
        }
    }

    /// What moves pixels: of 4 · `MAX_LANES` of them from anywhere, their channels; and bytes and halves of lanes.
    #[derive(Clone)]
    struct Moves<'a>(&'a [u8; 100], [u32; MAX_LANES]);

    #[derive(Debug, PartialEq)]
    struct Moved {
        /// Of each lane the words gathered.
        gathered: Vec<[Vec<i16>; 2]>,
        /// By channel.
        channels: [Vec<i16>; 3],
        pixels: Vec<[u8; 3]>,
        /// Of the first vectors, and of the second ones.
        bytes: [Vec<u8>; 2],
        halves: Vec<[u8; 8]>,
    }

    impl Kernel for Moves<'_> {
        type Output = Moved;

        #[inline(always)]
        fn run<I: Isa>(self) -> Moved {
            let (lanes, len) = (I::Words::LANES, I::Words::LEN);
            let (mut gathered, mut halves) = (vec![], vec![]);
            let mut channels = [const { vec![] }; 3];
            let mut pixels = [[0; 3]; 16 * MAX_LANES];
            let (mut lows, mut highs) = (vec![], vec![]);
            for first in (0..MAX_LANES).step_by(lanes) {
                let mut words = [[0; 8 * MAX_LANES]; 2];
                let mut three = [[0; 2 * MAX_LANES]; 3];
                // SAFETY: there are 100 bytes, of which offsets leave enough; vectors are no longer than arrays.
                unsafe {
                    let vectors =
                        I::Words::gather_pixels(self.0.as_ptr(), self.1[first..].as_ptr());
                    for (vector, words) in vectors.into_iter().zip(&mut words) {
                        vector.store(words.as_mut_ptr());
                    }
                    I::Words::load(numbers(5)[8 * first..].as_ptr())
                        .store_channels(three.each_mut().map(|channel| channel.as_mut_ptr()));
                    let load = |start: usize| I::Words::load_bytes(self.0[start..].as_ptr());
                    let to = pixels[16 * first..].as_mut_ptr();
                    I::Words::store_pixels(
                        [16 * first, 16 * first + 10, 16 * first + 20].map(load),
                        to,
                    );
                    for lane in 0..lanes {
                        for is_upper in [false, true] {
                            let mut half = [0; 8];
                            let vector = load(16 * first);
                            vector.store_half_lane(lane, is_upper, half.as_mut_ptr());
                            halves.push(half);
                        }
                    }
                    let [low, high] = [6, 7].map(|seed| {
                        I::Words::load(numbers(seed)[8 * first..].as_ptr()).shift_right::<7>()
                    });
                    let mut bytes = [0; 8 * MAX_LANES];
                    low.to_u8(high).store(bytes.as_mut_ptr());
                    let bytes = bytes.map(i16::to_le_bytes);
                    let (low, high) = bytes.as_flattened().split_at(len);
                    lows.extend_from_slice(low);
                    highs.extend_from_slice(&high[..len]);
                }
                for lane in 0..lanes {
                    gathered.push(words.map(|words| words[8 * lane..8 * lane + 8].to_vec()));
                }
                for (all, three) in channels.iter_mut().zip(three) {
                    all.extend_from_slice(&three[..2 * lanes]);
                }
            }
            Moved { gathered, channels, pixels: pixels.to_vec(), bytes: [lows, highs], halves }
        }
    }

    #[test]
    fn pixels_are_moved_as_defined() {
        let bytes: [u8; 100] = std::array::from_fn(|i| (i * i + 3 * i) as u8);
        let offsets = [30, 0, 84, 7];
        let words = |at: usize| {
            let value = |i: usize| i16::from(bytes[at + i]);
            vec![value(0), value(3), value(1), value(4), value(2), value(5), 0, 0]
        };
        let expected = Moved {
            gathered: offsets.map(|at| [words(at as usize), words(at as usize + 6)]).to_vec(),
            channels: [0, 1, 2]
                .map(|channel| (0..2 * MAX_LANES).map(|i| numbers(5)[4 * i + channel]).collect()),
            pixels: (0..64).map(|i| [bytes[i], bytes[i + 10], bytes[i + 20]]).collect(),
            bytes: [6, 7]
                .map(|seed| numbers(seed).iter().map(|v| (v >> 7).clamp(0, 255) as u8).collect()),
            halves: bytes[..64].as_chunks().0.to_vec(),
        };
        for (level, moved) in on_all_levels(&Moves(&bytes, offsets)) {
            assert_eq!(moved, expected, "{level:?}");
        }
    }
}
