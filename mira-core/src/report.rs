//! What an assigner says about its last answer.

use crate::{Certificate, StopRule};

/// Whether the stop rule's tolerance was met.
///
/// For a fixed number of sweeps the certificate is judged against the default tolerance of the arithmetic, so that
/// "30 sweeps" says honestly whether 30 were enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Status {
    /// The certificate is within the tolerance.
    Converged,
    /// The sweeps ran out first; the certificate says how far they got. More sweeps, or a tolerance as stop rule instead of a fixed number, are the remedy.
    MaxIterations,
    /// The iteration stood still above the tolerance, and ended with sweeps left; the certificate says where. No number of sweeps is a remedy: rounding
    /// allows no better (f64 does, or a looser tolerance), or forbidden entries leave no assignment with equal usage (Sinkhorn–Knopp; MIRA always has one).
    Stalled,
}

impl Status {
    /// Of a run that was `within` its tolerance or not when it ended after so many iterations.
    pub(crate) fn of(within: bool, iterations: usize, stop: StopRule, is_cut_short: bool) -> Self {
        match stop {
            _ if within => Self::Converged,
            StopRule::Tolerance { max_sweeps, .. } | StopRule::DualityGap { max_sweeps, .. }
                if iterations < max_sweeps && !is_cut_short =>
            {
                Self::Stalled
            }
            _ => Self::MaxIterations,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Converged => "converged",
            Self::MaxIterations => "max_iterations",
            Self::Stalled => "stalled",
        })
    }
}

/// The outcome of one assignment: status, work done, certificate and batch statistics.
///
/// All values are over the *global* batch when a [`Collective`](crate::Collective) of several ranks is used, and equal on
/// every rank.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Report {
    /// Whether the tolerance was met.
    pub status: Status,
    /// Sweeps after the start (`u⁰` for MIRA, as in the golden vectors; for Sinkhorn–Knopp the start is the first). For
    /// [`StopRule::Sweeps`](crate::StopRule::Sweeps) the place in the published sequence that was asked for.
    pub iterations: usize,
    /// Passes over the batch that were carried out: the start, the sweeps, the last write, and any that underflow or rounding had
    /// repeated.
    pub passes: usize,
    /// How far from optimal, proven; see [`Certificate`].
    pub certificate: Certificate,
    /// Entropy of the marginal `−Σ_j w̄_j log w̄_j` in nats, in [0, log K]; `exp` of it is the perplexity, the effective number of
    /// prototypes in use.
    pub marginal_entropy: f64,
    /// Value of the method's objective at the assignment: Eq. 4 for MIRA (where the backend was asked to compute it),
    /// `−(1/B) Σ w·S + (ε/B) Σ w log w` for Sinkhorn–Knopp, 0 for softmax. MIRA's is a difference of numbers as large as S/τ, of which
    /// some 2⁻⁵² are lost: at |S|/τ of 1e9 it has nine digits after the point. [`verify`](crate::verify()) keeps them at any temperature.
    pub objective: Option<f64>,
}
