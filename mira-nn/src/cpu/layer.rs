//! Convolution layers: forward, and backward by weights and by input, in terms of the passes.

use mira_simd::Scalar;

use super::convolution::Convolve;
use super::memory::{Aligned, Shared};
use super::packing::{pack, packed_len};
use super::weight_gradient::WeightGradient;
use super::window::Workspaces;
use crate::{Convolution, Geometry};

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
    workspaces: Workspaces<T>,
}

impl<T: Scalar> Scratch<T> {
    pub(super) fn new(layers: &[Layer]) -> Self {
        let mut packed = 0;
        for layer in layers {
            let (channels, out_channels) = (layer.in_shape.channels, layer.out_shape.channels);
            let taps = layer.settings.kernel * layer.settings.kernel;
            let forward = packed_len::<T>(out_channels, taps * channels);
            let backward = packed_len::<T>(channels, taps * out_channels);
            packed = packed.max(forward).max(backward);
        }
        Self { packed: Aligned::zeroed(packed), workspaces: Workspaces::new() }
    }
}

impl Layer {
    /// Where the window's pixels are from an output pixel's position, in the order of the weights.
    fn taps(&self) -> Vec<(isize, isize)> {
        let Convolution { kernel, padding, .. } = self.settings;
        let offset = |k: usize| k.cast_signed() - padding.cast_signed();
        (0..kernel * kernel).map(|k| (offset(k / kernel), offset(k % kernel))).collect()
    }

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
        let taps = self.taps();
        let channels = settings.out_channels;
        let packed = scratch.packed.as_mut_slice();
        pack(weights, packed, channels, taps.len() * in_shape.channels, 1, |row| row * channels);
        Convolve {
            source,
            source_shape: in_shape,
            grid: (out_shape.height, out_shape.width),
            stride: settings.stride,
            taps: &taps,
            packed,
            bias,
            out: Shared::new(out),
            out_shape,
            out_step: 1,
            out_offset: (0, 0),
            accumulate: false,
        }
        .run(&scratch.workspaces);
    }

    /// Adds the gradient by the weights to `out`.
    pub(super) fn weight_gradient<T: Scalar>(
        &self,
        source: &[T],
        gradient: &[T],
        out: &mut [T],
        scratch: &Scratch<T>,
    ) {
        let Self { settings, in_shape, out_shape } = *self;
        WeightGradient {
            source,
            source_shape: in_shape,
            stride: settings.stride,
            taps: &self.taps(),
            gradient,
            gradient_shape: out_shape,
            out: Shared::new(out),
        }
        .run(&scratch.workspaces);
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
            // Falling, so that offsets rise: neighbours are read together.
            (0..kernel)
                .rev()
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
                .run(&scratch.workspaces);
            }
        }
    }
}
