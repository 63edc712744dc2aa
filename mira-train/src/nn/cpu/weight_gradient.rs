//! The gradient of a convolution by its weights: `dw[t, c, o] += Σ_p source[p ⊕ t, c] · gradient[p, o]`.
//!
//! A tile of input channels × output channels stays in registers while pixels go by; pixels go in blocks that fit the caches, and every
//! weight adds its blocks in one order, so results do not depend on threads.

use std::ops::Range;

use mira_simd::{Isa, Kernel, Scalar, Vector, dispatch};
use rayon::prelude::*;

use super::gather::{Pixel, Window};
use super::memory::Shared;
use super::microkernel::{lanes, load_part, multiply_transposed, store_part};
use super::packing::{Panel, panels};
use crate::nn::Geometry;

/// What to compute; the meaning of the fields is that of `Convolve`.
#[derive(Debug)]
pub(super) struct WeightGradient<'a, T> {
    pub source: &'a [T],
    pub source_shape: Geometry,
    pub depth: usize,
    pub zeros: &'a [T],
    pub stride: usize,
    pub taps: &'a [(isize, isize)],
    pub gradient: &'a [T],
    pub gradient_shape: Geometry,
    /// `[taps, depth, out]`; added to.
    pub out: Shared<'a, T>,
}

/// A tile: some output channels, a tap, and `rows` input channels, of which `skip` are covered by the tile before.
#[derive(Clone, Copy, Debug)]
struct Unit {
    panel: Panel,
    tap: usize,
    channel: usize,
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
    pub(super) fn run(&self) {
        let units = self.units();
        let window = Window::new(self.source_shape, self.stride, self.taps);
        window.check(self.depth, self.gradient_shape.width, self.source.len());
        assert!(self.zeros.len() >= self.depth, "too few zeros");
        // A few tasks a thread; how many does not change any sum.
        let num_tasks = units.len().min(2 * rayon::current_num_threads());
        (0..num_tasks).into_par_iter().for_each(|task| {
            let units =
                &units[units.len() * task / num_tasks..units.len() * (task + 1) / num_tasks];
            dispatch(Task { pass: self, window: &window, units });
        });
    }

    fn units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        for panel in panels::<T>(self.gradient_shape.channels) {
            let most = dispatch(MostRows { width: panel.width });
            let rows = [most, 8, 1]
                .into_iter()
                .find(|&rows| rows <= most && rows <= self.depth)
                .unwrap_or(1);
            for tap in 0..self.taps.len() {
                for start in (0..self.depth).step_by(rows) {
                    // The last tile of a tap overlaps the one before.
                    let channel = start.min(self.depth - rows);
                    units.push(Unit { panel, tap, channel, rows, skip: start - channel });
                }
            }
        }
        units
    }

    /// Pixels of a block: those of one panel in the first-level cache, more where the weights themselves would be the traffic.
    fn block(&self) -> usize {
        let weights = self.taps.len() * self.depth * self.gradient_shape.channels * size_of::<T>();
        if weights > 1 << 20 { 512 } else { 128 }
    }
}

struct Task<'a, T> {
    pass: &'a WeightGradient<'a, T>,
    window: &'a Window<'a>,
    units: &'a [Unit],
}

