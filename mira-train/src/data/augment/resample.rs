//! Antialiased resizing with the kernels of torchvision and Pillow.
//!
//! A horizontal and then a vertical pass, with six bits after the point in between. When shrinking by a factor f the kernel is f times as wide.

use mira_simd::{Isa, Kernel, PIXEL_BYTES, Words, dispatch};

use super::lines::{Lines, PRECISION, SLACK};
use super::planes::{LEVEL, Planes};
use super::weights::Weights;
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
    pairs: Pairs,
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
        self.rows.set(crop.height, height, interpolation, false);
        let stride = width.next_multiple_of(SLACK);
        let num_narrowed = 3 * stride * crop.height;
        grow(&mut self.narrowed, num_narrowed);
        let Self { columns, pairs, rows, padded, narrowed, .. } = self;
        dispatch(HorizontalPass { weights: columns, pairs, image, crop, padded, narrowed, stride });
        dispatch(VerticalPass { weights: rows, narrowed, stride, planes, width });
    }
}

/// The rows of a part of an image.
fn rows(image: &Image, crop: CropBox) -> impl Iterator<Item = &[u8]> {
    let rows = image.pixels.chunks_exact(image.width * 3).skip(crop.top).take(crop.height);
    rows.map(move |row| &row[crop.left * 3..(crop.left + crop.width) * 3])
}

/// A row's weights as [`narrow`](Self::narrow) takes them: outputs in groups of two for each lane of a vector, those with even numbers in one vector and
/// those with odd ones in another.
#[derive(Debug, Default)]
struct Pairs {
    weights: Vec<Line>,
    /// Bytes before each output's first input.
    offsets: Vec<u32>,
    /// Pairs an output.
    count: usize,
    /// Bytes of a row of pixels that are read.
    reach: usize,
}

/// Pairs in a cache line, so that no vector is in two.
const IN_LINE: usize = 4;

/// Pairs of weights, each for three channels: a vector's lane.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "read as vectors")] [[i16; 8]; IN_LINE]);

impl Pairs {
    #[inline(always)]
    fn set<W: Words>(&mut self, weights: &Weights) {
        let group = 2 * W::LANES;
        let num_groups = weights.padded_outputs().len().div_ceil(group);
        self.count = weights.stride() / 2;
        self.offsets.clear();
        self.offsets.resize(num_groups * group, 0);
        self.weights.clear();
        let num_lines = (num_groups * group * self.count).div_ceil(IN_LINE);
        self.weights.resize(num_lines, Line([[0; 8]; IN_LINE]));
        for (output, (first, weights)) in weights.padded_outputs().enumerate() {
            let (start, within) = (output / group * group, output % group);
            let lane = within % 2 * W::LANES + within / 2;
            self.offsets[start + lane] = 3 * first;
            for (i, &[a, b]) in weights.as_chunks().0.iter().enumerate() {
                let place = start * self.count + i * group + lane;
                self.weights[place / IN_LINE].0[place % IN_LINE] = [a, b, a, b, a, b, 0, 0];
            }
        }
        let last = self.offsets.iter().max().map_or(0, |offset| *offset as usize);
        self.reach = last + 12 * (self.count.div_ceil(2) - 1) + PIXEL_BYTES;
    }

    /// One row of pixels to its new width; `COUNT` is how many pairs an output has, or 0 for whatever it is.
    ///
    /// # Panics
    /// If the row is shorter than `reach`.
    #[inline(always)]
    fn narrow<W: Words, const COUNT: usize>(&self, row: &[u8], to: &mut [i16], stride: usize) {
        let count = if COUNT > 0 { COUNT } else { self.count };
        let group = 2 * W::LANES;
        let num_groups = self.offsets.len() / group;
        assert!(row.len() >= self.reach && to.len() == 3 * stride && stride >= num_groups * group);
        assert!(self.weights.len() * IN_LINE >= num_groups * group * count);
        let half = W::splat_32(HALF);
        for start in (0..num_groups * group).step_by(group) {
            let (mut even, mut odd) = (half, half);
            for pair in (0..count).step_by(2) {
                // SAFETY: `reach` is where the last of these reads ends, and there are so many offsets and weights.
                unsafe {
                    let from = row.as_ptr().add(6 * pair);
                    let offsets = self.offsets.as_ptr().add(start);
                    let evens = W::gather_pixels(from, offsets);
                    let odds = W::gather_pixels(from, offsets.add(W::LANES));
                    let weights = self.weights.as_ptr().cast::<[i16; 8]>();
                    let weights = weights.add(start * count + pair * group);
                    let weight = |i: usize| W::load(weights.add(i * W::LANES).cast());
                    even = even.add_32(evens[0].dot_pairs(weight(0)));
                    odd = odd.add_32(odds[0].dot_pairs(weight(1)));
                    if pair + 1 < count {
                        even = even.add_32(evens[1].dot_pairs(weight(2)));
                        odd = odd.add_32(odds[1].dot_pairs(weight(3)));
                    }
                }
            }
            let rounded = even.shift_right_32::<SHIFT>().pack_32(odd.shift_right_32::<SHIFT>());
            // SAFETY: there are three strides with as many outputs.
            unsafe {
                let to = to.as_mut_ptr().add(start);
                rounded.store_channels([to, to.add(stride), to.add(2 * stride)]);
            }
        }
    }
}

/// What the horizontal pass rounds to.
const SHIFT: u32 = PRECISION.cast_unsigned() - LEVEL.trailing_zeros();
const HALF: i32 = 1 << (SHIFT - 1);

struct HorizontalPass<'a> {
    weights: &'a Weights,
    pairs: &'a mut Pairs,
    image: &'a Image,
    crop: CropBox,
    padded: &'a mut Vec<u8>,
    narrowed: &'a mut [i16],
    stride: usize,
}

impl Kernel for HorizontalPass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { weights, pairs, image, crop, padded, narrowed, stride } = self;
        pairs.set::<I::Words>(weights);
        grow(padded, pairs.reach);
        let lines = narrowed.chunks_exact_mut(3 * stride).take(crop.height);
        for (y, to) in (crop.top..).zip(lines) {
            let rest = &image.pixels[(y * image.width + crop.left) * 3..];
            let row = if rest.len() >= pairs.reach {
                rest
            } else {
                // What is beyond the end has no weight.
                padded[..rest.len()].copy_from_slice(rest);
                &*padded
            };
            // The usual numbers as constants.
            match pairs.count {
                2 => pairs.narrow::<I::Words, 2>(row, to, stride),
                3 => pairs.narrow::<I::Words, 3>(row, to, stride),
                4 => pairs.narrow::<I::Words, 4>(row, to, stride),
                _ => pairs.narrow::<I::Words, 0>(row, to, stride),
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
                Lines { values, stride: 3 * stride, weights }.sum::<I::Words>(out);
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
                let stride = width.next_multiple_of(SLACK);
                let mut both =
                    [vec![0; 3 * stride * crop.height], vec![0; 3 * stride * crop.height]];
                let [plain, here] = &mut both;
                let (image, weights) = (&image, &weights);
                for (narrowed, is_plain) in [(plain, true), (here, false)] {
                    let (pairs, padded) = (&mut Pairs::default(), &mut Vec::new());
                    let pass =
                        HorizontalPass { weights, pairs, image, crop, padded, narrowed, stride };
                    if is_plain { pass.run::<Portable>() } else { dispatch(pass) }
                }
                for (plain, here) in both[0].chunks(stride).zip(both[1].chunks(stride)) {
                    assert_eq!(plain[..width], here[..width], "{crop:?} to {width}");
                }
            }
        }
    }
}
