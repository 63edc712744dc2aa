//! Batch norm with what is fused into it. Forward reads its input twice and writes once; backward reads gradient and input twice.

use mira_simd::{Isa, Kernel, Scalar, dispatch};
use rayon::prelude::*;

use super::memory::Shared;
use crate::Normalisation;

/// Pixels whose sums are kept in the element type before they go to f64.
const SHORT: usize = 64;
/// Pixels of a task: by shape alone, so that sums do not depend on threads.
const TASK: usize = 1024;

/// Sums over pixels of two values a channel, computed by `sum(first pixel, task's pixels, channels, out)`, in the order of tasks.
fn reduce(
    num_pixels: usize,
    channels: usize,
    sum: impl Fn(usize, usize, &mut [f64]) + Sync,
) -> Vec<f64> {
    let num_tasks = num_pixels.div_ceil(TASK);
    let mut parts = vec![0.0; num_tasks * 2 * channels];
    parts.par_chunks_exact_mut(2 * channels).enumerate().for_each(|(task, out)| {
        let start = task * TASK;
        sum(start, TASK.min(num_pixels - start), out);
    });
    let mut parts = parts.chunks_exact(2 * channels);
    let mut total = parts.next().map_or_else(|| vec![0.0; 2 * channels], <[f64]>::to_vec);
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

/// Mean and variance (biased) of each channel, from sums of deviations from the first pixel, which keeps digits when the mean is
/// far from zero.
pub(super) fn statistics<T: Scalar>(x: &[T], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let num_pixels = x.len() / channels;
    let shift = &x[..channels];
    let sums = reduce(num_pixels, channels, |start, count, out| {
        let x = &x[start * channels..(start + count) * channels];
        dispatch(Deviations { x, shift, out });
    });
    let n = num_pixels as f64;
    let mut mean = Vec::with_capacity(channels);
    let mut variance = Vec::with_capacity(channels);
    for c in 0..channels {
        let deviation = sums[c] / n;
        let shift: f64 = shift[c].as_();
        mean.push(shift + deviation);
        variance.push((sums[channels + c] / n - deviation * deviation).max(0.0));
    }
    (mean, variance)
}

/// What a batch norm subtracted, and one over what it divided by: `1/√(var + ε)`.
#[derive(Clone, Debug, Default)]
pub(super) struct Moments<T> {
    pub mean: Vec<T>,
    pub inverse: Vec<f64>,
}

impl<T: Scalar> Moments<T> {
    pub(super) fn new(mean: &[f64], variance: &[f64]) -> Self {
        let inverse = variance.iter().map(|v| 1.0 / (v + Normalisation::EPSILON).sqrt()).collect();
        Self { mean: mean.iter().map(|m| T::from_f64(*m)).collect(), inverse }
    }

    /// `scale` and `offset` such that `γ (x − mean)/√(var + ε) + β = scale·x + offset`.
    pub(super) fn affine(&self, gamma: &[T], beta: &[T], mean: &[f64]) -> (Vec<T>, Vec<T>) {
        let scale = gamma.iter().zip(&self.inverse).map(|(g, i)| g.as_() * i);
        let offset = beta.iter().zip(scale.clone()).zip(mean).map(|((b, s), m)| b.as_() - m * s);
        (scale.map(T::from_f64).collect(), offset.map(T::from_f64).collect())
    }
}

struct Deviations<'a, T> {
    x: &'a [T],
    shift: &'a [T],
    out: &'a mut [f64],
}

impl<T: Scalar> Kernel for Deviations<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let channels = self.shift.len();
        let mut short = vec![T::zero(); 2 * channels];
        for block in self.x.chunks(SHORT * channels) {
            short.fill(T::zero());
            let (first, second) = short.split_at_mut(channels);
            for row in block.chunks_exact(channels) {
                for (((x, shift), first), second) in
                    row.iter().zip(self.shift).zip(&mut *first).zip(&mut *second)
                {
                    let x = *x - *shift;
                    *first += x;
                    *second += x * x;
                }
            }
            for (out, short) in self.out.iter_mut().zip(&short) {
                *out += short.as_();
            }
        }
    }
}

