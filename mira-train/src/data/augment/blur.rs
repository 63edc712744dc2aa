//! Gaussian blur with a sampled kernel.

use mira_simd::{Isa, Kernel, dispatch};

use super::lines::{Lines, PRECISION, SLACK};
use super::planes::Planes;
use crate::data::grow;

/// Blurs in place; keeps its buffers.
///
/// The kernel is exp(−x²/2σ²) at whole pixels up to ⌈4σ⌉ on either side (the released codes call Pillow's blur, which is not cut
/// off either; beyond 4σ lie 0.006 % of the weight), normalised; edges reflect without repeating the edge pixel.
#[derive(Debug, Default)]
pub(super) struct Blur {
    across: Vec<i16>,
    down: Vec<i16>,
    /// One row with its reflected ends.
    padded: Vec<i16>,
    /// A channel after the horizontal pass, with its reflected rows.
    rows: Vec<i16>,
}

impl Blur {
    pub(super) fn apply(&mut self, planes: &mut Planes, width: usize, height: usize, sigma: f32) {
        let Self { across, down, padded, rows } = self;
        // A reflection holds one image at most.
        let radius = (4.0 * sigma).ceil() as usize;
        gaussian(across, radius.min(width - 1), sigma);
        gaussian(down, radius.min(height - 1), sigma);
        grow(padded, width + across.len() + SLACK);
        grow(rows, width * (height + down.len()) + SLACK);
        for plane in planes.channels() {
            dispatch(Pass { plane, across, down, padded, rows, width, height });
        }
    }
}

/// Position in `0..size` of a position in a range extended by `padding` at both ends.
fn reflect(position: usize, padding: usize, size: usize) -> usize {
    let from_edge = position.abs_diff(padding);
    if from_edge < size { from_edge } else { 2 * (size - 1) - from_edge }
}

/// In fixed point, each weight rounded by itself so that both sides are alike; what is left to one goes to the middle.
fn gaussian(kernel: &mut Vec<i16>, radius: usize, sigma: f32) {
    let density = |i: usize| (-0.5 * (i as f32 / sigma).powi(2)).exp();
    let sum = 1.0 + 2.0 * (1..=radius).map(density).sum::<f32>();
    let weight = |i: usize| ((1 << PRECISION) as f32 * density(i) / sum + 0.5) as i16;
    kernel.clear();
    kernel.extend((0..=2 * radius).map(|i| weight(i.abs_diff(radius))));
    let left: i32 = (1 << PRECISION) - kernel.iter().map(|w| i32::from(*w)).sum::<i32>();
    kernel[radius] += left as i16;
}

/// Both directions of one channel.
struct Pass<'a> {
    plane: &'a mut [i16],
    across: &'a [i16],
    down: &'a [i16],
    padded: &'a mut [i16],
    rows: &'a mut [i16],
    width: usize,
    height: usize,
}

impl Kernel for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { plane, across, down, padded, rows, width, height } = self;
        let (left, above) = (across.len() / 2, down.len() / 2);
        let out = rows[above * width..].chunks_exact_mut(width).take(height);
        for (row, out) in plane.chunks_exact(width).zip(out) {
            padded[left..left + width].copy_from_slice(row);
            for x in (0..left).chain(left + width..2 * left + width) {
                padded[x] = row[reflect(x, left, width)];
            }
            Lines { values: padded, stride: 1, weights: across }.symmetric_sum::<I::Words>(out);
        }
        for y in (0..above).chain(above + height..2 * above + height) {
            let from = (above + reflect(y, above, height)) * width;
            rows.copy_within(from..from + width, y * width);
        }
        for (y, out) in plane.chunks_exact_mut(width).enumerate() {
            let lines = Lines { values: &rows[y * width..], stride: width, weights: down };
            lines.symmetric_sum::<I::Words>(out);
        }
    }
}
