//! The judge: certificates recomputed in f64 from logits and assignment alone, whoever made it.
//!
//! For MIRA, with any `u` (Σu = 1) and `W(u)` the assignment it induces, every `W` with rows on the simplex satisfies
//!
//! ```text
//! F(W) − D(u) = (1−β) mean_i KL(w_i ‖ W(u)_i) + β KL(w̄ ‖ u)   ≥   F(W) − F(W*)
//! max_ij |log w_ij − log w*_ij|  ≤  max_ij |log w_ij − log W(u)_ij| + (β/(1−β)) span(log w̄(u) − log u)
//! ```
//!
//! so a poor `u` can only make the verdict worse, never wrong. For Sinkhorn–Knopp the assignment is rounded to the transport
//! polytope (Altschuler, Weed, Rigollet 2017, Algorithm 2) and the gap is `ε KL(rounded ‖ P(f))`, which equals primal − dual. It is one of the plan made
//! of the labels, which for few rows may be good whatever the labels are: those are judged by `label_kl_bound` and `marginal_error`.

use num_traits::{AsPrimitive, Float};

use crate::certificate::{self, Certificate, log_sum_exp, or_unknown, span};
use crate::fixed_point::{center_gauge, check_state};
use crate::reference::{Problem, entropy, log_marginal, row_span};
use crate::{Error, Matrix, Method};

/// What [`verify`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Verification {
    /// Bounds for the assignment given: `log_ratio_bound` for its elements as they are, what the rows' sums lack of 1 included, the others for its rows
    /// renormalised in f64. `rounding_allowance` is this verifier's own: a first-order worst case of its f64 arithmetic, to be added to `log_ratio_bound`.
    pub certificate: Certificate,
    /// The method's objective at the assignment as given; `None` for [`Method::Centered`].
    pub objective: Option<f64>,
    /// Entropy of the marginal in nats.
    pub marginal_entropy: f64,
    /// `max_i |Σ_j w_ij − 1|` as given.
    pub row_sum_error: f64,
}

/// Sweeps [`verify`] makes at most to find a good dual point.
const MAX_SWEEPS: usize = 500;
/// Sweeps in which an error must fall noticeably.
const STALL: usize = 5;

/// Certifies `assignment` as an answer of `method` to `logits`, with a dual point of the verifier's own: plain f64 sweeps that
/// start at the assignment's marginal.
///
/// Elements below 256 times the smallest normal number of `A` (of f16: below that number, 6.1e-5) count as underflown and are not compared by ratio.
///
/// # Errors
/// Shapes that differ, invalid logits, [`Error::NotAnAssignment`] for rows that are negative, not finite or do not sum to 1 within
/// 1e-3; [`Error::NeedsLogWeights`] for [`Method::Centered`], whose centre only [`verify_at`] can be told.
///
/// # Example
/// ```
/// use mira_core::{Assigner, Matrix, Mira, Reference, Shape, verify};
/// let (data, shape) = ([0.9, 0.1, -0.3, 0.8, 0.2, 0.0], Shape::new(2, 3)?);
/// let logits = Matrix::new(&data, shape)?;
/// let oracle = Reference::new(Mira::default());
/// let (w, _) = oracle.assign(logits)?;
/// assert!(verify(logits, Matrix::new(&w, shape)?, oracle.method())?.certificate.log_ratio_bound < 1e-9);
/// let uniform = [1.0 / 3.0; 6]; // a valid assignment, but not MIRA's
/// assert!(verify(logits, Matrix::new(&uniform, shape)?, oracle.method())?.certificate.log_ratio_bound > 1.0);
/// # Ok::<(), mira_core::Error>(())
/// ```
pub fn verify<L: AsPrimitive<f64>, A: Float + AsPrimitive<f64>>(
    logits: Matrix<'_, L>,
    assignment: Matrix<'_, A>,
    method: &Method,
) -> Result<Verification, Error> {
    let mut judge = Judge::new(logits, assignment, method)?;
    match method {
        Method::Softmax(_) => {}
        Method::Centered(_) => return Err(Error::NeedsLogWeights),
        Method::Mira(m) => judge.find_mira_dual(m.beta()),
        Method::Sinkhorn(_) => judge.find_sinkhorn_dual(),
    }
    Ok(judge.verdict(method))
}

