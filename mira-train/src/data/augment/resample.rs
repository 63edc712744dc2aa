//! Antialiased resizing with the kernels of torchvision and Pillow.
//!
//! A horizontal and then a vertical pass, with six bits after the point in between. When shrinking by a factor f the kernel is f times as wide.

use mira_simd::{Isa, Kernel, dispatch};

use super::lines::{Lines, PRECISION, SLACK, to_fixed};
use super::planes::{LEVEL, Planes};
use super::{Image, Interpolation};
use crate::data::grow;

/// Part of an image, in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// Columns to the left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Resizes; keeps its buffers.
#[derive(Debug, Default)]
pub(in super::super) struct Resampler {
    columns: Weights,
    rows: Weights,
    /// A row of the image with pixels after it that do not count.
    padded: Vec<u8>,
    /// After the horizontal pass: each row by channel, in whole [`SLACK`]s.
    narrowed: Vec<i16>,
    /// For [`resize`](Self::resize).
    planes: Planes,
}

impl Resampler {
    /// Brings a part of an image to `(width, height)`, as if nothing were beyond it.
    pub(in super::super) fn resize(
        &mut self,
        image: &Image,
        crop: CropBox,
        interpolation: Interpolation,
        (width, height): (usize, usize),
        into: &mut [u8],
    ) {
        if (crop.width, crop.height) == (width, height) {
            let to = into.chunks_exact_mut(width * 3);
            to.zip(rows(image, crop)).for_each(|(to, row)| to.copy_from_slice(row));
            return;
        }
        let mut planes = std::mem::take(&mut self.planes);
        self.resize_planes(image, crop, interpolation, (width, height), false, &mut planes);
        planes.join(into);
        self.planes = planes;
    }

    /// The same without rounding to 8 bits, and mirrored or not.
    pub(super) fn resize_planes(
        &mut self,
        image: &Image,
        crop: CropBox,
        interpolation: Interpolation,
        (width, height): (usize, usize),
        is_mirrored: bool,
        planes: &mut Planes,
    ) {
        planes.reshape(width * height);
        if (crop.width, crop.height) == (width, height) {
            planes.split(rows(image, crop), is_mirrored);
            return;
        }
        self.columns.set(crop.width, width, interpolation, is_mirrored);
        self.columns.set_quads();
        self.rows.set(crop.height, height, interpolation, false);
        let stride = width.next_multiple_of(SLACK);
        let num_narrowed = 3 * stride * crop.height;
        grow(&mut self.narrowed, num_narrowed);
        grow(&mut self.padded, self.columns.reach);
        let Self { columns, rows, padded, narrowed, .. } = self;
        dispatch(HorizontalPass { weights: columns, image, crop, padded, narrowed, stride });
        dispatch(VerticalPass { weights: rows, narrowed, stride, planes, width });
    }
}

/// The rows of a part of an image.
fn rows(image: &Image, crop: CropBox) -> impl Iterator<Item = &[u8]> {
    let rows = image.pixels.chunks_exact(image.width * 3).skip(crop.top).take(crop.height);
    rows.map(move |row| &row[crop.left * 3..(crop.left + crop.width) * 3])
}

/// For each output position, the first input and the weights from there on.
#[derive(Debug, Default)]
struct Weights {
    /// First inputs; as many outputs as there are, and then some to fill up four.
    firsts: Vec<u32>,
    /// Numbers of weights, one an output.
    counts: Vec<u32>,
    /// Weights an output: a multiple of 4, with zeros at the end.
    stride: usize,
    fixed: Vec<i16>,
    quads: Vec<Quad>,
    /// Bytes of a row of pixels that the AVX2 kernel reads.
    reach: usize,
    exact: Vec<f32>,
}

