//! Resampling's weights: those of torchvision and Pillow, in fixed point.

#![allow(clippy::cast_possible_wrap, reason = "sizes of images are far below 2³¹")]

use mira_simd::{Isa, Kernel, dispatch};

use super::Interpolation;
use super::lines::PRECISION;

/// For each output position, the first input and the weights from there on.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// First inputs.
    firsts: Vec<u32>,
    /// Numbers of weights.
    counts: Vec<u32>,
    /// Weights an output: an even number, with zeros at the end.
    stride: usize,
    fixed: Vec<i16>,
    /// Of some outputs, not in fixed point.
    exact: Vec<[f32; TOGETHER]>,
}

/// Outputs whose weights are worked out together, as vectors.
const TOGETHER: usize = 16;

impl Weights {
    pub(super) fn set(
        &mut self,
        size: usize,
        new_size: usize,
        interpolation: Interpolation,
        is_mirrored: bool,
    ) {
        let radius = match interpolation {
            Interpolation::Bicubic => 2.0,
            Interpolation::Bilinear => 1.0,
        };
        let scale = size as f64 / new_size as f64;
        let most = (2.0 * radius * scale.max(1.0)).ceil() as usize;
        self.stride = most.next_multiple_of(2);
        self.firsts.clear();
        self.counts.clear();
        self.fixed.clear();
        self.fixed.resize(new_size * self.stride, 0);
        self.exact.clear();
        self.exact.resize(most, [0.0; TOGETHER]);
        let (size, new_size) = (size as i32, new_size as i32);
        let weights = self;
        match interpolation {
            Interpolation::Bicubic => {
                dispatch(Set::<true> { weights, size, new_size, scale, radius, is_mirrored });
            }
            Interpolation::Bilinear => {
                dispatch(Set::<false> { weights, size, new_size, scale, radius, is_mirrored });
            }
        }
    }

    /// Weights an output, an even number, of which some at the end may be 0.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// First inputs, and [`stride`](Self::stride) weights each.
    pub(super) fn padded_outputs(&self) -> impl ExactSizeIterator<Item = (u32, &[i16])> {
        self.firsts.iter().copied().zip(self.fixed.chunks_exact(self.stride))
    }

    /// First input and weights of each output.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (usize, &[i16])> {
        let outputs = self.padded_outputs().zip(&self.counts);
        outputs.map(|((first, weights), &count)| (first as usize, &weights[..count as usize]))
    }
}

struct Set<'a, const IS_CUBIC: bool> {
    weights: &'a mut Weights,
    size: i32,
    new_size: i32,
    /// Inputs an output.
    scale: f64,
    /// Of the kernel, in outputs when shrinking and in inputs otherwise.
    radius: f64,
    is_mirrored: bool,
}

impl<const IS_CUBIC: bool> Kernel for Set<'_, IS_CUBIC> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { weights, size, new_size, scale, radius, is_mirrored } = self;
        let Weights { firsts: all_firsts, counts: all_counts, stride, fixed, exact } = weights;
        let widening = scale.max(1.0);
        let support = radius * widening;
        let step = 1.0 / widening;
        let most = exact.len() as i32;
        // The last ones may be beyond the last output, and do not count.
        for (start, fixed) in (0..).step_by(TOGETHER).zip(fixed.chunks_mut(TOGETHER * *stride)) {
            let (mut firsts, mut counts) = ([0; TOGETHER], [0; TOGETHER]);
            let mut distances = [0.0; TOGETHER];
            for i in 0..TOGETHER {
                let position = start + i as i32;
                let position = if is_mirrored { new_size - 1 - position } else { position };
                let center = (f64::from(position) + 0.5) * scale;
                let first = center - support + 0.5;
                let first = if first > 0.0 { first as i32 } else { 0 };
                let end = ((center + support + 0.5) as i32).min(size).min(first + most);
                firsts[i] = first;
                counts[i] = end - first;
                distances[i] = (f64::from(first) - center + 0.5) / widening;
            }
            let mut sums = [0.0; TOGETHER];
            for (tap, exact) in (0..).zip(exact.iter_mut()) {
                for i in 0..TOGETHER {
                    let distance = ((distances[i] + f64::from(tap) * step) as f32).abs();
                    let weight = if IS_CUBIC { cubic(distance) } else { linear(distance) };
                    exact[i] = if tap < counts[i] { weight } else { 0.0 };
                    sums[i] += f64::from(exact[i]);
                }
            }
            set_fixed(exact, &sums, *stride, fixed);
            let len = fixed.len() / *stride;
            all_firsts.extend(firsts[..len].iter().map(|first| first.cast_unsigned()));
            all_counts.extend(counts[..len].iter().map(|count| count.cast_unsigned()));
        }
    }
}

