//! What a backend supplies to the driver: passes over its rows.

use crate::Error;

/// What a pass does besides summing columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Only the marginal.
    Sweep,
    /// Also writes the assignment at these weights. A sweep may follow, at other weights.
    Write,
}

/// How a pass computes and returns its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Sums of probabilities: fast, enough unless weights or logits span more than the arithmetic's exponent range.
    Linear,
    /// Natural logarithms of the sums, computed so that nothing underflows, however slow.
    Log,
}

/// What a pass returns besides the sums; all local to the rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PassInfo {
    /// Upper bound on what underflow has taken from any single column sum. Where it is 0, a sum of 0 says that every row forbids the column.
    pub lost_mass: f64,
    /// `Σ_i log Σ_l e^{a_l + S_il/ε}`.
    pub sum_log_row: f64,
}

/// One rank's rows, as the driver sees them.
///
/// `log_weights` are natural-log column weights `a` of length K, finite, centred so that their largest and smallest are of
/// equal magnitude. Implementations may sum rows in any fixed order.
pub trait Sweep {
    /// The backend's error.
    type Error: From<Error>;

    /// Number of local rows.
    fn batch(&self) -> usize;

    /// Computes `sums_j = Σ_i W_ij` (or its logarithm, by `domain`) of `W_ij = e^{a_j} k_ij / Σ_l e^{a_l} k_il`, `k = exp(S/ε)`.
    ///
    /// # Errors
    /// Invalid logits, a failed device.
    fn pass(
        &mut self,
        log_weights: &[f64],
        pass: Pass,
        domain: Domain,
        sums: &mut [f64],
    ) -> Result<PassInfo, Self::Error>;

    /// `log_sums_j = log Σ_i exp(S_ij/ε)`, the start of Sinkhorn–Knopp, and the largest span of a row of logits
    /// (`+∞` if any logit is −∞) as the value.
    ///
    /// # Errors
    /// Invalid logits, a failed device.
    fn log_column_sums(&mut self, log_sums: &mut [f64]) -> Result<f64, Self::Error>;

    /// `sums_j = Σ_i S_ij`, for the centre.
    ///
    /// # Errors
    /// A failed device.
    fn logit_sums(&mut self, sums: &mut [f64]) -> Result<(), Self::Error>;

    /// Natural logarithms of positive normal numbers, in place. Provided; a backend may have a faster one, good to 1e-15.
    fn ln(&self, values: &mut [f64]) {
        for value in values {
            *value = value.ln();
        }
    }

    /// `Σ_i log Σ_l exp(S_il/τ)` if this backend was asked to compute MIRA's objective.
    fn sum_log_partition(&mut self) -> Option<f64> {
        None
    }
}

/// The arithmetic a backend sweeps in.
///
/// Reports state what its rounding may add to their bounds ([`rounding_allowance`](crate::rounding_allowance)). They take exponents `S/ε` of linear passes for exact, as after a reduction
/// by fused multiply-add, and sums of a row for rounded a few times, not once a term: one after the other, terms that are alike are all rounded the same way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arithmetic {
    /// Unit roundoff `u`: 2⁻²⁴ in f32, 2⁻⁵³ in f64.
    pub unit_roundoff: f64,
    /// Tolerance meant by `StopRule::Tolerance { tolerance: None, .. }`.
    pub default_tolerance: f64,
}

impl Arithmetic {
    /// f32 sums with f64 K-vectors.
    pub const F32: Self =
        Self { unit_roundoff: f32::EPSILON as f64 / 2.0, default_tolerance: 1e-5 };
    /// f64 throughout.
    pub const F64: Self = Self { unit_roundoff: f64::EPSILON / 2.0, default_tolerance: 1e-10 };
}
