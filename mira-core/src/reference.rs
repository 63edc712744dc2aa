//! The oracle: every method in float64, in the log domain, by the textbook iteration, without acceleration or cleverness.
//!
//! It is validated against golden vectors first; everything else is validated against it.

use std::marker::PhantomData;

use num_traits::AsPrimitive;

use crate::certificate::{
    Certificate, exponents_allowance, largest_exponent, log_sum_exp, rounding_allowance, sum,
};
use crate::fixed_point::center_gauge;
use crate::{
    Arithmetic, Assigner, Error, Matrix, Method, Report, Shape, Status, StopRule, Summary,
};

/// The naive f64 assigner: slow, simple, right. Logits of type `T` in, f64 out.
///
/// # Example
/// ```
/// use mira_core::{Assigner, Matrix, Reference, Shape, Sinkhorn};
/// let logits = [0.9f32, 0.1, -0.3, 0.8, 0.2, 0.0];
/// let (w, report) = Reference::<f32>::new(Sinkhorn::swav()).assign(Matrix::new(&logits, Shape::new(2, 3)?)?)?;
/// assert_eq!(report.iterations, 3);
/// assert_eq!(w.len(), 6);
/// println!("usage is off by {}", report.certificate.marginal_error);
/// # Ok::<(), mira_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Reference<T> {
    method: Method,
    logits: PhantomData<fn(T)>,
}

impl<T> Reference<T> {
    /// An oracle for `method`.
    pub fn new(method: impl Into<Method>) -> Self {
        Self { method: method.into(), logits: PhantomData }
    }
}

/// The oracle's memory: log-probabilities (B × K), weights, marginal, centre.
#[derive(Clone, Debug)]
pub struct ReferenceWorkspace {
    shape: Shape,
    log_w: Vec<f64>,
    log_rows: Vec<f64>,
    log_weights: Vec<f64>,
    log_marginal: Vec<f64>,
    center: Vec<f64>,
    report: Option<Report>,
}

impl ReferenceWorkspace {
    /// Natural-log column weights `a` of the last assignment.
    pub fn log_weights(&self) -> &[f64] {
        &self.log_weights
    }

    /// DINO's centre.
    pub fn center(&self) -> &[f64] {
        &self.center
    }
}

impl<T: AsPrimitive<f64>> Assigner for Reference<T> {
    type Logits<'a> = Matrix<'a, T>;
    type Assignment<'a> = &'a mut [f64];
    type Output = Vec<f64>;
    type Workspace = ReferenceWorkspace;
    type Error = Error;

    fn method(&self) -> &Method {
        &self.method
    }

    fn workspace(&self, shape: Shape) -> Result<ReferenceWorkspace, Error> {
        let k = shape.num_prototypes();
        Ok(ReferenceWorkspace {
            shape,
            log_w: vec![0.0; shape.len()],
            log_rows: vec![0.0; shape.batch()],
            log_weights: vec![0.0; k],
            log_marginal: vec![0.0; k],
            center: vec![0.0; k],
            report: None,
        })
    }

    fn assign_into(
        &self,
        logits: Matrix<'_, T>,
        assignment: &mut [f64],
        ws: &mut ReferenceWorkspace,
    ) -> Result<(), Error> {
        if logits.shape() != ws.shape {
            return Err(Error::ShapeMismatch {
                what: "logits",
                expected: ws.shape,
                got: logits.shape(),
            });
        }
        if assignment.len() != ws.shape.len() {
            let (expected, got) = (ws.shape.len(), assignment.len());
            return Err(Error::LengthMismatch { what: "assignment", expected, got });
        }
        ws.report = None;
        let problem = Problem { logits, epsilon: self.method.scaling().epsilon };
        problem.check()?;
        let (iterations, passes) = ws.iterate(&problem, &self.method);
        for (out, log_w) in assignment.iter_mut().zip(&ws.log_w) {
            *out = log_w.exp();
        }
        let certificate = ws.certificate(&problem, &self.method);
        ws.report = Some(Report {
            status: Status::of(
                ws.is_within(&self.method, &certificate),
                iterations,
                self.method.stop(),
                false,
            ),
            iterations,
            passes,
            certificate,
            marginal_entropy: entropy(&ws.log_marginal),
            objective: objective(&problem, &self.method, ws),
        });
        if let Method::Centered(m) = self.method {
            for (j, c) in ws.center.iter_mut().enumerate() {
                let mean =
                    logits.rows().map(|row| row[j].as_()).sum::<f64>() / ws.shape.batch() as f64;
                if mean.is_finite() {
                    *c = m.momentum() * *c + (1.0 - m.momentum()) * mean;
                }
            }
        }
        Ok(())
    }

