//! What a run has to say: everything follows from its last weights, the marginal there, and a few means over rows.

use super::{FixedPoint, Outcome, Target};
use crate::certificate::{self, Certificate};
use crate::{Method, Report, Status, StopRule};

impl FixedPoint {
    /// Status, certificate and statistics of the last run; `None` if there was none or it failed.
    pub fn report(&self) -> Option<Report> {
        let outcome = self.outcome.as_ref()?;
        let certificate = self.certificate(outcome);
        let target = Target::new(
            &outcome.method,
            outcome.method.stop(),
            outcome.arithmetic,
            outcome.row_span,
        );
        let within = match (outcome.method, outcome.method.stop()) {
            (Method::Softmax(_) | Method::Centered(_), _) => true,
            (_, StopRule::DualityGap { tolerance, .. }) => certificate.duality_gap <= tolerance,
            (Method::Sinkhorn(_), _) => certificate.marginal_error <= target.tolerance,
            _ => certificate.log_ratio_bound + certificate.rounding_allowance <= target.tolerance,
        };
        Some(Report {
            status: if within { Status::Converged } else { Status::MaxIterations },
            iterations: outcome.iterations,
            passes: outcome.passes,
            certificate,
            marginal_entropy: marginal_entropy(&self.log_marginal),
            objective: self.objective(outcome, &certificate),
        })
    }

    fn certificate(&self, outcome: &Outcome) -> Certificate {
        let unit_roundoff = outcome.arithmetic.unit_roundoff;
        match outcome.method {
            Method::Softmax(_) | Method::Centered(_) => {
                Certificate::exact(certificate::rounding_allowance(0.0, unit_roundoff, 0.0))
            }
            Method::Mira(m) => certificate::mira_certificate(
                m.beta(),
                &self.log_weights,
                &self.log_marginal,
                unit_roundoff,
            ),
            Method::Sinkhorn(m) => certificate::sinkhorn_certificate(
                m.epsilon(),
                outcome.row_span,
                &self.log_weights,
                &self.log_marginal,
                unit_roundoff,
            ),
        }
    }

    fn objective(&self, outcome: &Outcome, certificate: &Certificate) -> Option<f64> {
        match outcome.method {
            Method::Softmax(_) => Some(0.0),
            Method::Centered(_) => None,
            // −(1/B) Σ w S + (ε/B) Σ w log w with log w_ij = S_ij/ε + a_j − log row_i.
            Method::Sinkhorn(m) => {
                let potentials: f64 =
                    self.log_weights.iter().zip(&self.log_marginal).map(|(a, l)| l.exp() * a).sum();
                Some(m.epsilon() * (potentials - outcome.mean_log_row))
            }
            // F(W) = D(u) + gap with D(u) = −(1−β) mean log row − β log Σ e^{−a/γ} + mean log partition.
            Method::Mira(m) => outcome.mean_log_partition.map(|log_partition| {
                let beta = m.beta();
                let log_u_mass = if beta == 0.0 {
                    0.0
                } else {
                    let active = self.log_weights.iter().zip(&self.log_marginal);
                    certificate::log_sum_exp(
                        active
                            .filter(|(_, l)| **l > f64::NEG_INFINITY)
                            .map(|(a, _)| -a * (1.0 - beta) / beta),
                    )
                };
                log_partition - (1.0 - beta) * outcome.mean_log_row - beta * log_u_mass
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