impl Weights {
    fn set(
        &mut self,
        size: usize,
        new_size: usize,
        interpolation: Interpolation,
        is_mirrored: bool,
    ) {
        let scale = size as f64 / new_size as f64;
        let widening = scale.max(1.0);
        let support = widening
            * match interpolation {
                Interpolation::Bicubic => 2.0,
                Interpolation::Bilinear => 1.0,
            };
        let most = (2.0 * support).ceil() as usize;
        self.stride = most.next_multiple_of(4);
        self.firsts.clear();
        self.counts.clear();
        self.fixed.clear();
        for position in 0..new_size {
            let position = if is_mirrored { new_size - 1 - position } else { position };
            let center = (position as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(size).min(first + most);
            let (start, step) = ((first as f64 - center + 0.5) / widening, 1.0 / widening);
            self.exact.clear();
            self.exact.extend((0..end - first).map(|i| {
                let distance = ((start + i as f64 * step) as f32).abs();
                match interpolation {
                    Interpolation::Bicubic => cubic(distance),
                    Interpolation::Bilinear => (1.0 - distance).max(0.0),
                }
            }));
            self.firsts.push(first as u32);
            self.counts.push((end - first) as u32);
            to_fixed(&self.exact, &mut self.fixed);
            self.fixed.resize(self.firsts.len() * self.stride, 0);
        }
    }

    /// First input and weights of each output.
    fn outputs(&self) -> impl Iterator<Item = (usize, &[i16])> {
        let weights = self.fixed.chunks_exact(self.stride);
        let spans = self.firsts.iter().zip(&self.counts);
        spans.zip(weights).map(|((&first, &n), weights)| (first as usize, &weights[..n as usize]))
    }

    /// For [`narrow`](Self::narrow).
    fn set_quads(&mut self) {
        self.firsts.resize(self.counts.len().next_multiple_of(4), 0);
        self.quads.clear();
        self.quads.extend(
            self.fixed
                .as_chunks()
                .0
                .iter()
                .map(|&[a, b, c, d]| Quad([a, b, a, b, a, b, 0, 0, c, d, c, d, c, d, 0, 0])),
        );
        self.quads.resize(self.firsts.len() * self.stride / 4, Quad([0; 16]));
        let last = self.firsts.iter().max().map_or(0, |first| *first as usize);
        // The last 16 bytes read hold four pixels of 3 bytes.
        self.reach = 3 * (last + self.stride) + 4;
    }
}

/// Cubic convolution with a = −½ (Keys 1981), of a distance; without a branch.
#[inline(always)]
fn cubic(x: f32) -> f32 {
    const A: f32 = -0.5;
    let near = ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = (((x - 5.0) * x + 8.0) * x - 4.0) * A;
    let beyond_one = if x < 2.0 { far } else { 0.0 };
    if x < 1.0 { near } else { beyond_one }
}

/// What the horizontal pass rounds to.
const SHIFT: i32 = PRECISION - LEVEL.trailing_zeros().cast_signed();
const HALF: i32 = 1 << (SHIFT - 1);

struct HorizontalPass<'a> {
    weights: &'a Weights,
    image: &'a Image,
    crop: CropBox,
    padded: &'a mut [u8],
    narrowed: &'a mut [i16],
    stride: usize,
}

impl Kernel for HorizontalPass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { weights, image, crop, padded, narrowed, stride } = self;
        let lines = narrowed.chunks_exact_mut(3 * stride).take(crop.height);
        #[cfg(target_arch = "x86_64")]
        if I::AVX2 {
            for (y, to) in (crop.top..).zip(lines) {
                let rest = &image.pixels[(y * image.width + crop.left) * 3..];
                let row = if rest.len() >= weights.reach {
                    rest
                } else {
                    padded[..crop.width * 3].copy_from_slice(&rest[..crop.width * 3]);
                    &*padded
                };
                // SAFETY: the set has AVX2.
                unsafe {
                    match weights.stride / 4 {
                        1 => weights.narrow::<1>(row, to, stride),
                        2 => weights.narrow::<2>(row, to, stride),
                        3 => weights.narrow::<3>(row, to, stride),
                        _ => weights.narrow::<0>(row, to, stride),
                    }
                }
            }
            return;
        }
        for (row, to) in rows(image, crop).zip(lines) {
            let pixels = row.as_chunks::<3>().0;
            for (x, (first, weights)) in weights.outputs().enumerate() {
                let mut sums = [HALF; 3];
                for (&weight, pixel) in weights.iter().zip(&pixels[first..]) {
                    for (sum, &value) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(weight) * i32::from(value);
                    }
                }
                for (channel, sum) in sums.into_iter().enumerate() {
                    to[channel * stride + x] = (sum >> SHIFT) as i16;
                }
            }
        }
    }
}

/// Weights of four pixels, as the AVX2 kernel multiplies them: of two in each half, for each of three channels.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Quad([i16; 16]);

#[cfg(target_arch = "x86_64")]
impl Weights {
    /// One row to its new width; `QUADS` is the number of weights by four, or 0 for whatever it is.
    ///
    /// # Panics
    /// If the row is shorter than `reach`.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn narrow<const QUADS: usize>(&self, row: &[u8], to: &mut [i16], stride: usize) {
        use std::arch::x86_64::{
            __m256i, _mm_loadu_si128, _mm_set1_epi32, _mm_storel_epi64, _mm_unpackhi_epi32,
            _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm256_add_epi32, _mm256_broadcastsi128_si256,
            _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_inserti128_si256,
            _mm256_load_si256, _mm256_madd_epi16, _mm256_packs_epi32, _mm256_permute2x128_si256,
            _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srai_epi32,
        };