    fn report(&self, ws: &ReferenceWorkspace) -> Result<Report, Error> {
        ws.report.ok_or(Error::NothingAssigned)
    }

    fn shape(logits: &Matrix<'_, T>) -> Result<Shape, Error> {
        Ok(logits.shape())
    }

    fn output(&self, shape: Shape) -> Result<Vec<f64>, Error> {
        Ok(vec![0.0; shape.len()])
    }

    fn as_assignment(output: &mut Vec<f64>) -> &mut [f64] {
        output
    }
}

/// Whether the exponent `logit/ε` of a finite logit leaves f64 no room for sums and differences of a few of them, in any base.
pub fn is_too_large(logit: f64, epsilon: f64) -> bool {
    logit.abs() / epsilon > f64::MAX / 16.0
}

/// Logits with the kernel's ε.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem<'a, T> {
    pub(crate) logits: Matrix<'a, T>,
    pub(crate) epsilon: f64,
}

impl<T: AsPrimitive<f64>> Problem<'_, T> {
    /// Refuses NaN, +∞, quotients by ε that are, and rows without a finite entry, naming the first offender.
    ///
    /// # Errors
    /// [`Error::NonFiniteLogit`], [`Error::LogitOverflow`], [`Error::AllForbidden`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        let epsilon = self.epsilon;
        for (row, values) in self.logits.rows().enumerate() {
            let mut allowed = false;
            for (column, value) in values.iter().enumerate() {
                let value: f64 = value.as_();
                if value.is_nan() || value == f64::INFINITY {
                    return Err(Error::NonFiniteLogit { row, column, value });
                }
                if value > f64::NEG_INFINITY && is_too_large(value, epsilon) {
                    return Err(Error::LogitOverflow { row, column, value, epsilon });
                }
                allowed |= value > f64::NEG_INFINITY;
            }
            if !allowed {
                return Err(Error::AllForbidden { row });
            }
        }
        Ok(())
    }

    /// `S_ij/ε` along row `i`.
    pub(crate) fn row(&self, i: usize) -> impl Iterator<Item = f64> + Clone + '_ {
        self.logits.row(i).iter().map(|s| s.as_() / self.epsilon)
    }

    /// `(S_ij − max_l S_il)/ε` along row `i`: large logits cost no digits.
    pub(crate) fn relative_row(&self, i: usize) -> impl Iterator<Item = f64> + Clone + '_ {
        let row = self.logits.row(i);
        let top = row.iter().map(|s| s.as_()).fold(f64::NEG_INFINITY, f64::max);
        row.iter().map(move |s| self.relative(s.as_(), top))
    }

    /// `(s − top)/ε`; a difference may overflow where quotients do not.
    fn relative(&self, s: f64, top: f64) -> f64 {
        let difference = s - top;
        if difference == f64::NEG_INFINITY {
            s / self.epsilon - top / self.epsilon
        } else {
            difference / self.epsilon
        }
    }

    /// `log W_ij` at column weights `a` into `log_w`, `log Σ_l e^{a_l} k_il` into `log_rows`.
    pub(crate) fn log_assignment(&self, a: &[f64], log_w: &mut [f64], log_rows: &mut [f64]) {
        let k = a.len();
        for (i, (out, log_row)) in log_w.chunks_exact_mut(k).zip(log_rows).enumerate() {
            // Relative to the largest logit before anything else, so that large ones cost no digits; and to the largest exponent.
            let top = self.logits.row(i).iter().map(|s| s.as_()).fold(f64::NEG_INFINITY, f64::max);
            let shifted = |max: f64| {
                let relative = self.logits.row(i).iter().map(move |s| self.relative(s.as_(), top));
                relative.zip(a).map(move |(x, a)| x + a - max)
            };
            let max = shifted(0.0).fold(f64::NEG_INFINITY, f64::max);
            let log_sum = log_sum_exp(shifted(max));
            *log_row = top / self.epsilon + max + log_sum;
            for (out, shifted) in out.iter_mut().zip(shifted(max)) {
                *out = shifted - log_sum;
            }
        }
    }
}

