//! Problems, what they should give, in f64 and term by term, and how far f32 may be from it.

use half::{bf16, f16};
use mira_core::Shape;
use mira_cuda::plan::Dtype;
use mira_cuda_emulation::Element;

/// An element type of logits or assignments.
pub(crate) trait Stored: Element + Into<f64> + PartialEq {
    const DTYPE: Dtype;
    /// Half a unit in the last place, relative; and absolute, where numbers are smallest.
    const ROUNDOFF: (f64, f64);
    fn stored(x: f64) -> Self;
}

macro_rules! stored {
    ($t:ty, $dtype:ident, $roundoff:literal, $smallest:literal, $store:expr) => {
        impl Stored for $t {
            const DTYPE: Dtype = Dtype::$dtype;
            const ROUNDOFF: (f64, f64) = ($roundoff, $smallest);
            fn stored(x: f64) -> Self {
                $store(x)
            }
        }
    };
}
#[allow(clippy::cast_possible_truncation)] // storing in fewer bits is what is meant
fn to_f32(x: f64) -> f32 {
    x as f32
}
stored!(f32, F32, 5.97e-8, 7.1e-46, to_f32);
stored!(f16, F16, 4.89e-4, 2.99e-8, f16::from_f64);
stored!(bf16, Bf16, 3.91e-3, 4.6e-41, bf16::from_f64);

/// Numbers in [0, 1) that look random.
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Logits and an assignment, side by side without gaps.
#[derive(Clone)]
pub(crate) struct Problem {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) logits: Vec<f64>,
    pub(crate) weights: Vec<f64>,
    pub(crate) temperature: f64,
    pub(crate) scale: f64,
}

/// What a launch gives, or should give.
pub(crate) struct Answer {
    pub(crate) loss: f64,
    pub(crate) row_losses: Vec<f64>,
    pub(crate) gradient: Vec<f64>,
}

impl Problem {
    /// Logits in ±`range`; rows of weights whose sums differ, with zeros in them; both as they will be stored.
    pub(crate) fn new<L: Stored, A: Stored>(
        (rows, columns): (usize, usize),
        temperature: f64,
        range: f64,
    ) -> Self {
        let mut draws = Draws((rows * 1_000_003 + columns) as u64);
        let logits = (0..rows * columns).map(|_| (2.0 * draws.next() - 1.0) * range);
        let logits = logits.map(|x| L::stored(x).into()).collect();
        let mut weights = Vec::new();
        for _ in 0..rows {
            let row: Vec<f64> = (0..columns).map(|_| (draws.next() - 0.3).max(0.0)).collect();
            let sum = row.iter().sum::<f64>().max(1e-3);
            let mass = 0.5 + draws.next();
            weights.extend(row.iter().map(|w| A::stored(w / sum * mass).into()));
        }
        Self { rows, columns, logits, weights, temperature, scale: 1.0 / rows as f64 }
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape::new(self.rows, self.columns).unwrap()
    }

    fn row(&self, i: usize) -> (&[f64], &[f64]) {
        let range = i * self.columns..(i + 1) * self.columns;
        (&self.logits[range.clone()], &self.weights[range])
    }

    /// By definition.
    pub(crate) fn reference(&self) -> Answer {
        let (mut row_losses, mut gradient) = (Vec::new(), Vec::new());
        for i in 0..self.rows {
            let (s, w) = self.row(i);
            let log_total = self.log_total(s);
            let terms = s.iter().zip(w).filter(|(_, w)| **w != 0.0);
            let loss: f64 = terms.map(|(s, w)| -w * (s / self.temperature - log_total)).sum();
            row_losses.push(if log_total.is_nan() { f64::NAN } else { loss });
            let mass: f64 = w.iter().sum();
            gradient.extend(s.iter().zip(w).map(|(s, w)| {
                let softmax = (s / self.temperature - log_total).exp();
                self.scale / self.temperature * (mass * softmax - w)
            }));
        }
        let loss = self.scale * row_losses.iter().sum::<f64>();
        Answer { loss, row_losses, gradient }
    }

    /// `log Σ e^(S_j / τ)`; NaN for a row that has no softmax.
    fn log_total(&self, s: &[f64]) -> f64 {
        if s.iter().any(|s| s.is_nan()) {
            return f64::NAN;
        }
        let highest = s.iter().copied().fold(f64::NEG_INFINITY, f64::max) / self.temperature;
        highest + s.iter().map(|s| (s / self.temperature - highest).exp()).sum::<f64>().ln()
    }

    /// # Errors
    /// What is wrong, the first of it.
    pub(crate) fn compare<L: Stored>(&self, got: &Answer) -> Result<(), String> {
        const UNIT: f64 = 1.0 / (1 << 24) as f64;
        let expected = self.reference();
        let mut slack = 0.0;
        for i in 0..self.rows {
            let (s, w) = self.row(i);
            let highest = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let below = |s: f64| (highest - s) / self.temperature;
            let log_total = self.log_total(s);
            let mass: f64 = w.iter().sum();
            // Two terms that are positive; and what a relative error of the sum of exponentials adds to its logarithm.
            let dot = s.iter().zip(w).map(|(s, w)| if *w == 0.0 { 0.0 } else { w * below(*s) });
            let size = mass * (1.0 + log_total - highest / self.temperature) + dot.sum::<f64>();
            let tolerance = 16.0 * UNIT * size;
            slack += if tolerance.is_finite() { tolerance * self.scale.abs() } else { 0.0 };
            close("loss of row", i, got.row_losses[i], expected.row_losses[i], tolerance)?;
            for j in 0..self.columns {
                let at = i * self.columns + j;
                let softmax = (s[j] / self.temperature - log_total).exp();
                let relative = if softmax == 0.0 { 0.0 } else { 20.0 + 4.0 * below(s[j]) };
                // Exponentials below the smallest normal number have fewer bits, or none.
                let underflow = f64::from(f32::MIN_POSITIVE);
                let error = (mass * softmax * relative + 4.0 * w[j]) * UNIT + mass * underflow;
                let (relative, absolute) = L::ROUNDOFF;
                let value = expected.gradient[at];
                let tolerance = (self.scale / self.temperature).abs() * error
                    + value.abs() * relative
                    + absolute;
                close("gradient", at, got.gradient[at], value, tolerance)?;
            }
        }
        close("loss of all", 0, got.loss, expected.loss, slack)
    }
}

fn close(what: &str, at: usize, got: f64, expected: f64, tolerance: f64) -> Result<(), String> {
    let right = if expected.is_finite() {
        (got - expected).abs() <= tolerance
    } else {
        got.is_nan() == expected.is_nan() && (got.is_nan() || got == expected)
    };
    if right {
        Ok(())
    } else {
        Err(format!("{what} {at}: {got:e}, not {expected:e} ± {tolerance:e}"))
    }
}