/// Weights in fixed point, `stride` an output: each is where their running sum, rounded, grows. Were each rounded by itself, grey would not stay the same
/// grey, and thousands of small weights would all become 0.
#[inline(always)]
fn set_fixed(exact: &[[f32; TOGETHER]], sums: &[f64; TOGETHER], stride: usize, fixed: &mut [i16]) {
    // What makes sums positive, so that cutting off rounds.
    const OFFSET: i32 = 1 << (PRECISION + 1);
    let mut scales = [0.0; TOGETHER];
    for i in 0..TOGETHER {
        scales[i] = f64::from(1 << PRECISION) / sums[i];
    }
    let (mut sums, mut rounded) = ([f64::from(OFFSET) + 0.5; TOGETHER], [OFFSET; TOGETHER]);
    for (tap, exact) in exact.iter().enumerate() {
        let mut growths = [0; TOGETHER];
        for i in 0..TOGETHER {
            sums[i] += f64::from(exact[i]) * scales[i];
            let now = sums[i] as i32;
            growths[i] = (now - rounded[i]) as i16;
            rounded[i] = now;
        }
        for (weights, growth) in fixed.chunks_exact_mut(stride).zip(growths) {
            weights[tap] = growth;
        }
    }
}

/// Cubic convolution with a = −½ (Keys 1981), of a distance; without a branch.
#[inline(always)]
fn cubic(x: f32) -> f32 {
    const A: f32 = -0.5;
    let near = ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = (((x - 5.0) * x + 8.0) * x - 4.0) * A;
    let beyond_one = if x < 2.0 { far } else { 0.0 };
    if x < 1.0 { near } else { beyond_one }
}

/// Linear between neighbours.
#[inline(always)]
fn linear(x: f32) -> f32 {
    if x < 1.0 { 1.0 - x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use mira_simd::Portable;

    use super::*;

    /// The kernels by their definitions, in f64 (Pillow's `precompute_coeffs`): first inputs and weights, which add up to 1.
    fn definition(
        size: usize,
        new_size: usize,
        interpolation: Interpolation,
    ) -> Vec<(usize, Vec<f64>)> {
        let scale = size as f64 / new_size as f64;
        let widening = scale.max(1.0);
        let (radius, kernel): (f64, fn(f64) -> f64) = match interpolation {
            Interpolation::Bilinear => (1.0, |x| (1.0 - x).max(0.0)),
            Interpolation::Bicubic => (2.0, |x| match x {
                ..1.0 => 1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0,
                ..2.0 => -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0,
                _ => 0.0,
            }),
        };
        let outputs = (0..new_size).map(|output| {
            let center = (output as f64 + 0.5) * scale;
            let first = (center - radius * widening + 0.5).max(0.0) as usize;
            let end = ((center + radius * widening + 0.5) as usize).min(size);
            let weights: Vec<f64> = (first..end)
                .map(|input| kernel(((input as f64 + 0.5 - center) / widening).abs()))
                .collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| weight / sum).collect())
        });
        outputs.collect()
    }

    /// From one input to thousands, for fewer outputs and for more than are worked out together. Each weight is within the running sum's rounding of
    /// its exact value, and all of them add up to one.
    #[test]
    fn weights_are_those_of_the_definition() {
        for interpolation in [Interpolation::Bicubic, Interpolation::Bilinear] {
            for (size, new_size) in [
                (1, 1),
                (1, 20),
                (7, 3),
                (40, 39),
                (39, 40),
                (224, 224),
                (500, 96),
                (5000, 2),
                (70_000, 1),
            ] {
                let mut weights = Weights::default();
                weights.set(size, new_size, interpolation, false);
                let expected = definition(size, new_size, interpolation);
                assert_eq!(weights.outputs().count(), expected.len());
                for ((first, fixed), (expected_first, exact)) in weights.outputs().zip(&expected) {
                    let name = format!("{size} to {new_size}, {interpolation:?}, from {first}");
                    assert_eq!((first, fixed.len()), (*expected_first, exact.len()), "{name}");
                    let sum: i32 = fixed.iter().map(|weight| i32::from(*weight)).sum();
                    assert_eq!(sum, 1 << PRECISION, "{name}");
                    for (fixed, exact) in fixed.iter().zip(exact) {
                        let difference = f64::from(*fixed) - exact * 16384.0;
                        assert!(difference.abs() <= 1.01, "{name}: {fixed} {exact}");
                    }
                }
                let mut mirrored = Weights::default();
                mirrored.set(size, new_size, interpolation, true);
                let forwards: Vec<_> = weights.outputs().collect();
                assert!(mirrored.outputs().eq(forwards.into_iter().rev()), "{size} to {new_size}");
            }
        }
    }

    #[test]
    fn machines_agree_on_weights() {
        for (size, new_size) in [(1, 20), (7, 3), (301, 96), (5000, 19)] {
            let mut here = Weights::default();
            here.set(size, new_size, Interpolation::Bicubic, true);
            let mut plain = Weights::default();
            plain.set(size, new_size, Interpolation::Bicubic, true);
            let (len, most) = (plain.fixed.len(), plain.exact.len());
            plain = Weights {
                stride: plain.stride,
                fixed: vec![0; len],
                exact: vec![[0.0; TOGETHER]; most],
                ..Weights::default()
            };
            let scale = size as f64 / new_size as f64;
            let (size, new_size) = (size as i32, new_size as i32);
            let weights = &mut plain;
            Set::<true> { weights, size, new_size, scale, radius: 2.0, is_mirrored: true }
                .run::<Portable>();
            assert!(here.outputs().eq(plain.outputs()), "{size} to {new_size}");
        }
    }
}