/// `y = scale·x + offset (+ shortcut)`, then ReLU.
pub(super) fn apply<T: Scalar>(
    x: &[T],
    scale: &[T],
    offset: &[T],
    shortcut: Option<&[T]>,
    relu: bool,
    y: &mut [T],
) {
    let channels = scale.len();
    let len = TASK * channels;
    y.par_chunks_mut(len).enumerate().for_each(|(task, y)| {
        let range = task * len..task * len + y.len();
        let (x, shortcut) = (&x[range.clone()], shortcut.map(|s| &s[range]));
        dispatch(Apply { x, scale, offset, shortcut, relu, y });
    });
}

struct Apply<'a, T> {
    x: &'a [T],
    scale: &'a [T],
    offset: &'a [T],
    shortcut: Option<&'a [T]>,
    relu: bool,
    y: &'a mut [T],
}

impl<T: Scalar> Kernel for Apply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let channels = self.scale.len();
        // −∞ is a floor that changes nothing.
        let floor = if self.relu { T::zero() } else { T::neg_infinity() };
        // NaN stays NaN.
        let rectify = |y: T| if y < floor { floor } else { y };
        let rows = self.y.chunks_exact_mut(channels).zip(self.x.chunks_exact(channels));
        if let Some(shortcut) = self.shortcut {
            for ((y, x), shortcut) in rows.zip(shortcut.chunks_exact(channels)) {
                for ((((y, x), s), scale), offset) in
                    y.iter_mut().zip(x).zip(shortcut).zip(self.scale).zip(self.offset)
                {
                    *y = rectify(*x * *scale + *offset + *s);
                }
            }
        } else {
            for (y, x) in rows {
                for (((y, x), scale), offset) in
                    y.iter_mut().zip(x).zip(self.scale).zip(self.offset)
                {
                    *y = rectify(*x * *scale + *offset);
                }
            }
        }
    }
}

/// First half of backward: masks the gradient where the ReLU was off (in place), adds it to the shortcut's, and returns
/// `Σ g` and `Σ g (x − mean)` of each channel.
pub(super) fn gradient_sums<T: Scalar>(
    gradient: &mut [T],
    x: &[T],
    output: Option<&[T]>,
    mean: &[T],
    shortcut: Option<&mut [T]>,
) -> Vec<f64> {
    let channels = mean.len();
    let num_pixels = x.len() / channels;
    let gradient = Shared::new(gradient);
    let shortcut = shortcut.map(Shared::new);
    reduce(num_pixels, channels, |start, count, out| {
        let (at, len) = (start * channels, count * channels);
        // SAFETY: tasks have their own pixels.
        let (gradient, shortcut) =
            unsafe { (gradient.slice(at, len), shortcut.map(|s| s.slice(at, len))) };
        let output = output.map(|y| &y[at..at + len]);
        dispatch(GradientSums { gradient, x: &x[at..at + len], output, mean, shortcut, out });
    })
}

struct GradientSums<'a, T> {
    gradient: &'a mut [T],
    x: &'a [T],
    output: Option<&'a [T]>,
    mean: &'a [T],
    shortcut: Option<&'a mut [T]>,
    out: &'a mut [f64],
}

impl<T: Scalar> Kernel for GradientSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(mut self) {
        let channels = self.mean.len();
        let mut short = vec![T::zero(); 2 * channels];
        let len = SHORT * channels;
        for (block, (gradient, x)) in
            self.gradient.chunks_mut(len).zip(self.x.chunks(len)).enumerate()
        {
            let range = block * len..block * len + x.len();
            if let Some(output) = self.output {
                for (g, y) in gradient.iter_mut().zip(&output[range.clone()]) {
                    *g = if *y > T::zero() { *g } else { T::zero() };
                }
            }
            if let Some(shortcut) = &mut self.shortcut {
                shortcut[range].iter_mut().zip(&*gradient).for_each(|(s, g)| *s += *g);
            }
            short.fill(T::zero());
            let (first, second) = short.split_at_mut(channels);
            for (g, x) in gradient.chunks_exact(channels).zip(x.chunks_exact(channels)) {
                for ((((g, x), mean), first), second) in
                    g.iter().zip(x).zip(self.mean).zip(&mut *first).zip(&mut *second)
                {
                    *first += *g;
                    *second += *g * (*x - *mean);
                }
            }
            for (out, short) in self.out.iter_mut().zip(&short) {
                *out += short.as_();
            }
        }
    }
}

