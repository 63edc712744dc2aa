//! The gradient of a convolution by its weights: `dw[t, c, o] += Σ_p source[p ⊕ t, c] · gradient[p, o]`.
//!
//! A tile of input channels × output channels stays in registers while pixels go by; pixels go in blocks that fit the caches, and every
//! weight adds its blocks in one order, so results do not depend on threads.

use std::ops::Range;

use mira_simd::{Isa, Kernel, Scalar, Vector, dispatch};
use rayon::prelude::*;

use super::memory::Shared;
use super::microkernel::{lanes, load_part, multiply_transposed, store_part};
use super::packing::{Panel, panels};
use super::window::{View, Window, Workspaces};
use crate::Geometry;

/// What to compute; the meaning of the fields is that of `Convolve`.
#[derive(Debug)]
pub(super) struct WeightGradient<'a, T> {
    pub source: &'a [T],
    pub source_shape: Geometry,
    pub stride: usize,
    pub taps: &'a [(isize, isize)],
    pub gradient: &'a [T],
    pub gradient_shape: Geometry,
    /// `[taps, channels, out]`; added to.
    pub out: Shared<'a, T>,
}

/// A tile: some output channels, and `rows` weight rows of one run, of which `skip` are covered by the tile before.
#[derive(Clone, Copy, Debug)]
struct Unit {
    panel: Panel,
    /// The first weight row, and where its values start in a window.
    weight_row: usize,
    offset: usize,
    rows: usize,
    skip: usize,
}

struct MostRows {
    width: usize,
}
impl Kernel for MostRows {
    type Output = usize;
    #[inline(always)]
    fn run<I: Isa>(self) -> usize {
        match (self.width, I::REGISTERS >= 32) {
            (4, _) => 6,
            (2, _) => 8,
            (_, true) => 16,
            (_, false) => 6,
        }
    }
}

impl<T: Scalar> WeightGradient<'_, T> {
    pub(super) fn run(&self, workspaces: &Workspaces<T>) {
        let grid = (self.gradient_shape.height, self.gradient_shape.width);
        let window = Window::new(self.source_shape, grid, self.stride, self.taps);
        let units = self.units(&window);
        // A few tasks a thread; how many does not change any sum.
        let num_tasks = units.len().min(2 * rayon::current_num_threads());
        (0..num_tasks).into_par_iter().for_each(|task| {
            let units =
                &units[units.len() * task / num_tasks..units.len() * (task + 1) / num_tasks];
            workspaces.with(|workspace| {
                let block = window.pixels_of_task(self.block());
                let num_pixels = self.gradient_shape.num_pixels();
                let mut padded = Vec::new();
                for start in (0..num_pixels).step_by(block) {
                    let pixels = start..num_pixels.min(start + block);
                    let view = window.view(self.source, pixels.clone(), workspace);
                    dispatch(Task { pass: self, view, units, pixels, padded: &mut padded });
                }
            });
        });
    }

    fn units(&self, window: &Window) -> Vec<Unit> {
        let mut units = Vec::new();
        for panel in panels::<T>(self.gradient_shape.channels) {
            let most = dispatch(MostRows { width: panel.width });
            let mut before = 0;
            for run in window.runs() {
                let rows = [most, 8, 1]
                    .into_iter()
                    .find(|&rows| rows <= most && rows <= run.len)
                    .unwrap_or(1);
                for start in (0..run.len).step_by(rows) {
                    // The last tile of a run overlaps the one before.
                    let first = start.min(run.len - rows);
                    let (weight_row, offset) = (before + first, run.offset + first);
                    units.push(Unit { panel, weight_row, offset, rows, skip: start - first });
                }
                before += run.len;
            }
        }
        units
    }

    /// Pixels of a block: those of one panel in the first-level cache, more where the weights themselves would be the traffic.
    fn block(&self) -> usize {
        let weights = self.taps.len()
            * self.source_shape.channels
            * self.gradient_shape.channels
            * size_of::<T>();
        if weights > 1 << 20 { 512 } else { 128 }
    }
}

