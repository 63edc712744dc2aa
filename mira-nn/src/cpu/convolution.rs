//! Convolutions without an im2col matrix: each tile of output pixels reads its windows where they are, or from a small copy with borders.
//!
//! The same pass computes a forward convolution and the gradient by its input, which is a convolution of the output's gradient
//! with the weights mirrored and transposed; with a stride it is one such convolution for each residue of the pixel's position.

use std::ops::Range;

use mira_simd::{Isa, Kernel, Scalar, Vector, dispatch};
use rayon::prelude::*;

use super::memory::Shared;
use super::microkernel::{Tile, lanes, load_part, multiply, store_part};
use super::packing::{Panel, panel_start, panels};
use super::window::{Run, View, Window, Workspaces};
use crate::Geometry;

/// Pixels of a task: enough that weights read once serve many, and whole tiles of 6 and of 8.
const PIXELS: usize = 192;
/// Bytes of a panel's part that should stay in the first-level cache while all tiles of a task use it.
const PANEL_BYTES: usize = 32 << 10;

/// `out[n, Y, X, o] (+)= bias[o] + Σ_t Σ_c source[n, y·stride + dy_t, x·stride + dx_t, c] · w[t, c, o]` with
/// `Y = y·out_step + out_offset.0`, X likewise.
#[derive(Debug)]
pub(super) struct Convolve<'a, T> {
    pub source: &'a [T],
    pub source_shape: Geometry,
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

impl<T: Scalar> Convolve<'_, T> {
    pub(super) fn run(&self, workspaces: &Workspaces<T>) {
        let num_pixels = self.source_shape.batch * self.grid.0 * self.grid.1;
        let panels = panels::<T>(self.out_shape.channels);
        let window = Window::new(self.source_shape, self.grid, self.stride, self.taps);
        // Smaller tasks where there would be too few to share out.
        let enough = num_pixels >= 16 * PIXELS * rayon::current_num_threads();
        let pixels = window.pixels_of_task(if enough { PIXELS } else { PIXELS / 2 });
        (0..num_pixels.div_ceil(pixels)).into_par_iter().for_each(|task| {
            let pixels = task * pixels..num_pixels.min((task + 1) * pixels);
            workspaces.with(|workspace| {
                let view = window.view(self.source, pixels.clone(), workspace);
                dispatch(Task { pass: self, window: &window, view, panels: &panels, pixels });
            });
        });
    }

    fn num_rows(&self) -> usize {
        self.taps.len() * self.source_shape.channels
    }

    /// Weight rows in groups that fit the first-level cache.
    fn groups(&self, panel: &Panel) -> impl Iterator<Item = Range<usize>> + use<T> {
        let rows = self.num_rows();
        let budget = (PANEL_BYTES / (panel.width * lanes::<T>() * size_of::<T>())).max(1);
        let num_groups = rows.div_ceil(budget).max(1);
        let group = rows.div_ceil(num_groups).next_multiple_of(2);
        (0..num_groups).map(move |g| (g * group).min(rows)..rows.min((g + 1) * group))
    }
}

/// Some output pixels, all channels.
struct Task<'a, T> {
    pass: &'a Convolve<'a, T>,
    window: &'a Window,
    view: View<'a, T>,
    panels: &'a [Panel],
    pixels: Range<usize>,
}

impl<T: Scalar> Kernel for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let pass = self.pass;
        let mut places = [0; PIXELS];
        let (height, width) = pass.grid;
        for (place, p) in places.iter_mut().zip(self.pixels.clone()) {
            let (image, y, x) = (p / (height * width), p / width % height, p % width);
            let row = image * pass.out_shape.height + y * pass.out_step + pass.out_offset.0;
            let column = x * pass.out_step + pass.out_offset.1;
            *place = (row * pass.out_shape.width + column) * pass.out_shape.channels;
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
    /// `places` are where the pixels' outputs start.
    #[inline(always)]
    fn panel<V: Vector<Scalar = T>, const ROWS: usize, const WIDTH: usize>(
        &self,
        panel: &Panel,
        places: &[usize],
    ) {
        let pass = self.pass;
        let row_len = WIDTH * V::LEN;
        let num_rows = pass.num_rows();
        let packed = &pass.packed[panel_start::<T>(panel, num_rows)..][..num_rows * row_len];
        let mut first = true;
        for group in pass.groups(panel) {
            for (places, origins) in places.chunks(ROWS).zip(self.view.origins.chunks(ROWS)) {
                let mut tile = self.start::<V, ROWS, WIDTH>(panel, places, first);
                let mut weights = packed[group.start * row_len..].as_ptr();
                let mut before = 0;
                for run in self.window.runs() {
                    // The rows of the run that belong to the group.
                    let from = group.start.clamp(before, before + run.len) - before;
                    let to = group.end.clamp(before, before + run.len) - before;
                    before += run.len;
                    if from == to {
                        continue;
                    }
                    let rows = self.rows(origins, *run, from);
                    // SAFETY: the view holds every run of every window; the panel has a row for each of their values.
                    unsafe {
                        tile = multiply::<V, ROWS, WIDTH>(tile, rows, weights, to - from);
                        weights = weights.add((to - from) * row_len);
                    }
                }
                for (place, row) in places.iter().zip(tile) {
                    let out = pass.out.address(place + panel.first);
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
        places: &[usize],
        first: bool,
    ) -> Tile<V, ROWS, WIDTH> {
        let mut tile = [[V::splat(T::zero()); WIDTH]; ROWS];
        if !first || self.pass.accumulate {
            for (place, row) in places.iter().zip(&mut tile) {
                let out = self.pass.out.address(place + panel.first).cast_const();
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

    /// Where the tile's rows start for a run, from value `from` of it on; rows beyond the last pixel repeat the first, and are not stored.
    #[inline(always)]
    fn rows<const ROWS: usize>(
        &self,
        origins: &[usize],
        run: Run,
        from: usize,
    ) -> [*const T; ROWS] {
        let start = self.view.start().wrapping_add(run.offset + from);
        let mut rows = [start.wrapping_add(origins[0]); ROWS];
        for (row, origin) in rows.iter_mut().zip(origins) {
            *row = start.wrapping_add(*origin);
        }
        rows
    }
}