/// The same at a given dual point: natural-log column weights `a`, as a solver reports them (any additive constant).
///
/// # Errors
/// As [`verify`], and [`Error::LengthMismatch`] unless `log_weights` holds K values, [`Error::InvalidState`] unless all are at most
/// 1e300 in magnitude.
pub fn verify_at<L: AsPrimitive<f64>, A: Float + AsPrimitive<f64>>(
    logits: Matrix<'_, L>,
    assignment: Matrix<'_, A>,
    method: &Method,
    log_weights: &[f64],
) -> Result<Verification, Error> {
    let mut judge = Judge::new(logits, assignment, method)?;
    check_state("log weights", log_weights, judge.log_weights.len())?;
    // The optimum of softmax has no weights, whoever claims some.
    let has_weights = match method {
        Method::Softmax(_) => false,
        Method::Mira(m) => m.beta() > 0.0,
        Method::Sinkhorn(_) | Method::Centered(_) => true,
    };
    if has_weights {
        judge.look_at(log_weights);
    }
    Ok(judge.verdict(method))
}

/// The logarithm of what may be all that underflow on the way leaves of an element: 256 times the smallest normal number, but of half precision, which reaches
/// up to ordinary labels and is what labels are stored in, not computed in, that number itself.
fn log_floor<A: Float + AsPrimitive<f64>>() -> f64 {
    let smallest: f64 = A::min_positive_value().as_();
    (if smallest < 1e-30 { 256.0 * smallest } else { smallest }).ln()
}

struct Judge<'a, L> {
    problem: Problem<'a, L>,
    /// The assignment as given, rows renormalised, as logarithms.
    given: Vec<f64>,
    given_log_marginal: Vec<f64>,
    row_sum_error: f64,
    /// The largest magnitude of a row's logarithm of its sum, as given.
    log_row_sum: f64,
    /// Below this logarithm an element has underflown in `A`.
    log_floor: f64,
    log_weights: Vec<f64>,
    log_w: Vec<f64>,
    log_rows: Vec<f64>,
    log_marginal: Vec<f64>,
}

impl<'a, L: AsPrimitive<f64>> Judge<'a, L> {
    fn new<A: Float + AsPrimitive<f64>>(
        logits: Matrix<'a, L>,
        assignment: Matrix<'_, A>,
        method: &Method,
    ) -> Result<Self, Error> {
        let shape = logits.shape();
        if assignment.shape() != shape {
            return Err(Error::ShapeMismatch {
                what: "assignment",
                expected: shape,
                got: assignment.shape(),
            });
        }
        let problem = Problem { logits, epsilon: method.scaling().epsilon };
        problem.check()?;
        let k = shape.num_prototypes();
        let mut given = Vec::with_capacity(shape.len());
        let (mut row_sum_error, mut log_row_sum) = (0.0f64, 0.0f64);
        for (row, values) in assignment.rows().enumerate() {
            let sum: f64 = values.iter().map(|w| w.as_()).sum();
            if let Some((j, bad)) =
                values.iter().enumerate().find(|(_, w)| w.is_nan() || **w < A::zero())
            {
                let bad: f64 = bad.as_();
                return Err(Error::NotAnAssignment {
                    row,
                    problem: format!("column {j} is {bad}"),
                });
            }
            if (sum - 1.0).abs() > 1e-3 {
                return Err(Error::NotAnAssignment { row, problem: format!("it sums to {sum}") });
            }
            row_sum_error = row_sum_error.max((sum - 1.0).abs());
            log_row_sum = log_row_sum.max((sum - 1.0).ln_1p().abs());
            given.extend(values.iter().map(|w| (w.as_() / sum).ln()));
        }
        let mut judge = Self {
            problem,
            given_log_marginal: vec![0.0; k],
            row_sum_error,
            log_row_sum,
            log_floor: log_floor::<A>(),
            log_weights: vec![0.0; k],
            log_w: vec![0.0; shape.len()],
            log_rows: vec![0.0; shape.batch()],
            log_marginal: vec![0.0; k],
            given,
        };
        log_marginal(&judge.given, &mut judge.given_log_marginal);
        judge.evaluate();
        Ok(judge)
    }

