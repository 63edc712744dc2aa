//! What a run has to say: everything follows from its last weights, the marginal there, and a few means over rows.

use super::{Arithmetic, FixedPoint, Target};
use crate::certificate::{self, Certificate};
use crate::{Method, Report, Status, StopRule};

/// What is left of a run, on the host or fetched from a device. [`report`](Self::report) says everything that follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// What was computed.
    pub method: Method,
    /// In which arithmetic.
    pub arithmetic: Arithmetic,
    /// As [`Report::iterations`].
    pub iterations: usize,
    /// As [`Report::passes`].
    pub passes: usize,
    /// Mean over rows of `log Σ_l e^{a_l + S_il/ε}`, `a` being the log weights.
    pub mean_log_row: f64,
    /// Mean over rows of `log Σ_l exp(S_il/τ)` if MIRA's objective is wanted.
    pub mean_log_partition: Option<f64>,
    /// Largest `max_j S_ij − min_j S_ij`, for Sinkhorn–Knopp; `+∞` with forbidden entries.
    pub row_span: f64,
    /// Natural-log column weights of the assignment, K.
    pub log_weights: &'a [f64],
    /// Natural logarithms of the marginal there, K; −∞ for prototypes forbidden in every row.
    pub log_marginal: &'a [f64],
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
            mean_log_row: finished.mean_log_row,
            mean_log_partition: finished.mean_log_partition,
            row_span: finished.row_span,
            log_weights: &self.log_weights,
            log_marginal: &self.log_marginal,
        };
        Some(outcome.report())
    }
}

impl Outcome<'_> {
    /// Status, certificate and statistics.
    pub fn report(&self) -> Report {
        let certificate = self.certificate();
        let target = Target::new(&self.method, self.arithmetic, self.row_span);
        let within = match (self.method, self.method.stop()) {
            (Method::Softmax(_) | Method::Centered(_), _) => true,
            (_, StopRule::DualityGap { tolerance, .. }) => certificate.duality_gap <= tolerance,
            (Method::Sinkhorn(_), _) => certificate.marginal_error <= target.tolerance,
            _ => certificate.log_ratio_bound + certificate.rounding_allowance <= target.tolerance,
        };
        Report {
            status: if within { Status::Converged } else { Status::MaxIterations },
            iterations: self.iterations,
            passes: self.passes,
            certificate,
            marginal_entropy: marginal_entropy(self.log_marginal),
            objective: self.objective(&certificate),
        }
    }

    fn certificate(&self) -> Certificate {
        let (a, m, u) = (self.log_weights, self.log_marginal, self.arithmetic.unit_roundoff);
        match self.method {
            Method::Softmax(_) | Method::Centered(_) => {
                Certificate::exact(certificate::rounding_allowance(0.0, u, 0.0))
            }
            Method::Mira(mira) => certificate::mira_certificate(mira.beta(), a, m, u),
            Method::Sinkhorn(sinkhorn) => {
                certificate::sinkhorn_certificate(sinkhorn.epsilon(), self.row_span, a, m, u)
            }
        }
    }

    fn objective(&self, certificate: &Certificate) -> Option<f64> {
        match self.method {
            Method::Softmax(_) => Some(0.0),
            Method::Centered(_) => None,
            // −(1/B) Σ w S + (ε/B) Σ w log w with log w_ij = S_ij/ε + a_j − log row_i.
            Method::Sinkhorn(m) => {
                let potentials: f64 =
                    self.log_weights.iter().zip(self.log_marginal).map(|(a, l)| l.exp() * a).sum();
                Some(m.epsilon() * (potentials - self.mean_log_row))
            }
            // F(W) = D(u) + gap with D(u) = −(1−β) mean log row − β log Σ e^{−a/γ} + mean log partition.
            Method::Mira(m) => self.mean_log_partition.map(|log_partition| {
                let beta = m.beta();
                let log_u_mass = if beta == 0.0 {
                    0.0
                } else {
                    let active = self.log_weights.iter().zip(self.log_marginal);
                    certificate::log_sum_exp(
                        active
                            .filter(|(_, l)| **l > f64::NEG_INFINITY)
                            .map(|(a, _)| -a * (1.0 - beta) / beta),
                    )
                };
                log_partition - (1.0 - beta) * self.mean_log_row - beta * log_u_mass
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