        assert!(row.len() >= self.reach && to.len() == 3 * stride && stride >= self.firsts.len());
        let num_quads = if QUADS > 0 { QUADS } else { self.stride / 4 };
        // Pixels 0 and 1 (2 and 3 in the upper half): both reds, both greens, both blues, as 16 bits.
        let pick = _mm256_setr_epi8(
            0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
            6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
        );
        // Red, green, blue, nothing, of two outputs: both reds, both greens, both blues.
        let gather = _mm256_setr_epi8(
            0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, //
            0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15,
        );
        let half = _mm256_inserti128_si256::<0>(_mm256_setzero_si256(), _mm_set1_epi32(HALF));
        let outputs = self.firsts.as_chunks::<4>().0.iter();
        for (x, (firsts, quads)) in
            (0..).step_by(4).zip(outputs.zip(self.quads.chunks_exact(4 * num_quads)))
        {
            let mut sums = [half; 4];
            for ((sum, &first), quads) in
                sums.iter_mut().zip(firsts).zip(quads.chunks_exact(num_quads))
            {
                for (i, quad) in quads.iter().enumerate() {
                    // SAFETY: `reach` is where the last of these reads ends.
                    let (pixels, weights) = unsafe {
                        let from = row.as_ptr().add(3 * (first as usize + 4 * i));
                        (_mm_loadu_si128(from.cast()), _mm256_load_si256(quad.0.as_ptr().cast()))
                    };
                    let pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(pixels), pick);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pixels, weights));
                }
            }
            // The halves of each sum together; outputs 0 and 1 in the lower half, 2 and 3 in the upper one.
            let joined = |a: __m256i, b: __m256i| {
                let lower = _mm256_permute2x128_si256::<0x20>(a, b);
                let sum = _mm256_add_epi32(lower, _mm256_permute2x128_si256::<0x31>(a, b));
                _mm256_srai_epi32::<SHIFT>(sum)
            };
            let packed = _mm256_packs_epi32(joined(sums[0], sums[2]), joined(sums[1], sums[3]));
            let packed = _mm256_shuffle_epi8(packed, gather);
            let (lower, upper) =
                (_mm256_castsi256_si128(packed), _mm256_extracti128_si256::<1>(packed));
            let (red_green, blue) =
                (_mm_unpacklo_epi32(lower, upper), _mm_unpackhi_epi32(lower, upper));
            // SAFETY: `x` is at most the stride less 4, and there are three strides.
            unsafe {
                let to = to.as_mut_ptr().add(x);
                _mm_storel_epi64(to.cast(), red_green);
                _mm_storel_epi64(to.add(stride).cast(), _mm_unpackhi_epi64(red_green, red_green));
                _mm_storel_epi64(to.add(2 * stride).cast(), blue);
            }
        }
    }
}

struct VerticalPass<'a> {
    weights: &'a Weights,
    narrowed: &'a [i16],
    stride: usize,
    planes: &'a mut Planes,
    width: usize,
}

impl Kernel for VerticalPass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { weights, narrowed, stride, planes, width } = self;
        let [red, green, blue] = planes.channels().map(|plane| plane.chunks_exact_mut(width));
        for ((first, weights), ((red, green), blue)) in
            weights.outputs().zip(red.zip(green).zip(blue))
        {
            for (channel, out) in [red, green, blue].into_iter().enumerate() {
                let values = &narrowed[(3 * first + channel) * stride..];
                Lines { values, stride: 3 * stride, weights }.sum::<I>(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mira_simd::Portable;

    use super::*;
    use crate::rng::{Purpose, Rng};

    /// Rows after the horizontal pass, on this machine and on one without vectors: from one pixel to many, down to the last of the image.
    #[test]
    fn machines_agree_on_the_horizontal_pass() {
        let mut rng = Rng::new(3, Purpose::Augment, [0; 3]);
        for (image_width, image_height, width) in
            [(1, 1, 1), (1, 3, 7), (40, 5, 16), (40, 5, 39), (57, 2, 80), (300, 2, 13)]
        {
            let mut image = Image::default();
            image.reshape(image_width, image_height);
            image.pixels.iter_mut().for_each(|v| *v = (rng.uniform() * 256.0) as u8);
            let whole = CropBox { left: 0, top: 0, width: image_width, height: image_height };
            let part = CropBox {
                left: image_width / 3,
                width: image_width - image_width / 3,
                top: image_height - 1,
                height: 1,
            };
            for (crop, is_mirrored) in [(whole, false), (part, false), (whole, true)] {
                let mut weights = Weights::default();
                weights.set(crop.width, width, Interpolation::Bicubic, is_mirrored);
                weights.set_quads();
                let stride = width.next_multiple_of(SLACK);
                let mut padded = vec![0; weights.reach];
                let mut both =
                    [vec![0; 3 * stride * crop.height], vec![0; 3 * stride * crop.height]];
                let [plain, here] = &mut both;
                let (image, weights) = (&image, &weights);
                for (narrowed, is_plain) in [(plain, true), (here, false)] {
                    let padded = &mut padded;
                    let pass = HorizontalPass { weights, image, crop, padded, narrowed, stride };
                    if is_plain { pass.run::<Portable>() } else { dispatch(pass) }
                }
                for (plain, here) in both[0].chunks(stride).zip(both[1].chunks(stride)) {
                    assert_eq!(plain[..width], here[..width], "{crop:?} to {width}");
                }
            }
        }
    }
}