    /// Evaluates at these weights. Whatever constant is in them, what is seen of them is their differences: large numbers would cost digits.
    fn look_at(&mut self, log_weights: &[f64]) {
        // At no weights, nothing is missing but what is forbidden in every row.
        let active = self.log_marginal.iter().map(|l| *l > f64::NEG_INFINITY);
        let mut of_active: Vec<f64> =
            log_weights.iter().zip(active.clone()).filter(|(_, is)| *is).map(|(a, _)| *a).collect();
        let marginal = self.log_marginal.iter().copied();
        let of_active_marginal: Vec<f64> = marginal.filter(|l| *l > f64::NEG_INFINITY).collect();
        center_gauge(&mut of_active, &of_active_marginal);
        let mut next = of_active.into_iter();
        let weights: Vec<f64> =
            active.map(|is| if is { next.next().unwrap_or(0.0) } else { 0.0 }).collect();
        self.log_weights = weights;
        self.evaluate();
    }

    fn evaluate(&mut self) {
        self.problem.log_assignment(&self.log_weights, &mut self.log_w, &mut self.log_rows);
        log_marginal(&self.log_w, &mut self.log_marginal);
    }

    /// `a ← −ρ (log w̄ − a)`.
    fn step(&mut self, rho: f64) {
        for (a, l) in self.log_weights.iter_mut().zip(&self.log_marginal) {
            *a = if *l == f64::NEG_INFINITY { 0.0 } else { rho * (*a - l) };
        }
        self.evaluate();
    }

    fn find_mira_dual(&mut self, beta: f64) {
        if beta == 0.0 {
            return;
        }
        let gamma = beta / (1.0 - beta);
        for (a, l) in self.log_weights.iter_mut().zip(&self.given_log_marginal) {
            // A marginal that underflowed to 0 says nothing about u; the sweeps will.
            *a = if *l == f64::NEG_INFINITY { 0.0 } else { -gamma * l };
        }
        self.evaluate();
        for _ in 0..MAX_SWEEPS {
            let bound = self.mira_bound(beta);
            if bound <= (0.01 * self.deviation()).max(1e-13) {
                return;
            }
            self.step(beta);
        }
    }

    fn find_sinkhorn_dual(&mut self) {
        let uniform = 1.0 / self.log_weights.len() as f64;
        let row_span = row_span(self.problem.logits) / self.problem.epsilon;
        let mut errors = Vec::with_capacity(MAX_SWEEPS);
        for sweep in 0..MAX_SWEEPS {
            self.step(1.0);
            let error: f64 = self.log_marginal.iter().map(|l| (l.exp() - uniform).abs()).sum();
            // Every sweep lowers it, until rounding is all that is left.
            let is_noise = sweep >= STALL && error < 1e-10 && error > 0.9 * errors[sweep - STALL];
            if error <= 1e-14 || is_noise {
                return;
            }
            errors.push(error);
            // How far the dual point is from the best one, beside how far the labels are: from time to time, for that takes as long as a sweep.
            let dual_kl = 0.5 * error * (span(self.log_weights.iter().copied()) + row_span);
            if sweep % STALL == STALL - 1 && dual_kl <= 1e-4 * self.mean_row_kl() {
                return;
            }
        }
    }

    fn mira_bound(&self, beta: f64) -> f64 {
        certificate::mira_certificate(beta, &self.log_weights, &self.log_marginal, 0.0)
            .log_ratio_bound
    }

    /// `max |log w − log W(u)|` over elements that have not underflown on both sides, of rows renormalised.
    fn deviation(&self) -> f64 {
        self.given
            .iter()
            .zip(&self.log_w)
            .filter(|(g, w)| !(**g <= self.log_floor && **w <= self.log_floor))
            .map(|(g, w)| or_unknown((g - w).abs()))
            .fold(0.0, f64::max)
    }

    /// A bound on `mean_i KL(w*_i ‖ w_i)` for Sinkhorn–Knopp, from `dual_kl`, one on `mean_i KL(w*_i ‖ W(u)_i)`:
    ///
    /// ```text
    /// KL(w* ‖ w) = KL(w* ‖ W(u)) + KL(W(u) ‖ w) + Σ (w* − W(u)) (log W(u) − log w)
    /// ```
    ///
    /// The last term is at most `‖w* − W(u)‖₁ max |log W(u) − log w|`, and the mean of those norms at most `√(2 dual_kl)` (Pinsker,
    /// Jensen). Of elements that have underflown on both sides those given as 0 count nothing, as none does in the deviation.
    fn reverse_kl(&self, dual_kl: f64) -> f64 {
        let not_underflown =
            |(w, g): &(&f64, &f64)| !(**w <= self.log_floor && **g <= self.log_floor);
        // One that is there is a number that counts, however small.
        let counts = |pair: &(&f64, &f64)| not_underflown(pair) || *pair.1 > f64::NEG_INFINITY;
        let pairs = || self.log_w.iter().zip(&self.given).filter(counts);
        let kl = certificate::kl_divergence(pairs().map(|(w, _)| *w), pairs().map(|(_, g)| *g));
        // 0 · ∞ is none.
        let deviation = self.deviation();
        let cross = if dual_kl == 0.0 { 0.0 } else { (2.0 * dual_kl).sqrt() * deviation };
        or_unknown(dual_kl + kl / self.log_rows.len() as f64 + cross)
    }

