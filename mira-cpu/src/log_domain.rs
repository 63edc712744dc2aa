//! The slow, unbreakable pass: f64, straight from the logits, rows and columns in the log domain.
//!
//! Used when weights or logits span more than the arithmetic's exponent range (logits of ±1e4 at τ = 0.02, say), where a kernel
//! matrix would be all zeros. Logits are taken relative to the largest of their row before anything else, so that large ones cost no digits;
//! columns keep a running maximum, so nothing underflows that matters.

use mira_core::{Error, is_too_large};
use ndarray::ArrayView2;

use crate::element::{Logit, Real};
use crate::exp::exp2;
use crate::rows::{Rows, load, store};
use mira_simd::{Isa, Kernel, Vector};

/// Where the rows of an assignment go.
#[derive(Debug)]
pub(crate) struct Target<A> {
    pub(crate) rows: Rows<A>,
    pub(crate) first: usize,
}

/// One block of rows in the log domain; everything in it is log2.
#[derive(Debug)]
pub struct LogBlock<'a, L, A> {
    pub(crate) logits: ArrayView2<'a, L>,
    pub(crate) first: usize,
    pub(crate) epsilon: f64,
    /// τ, if `Σ_i log2 Σ_l exp(S_il/τ)` is wanted.
    pub(crate) partition_temperature: Option<f64>,
    /// Column weights as log2; `None` leaves the rows unnormalised (the column sums of the kernel).
    pub(crate) log2_weights: Option<&'a [f64]>,
    pub(crate) write: Option<Target<A>>,
    /// Scratch for one row.
    pub(crate) row: &'a mut [f64],
    /// The block's column sums as `maxima + log2(sums)`.
    pub(crate) maxima: &'a mut [f64],
    pub(crate) sums: &'a mut [f64],
}

/// Sums over a block's rows, in log2.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogSums {
    /// `Σ_i log2 Σ_l e^{a_l + S_il/ε}`.
    pub(crate) rows: f64,
    /// `Σ_i log2 Σ_l exp(S_il/τ)` where asked for.
    pub(crate) partition: f64,
}

/// `(value − top) · scale`; the difference of finite numbers may overflow where their products do not.
#[inline(always)]
fn relative(value: f64, top: f64, scale: f64) -> f64 {
    let difference = value - top;
    if difference == f64::NEG_INFINITY { value * scale - top * scale } else { difference * scale }
}

/// `log2 Σ 2^(v − max)`.
#[inline(always)]
fn log2_sum<I: Isa>(row: &[f64], max: f64) -> f64 {
    let (mut total, mut at) = (I::F64::splat(0.0), 0);
    while at < row.len() {
        let v: I::F64 = load(row, at, f64::NEG_INFINITY);
        total = total.add(exp2(v.sub(I::F64::splat(max))));
        at += I::F64::LEN;
    }
    total.sum().log2()
}

impl<L: Logit, A: Real> LogBlock<'_, L, A> {
    /// `log2 Σ_l exp(S_il/temperature)`; any number of a row that [`row`](Self::row) refuses.
    #[inline(always)]
    fn partition<I: Isa>(&mut self, at: usize, temperature: f64) -> f64 {
        let scale = std::f64::consts::LOG2_E / temperature;
        let row = &mut self.row[..self.logits.ncols()];
        let logits = || self.logits.row(at).into_iter().map(|s| s.as_());
        let top = logits().fold(f64::NEG_INFINITY, f64::max);
        for (v, s) in row.iter_mut().zip(logits()) {
            *v = relative(s, top, scale);
        }
        top * scale + log2_sum::<I>(row, 0.0)
    }

    #[inline(always)]
    fn row<I: Isa>(&mut self, at: usize) -> Result<f64, Error> {
        let view = self.logits.row(at);
        let logits = view.to_slice().expect("rows are contiguous: checked on entry");
        let row = &mut self.row[..logits.len()];
        let log2_scale = std::f64::consts::LOG2_E / self.epsilon;
        let mut top = f64::NEG_INFINITY;
        for (column, s) in logits.iter().enumerate() {
            let value: f64 = s.as_();
            if value.is_nan() || value == f64::INFINITY {
                return Err(Error::NonFiniteLogit { row: self.first + at, column, value });
            }
            if value > f64::NEG_INFINITY && is_too_large(value, self.epsilon) {
                let (row, epsilon) = (self.first + at, self.epsilon);
                return Err(Error::LogitOverflow { row, column, value, epsilon });
            }
            top = top.max(value);
        }
        if top == f64::NEG_INFINITY {
            return Err(Error::AllForbidden { row: self.first + at });
        }
        let Some(weights) = self.log2_weights else {
            for (v, s) in row.iter_mut().zip(logits) {
                let value: f64 = s.as_();
                *v = value * log2_scale;
            }
            return Ok(0.0);
        };
        let mut max = f64::NEG_INFINITY;
        for ((v, s), a) in row.iter_mut().zip(logits).zip(weights) {
            let value: f64 = s.as_();
            *v = relative(value, top, log2_scale) + a;
            max = max.max(*v);
        }
        // Not by their sum, in which a large maximum leaves no digit of the other.
        let log_sum = log2_sum::<I>(row, max);
        for v in row.iter_mut() {
            *v = (*v - max) - log_sum;
        }
        Ok(top * log2_scale + max + log_sum)
    }
}

impl<L: Logit, A: Real> Kernel for LogBlock<'_, L, A> {
    type Output = Result<LogSums, Error>;
    #[inline(always)]
    fn run<I: Isa>(mut self) -> Self::Output {
        self.maxima.fill(f64::NEG_INFINITY);
        self.sums.fill(0.0);
        let mut all = LogSums::default();
        for at_row in 0..self.logits.nrows() {
            if let Some(temperature) = self.partition_temperature {
                all.partition += self.partition::<I>(at_row, temperature);
            }
            all.rows += self.row::<I>(at_row)?;
            let row = &self.row[..self.maxima.len()];
            let mut at = 0;
            while at < row.len() {
                let v: I::F64 = load(row, at, f64::NEG_INFINITY);
                let max: I::F64 = load(self.maxima, at, f64::NEG_INFINITY);
                let sum: I::F64 = load(self.sums, at, 0.0);
                let higher = v.max(max);
                // −∞ − −∞ is NaN, which `exp2` takes for very negative.
                let sum = sum.mul_add(exp2(max.sub(higher)), exp2(v.sub(higher)));
                store(self.maxima, at, higher);
                store(self.sums, at, sum);
                at += I::F64::LEN;
            }
            if let Some(target) = &self.write {
                // SAFETY: every block writes its own rows, and no other reference to this one is alive.
                let out = unsafe { target.rows.row(target.first + at_row) };
                let mut buffer = [0.0; 16];
                for (out, v) in out.chunks_mut(I::F64::LEN).zip(row.chunks(I::F64::LEN)) {
                    let w: I::F64 = exp2(load(v, 0, f64::NEG_INFINITY));
                    // SAFETY: no vector has more than 16 elements.
                    unsafe { w.store(buffer.as_mut_ptr()) };
                    for (out, w) in out.iter_mut().zip(&buffer) {
                        *out = A::from_f64(*w);
                    }
                }
            }
        }
        Ok(all)
    }
}