/// Some units over a block of pixels.
struct Task<'a, T> {
    pass: &'a WeightGradient<'a, T>,
    view: View<'a, T>,
    units: &'a [Unit],
    pixels: Range<usize>,
    padded: &'a mut Vec<T>,
}

impl<T: Scalar> Kernel for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { pass, view, units, pixels, padded } = self;
        let mut first = usize::MAX;
        let (mut vectors, mut stride) = (std::ptr::null(), 0);
        for unit in units {
            if unit.panel.first != first {
                (vectors, stride) = pass.vectors(&unit.panel, &pixels, padded);
                first = unit.panel.first;
            }
            let rows = Rows { view, vectors, stride };
            match (unit.panel.width, unit.rows) {
                (4, 6) => pass.unit::<T::Vector<I>, 6, 4>(unit, &rows),
                (4, _) => pass.unit::<T::Vector<I>, 1, 4>(unit, &rows),
                (2, 8) => pass.unit::<T::Vector<I>, 8, 2>(unit, &rows),
                (2, _) => pass.unit::<T::Vector<I>, 1, 2>(unit, &rows),
                (_, 16) => pass.unit::<T::Vector<I>, 16, 1>(unit, &rows),
                (_, 8) => pass.unit::<T::Vector<I>, 8, 1>(unit, &rows),
                (_, 6) => pass.unit::<T::Vector<I>, 6, 1>(unit, &rows),
                _ => pass.unit::<T::Vector<I>, 1, 1>(unit, &rows),
            }
        }
    }
}

/// What a unit multiplies: each pixel's window, and its row of the gradient.
struct Rows<'a, T> {
    view: View<'a, T>,
    vectors: *const T,
    stride: usize,
}

impl<T: Scalar> WeightGradient<'_, T> {
    /// The gradient's rows for a panel, and their distance. Where the panel is wider than the channels left, a padded copy.
    #[inline(always)]
    fn vectors(
        &self,
        panel: &Panel,
        pixels: &Range<usize>,
        padded: &mut Vec<T>,
    ) -> (*const T, usize) {
        let (channels, row_len) = (self.gradient_shape.channels, panel.width * lanes::<T>());
        if panel.channels == row_len {
            let rows = &self.gradient[pixels.start * channels..pixels.end * channels];
            return (rows[panel.first..].as_ptr(), channels);
        }
        padded.clear();
        padded.resize(pixels.len() * row_len, T::zero());
        for (p, row) in pixels.clone().zip(padded.chunks_exact_mut(row_len)) {
            let from = p * channels + panel.first;
            row[..panel.channels].copy_from_slice(&self.gradient[from..from + panel.channels]);
        }
        (padded.as_ptr(), row_len)
    }

    #[inline(always)]
    fn unit<V: Vector<Scalar = T>, const ROWS: usize, const WIDTH: usize>(
        &self,
        unit: &Unit,
        rows: &Rows<'_, T>,
    ) {
        assert_eq!(unit.rows, ROWS, "a tile of another height");
        let tile = [[V::splat(T::zero()); WIDTH]; ROWS];
        let columns = rows.view.start().wrapping_add(unit.offset);
        // SAFETY: the view holds every run of every window, and the unit's rows are some of a run; `vectors` has a row of the panel's
        // width for every pixel.
        let tile = unsafe {
            multiply_transposed::<V, ROWS, WIDTH>(
                tile,
                columns,
                rows.view.origins,
                rows.vectors,
                rows.stride,
            )
        };
        let channels = self.gradient_shape.channels;
        for (m, row) in tile.into_iter().enumerate().skip(unit.skip) {
            let out = self.out.address((unit.weight_row + m) * channels + unit.panel.first);
            for (n, vector) in row.into_iter().enumerate() {
                let count = unit.panel.channels.saturating_sub(n * V::LEN);
                let out = out.wrapping_add(n * V::LEN);
                // SAFETY: a weight belongs to one unit, and a unit to one task.
                unsafe {
                    let sum = load_part::<V>(out.cast_const(), count).add(vector);
                    store_part(sum, out, count);
                }
            }
        }
    }
}