/// Coefficients a channel of `dx = by_gradient·g + by_input·x + constant`.
#[derive(Debug)]
pub(super) struct InputGradient<T> {
    pub by_gradient: Vec<T>,
    pub by_input: Vec<T>,
    pub constant: Vec<T>,
}

impl<T: Scalar> InputGradient<T> {
    /// From `Σ g` and `Σ g (x − mean)`: `dx = γ/σ (g − mean(g) − x̂ mean(g x̂))` with `x̂ = (x − mean)/σ`.
    pub(super) fn new(gamma: &[T], moments: &Moments<T>, sums: &[f64], num_pixels: usize) -> Self {
        let channels = gamma.len();
        let n = num_pixels as f64;
        let mut coefficients = Self {
            by_gradient: Vec::with_capacity(channels),
            by_input: Vec::with_capacity(channels),
            constant: Vec::with_capacity(channels),
        };
        for c in 0..channels {
            let inverse = moments.inverse[c];
            let by_gradient = gamma[c].as_() * inverse;
            let by_input = -by_gradient * inverse * inverse * sums[channels + c] / n;
            coefficients.by_gradient.push(T::from_f64(by_gradient));
            coefficients.by_input.push(T::from_f64(by_input));
            let constant = -by_gradient * sums[c] / n - by_input * moments.mean[c].as_();
            coefficients.constant.push(T::from_f64(constant));
        }
        coefficients
    }

    /// Second half of backward, into `out`, or over the gradient where there is none.
    pub(super) fn apply(
        &self,
        gradient: &mut [T],
        x: &[T],
        out: Option<&mut [T]>,
        accumulate: bool,
    ) {
        let len = TASK * self.constant.len();
        let gradient = Shared::new(gradient);
        let out = out.map(Shared::new);
        (0..x.len().div_ceil(len)).into_par_iter().for_each(|task| {
            let at = task * len;
            let x = &x[at..x.len().min(at + len)];
            // SAFETY: tasks have their own pixels.
            let (gradient, out) =
                unsafe { (gradient.slice(at, x.len()), out.map(|o| o.slice(at, x.len()))) };
            dispatch(ApplyGradient { coefficients: self, gradient, x, out, accumulate });
        });
    }
}

struct ApplyGradient<'a, T> {
    coefficients: &'a InputGradient<T>,
    gradient: &'a mut [T],
    x: &'a [T],
    out: Option<&'a mut [T]>,
    accumulate: bool,
}

impl<T: Scalar> Kernel for ApplyGradient<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let InputGradient { by_gradient, by_input, constant } = self.coefficients;
        let channels = constant.len();
        let rows = self.gradient.chunks_exact_mut(channels).zip(self.x.chunks_exact(channels));
        if let Some(out) = self.out {
            for ((g, x), out) in rows.zip(out.chunks_exact_mut(channels)) {
                let coefficients = by_gradient.iter().zip(by_input).zip(constant);
                for (((g, x), out), ((a, d), e)) in g.iter().zip(x).zip(out).zip(coefficients) {
                    let dx = *a * *g + *d * *x + *e;
                    *out = if self.accumulate { *out + dx } else { dx };
                }
            }
        } else {
            for (g, x) in rows {
                let coefficients = by_gradient.iter().zip(by_input).zip(constant);
                for ((g, x), ((a, d), e)) in g.iter_mut().zip(x).zip(coefficients) {
                    *g = *a * *g + *d * *x + *e;
                }
            }
        }
    }
}
