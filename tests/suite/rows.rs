//! Passes over rows for [`FixedPoint`](mira_core::FixedPoint): the smallest implementation of its seam, in plain f64.

use mira_core::{Domain, Error, Method, Pass, PassInfo, Sweep};

/// One rank's rows. The assignment's memory serves as scratch for every pass: nothing is allocated.
pub(crate) struct Rows<'a> {
    pub(crate) logits: &'a [f64],
    pub(crate) assignment: &'a mut [f64],
    pub(crate) num_prototypes: usize,
    pub(crate) method: Method,
}

impl Rows<'_> {
    fn check(&self) -> Result<(), Error> {
        for (row, values) in self.logits.chunks_exact(self.num_prototypes).enumerate() {
            let invalid = |s: &f64| s.is_nan() || *s == f64::INFINITY;
            if let Some(column) = values.iter().position(invalid) {
                return Err(Error::NonFiniteLogit { row, column, value: values[column] });
            }
            if values.iter().all(|s| *s == f64::NEG_INFINITY) {
                return Err(Error::AllForbidden { row });
            }
        }
        Ok(())
    }
}

/// Overwrites `x` by `e^x / Σ e^x` and returns `log Σ e^x`.
fn softmax(x: &mut [f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for x in x.iter_mut() {
        *x = (*x - max).exp();
    }
    let sum = sum_of(x);
    for x in x.iter_mut() {
        *x /= sum;
    }
    max + sum.ln()
}

/// By halves: one after the other, terms that are alike would all be rounded the same way, which the allowance does not count.
fn sum_of(x: &[f64]) -> f64 {
    if x.len() <= 4 {
        return x.iter().sum();
    }
    let (low, high) = x.split_at(x.len() / 2);
    sum_of(low) + sum_of(high)
}

/// `log(e^x + e^y)`.
fn log_add_exp(x: f64, y: f64) -> f64 {
    let (low, high) = if x < y { (x, y) } else { (y, x) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

impl Sweep for Rows<'_> {
    type Error = Error;

    fn batch(&self) -> usize {
        self.logits.len() / self.num_prototypes
    }

    fn pass(
        &mut self,
        log_weights: &[f64],
        _pass: Pass,
        domain: Domain,
        sums: &mut [f64],
    ) -> Result<PassInfo, Error> {
        self.check()?;
        let epsilon = self.method.scaling().epsilon;
        let (mut sum_log_row, mut lowest) = (0.0, f64::INFINITY);
        sums.fill(if domain == Domain::Log { f64::NEG_INFINITY } else { 0.0 });
        let rows = self.logits.chunks_exact(self.num_prototypes);
        for (logits, out) in rows.zip(self.assignment.chunks_exact_mut(self.num_prototypes)) {
            let exponents = || logits.iter().zip(log_weights).map(|(s, a)| s / epsilon + a);
            for (out, x) in out.iter_mut().zip(exponents()) {
                *out = x;
            }
            let log_row = softmax(out);
            sum_log_row += log_row;
            let possible = exponents().filter(|x| *x > f64::NEG_INFINITY);
            lowest = possible.fold(lowest, |lowest, x| lowest.min(x - log_row));
            match domain {
                Domain::Linear => sums.iter_mut().zip(&*out).for_each(|(sum, w)| *sum += w),
                Domain::Log => sums
                    .iter_mut()
                    .zip(exponents())
                    .for_each(|(sum, x)| *sum = log_add_exp(*sum, x - log_row)),
            }
        }
        let underflows = lowest < f64::MIN_POSITIVE.ln() + 1.0;
        let lost_mass = if underflows { self.batch() as f64 * f64::MIN_POSITIVE } else { 0.0 };
        Ok(PassInfo { lost_mass, sum_log_row })
    }

    fn log_column_sums(&mut self, log_sums: &mut [f64]) -> Result<f64, Error> {
        self.check()?;
        let epsilon = self.method.scaling().epsilon;
        let mut largest_span = 0.0f64;
        log_sums.fill(f64::NEG_INFINITY);
        for row in self.logits.chunks_exact(self.num_prototypes) {
            for (sum, s) in log_sums.iter_mut().zip(row) {
                *sum = log_add_exp(*sum, s / epsilon);
            }
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let min = row.iter().copied().fold(f64::INFINITY, f64::min);
            largest_span = largest_span.max(max - min);
        }
        Ok(largest_span)
    }

    fn logit_sums(&mut self, sums: &mut [f64]) -> Result<(), Error> {
        sums.fill(0.0);
        for row in self.logits.chunks_exact(self.num_prototypes) {
            sums.iter_mut().zip(row).for_each(|(sum, s)| *sum += s);
        }
        Ok(())
    }

    fn sum_log_partition(&mut self) -> Option<f64> {
        let Method::Mira(mira) = self.method else { return None };
        let log_partition = |row: &[f64]| {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max) / mira.temperature();
            let sum: f64 = row.iter().map(|s| (s / mira.temperature() - max).exp()).sum();
            max + sum.ln()
        };
        Some(self.logits.chunks_exact(self.num_prototypes).map(log_partition).sum())
    }
}