impl<T: Scalar> Kernel for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let pass = self.pass;
        let shape = pass.gradient_shape;
        let num_pixels = shape.num_pixels();
        let block = pass.block();
        let mut pixels = Vec::with_capacity(block);
        let mut columns = Vec::with_capacity(block);
        let mut padded = Vec::new();
        let (mut image, mut y, mut x) = (0, 0, 0);
        for start in (0..num_pixels).step_by(block) {
            let range = start..num_pixels.min(start + block);
            pixels.clear();
            for _ in range.clone() {
                pixels.push(self.window.pixel(image, y, x));
                x += 1;
                if x == shape.width {
                    (x, y) = (0, y + 1);
                }
                if y == shape.height {
                    (y, image) = (0, image + 1);
                }
            }
            let (mut tap, mut first) = (usize::MAX, usize::MAX);
            let (mut vectors, mut stride) = (std::ptr::null(), 0);
            for unit in self.units {
                if unit.panel.first != first {
                    (vectors, stride) = self.vectors(&unit.panel, &range, &mut padded);
                    first = unit.panel.first;
                }
                if unit.tap != tap {
                    tap = unit.tap;
                    self.columns(tap, &pixels, &mut columns);
                }
                match (unit.panel.width, unit.rows) {
                    (4, 6) => self.unit::<T::Vector<I>, 6, 4>(unit, &columns, vectors, stride),
                    (4, _) => self.unit::<T::Vector<I>, 1, 4>(unit, &columns, vectors, stride),
                    (2, 8) => self.unit::<T::Vector<I>, 8, 2>(unit, &columns, vectors, stride),
                    (2, _) => self.unit::<T::Vector<I>, 1, 2>(unit, &columns, vectors, stride),
                    (_, 16) => self.unit::<T::Vector<I>, 16, 1>(unit, &columns, vectors, stride),
                    (_, 8) => self.unit::<T::Vector<I>, 8, 1>(unit, &columns, vectors, stride),
                    (_, 6) => self.unit::<T::Vector<I>, 6, 1>(unit, &columns, vectors, stride),
                    _ => self.unit::<T::Vector<I>, 1, 1>(unit, &columns, vectors, stride),
                }
            }
        }
    }
}

impl<T: Scalar> Task<'_, T> {
    /// The gradient's rows for a panel, and their distance. Where the panel is wider than the channels left, a padded copy.
    #[inline(always)]
    fn vectors(
        &self,
        panel: &Panel,
        pixels: &Range<usize>,
        padded: &mut Vec<T>,
    ) -> (*const T, usize) {
        let pass = self.pass;
        let (channels, row_len) = (pass.gradient_shape.channels, panel.width * lanes::<T>());
        if panel.channels == row_len {
            let rows = &pass.gradient[pixels.start * channels..pixels.end * channels];
            return (rows[panel.first..].as_ptr(), channels);
        }
        padded.clear();
        padded.resize(pixels.len() * row_len, T::zero());
        for (p, row) in pixels.clone().zip(padded.chunks_exact_mut(row_len)) {
            let from = p * channels + panel.first;
            row[..panel.channels].copy_from_slice(&pass.gradient[from..from + panel.channels]);
        }
        (padded.as_ptr(), row_len)
    }

    /// Where each pixel's input is for a tap; zeros outside.
    #[inline(always)]
    fn columns(&self, tap: usize, pixels: &[Pixel], columns: &mut Vec<*const T>) {
        let (source, zeros) = (self.pass.source.as_ptr(), self.pass.zeros.as_ptr());
        columns.clear();
        columns.extend(pixels.iter().map(|pixel| self.window.under(*pixel, tap, source, zeros)));
    }

    #[inline(always)]
    fn unit<V: Vector<Scalar = T>, const ROWS: usize, const WIDTH: usize>(
        &self,
        unit: &Unit,
        columns: &[*const T],
        vectors: *const T,
        stride: usize,
    ) {
        assert!(unit.channel + ROWS <= self.pass.depth, "a tile beyond the input channels");
        let tile = [[V::splat(T::zero()); WIDTH]; ROWS];
        // SAFETY: columns have `depth` readable values, of which the unit's rows are some; `vectors` has a row of the panel's width for
        // every pixel.
        let tile = unsafe {
            multiply_transposed::<V, ROWS, WIDTH>(tile, columns, unit.channel, vectors, stride)
        };
        let channels = self.pass.gradient_shape.channels;
        for (m, row) in tile.into_iter().enumerate().skip(unit.skip) {
            let weight_row = unit.tap * self.pass.depth + unit.channel + m;
            let out = self.pass.out.address(weight_row * channels + unit.panel.first);
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
