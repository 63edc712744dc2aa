//! Convolutions without an im2col matrix: each tile of output pixels reads its input pixels where they are.
//!
//! The same pass computes a forward convolution and the gradient by its input, which is a convolution of the output's gradient
//! with the weights mirrored and transposed; with a stride it is one such convolution for each residue of the pixel's position.

use std::ops::Range;

use mira_simd::{Isa, Kernel, Scalar, Vector, dispatch};
use rayon::prelude::*;

use super::gather::{Pixel, Window};
use super::memory::Shared;
use super::microkernel::{Tile, lanes, load_part, multiply, store_part};
use super::packing::{Panel, panel_start, panels};
use crate::nn::Geometry;

/// Pixels of a task: enough that weights read once serve many, and whole tiles of 6 and of 8.
const PIXELS: usize = 96;
/// Bytes of a panel's part that should stay in the first-level cache while all tiles of a task use it.
const PANEL_BYTES: usize = 32 << 10;

/// `out[n, Y, X, o] (+)= bias[o] + Σ_t Σ_c source[n, y·stride + dy_t, x·stride + dx_t, c] · w[t, c, o]` with
/// `Y = y·out_step + out_offset.0`, X likewise.
#[derive(Debug)]
pub(super) struct Convolve<'a, T> {
    pub source: &'a [T],
    /// Its shape; `depth` values are read from each pixel on, which may be several pixels.
    pub source_shape: Geometry,
    pub depth: usize,
    /// At least `depth` zeros, for pixels outside.
    pub zeros: &'a [T],
    /// Rows and columns of output pixels to compute.
    pub grid: (usize, usize),
    pub stride: usize,
    pub taps: &'a [(isize, isize)],
    pub packed: &'a [T],
    pub bias: Option<&'a [T]>,
    pub out: Shared<'a, T>,
    pub out_shape: Geometry,
    pub out_step: usize,
    pub out_offset: (usize, usize),
    /// Add to what is there.
    pub accumulate: bool,
}

/// A run of weight rows within one tap.
#[derive(Clone, Copy, Debug)]
struct Run {
    tap: usize,
    channel: usize,
    len: usize,
}

impl<T: Scalar> Convolve<'_, T> {
    pub(super) fn run(&self) {
        let num_pixels = self.source_shape.batch * self.grid.0 * self.grid.1;
        let panels = panels::<T>(self.out_shape.channels);
        assert!(self.zeros.len() >= self.depth, "too few zeros");
        let window = Window::new(self.source_shape, self.stride, self.taps);
        window.check(self.depth, self.grid.1, self.source.len());
        (0..num_pixels.div_ceil(PIXELS)).into_par_iter().for_each(|task| {
            let pixels = task * PIXELS..num_pixels.min((task + 1) * PIXELS);
            dispatch(Task { pass: self, window: &window, panels: &panels, pixels });
        });
    }

    /// Weight rows in groups that fit the first-level cache.
    fn groups(&self, panel: &Panel) -> impl Iterator<Item = Range<usize>> + use<T> {
        let rows = self.taps.len() * self.depth;
        let budget = (PANEL_BYTES / (panel.width * lanes::<T>() * size_of::<T>())).max(1);
        let num_groups = rows.div_ceil(budget).max(1);
        let group = rows.div_ceil(num_groups).next_multiple_of(2);
        (0..num_groups).map(move |g| (g * group).min(rows)..rows.min((g + 1) * group))
    }

    fn runs(&self, rows: Range<usize>) -> impl Iterator<Item = Run> + use<T> {
        let depth = self.depth;
        let mut at = rows.start;
        std::iter::from_fn(move || {
            (at < rows.end).then(|| {
                let (tap, channel) = (at / depth, at % depth);
                let len = (depth - channel).min(rows.end - at);
                at += len;
                Run { tap, channel, len }
            })
        })
    }
}

/// Some output pixels, all channels.
struct Task<'a, T> {
    pass: &'a Convolve<'a, T>,
    window: &'a Window<'a>,
    panels: &'a [Panel],
    pixels: Range<usize>,
}

/// Where a tile's pixel comes from and goes to.
#[derive(Clone, Copy, Default)]
struct Place {
    from: Pixel,
    to: usize,
}