/// `log w̄_j = log (1/B) Σ_i W_ij` from log-probabilities.
pub(crate) fn log_marginal(log_w: &[f64], out: &mut [f64]) {
    let batch = (log_w.len() / out.len()) as f64;
    let mut maxima = vec![f64::NEG_INFINITY; out.len()];
    for row in log_w.chunks_exact(out.len()) {
        for (max, l) in maxima.iter_mut().zip(row) {
            *max = max.max(*l);
        }
    }
    let k = out.len();
    for (j, (out, max)) in out.iter_mut().zip(maxima).enumerate() {
        let column = log_w[j..].iter().step_by(k);
        let term = |l: &f64| if *l == f64::NEG_INFINITY { 0.0 } else { (l - max).exp() };
        *out = max + sum(column.map(term)).ln() - batch.ln();
    }
}

/// Passes in which a marginal that still moves moves noticeably.
const PATIENCE: usize = 40;

impl ReferenceWorkspace {
    fn evaluate<T: AsPrimitive<f64>>(&mut self, problem: &Problem<'_, T>) {
        problem.log_assignment(&self.log_weights, &mut self.log_w, &mut self.log_rows);
        log_marginal(&self.log_w, &mut self.log_marginal);
    }

    /// `a ← −ρ log t`, with `log t = log w̄ − a`.
    fn step(&mut self, rho: f64) {
        for (a, l) in self.log_weights.iter_mut().zip(&self.log_marginal) {
            *a = if *l == f64::NEG_INFINITY { 0.0 } else { rho * (*a - l) };
        }
        center_gauge(&mut self.log_weights, &self.log_marginal);
    }

    /// Leaves weights, log-probabilities and marginal of the answer; returns the published iteration count and the passes.
    fn iterate<T: AsPrimitive<f64>>(
        &mut self,
        problem: &Problem<'_, T>,
        method: &Method,
    ) -> (usize, usize) {
        let rho = method.scaling().relaxation;
        self.log_weights.fill(0.0);
        let mut count = match method {
            Method::Softmax(_) => {
                self.evaluate(problem);
                return (0, 1);
            }
            Method::Centered(m) => {
                self.log_weights.copy_from_slice(&self.center);
                self.log_marginal.fill(0.0);
                center_gauge(&mut self.log_weights, &self.log_marginal);
                for a in &mut self.log_weights {
                    *a /= -m.temperature();
                }
                self.evaluate(problem);
                return (0, 1);
            }
            Method::Mira(_) => {
                self.evaluate(problem);
                self.step(rho); // u⁰ = mean(kernel)^(1−β)
                0
            }
            Method::Sinkhorn(_) => {
                for j in 0..self.log_weights.len() {
                    let column: Vec<f64> =
                        problem.logits.rows().map(|row| row[j].as_() / problem.epsilon).collect();
                    let log_sum = log_sum_exp(column.into_iter());
                    self.log_weights[j] = if log_sum == f64::NEG_INFINITY { 0.0 } else { -log_sum };
                }
                self.log_marginal.fill(0.0);
                center_gauge(&mut self.log_weights, &self.log_marginal);
                1
            }
        };
        let mut passes = 1;
        let mut lately = f64::INFINITY;
        loop {
            self.evaluate(problem);
            passes += 1;
            let done = match method.stop() {
                StopRule::Sweeps(n) => count >= n,
                StopRule::Tolerance { max_sweeps, .. }
                | StopRule::DualityGap { max_sweeps, .. } => {
                    let certificate = self.certificate(problem, method);
                    let mut stands_still = false;
                    if matches!(method, Method::Sinkhorn(_)) && passes % PATIENCE == 0 {
                        // Where no plan has equal usage, the marginal ends at another one.
                        stands_still = certificate.marginal_error > (1.0 - 1e-6) * lately;
                        lately = certificate.marginal_error;
                    }
                    count >= max_sweeps || stands_still || self.is_within(method, &certificate)
                }
            };
            if done {
                return (count, passes);
            }
            self.step(rho);
            count += 1;
        }
    }

