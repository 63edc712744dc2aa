//! When to stop: a stop rule made concrete, and the measures it is held against.

use super::{Arithmetic, FixedPoint};
use crate::certificate;
use crate::{Method, StopRule};

/// A method's stop rule made concrete for an arithmetic; a driver that runs on a device is told these numbers.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What must not be exceeded: by the per-element bound with its rounding allowance (MIRA), the marginal error
    /// (Sinkhorn–Knopp), or the duality gap.
    pub tolerance: f64,
    /// Cap on the sweeps, or their number.
    pub max_sweeps: usize,
    /// The tolerance is one on the duality gap.
    pub on_gap: bool,
    kind: Kind,
    unit_roundoff: f64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Mira { beta: f64 },
    Sinkhorn { epsilon: f64, row_span: f64 },
}

impl Target {
    /// The target of `method`; `row_span` is the largest span of a row of logits, which only a duality gap of Sinkhorn–Knopp needs.
    pub fn new(method: &Method, arithmetic: Arithmetic, row_span: f64) -> Self {
        let (tolerance, max_sweeps, on_gap) = match method.stop() {
            StopRule::Sweeps(n) => (arithmetic.default_tolerance, n, false),
            StopRule::Tolerance { tolerance, max_sweeps } => {
                (tolerance.unwrap_or(arithmetic.default_tolerance), max_sweeps, false)
            }
            StopRule::DualityGap { tolerance, max_sweeps } => (tolerance, max_sweeps, true),
        };
        let kind = match method {
            Method::Sinkhorn(m) => Kind::Sinkhorn { epsilon: m.epsilon(), row_span },
            Method::Mira(m) => Kind::Mira { beta: m.beta() },
            Method::Softmax(_) | Method::Centered(_) => Kind::Mira { beta: 0.0 },
        };
        Self { tolerance, max_sweeps, on_gap, kind, unit_roundoff: arithmetic.unit_roundoff }
    }

    /// What acceleration must improve: the per-element bound for MIRA, the marginal error for Sinkhorn–Knopp.
    pub(super) fn merit(&self, state: &FixedPoint) -> f64 {
        match self.kind {
            Kind::Mira { beta } => {
                let active = state.residual.iter().zip(&state.log_marginal);
                let residuals = active.map(|(f, &l)| if l == f64::NEG_INFINITY { l } else { *f });
                certificate::span(residuals) / (1.0 - beta)
            }
            Kind::Sinkhorn { .. } => {
                let uniform = 1.0 / state.log_marginal.len() as f64;
                state.log_marginal.iter().map(|l| (l.exp() - uniform).abs()).sum()
            }
        }
    }

    /// What is held against the tolerance.
    pub(super) fn distance(&self, state: &FixedPoint, merit: f64) -> f64 {
        match self.kind {
            Kind::Mira { beta } if self.on_gap => {
                certificate::mira_certificate(beta, &state.log_weights, &state.log_marginal, 0.0)
                    .duality_gap
            }
            Kind::Sinkhorn { epsilon, row_span } if self.on_gap => {
                let (a, m) = (&state.log_weights, &state.log_marginal);
                certificate::sinkhorn_certificate(epsilon, row_span, a, m, 0.0).duality_gap
            }
            Kind::Mira { .. } | Kind::Sinkhorn { .. } => merit + self.rounding(state),
        }
    }

    /// What rounding adds to the merit in what is held against the tolerance; 0 where nothing is added.
    pub(super) fn rounding(&self, state: &FixedPoint) -> f64 {
        match self.kind {
            Kind::Mira { beta } if !self.on_gap => {
                let exponent =
                    certificate::largest_exponent(&state.log_weights, &state.log_marginal);
                certificate::rounding_allowance(beta, self.unit_roundoff, exponent)
                    + state.exponents_allowance()
            }
            Kind::Sinkhorn { .. } if !self.on_gap => self.marginal_rounding(
                certificate::largest_exponent(&state.log_weights, &state.log_marginal),
            ),
            _ => 0.0,
        }
    }

    /// What rounding may add to the marginal error of labels as they are written, which is no more than to any of them: of Sinkhorn–Knopp, whose
    /// tolerance is one of it.
    pub(super) fn marginal_rounding(&self, largest_exponent: f64) -> f64 {
        match self.kind {
            Kind::Mira { .. } => 0.0,
            Kind::Sinkhorn { .. } => {
                certificate::rounding_allowance(0.0, self.unit_roundoff, largest_exponent)
            }
        }
    }

    /// The tolerance for a driver that adds no rounding to a marginal error but that of logarithms.
    pub fn tolerance_less_rounding(&self) -> f64 {
        if self.on_gap { self.tolerance } else { self.tolerance - self.marginal_rounding(0.0) }
    }

    /// Whether the steps that follow the next plain one cannot move any log-probability by more than rounding may anyway: all of them
    /// together move the weights by at most `β/(1−β)` times the residual's span, as every step contracts it by β.
    pub(super) fn is_settled(&self, state: &FixedPoint) -> bool {
        let Kind::Mira { beta } = self.kind else { return false };
        let exponent = certificate::largest_exponent(&state.log_weights, &state.log_marginal);
        beta * self.merit(state)
            <= certificate::rounding_allowance(beta, self.unit_roundoff, exponent)
    }

    /// Below this, a merit that no longer falls has met the noise of the arithmetic.
    pub fn noise(&self) -> f64 {
        match self.kind {
            Kind::Mira { beta } => 1e3 * self.unit_roundoff / (1.0 - beta),
            Kind::Sinkhorn { .. } => 1e3 * self.unit_roundoff,
        }
    }

    /// Sweeps in which a merit above the noise must fall noticeably: MIRA's plain steps alone halve it in log 2/log(1/β).
    pub fn patience(&self) -> usize {
        match self.kind {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            // at most 1e17, saturating
            Kind::Mira { beta } if beta > 0.0 => 8 + (2.0 * 2f64.ln() / -beta.ln()) as usize,
            Kind::Mira { .. } => 8,
            Kind::Sinkhorn { .. } => 20,
        }
    }
}
