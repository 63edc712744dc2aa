//! Convolution layers: forward, and backward by weights and by input, in terms of the passes.

use mira_simd::Scalar;
use rayon::prelude::*;

use super::convolution::Convolve;
use super::memory::{Aligned, Shared};
use super::packing::{pack, packed_len};
use super::weight_gradient::WeightGradient;
use crate::nn::{Convolution, Geometry};

/// A convolution between images of two shapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    pub settings: Convolution,
    pub in_shape: Geometry,
    pub out_shape: Geometry,
}

/// Memory that all layers of a network use in turn.
#[derive(Debug)]
pub(super) struct Scratch<T> {
    packed: Aligned<T>,
    padded: Aligned<T>,
    zeros: Vec<T>,
}

impl<T: Scalar> Scratch<T> {
    pub(super) fn new(layers: &[Layer]) -> Self {
        let (mut packed, mut padded, mut depth) = (0, 0, 0);
        for layer in layers {
            let (channels, out_channels) = (layer.in_shape.channels, layer.out_shape.channels);
            let taps = layer.settings.kernel * layer.settings.kernel;
            let forward = packed_len::<T>(out_channels, taps * channels);
            let backward = packed_len::<T>(channels, taps * out_channels);
            packed = packed.max(forward).max(backward);
            let reading = Reading::new(layer.in_shape, layer.settings);
            if reading.padded {
                padded = padded.max(reading.shape.len());
            }
            depth = depth.max(reading.depth).max(out_channels);
        }
        Self {
            packed: Aligned::zeroed(packed),
            padded: Aligned::zeroed(padded),
            zeros: vec![T::zero(); depth],
        }
    }
}

/// How a convolution reads its input: with narrow pixels, whole rows of the window at once from a padded copy.
#[derive(Debug)]
struct Reading {
    shape: Geometry,
    depth: usize,
    taps: Vec<(isize, isize)>,
    padded: bool,
}

/// Pixels narrower than this are read in rows.
const NARROW: usize = 16;

impl Reading {
    fn new(shape: Geometry, settings: Convolution) -> Self {
        let Convolution { kernel, padding, .. } = settings;
        let offset = |k: usize| k.cast_signed() - padding.cast_signed();
        if shape.channels < NARROW && kernel > 1 {
            let (height, width) = (shape.height + 2 * padding, shape.width + 2 * padding);
            let taps = (0..kernel).map(|i| (i.cast_signed(), 0)).collect();
            let depth = kernel * shape.channels;
            return Self { shape: Geometry { height, width, ..shape }, depth, taps, padded: true };
        }
        let taps = (0..kernel * kernel).map(|k| (offset(k / kernel), offset(k % kernel))).collect();
        Self { shape, depth: shape.channels, taps, padded: false }
    }
}

impl Layer {
    /// `out = source * weights (+ bias)`.
    pub(super) fn forward<T: Scalar>(
        &self,
        source: &[T],
        weights: &[T],
        bias: Option<&[T]>,
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        let Self { settings, in_shape, out_shape } = *self;
        let reading = Reading::new(in_shape, settings);
        let rows = reading.taps.len() * reading.depth;
        let channels = settings.out_channels;
        let packed = scratch.packed.as_mut_slice();
        pack(weights, packed, channels, rows, 1, |row| row * channels);
        let source = if reading.padded {
            pad(source, in_shape, settings.padding, &mut scratch.padded)
        } else {
            source
        };
        Convolve {
            source,
            source_shape: reading.shape,
            depth: reading.depth,
            zeros: &scratch.zeros,
            grid: (out_shape.height, out_shape.width),
            stride: settings.stride,
            taps: &reading.taps,
            packed,
            bias,
            out: Shared::new(out),
            out_shape,
            out_step: 1,
            out_offset: (0, 0),
            accumulate: false,
        }
        .run();
    }

    /// Adds the gradient by the weights to `out`.
    pub(super) fn weight_gradient<T: Scalar>(
        &self,
        source: &[T],
        gradient: &[T],
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        let Self { settings, in_shape, out_shape } = *self;
        let reading = Reading::new(in_shape, settings);
        let source = if reading.padded {
            pad(source, in_shape, settings.padding, &mut scratch.padded)
        } else {
            source
        };
        WeightGradient {
            source,
            source_shape: reading.shape,
            depth: reading.depth,
            zeros: &scratch.zeros,
            stride: settings.stride,
            taps: &reading.taps,
            gradient,
            gradient_shape: out_shape,
            out: Shared::new(out),
        }
        .run();
    }

    /// The gradient by the input: for each residue of a pixel's position modulo the stride, a convolution of the gradient with the taps
    /// that reach such pixels.
    pub(super) fn input_gradient<T: Scalar>(
        &self,
        weights: &[T],
        gradient: &[T],
        out: &mut [T],
        accumulate: bool,
        scratch: &mut Scratch<T>,
    ) {
        let Self { settings, in_shape, out_shape } = *self;
        let packed = scratch.packed.as_mut_slice();
        let Convolution { kernel, stride, padding, out_channels, .. } = settings;
        let channels = in_shape.channels;
        // Offsets into the gradient, and the window's index, for pixels ≡ residue.
        let reach = |residue: usize| -> Vec<(isize, usize)> {
            let at = (residue + padding).cast_signed();
            let step = stride.cast_signed();
            (0..kernel)
                .map(|k| (at - k.cast_signed(), k))
                .filter(|(d, _)| d.rem_euclid(step) == 0)
                .map(|(d, k)| (d.div_euclid(step), k))
                .collect()
        };
        for row in 0..stride.min(in_shape.height) {
            for column in 0..stride.min(in_shape.width) {
                let (rows, columns) = (reach(row), reach(column));
                let mut taps = Vec::with_capacity(rows.len() * columns.len());
                let mut places = Vec::with_capacity(taps.capacity());
                for &(dy, i) in &rows {
                    for &(dx, j) in &columns {
                        taps.push((dy, dx));
                        places.push((i * kernel + j) * channels * out_channels);
                    }
                }
                let depth = taps.len() * out_channels;
                let place = |row: usize| places[row / out_channels] + row % out_channels;
                pack(weights, packed, channels, depth, out_channels, place);
                Convolve {
                    source: gradient,
                    source_shape: out_shape,
                    depth: out_channels,
                    zeros: &scratch.zeros,
                    grid: (
                        (in_shape.height - row).div_ceil(stride),
                        (in_shape.width - column).div_ceil(stride),
                    ),
                    stride: 1,
                    taps: &taps,
                    packed,
                    bias: None,
                    out: Shared::new(out),
                    out_shape: in_shape,
                    out_step: stride,
                    out_offset: (row, column),
                    accumulate,
                }
                .run();
            }
        }
    }
}

/// A copy with zeros around each image.
fn pad<'a, T: Scalar>(
    source: &[T],
    shape: Geometry,
    padding: usize,
    to: &'a mut Aligned<T>,
) -> &'a [T] {
    let (height, width) = (shape.height + 2 * padding, shape.width + 2 * padding);
    let row_len = width * shape.channels;
    let out = &mut to.as_mut_slice()[..shape.batch * height * row_len];
    out.par_chunks_exact_mut(height * row_len).enumerate().for_each(|(image, out)| {
        out.fill(T::zero());
        let inner = shape.width * shape.channels;
        for y in 0..shape.height {
            let from = (image * shape.height + y) * inner;
            let to = (y + padding) * row_len + padding * shape.channels;
            out[to..to + inner].copy_from_slice(&source[from..from + inner]);
        }
    });
    out
}