impl<T: Scalar> Kernel for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let pass = self.pass;
        let mut places = [Place::default(); PIXELS];
        let (height, width) = pass.grid;
        for (place, p) in places.iter_mut().zip(self.pixels.clone()) {
            let (image, y, x) = (p / (height * width), p / width % height, p % width);
            let row = image * pass.out_shape.height + y * pass.out_step + pass.out_offset.0;
            let column = x * pass.out_step + pass.out_offset.1;
            *place = Place {
                from: self.window.pixel(image, y, x),
                to: (row * pass.out_shape.width + column) * pass.out_shape.channels,
            };
        }
        let places = &places[..self.pixels.len()];
        for panel in self.panels {
            match (panel.width, I::REGISTERS >= 32) {
                (4, _) => self.panel::<T::Vector<I>, 6, 4>(panel, places),
                (2, _) => self.panel::<T::Vector<I>, 8, 2>(panel, places),
                // Fewer rows would wait for the latency of the multiplications.
                (_, true) => self.panel::<T::Vector<I>, 8, 1>(panel, places),
                (_, false) => self.panel::<T::Vector<I>, 6, 1>(panel, places),
            }
        }
    }
}

impl<T: Scalar> Task<'_, T> {
    #[inline(always)]
    fn panel<V: Vector<Scalar = T>, const ROWS: usize, const WIDTH: usize>(
        &self,
        panel: &Panel,
        places: &[Place],
    ) {
        let pass = self.pass;
        let row_len = WIDTH * V::LEN;
        let packed = &pass.packed[panel_start::<T>(panel, pass.taps.len() * pass.depth)..]
            [..pass.taps.len() * pass.depth * row_len];
        let mut first = true;
        for group in pass.groups(panel) {
            for places in places.chunks(ROWS) {
                let mut tile = self.start::<V, ROWS, WIDTH>(panel, places, first);
                let mut weights = packed[group.start * row_len..].as_ptr();
                for run in pass.runs(group.clone()) {
                    let rows = self.rows(places, run);
                    // SAFETY: rows have `depth` readable values from the run's tap on; the panel has a row for each.
                    unsafe {
                        tile = multiply::<V, ROWS, WIDTH>(tile, rows, weights, run.len);
                        weights = weights.add(run.len * row_len);
                    }
                }
                for (place, row) in places.iter().zip(tile) {
                    let out = pass.out.address(place.to + panel.first);
                    for (n, vector) in row.into_iter().enumerate() {
                        let count = panel.channels.saturating_sub(n * V::LEN);
                        // SAFETY: a pixel has `out_shape.channels` values, and pixels belong to one task each.
                        unsafe { store_part(vector, out.wrapping_add(n * V::LEN), count) };
                    }
                }
            }
            first = false;
        }
    }

    #[inline(always)]
    fn start<V: Vector<Scalar = T>, const ROWS: usize, const WIDTH: usize>(
        &self,
        panel: &Panel,
        places: &[Place],
        first: bool,
    ) -> Tile<V, ROWS, WIDTH> {
        let mut tile = [[V::splat(T::zero()); WIDTH]; ROWS];
        if !first || self.pass.accumulate {
            for (place, row) in places.iter().zip(&mut tile) {
                let out = self.pass.out.address(place.to + panel.first).cast_const();
                for (n, vector) in row.iter_mut().enumerate() {
                    let count = panel.channels.saturating_sub(n * V::LEN);
                    // SAFETY: as for storing.
                    *vector = unsafe { load_part(out.wrapping_add(n * V::LEN), count) };
                }
            }
        }
        if let (true, Some(bias)) = (first, self.pass.bias) {
            let bias = &bias[panel.first..panel.first + panel.channels];
            for row in &mut tile {
                for (n, vector) in row.iter_mut().enumerate() {
                    let count = panel.channels.saturating_sub(n * V::LEN);
                    // SAFETY: `count` values are there.
                    let bias =
                        unsafe { load_part::<V>(bias.as_ptr().wrapping_add(n * V::LEN), count) };
                    *vector = vector.add(bias);
                }
            }
        }
        tile
    }

    /// Where the tile's rows start for a run; rows beyond the last pixel are zeros.
    #[inline(always)]
    fn rows<const ROWS: usize>(&self, places: &[Place], run: Run) -> [*const T; ROWS] {
        let (source, zeros) = (self.pass.source.as_ptr(), self.pass.zeros.as_ptr());
        let mut rows = [zeros; ROWS];
        for (row, place) in rows.iter_mut().zip(places) {
            *row = self.window.under(place.from, run.tap, source.wrapping_add(run.channel), zeros);
        }
        rows
    }
}