    /// `mean_i KL(w_i ‖ W(u)_i)`; an underflown element may stand against a tiny one.
    fn mean_row_kl(&self) -> f64 {
        let kl = certificate::kl_divergence(self.given.iter().copied(), self.log_w.iter().copied());
        kl / self.log_rows.len() as f64
    }

    fn verdict(&self, method: &Method) -> Verification {
        let certificate = match method {
            Method::Mira(m) => self.mira(m.beta()),
            Method::Softmax(_) | Method::Centered(_) => self.mira(0.0),
            Method::Sinkhorn(m) => self.sinkhorn(m.epsilon()),
        };
        Verification {
            certificate,
            objective: self.objective(method, &certificate),
            marginal_entropy: entropy(&self.given_log_marginal),
            row_sum_error: self.row_sum_error,
        }
    }

    fn mira(&self, beta: f64) -> Certificate {
        let gamma = beta / (1.0 - beta);
        let row_kl = or_unknown(self.mean_row_kl());
        let allowance = self.allowance(gamma);
        if beta == 0.0 {
            return Certificate {
                duality_gap: row_kl,
                label_kl_bound: row_kl,
                log_ratio_bound: self.deviation() + self.log_row_sum,
                marginal_error: 0.0,
                rounding_allowance: allowance,
            };
        }
        let log_u = self.log_u(gamma);
        let pairs = || self.given_log_marginal.iter().copied();
        let gap = (1.0 - beta) * row_kl
            + beta * or_unknown(certificate::kl_divergence(pairs(), log_u.iter().copied()));
        Certificate {
            duality_gap: gap,
            label_kl_bound: gap / (1.0 - beta),
            log_ratio_bound: self.deviation() + self.log_row_sum + self.mira_bound(beta),
            marginal_error: or_unknown(
                pairs().zip(&log_u).map(|(w, u)| (w.exp() - u.exp()).abs()).sum(),
            ),
            rounding_allowance: allowance,
        }
    }

    /// `log u = −a/γ`, normalised over the prototypes not forbidden everywhere.
    fn log_u(&self, gamma: f64) -> Vec<f64> {
        let mut log_u: Vec<f64> = self
            .log_weights
            .iter()
            .zip(&self.log_marginal)
            .map(|(a, &l)| if l == f64::NEG_INFINITY { l } else { -a / gamma })
            .collect();
        let mass = log_sum_exp(log_u.iter().copied());
        for l in &mut log_u {
            *l -= mass;
        }
        log_u
    }

