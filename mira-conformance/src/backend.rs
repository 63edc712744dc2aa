//! What a backend writes to be tested.

use std::sync::Arc;

use mira_core::{Collective, Error, Method, Report, Shape};

/// What an element type of assignments brings with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    unit_roundoff: f64,
    tolerance_tv: f64,
    smallest_normal: f64,
}

/// Sweeps and assignments in f64.
pub const IN_F64: Limits = Limits {
    unit_roundoff: f64::EPSILON / 2.0,
    tolerance_tv: 1e-10,
    smallest_normal: f64::MIN_POSITIVE,
};
/// Sweeps and assignments in f32.
pub const IN_F32: Limits = Limits {
    unit_roundoff: f32::EPSILON as f64 / 2.0,
    tolerance_tv: 1e-5,
    smallest_normal: f32::MIN_POSITIVE as f64,
};

/// A backend under test, with plain `f64` slices at the border.
pub trait Backend {
    /// What failures call it.
    const NAME: &'static str;
    /// Of the sweeps and of the assignment.
    const LIMITS: Limits;
    /// Unit roundoff of its arithmetic.
    const UNIT_ROUNDOFF: f64 = Self::LIMITS.unit_roundoff;
    /// Largest total variation of a row from the oracle's, both after the same number of sweeps.
    const TOLERANCE_TV: f64 = Self::LIMITS.tolerance_tv;
    /// Smallest positive normal number of the assignment's type.
    const SMALLEST_NORMAL: f64 = Self::LIMITS.smallest_normal;

    /// Whether a warm start saves it sweeps.
    const STARTS_WARM: bool;

    /// Whether it rounds the exponents `S/ε` of what it sweeps to f64, which reports take for exact but in the log domain.
    const ROUNDS_EXPONENTS: bool = false;

    /// Before something whose time has a limit: what is made once for the whole program.
    fn prepare() {}

    /// How many random cases to try where `cases` are usual: fewer on a backend that is slow.
    fn cases(cases: u32) -> u32 {
        cases
    }

    /// A logit as the backend's element type holds it. Oracles are given the same number: storage is not an error of the arithmetic.
    fn stored(logit: f64) -> f64;

    /// Assigns the batches one after the other with one workspace.
    fn stream(
        method: Method,
        shape: Shape,
        warm_start: bool,
        batches: &[&[f64]],
    ) -> Vec<Result<Answer, Failure>>;

    /// One assignment, cold.
    ///
    /// # Errors
    /// The backend's.
    fn assign(method: Method, shape: Shape, logits: &[f64]) -> Result<Answer, Failure> {
        Self::stream(method, shape, false, &[logits]).remove(0)
    }

    /// The tightest per-element tolerance worth asking for at this β.
    fn tight(beta: f64) -> f64 {
        // The certificate's own allowance for rounding, and room for the sums' noise, which the bound multiplies by 1/(1−β).
        (64.0 * Self::UNIT_ROUNDOFF / (1.0 - beta)).max(1e-13)
    }
}

/// A backend whose rows may be spread over ranks.
pub trait Distributed: Backend {
    /// One assignment, cold, of this rank's rows; all ranks at once, each on a thread of its own.
    ///
    /// # Errors
    /// This rank's, or that another one failed or disagrees.
    fn assign_on_rank(
        method: Method,
        shape: Shape,
        logits: &[f64],
        collective: Arc<dyn Collective>,
    ) -> Result<Answer, Failure>;
}

/// What a backend made of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// B × K, row by row.
    pub assignment: Vec<f64>,
    /// As the backend gives it.
    pub report: Report,
    /// Natural-log column weights of the answer, up to an additive constant.
    pub log_weights: Vec<f64>,
}

/// What a backend said instead.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// One of `mira-core`, which checks look into.
    Core(Error),
    /// An error of the backend's own.
    Backend(String),
}
