//! Gaussian blur with a sampled kernel.

use mira_simd::{Isa, Kernel, dispatch};

use super::planes::Planes;

/// Blurs in place; keeps its buffers.
///
/// The kernel is exp(−x²/2σ²) at whole pixels up to ⌈4σ⌉ on either side (the released codes call Pillow's blur, which is not cut
/// off either; beyond 4σ lie 0.006 % of the weight), normalised; edges reflect without repeating the edge pixel.
#[derive(Debug, Default)]
pub(super) struct Blur {
    kernel: Vec<f32>,
    /// One row with its reflected ends.
    padded: Vec<f32>,
    /// A channel after the horizontal pass.
    rows: Vec<f32>,
}

impl Blur {
    pub(super) fn apply(&mut self, planes: &mut Planes, width: usize, height: usize, sigma: f32) {
        planes.channels().into_iter().for_each(|plane| self.channel(plane, width, height, sigma));
    }

    fn channel(&mut self, plane: &mut [u8], width: usize, height: usize, sigma: f32) {
        // A reflection holds one image at most.
        let radius = (4.0 * sigma).ceil() as usize;
        let (across, down) = (radius.min(width - 1), radius.min(height - 1));
        self.rows.resize(width * height, 0.0);
        self.padded.resize(width + 2 * across, 0.0);
        gaussian(&mut self.kernel, across, sigma);
        for (row, out) in plane.chunks_exact(width).zip(self.rows.chunks_exact_mut(width)) {
            let (left, rest) = self.padded.split_at_mut(across);
            let (middle, right) = rest.split_at_mut(width);
            let at = |x| f32::from(row[reflect(x, across, width)]);
            left.iter_mut().enumerate().for_each(|(x, padded)| *padded = at(x));
            middle.iter_mut().zip(row).for_each(|(padded, x)| *padded = f32::from(*x));
            right.iter_mut().enumerate().for_each(|(x, padded)| *padded = at(across + width + x));
            let (weights, padded) = (&self.kernel, &self.padded);
            dispatch(WeightedSum { weights, inputs: |j| &padded[j..j + width], out });
        }
        gaussian(&mut self.kernel, down, sigma);
        for (y, out) in plane.chunks_exact_mut(width).enumerate() {
            let (weights, rows) = (&self.kernel, &self.rows);
            let inputs = |j| &rows[width * reflect(y + j, down, height)..][..width];
            dispatch(WeightedSum { weights, inputs, out });
        }
    }
}

/// Position in `0..size` of a position in a range extended by `padding` at both ends.
fn reflect(position: usize, padding: usize, size: usize) -> usize {
    let from_edge = position.abs_diff(padding);
    if from_edge < size { from_edge } else { 2 * (size - 1) - from_edge }
}

fn gaussian(kernel: &mut Vec<f32>, radius: usize, sigma: f32) {
    kernel.clear();
    kernel.extend((0..=2 * radius).map(|i| {
        let x = (i as f32 - radius as f32) / sigma;
        (-0.5 * x * x).exp()
    }));
    let sum: f32 = kernel.iter().sum();
    for weight in kernel {
        *weight /= sum;
    }
}

/// `out = Σ_j weight_j · input_j`.
struct WeightedSum<'a, F, T> {
    weights: &'a [f32],
    inputs: F,
    out: &'a mut [T],
}

/// What a sum becomes.
trait Rounded: Copy {
    fn of(sum: f32) -> Self;
}

impl Rounded for f32 {
    #[inline(always)]
    fn of(sum: f32) -> Self {
        sum
    }
}

impl Rounded for u8 {
    #[inline(always)]
    fn of(sum: f32) -> Self {
        sum.round_ties_even() as Self
    }
}

/// Sums that are kept in registers while the inputs go by.
const BLOCK: usize = 32;

impl<'b, F: Fn(usize) -> &'b [f32], T: Rounded> Kernel for WeightedSum<'_, F, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let (blocks, rest) = self.out.as_chunks_mut::<BLOCK>();
        let end = blocks.len() * BLOCK;
        for (start, out) in (0..).step_by(BLOCK).zip(blocks) {
            let mut sums = [0.0; BLOCK];
            for (j, &weight) in self.weights.iter().enumerate() {
                let Some((input, _)) = (self.inputs)(j)[start..].split_first_chunk::<BLOCK>()
                else {
                    return;
                };
                for (sum, &x) in sums.iter_mut().zip(input) {
                    *sum += weight * x;
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = T::of(sum);
            }
        }
        for (x, out) in (end..).zip(rest) {
            let products = self.weights.iter().enumerate().map(|(j, w)| w * (self.inputs)(j)[x]);
            *out = T::of(products.sum());
        }
    }
}
