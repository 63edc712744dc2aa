//! What a run has to say: everything follows from its last weights, the marginal there, and a few means over rows.

use super::{Arithmetic, Domain, FixedPoint, Target};
use crate::certificate::{self, Certificate};
use crate::{Method, Report, Status, StopRule};

/// What the K-vectors of a finished run come to: on the host by [`new`](Self::new), or the same in f64 on a backend's device, so that they need
/// not be fetched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How far the assignment is from the optimum.
    pub certificate: Certificate,
    /// As [`Report::marginal_entropy`].
    pub marginal_entropy: f64,
    /// The objective's term of log weights `a` and marginal `w̄`: `Σ_j w̄_j a_j` for Sinkhorn–Knopp, `log Σ_j exp(−a_j (1−β)/β)` over the
    /// prototypes with `w̄_j > 0` for MIRA with β > 0, otherwise 0.
    pub weight_term: f64,
    /// The largest magnitude of the logarithms that the labels are made of, as [`largest_exponent`](crate::largest_exponent) has it.
    pub largest_exponent: f64,
}

impl Summary {
    /// From natural-log column weights (K) and the logarithms of the marginal there (K; −∞ for prototypes forbidden in every row). `row_span` is
    /// the largest `max_j S_ij − min_j S_ij`, for Sinkhorn–Knopp; `+∞` with forbidden entries.
    pub fn new(
        method: &Method,
        arithmetic: Arithmetic,
        row_span: f64,
        log_weights: &[f64],
        log_marginal: &[f64],
    ) -> Self {
        let (a, m, u) = (log_weights, log_marginal, arithmetic.unit_roundoff);
        let (certificate, weight_term) = match method {
            Method::Softmax(_) => {
                (Certificate::exact(certificate::rounding_allowance(0.0, u, 0.0)), 0.0)
            }
            Method::Centered(_) => {
                // Weights are a quotient, which is rounded, and logits are added to them.
                let exponent = 2.0 * certificate::largest_exponent(a, m);
                (Certificate::exact(certificate::rounding_allowance(0.0, u, exponent)), 0.0)
            }
            Method::Mira(mira) => {
                let beta = mira.beta();
                let active = a.iter().zip(m).filter(|(_, m)| **m > f64::NEG_INFINITY);
                let log_u_mass = if beta == 0.0 {
                    0.0
                } else {
                    certificate::log_sum_exp(active.map(|(a, _)| -a * (1.0 - beta) / beta))
                };
                (certificate::mira_certificate(beta, a, m, u), log_u_mass)
            }
            Method::Sinkhorn(sinkhorn) => (
                certificate::sinkhorn_certificate(sinkhorn.epsilon(), row_span, a, m, u),
                a.iter().zip(m).map(|(a, m)| m.exp() * a).sum(),
            ),
        };
        Self {
            certificate,
            marginal_entropy: marginal_entropy(m),
            weight_term,
            largest_exponent: certificate::largest_exponent(a, m),
        }
    }
}

/// What is left of a run, on the host or fetched from a device. [`report`](Self::report) says everything that follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What was computed.
    pub method: Method,
    /// In which arithmetic.
    pub arithmetic: Arithmetic,
    /// As [`Report::iterations`].
    pub iterations: usize,
    /// As [`Report::passes`].
    pub passes: usize,
    /// Whether something else than the method's own rule limits the passes, and may have ended the run.
    pub is_cut_short: bool,
    /// Mean over rows of `log Σ_l e^{a_l + S_il/ε}`, `a` being the log weights.
    pub mean_log_row: f64,
    /// Mean over rows of `log Σ_l exp(S_il/τ)` if MIRA's objective is wanted.
    pub mean_log_partition: Option<f64>,
    /// Largest `max_j S_ij − min_j S_ij`, for Sinkhorn–Knopp; `+∞` with forbidden entries.
    pub row_span: f64,
    /// What the K-vectors come to.
    pub summary: Summary,
}

impl FixedPoint {
    /// Status, certificate and statistics of the last run; `None` if there was none or it failed.
    pub fn report(&self) -> Option<Report> {
        let finished = self.finished.as_ref()?;
        let outcome = Outcome {
            method: finished.method,
            arithmetic: finished.arithmetic,
            iterations: finished.iterations,
            passes: finished.passes,
            is_cut_short: false,
            mean_log_row: finished.mean_log_row,
            mean_log_partition: finished.mean_log_partition,
            row_span: finished.row_span,
            summary: {
                let mut summary = Summary::new(
                    &finished.method,
                    finished.arithmetic,
                    finished.row_span,
                    &self.log_weights,
                    &self.log_marginal,
                );
                summary.certificate.rounding_allowance += self.exponents_allowance();
                summary
            },
        };
        Some(outcome.report())
    }
}

impl FixedPoint {
    /// What the exponents' own rounding adds, in the log domain.
    pub(super) fn exponents_allowance(&self) -> f64 {
        match self.domain {
            Domain::Linear => 0.0,
            Domain::Log => certificate::exponents_allowance(f64::INFINITY),
        }
    }
}

impl Outcome {
    /// Status, certificate and statistics.
    pub fn report(&self) -> Report {
        let Summary { certificate, marginal_entropy, largest_exponent, .. } = self.summary;
        let target = Target::new(&self.method, self.arithmetic, self.row_span);
        let within = match (self.method, self.method.stop()) {
            (Method::Softmax(_) | Method::Centered(_), _) => true,
            (_, StopRule::DualityGap { tolerance, .. }) => certificate.duality_gap <= tolerance,
            (Method::Sinkhorn(_), _) => {
                certificate.marginal_error + target.marginal_rounding(largest_exponent)
                    <= target.tolerance
            }
            _ => certificate.log_ratio_bound + certificate.rounding_allowance <= target.tolerance,
        };
        Report {
            status: Status::of(within, self.iterations, self.method.stop(), self.is_cut_short),
            iterations: self.iterations,
            passes: self.passes,
            certificate,
            marginal_entropy,
            objective: self.objective(),
        }
    }

    fn objective(&self) -> Option<f64> {
        let Summary { certificate, weight_term, .. } = self.summary;
        match self.method {
            Method::Softmax(_) => Some(0.0),
            Method::Centered(_) => None,
            // −(1/B) Σ w S + (ε/B) Σ w log w with log w_ij = S_ij/ε + a_j − log row_i.
            Method::Sinkhorn(m) => Some(m.epsilon() * (weight_term - self.mean_log_row)),
            // F(W) = D(u) + gap with D(u) = −(1−β) mean log row − β log Σ e^{−a/γ} + mean log partition.
            Method::Mira(m) => self.mean_log_partition.map(|log_partition| {
                let beta = m.beta();
                log_partition - (1.0 - beta) * self.mean_log_row - beta * weight_term
                    + certificate.duality_gap
            }),
        }
    }
}

/// `−Σ w̄ log w̄` of a normalised marginal given by its logarithm.
fn marginal_entropy(log_marginal: &[f64]) -> f64 {
    let sum: f64 =
        log_marginal.iter().filter(|l| **l > f64::NEG_INFINITY).map(|l| l.exp() * l).sum();
    // Rounding of the sums may leave −1e-17 for a one-hot marginal.
    (-sum).max(0.0)
}