    fn certificate<T: AsPrimitive<f64>>(
        &self,
        problem: &Problem<'_, T>,
        method: &Method,
    ) -> Certificate {
        let row_span = row_span(problem.logits);
        let summary =
            Summary::new(method, Arithmetic::F64, row_span, &self.log_weights, &self.log_marginal);
        let mut certificate = summary.certificate;
        certificate.rounding_allowance += exponents_allowance(row_span / problem.epsilon);
        certificate
    }
}

/// The largest `max_j S_ij − min_j S_ij`; `+∞` with forbidden entries.
pub(crate) fn row_span<T: AsPrimitive<f64>>(logits: Matrix<'_, T>) -> f64 {
    logits
        .rows()
        .map(|row| {
            let (low, high) = row
                .iter()
                .map(|s| s.as_())
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), s| (l.min(s), h.max(s)));
            high - low
        })
        .fold(0.0, f64::max)
}

impl ReferenceWorkspace {
    /// Whether the certificate is within the tolerance.
    fn is_within(&self, method: &Method, certificate: &Certificate) -> bool {
        let exponent = largest_exponent(&self.log_weights, &self.log_marginal);
        let default = Arithmetic::F64.default_tolerance;
        match (method, method.stop()) {
            (Method::Softmax(_) | Method::Centered(_), _) => true,
            (_, StopRule::DualityGap { tolerance, .. }) => certificate.duality_gap <= tolerance,
            (method, stop) => {
                let tolerance = match stop {
                    StopRule::Tolerance { tolerance, .. } => tolerance.unwrap_or(default),
                    _ => default,
                };
                let distance = match method {
                    Method::Sinkhorn(_) => {
                        certificate.marginal_error
                            + rounding_allowance(0.0, Arithmetic::F64.unit_roundoff, exponent)
                    }
                    _ => certificate.log_ratio_bound + certificate.rounding_allowance,
                };
                distance <= tolerance
            }
        }
    }
}

/// `−Σ_j w̄_j log w̄_j`.
pub(crate) fn entropy(log_marginal: &[f64]) -> f64 {
    let sum: f64 =
        log_marginal.iter().filter(|l| **l > f64::NEG_INFINITY).map(|l| l.exp() * l).sum();
    (-sum).max(0.0)
}

/// The method's objective, straight from its definition.
fn objective<T: AsPrimitive<f64>>(
    problem: &Problem<'_, T>,
    method: &Method,
    ws: &ReferenceWorkspace,
) -> Option<f64> {
    let batch = ws.shape.batch() as f64;
    // Mean over rows of Σ_j w_ij g_ij, where an element of probability 0 contributes 0.
    let mean = |g: &dyn Fn(usize, f64, f64) -> f64| -> f64 {
        ws.log_w
            .chunks_exact(ws.shape.num_prototypes())
            .enumerate()
            .flat_map(|(i, row)| row.iter().zip(problem.row(i)).map(move |(&l, x)| (i, l, x)))
            .filter(|(_, l, _)| *l > f64::NEG_INFINITY)
            .map(|(i, l, x)| l.exp() * g(i, l, x))
            .sum::<f64>()
            / batch
    };
    match method {
        Method::Softmax(_) => Some(0.0),
        Method::Centered(_) => None,
        Method::Sinkhorn(m) => Some(m.epsilon() * mean(&|_, l, x| l - x)),
        Method::Mira(m) => {
            let beta = m.beta();
            // log p_ij = (1−β) S_ij/ε − log Σ_l exp(S_il/τ)
            let partitions: Vec<f64> = (0..ws.shape.batch())
                .map(|i| log_sum_exp(problem.row(i).map(|x| x * (1.0 - beta))))
                .collect();
            let cross = -mean(&|i, _, x| (1.0 - beta) * x - partitions[i]);
            let negative_entropy = mean(&|_, l, _| l);
            Some(cross + (1.0 - beta) * negative_entropy - beta * entropy(&ws.log_marginal))
        }
    }
}
