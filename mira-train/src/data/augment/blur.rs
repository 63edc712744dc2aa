//! Gaussian blur with a sampled kernel.

use mira_simd::{Isa, Kernel, dispatch};

/// Blurs in place; keeps its buffers.
///
/// The kernel is exp(−x²/2σ²) at whole pixels up to ⌈4σ⌉ on either side (the released codes call Pillow's blur, which is not cut
/// off either; beyond 4σ lie 0.006 % of the weight), normalised; edges reflect without repeating the edge pixel.
#[derive(Debug, Default)]
pub(super) struct Blur {
    kernel: Vec<f32>,
    /// One row with its reflected ends.
    padded: Vec<f32>,
    /// The image after the horizontal pass.
    rows: Vec<f32>,
    /// One row of sums.
    sums: Vec<f32>,
}

impl Blur {
    pub(super) fn apply(&mut self, pixels: &mut [u8], width: usize, height: usize, sigma: f32) {
        // A reflection holds one image at most.
        let radius = (4.0 * sigma).ceil() as usize;
        let (across, down) = (radius.min(width - 1), radius.min(height - 1));
        self.rows.resize(width * height * 3, 0.0);
        self.sums.resize(width * 3, 0.0);
        self.padded.resize((width + 2 * across) * 3, 0.0);
        gaussian(&mut self.kernel, across, sigma);
        for (row, out) in pixels.chunks_exact(width * 3).zip(self.rows.chunks_exact_mut(width * 3))
        {
            let pad = self.padded.as_chunks_mut::<3>().0;
            for (x, padded) in pad.iter_mut().enumerate() {
                let from = 3 * reflect(x, across, width);
                *padded = [row[from], row[from + 1], row[from + 2]].map(f32::from);
            }
            let inputs = (0..self.kernel.len()).map(|j| &self.padded[3 * j..3 * (j + width)]);
            dispatch(WeightedSum { weights: &self.kernel, inputs, sum: out });
        }
        gaussian(&mut self.kernel, down, sigma);
        for (y, out) in pixels.chunks_exact_mut(width * 3).enumerate() {
            let inputs = (y..=y + 2 * down).map(|padded_y| {
                let from = width * 3 * reflect(padded_y, down, height);
                &self.rows[from..from + width * 3]
            });
            dispatch(WeightedSum { weights: &self.kernel, inputs, sum: &mut self.sums });
            for (value, sum) in out.iter_mut().zip(&self.sums) {
                *value = sum.round_ties_even() as u8;
            }
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

/// `sum = Σ weight · input`.
struct WeightedSum<'a, R> {
    weights: &'a [f32],
    inputs: R,
    sum: &'a mut [f32],
}

impl<'b, R: Iterator<Item = &'b [f32]>> Kernel for WeightedSum<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        self.sum.fill(0.0);
        for (&weight, input) in self.weights.iter().zip(self.inputs) {
            for (sum, &x) in self.sum.iter_mut().zip(input) {
                *sum += weight * x;
            }
        }
    }
}
