//! Antialiased resizing with Pillow's fixed-point arithmetic, to the bit.
//!
//! A horizontal and then a vertical pass, rounded to 8 bits in between (Pillow 13 swaps them where the height shrinks more, which
//! moves single values by a few levels; earlier versions and we do not). When shrinking by a factor f the kernel is f times as wide.

use mira_simd::{Isa, Kernel, dispatch};

use super::{Image, Interpolation};

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

/// Bits after the point of a weight.
const PRECISION: u32 = 22;

/// Resizes; keeps its buffers.
#[derive(Debug, Default)]
pub(in super::super) struct Resampler {
    columns: Weights,
    rows: Weights,
    /// Some rows, value by value: those of all rows beside each other.
    transposed: Vec<[u8; LANES]>,
    /// After the horizontal pass.
    narrowed: Vec<u8>,
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
        let rows = image
            .pixels
            .chunks_exact(image.width * 3)
            .skip(crop.top)
            .take(crop.height)
            .map(|row| &row[crop.left * 3..(crop.left + crop.width) * 3]);
        if (crop.width, crop.height) == (width, height) {
            into.chunks_exact_mut(width * 3)
                .zip(rows)
                .for_each(|(to, row)| to.copy_from_slice(row));
            return;
        }
        self.columns.set(crop.width, width, interpolation);
        self.rows.set(crop.height, height, interpolation);
        let length = width * 3;
        self.narrowed.resize(crop.height * length, 0);
        self.transposed.resize(crop.width * 3, [0; LANES]);
        let mut rows = rows;
        for to in self.narrowed.chunks_mut(LANES * length) {
            for (lane, row) in rows.by_ref().take(LANES).enumerate() {
                self.transposed
                    .iter_mut()
                    .zip(row)
                    .for_each(|(values, value)| values[lane] = *value);
            }
            let (weights, transposed) = (&self.columns, &self.transposed);
            dispatch(HorizontalPass { weights, transposed, to, length });
        }
        for (y, to) in into.chunks_exact_mut(length).enumerate() {
            let (first, weights) = self.rows.at(y);
            dispatch(VerticalPass { weights, lines: &self.narrowed[first * length..], to });
        }
    }
}

/// For each output position, the first input and the weights from there on.
#[derive(Debug, Default)]
struct Weights {
    /// First input, number of weights.
    spans: Vec<(usize, usize)>,
    /// `stride` for each output.
    fixed: Vec<i32>,
    stride: usize,
    exact: Vec<f64>,
}

impl Weights {
    fn set(&mut self, size: usize, new_size: usize, interpolation: Interpolation) {
        let scale = size as f64 / new_size as f64;
        let widening = scale.max(1.0);
        let support = widening
            * match interpolation {
                Interpolation::Bicubic => 2.0,
                Interpolation::Bilinear => 1.0,
            };
        self.stride = support.ceil() as usize * 2 + 1;
        self.spans.clear();
        self.fixed.clear();
        for position in 0..new_size {
            let center = (position as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(size);
            self.exact.clear();
            self.exact.extend((first..end).map(|x| {
                let distance = (x as f64 - center + 0.5) / widening;
                match interpolation {
                    Interpolation::Bicubic => cubic(distance),
                    Interpolation::Bilinear => (1.0 - distance.abs()).max(0.0),
                }
            }));
            let total: f64 = self.exact.iter().sum();
            self.spans.push((first, end - first));
            self.fixed.extend(self.exact.iter().map(|w| to_fixed(w / total)));
            self.fixed.resize(self.spans.len() * self.stride, 0);
        }
    }

    #[inline(always)]
    fn at(&self, position: usize) -> (usize, &[i32]) {
        let (first, count) = self.spans[position];
        (first, &self.fixed[position * self.stride..position * self.stride + count])
    }
}

/// Cubic convolution with a = −½ (Keys 1981).
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[inline(always)]
fn to_fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION) + 0.5_f64.copysign(weight)) as i32
}

/// Rounded to the nearest, clipped to 8 bits.
#[inline(always)]
fn to_u8(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// Rows that the horizontal pass works on together.
const LANES: usize = 16;

struct HorizontalPass<'a> {
    weights: &'a Weights,
    transposed: &'a [[u8; LANES]],
    /// As many rows as there are left, up to [`LANES`].
    to: &'a mut [u8],
    length: usize,
}

impl Kernel for HorizontalPass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let pixels = self.transposed.as_chunks::<3>().0;
        for x in 0..self.length / 3 {
            let (first, weights) = self.weights.at(x);
            let mut sums = [[HALF; LANES]; 3];
            for (&weight, pixel) in weights.iter().zip(&pixels[first..]) {
                for (sums, values) in sums.iter_mut().zip(pixel) {
                    for (sum, &value) in sums.iter_mut().zip(values) {
                        *sum += weight * i32::from(value);
                    }
                }
            }
            let [red, green, blue] = sums.map(|sums| sums.map(to_u8));
            for (lane, row) in self.to.chunks_exact_mut(self.length).enumerate() {
                let pixel = [red[lane], green[lane], blue[lane]];
                row[3 * x..3 * x + 3].copy_from_slice(&pixel);
            }
        }
    }
}

struct VerticalPass<'a> {
    weights: &'a [i32],
    /// From the first that counts on.
    lines: &'a [u8],
    to: &'a mut [u8],
}

/// Sums that are kept in registers while the lines go by.
const BLOCK: usize = 32;

impl Kernel for VerticalPass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let length = self.to.len();
        let lines = || self.weights.iter().zip(self.lines.chunks_exact(length));
        let (blocks, rest) = self.to.as_chunks_mut::<BLOCK>();
        let end = blocks.len() * BLOCK;
        for (start, to) in (0..).step_by(BLOCK).zip(blocks) {
            let mut sums = [HALF; BLOCK];
            for (&weight, line) in lines() {
                let Some((values, _)) = line[start..].split_first_chunk::<BLOCK>() else { return };
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum += weight * i32::from(value);
                }
            }
            *to = sums.map(to_u8);
        }
        for (x, to) in (end..).zip(rest) {
            let products = lines().map(|(&weight, line)| weight * i32::from(line[x]));
            *to = to_u8(HALF + products.sum::<i32>());
        }
    }
}