    fn sinkhorn(&self, epsilon: f64) -> Certificate {
        let (k, batch) = (self.log_weights.len() as f64, self.log_rows.len() as f64);
        // With W for BP: columns scaled down to B/K, rows then filled up by a rank-one remainder.
        let shrink: Vec<f64> =
            self.given_log_marginal.iter().map(|l| (1.0 / (k * l.exp())).min(1.0)).collect();
        let missing_column: Vec<f64> = self
            .given_log_marginal
            .iter()
            .zip(&shrink)
            .map(|(l, x)| (1.0 / k - l.exp() * x).max(0.0))
            .collect();
        let missing: f64 = missing_column.iter().sum();
        let mut kl = 0.0;
        for (given, target) in
            self.given.chunks_exact(shrink.len()).zip(self.log_w.chunks_exact(shrink.len()))
        {
            let kept: f64 = given.iter().zip(&shrink).map(|(g, x)| g.exp() * x).sum();
            let share = if missing > 0.0 { (1.0 - kept).max(0.0) / missing } else { 0.0 };
            let rounded = given
                .iter()
                .zip(shrink.iter().zip(&missing_column))
                .map(|(g, (x, m))| (g.exp() * x + share * m).ln());
            kl += certificate::kl_divergence(rounded, target.iter().copied());
        }
        let gap = epsilon * kl / batch;
        let at_dual = certificate::sinkhorn_certificate(
            epsilon,
            row_span(self.problem.logits),
            &self.log_weights,
            &self.log_marginal,
            0.0,
        );
        let uniform = 1.0 / k;
        // What was given has other column sums than a transport plan, and so another objective: F(W) − D(f) = ε mean KL(w_i ‖ W(f)_i) + Σ_j (w̄_j − 1/K) f_j.
        let potentials = self.log_weights.iter().map(|a| epsilon * a);
        let columns = certificate::sum(
            self.given_log_marginal.iter().zip(potentials).map(|(l, f)| (l.exp() - uniform) * f),
        );
        let of_given = epsilon * self.mean_row_kl() + columns;
        // Both bound how far the dual point is from the best one.
        let dual_kl = or_unknown(gap).min(or_unknown(at_dual.duality_gap)) / epsilon;
        Certificate {
            duality_gap: or_unknown(gap).max(or_unknown(of_given)),
            label_kl_bound: self.reverse_kl(dual_kl),
            log_ratio_bound: self.deviation() + self.log_row_sum + at_dual.log_ratio_bound,
            marginal_error: self.given_log_marginal.iter().map(|l| (l.exp() - uniform).abs()).sum(),
            rounding_allowance: self.allowance(certificate::sinkhorn_amplification(
                epsilon,
                row_span(self.problem.logits),
            )),
        }
    }

    /// First-order worst case of this verifier's arithmetic: sums of K and B terms, exponents of the size of the logits' and weights' span. `gamma`
    /// is what the per-element bound multiplies errors of marginals by.
    fn allowance(&self, gamma: f64) -> f64 {
        let shape = self.problem.logits.shape();
        // Of elements that have not underflown: further below the largest of their row there is nothing to compare.
        let weights = span(self.log_weights.iter().copied());
        let logits = row_span_finite(self.problem.logits) / self.problem.epsilon;
        let exponents = logits.min(weights - self.log_floor) + weights;
        let terms = shape.batch() as f64 + shape.num_prototypes() as f64;
        (1.0 + 2.0 * gamma) * (f64::EPSILON / 2.0) * (terms + 3.0 * exponents + 16.0)
    }

    fn objective(&self, method: &Method, certificate: &Certificate) -> Option<f64> {
        let batch = self.log_rows.len() as f64;
        match method {
            Method::Centered(_) => None,
            Method::Softmax(_) => Some(certificate.duality_gap),
            // F(W) = D(u) + gap, D(u) = −(1−β) mean log row − β log Σ e^{−a/γ} + mean log Σ exp(S/τ). Of the first and the last, which are as large as
            // S/τ and nearly equal, the difference row by row, relative to the row's largest logit.
            Method::Mira(m) => {
                let beta = m.beta();
                let log_u_mass = if beta == 0.0 {
                    0.0
                } else {
                    let active = self.log_weights.iter().zip(&self.log_marginal);
                    log_sum_exp(
                        active
                            .filter(|(_, l)| **l > f64::NEG_INFINITY)
                            .map(|(a, _)| -a * (1.0 - beta) / beta),
                    )
                };
                let difference = |i| {
                    let row = self.problem.relative_row(i);
                    let weighted = row.clone().zip(&self.log_weights).map(|(x, a)| x + a);
                    log_sum_exp(row.map(|x| (1.0 - beta) * x))
                        - (1.0 - beta) * log_sum_exp(weighted)
                };
                let differences = certificate::sum((0..self.log_rows.len()).map(difference));
                Some(differences / batch - beta * log_u_mass + certificate.duality_gap)
            }
            Method::Sinkhorn(m) => {
                let k = self.log_weights.len();
                let mut sum = 0.0;
                for (i, given) in self.given.chunks_exact(k).enumerate() {
                    for (g, x) in given.iter().zip(self.problem.row(i)) {
                        if *g > f64::NEG_INFINITY {
                            sum += g.exp() * (g - x);
                        }
                    }
                }
                Some(m.epsilon() * sum / batch)
            }
        }
    }
}

/// The largest span of a row's finite logits.
fn row_span_finite<T: AsPrimitive<f64>>(logits: Matrix<'_, T>) -> f64 {
    logits.rows().map(|row| span(row.iter().map(|s| s.as_()))).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests;
