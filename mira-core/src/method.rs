//! The methods as validated data: a backend reads them, nothing can build an invalid one.
//!
//! All of them are one family (see [`Scaling`]): a kernel `k_ij = exp(S_ij/ε)`, column weights `w = e^a`, and the answer
//! `W_ij = e^{a_j} k_ij / Σ_l e^{a_l} k_il`. They differ in ε and in how `a` is found.

use crate::Error;

/// When an iterative method stops.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum StopRule {
    /// The assignment after this many plain sweeps: reproduces the published sequences (MIRA 30, `SwAV` 3). No acceleration, no warm
    /// start.
    ///
    /// MIRA's sweeps are carried out one by one until the rest, all together, provably moves no log-probability by more than
    /// [`Certificate::rounding_allowance`](crate::Certificate::rounding_allowance), which the rounding of a sweep may move anyway:
    /// the map contracts the span of the log weights by β, so what is left of the sequence moves them by at most
    /// `β/(1−β) · span(residual)`. [`Report::passes`](crate::Report::passes) says how many were carried out.
    Sweeps(usize),
    /// Stop when the assignment is proven accurate, at the latest after `max_sweeps`.
    ///
    /// For MIRA the bounded quantity is the per-element error `max_ij |log w_ij − log w*_ij|`
    /// ([`Certificate::log_ratio_bound`](crate::Certificate::log_ratio_bound)); for Sinkhorn–Knopp the marginal error `‖w̄ − 1/K‖₁`.
    Tolerance {
        /// The bound to reach, [`rounding_allowance`](crate::Certificate::rounding_allowance) included; `None` is the arithmetic's default: 1e-5 in f32,
        /// 1e-10 in f64. Rounding alone adds `8u/(1−β)`, with u = 2⁻²⁴ in f32: 1.4e-6 at β = 2/3, and more than 1e-5 above β = 0.952. In f64 log weights in
        /// the hundreds (logits of ±1e4, say) add more than 1e-10. Out of reach, the iteration ends where it is as near as rounding lets it be, with
        /// [`Status::Stalled`](crate::Status::Stalled). To a marginal error rounding adds `8u`.
        tolerance: Option<f64>,
        /// Cap on the sweeps.
        #[cfg_attr(feature = "serde", serde(default = "default_max_sweeps"))]
        max_sweeps: usize,
    },
    /// Stop when the duality gap is at most `tolerance`, at the latest after `max_sweeps`.
    DualityGap {
        /// The gap to reach, in nats (Sinkhorn–Knopp: in units of the logits). Rounding is not in it: it is that of the computed weights, not of what was
        /// written, which [`verify`](crate::verify()) judges. In f32 that matters below some 1e-14 for MIRA, whose gap is of second order, and for
        /// Sinkhorn–Knopp, whose gap is of first order in the marginal, below some 1e-6 of the span of the potentials and logits.
        tolerance: f64,
        /// Cap on the sweeps.
        #[cfg_attr(feature = "serde", serde(default = "default_max_sweeps"))]
        max_sweeps: usize,
    },
}

#[cfg(feature = "serde")]
const fn default_max_sweeps() -> usize {
    StopRule::DEFAULT_MAX_SWEEPS
}

impl StopRule {
    /// Cap on the sweeps unless one is given.
    pub const DEFAULT_MAX_SWEEPS: usize = 1000;

    /// Per-element tolerance with the default cap.
    pub const fn tolerance(tolerance: f64) -> Self {
        Self::Tolerance { tolerance: Some(tolerance), max_sweeps: Self::DEFAULT_MAX_SWEEPS }
    }

    /// Duality-gap tolerance with the default cap.
    pub const fn duality_gap(tolerance: f64) -> Self {
        Self::DualityGap { tolerance, max_sweeps: Self::DEFAULT_MAX_SWEEPS }
    }

    fn validate(self) -> Result<Self, Error> {
        match self {
            Self::Tolerance { tolerance: Some(got), .. }
            | Self::DualityGap { tolerance: got, .. }
                if !positive(got) =>
            {
                Err(Error::InvalidTolerance { got })
            }
            _ => Ok(self),
        }
    }
}

impl Default for StopRule {
    fn default() -> Self {
        Self::Tolerance { tolerance: None, max_sweeps: Self::DEFAULT_MAX_SWEEPS }
    }
}

/// Mutual-information regularised assignment (Lee, Kim et al., `NeurIPS` 2022, Eq. 4).
///
/// With `p_i = softmax(S_i/τ)` and the marginal `w̄_j = (1/B) Σ_i w_ij`, the assignment is the unique minimiser of
///
/// ```text
/// F(W) = −(1/B) Σ w_ij log p_ij + ((1−β)/B) Σ w_ij log w_ij + β Σ_j w̄_j log w̄_j
/// ```
///
/// over rows on the simplex. β = 0 is softmax; β → 1 approaches Sinkhorn–Knopp.
///
/// ```
/// use mira_core::{Mira, StopRule};
/// let certified = Mira::default();                       // τ = 0.225, β = 2/3, certified
/// let published = Mira::new(0.225, 2.0 / 3.0)?.with_stop(StopRule::Sweeps(30))?;
/// assert_eq!(certified.beta(), published.beta());
/// assert!(Mira::new(0.225, 1.0).is_err());
/// # Ok::<(), mira_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "raw::Mira", into = "raw::Mira"))]
pub struct Mira {
    temperature: f64,
    beta: f64,
    stop: StopRule,
}

impl Mira {
    /// Temperature τ > 0 and regularisation β ∈ [0, 1), stopped by [`StopRule::default`].
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`], [`Error::InvalidBeta`], [`Error::ScaleOverflow`].
    pub fn new(temperature: f64, beta: f64) -> Result<Self, Error> {
        let temperature = valid_temperature(temperature)?;
        if !(0.0..1.0).contains(&beta) {
            return Err(Error::InvalidBeta { got: beta });
        }
        valid_scale(temperature * (1.0 - beta))?;
        Ok(Self { temperature, beta, stop: StopRule::default() })
    }

    /// The same with another stop rule.
    ///
    /// # Errors
    /// [`Error::InvalidTolerance`].
    pub fn with_stop(self, stop: StopRule) -> Result<Self, Error> {
        Ok(Self { stop: stop.validate()?, ..self })
    }

    /// The published setting: τ = 0.225, β = 2/3, 30 sweeps of Eq. 7.
    pub fn published() -> Self {
        Self { stop: StopRule::Sweeps(30), ..Self::default() }
    }

    /// τ.
    pub const fn temperature(&self) -> f64 {
        self.temperature
    }

    /// β.
    pub const fn beta(&self) -> f64 {
        self.beta
    }

    /// The stop rule.
    pub const fn stop(&self) -> StopRule {
        self.stop
    }
}

impl Default for Mira {
    fn default() -> Self {
        Self { temperature: 0.225, beta: 2.0 / 3.0, stop: StopRule::default() }
    }
}

/// Sinkhorn–Knopp assignment with equal prototype usage (Cuturi 2013; Asano et al. 2020; Caron et al. 2020, `SwAV`, Eq. 3–5).
///
/// Minimises `−(1/B) Σ w_ij S_ij + (ε/B) Σ w_ij log w_ij` over rows on the simplex with marginal `w̄_j = 1/K`.
/// The iteration starts at `1/column sums of exp(S/ε)`, which counts as the first sweep; the last step normalises the rows,
/// so after few sweeps the marginal is still off, by [`Certificate::marginal_error`](crate::Certificate::marginal_error).
///
/// Logits of −∞ may leave no plan with equal usage, as where a prototype is forbidden in every row: the iteration then ends where it stands still, not converged.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "raw::Sinkhorn", into = "raw::Sinkhorn"))]
pub struct Sinkhorn {
    epsilon: f64,
    stop: StopRule,
}

impl Sinkhorn {
    /// Entropic regularisation ε > 0, stopped by [`StopRule::default`].
    ///
    /// # Errors
    /// [`Error::InvalidEpsilon`], [`Error::ScaleOverflow`].
    pub fn new(epsilon: f64) -> Result<Self, Error> {
        if !positive(epsilon) {
            return Err(Error::InvalidEpsilon { got: epsilon });
        }
        valid_scale(epsilon)?;
        Ok(Self { epsilon, stop: StopRule::default() })
    }

    /// The same with another stop rule.
    ///
    /// # Errors
    /// [`Error::InvalidTolerance`]; [`Error::NoSweeps`] for `StopRule::Sweeps(0)`.
    pub fn with_stop(self, stop: StopRule) -> Result<Self, Error> {
        if stop == StopRule::Sweeps(0) {
            return Err(Error::NoSweeps);
        }
        Ok(Self { stop: stop.validate()?, ..self })
    }

    /// `SwAV`'s setting (Caron et al. 2020): ε = 0.05, 3 sweeps.
    pub const fn swav() -> Self {
        Self { epsilon: 0.05, stop: StopRule::Sweeps(3) }
    }

    /// `DINOv2`'s `sinkhorn_knopp` centring (Oquab et al. 2023): ε is the teacher temperature, 0.07 after its warm-up from 0.04;
    /// 3 sweeps.
    pub const fn dinov2() -> Self {
        Self { epsilon: 0.07, stop: StopRule::Sweeps(3) }
    }

    /// ε.
    pub const fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// The stop rule.
    pub const fn stop(&self) -> StopRule {
        self.stop
    }
}

/// Row softmax `W_i = softmax(S_i/τ)`; MIRA at β = 0.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "raw::Softmax", into = "raw::Softmax"))]
pub struct Softmax {
    temperature: f64,
}

impl Softmax {
    /// Temperature τ > 0.
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`], [`Error::ScaleOverflow`].
    pub fn new(temperature: f64) -> Result<Self, Error> {
        let temperature = valid_temperature(temperature)?;
        valid_scale(temperature)?;
        Ok(Self { temperature })
    }

    /// τ.
    pub const fn temperature(&self) -> f64 {
        self.temperature
    }
}

/// Centring and sharpening (Caron et al. 2021, DINO, Eq. 4): `W_i = softmax((S_i − c)/τ)`, then
/// `c ← m·c + (1−m)·(1/B) Σ_i S_i`.
///
/// The centre `c` (K values, 0 at first) is state and lives in the backend's workspace: keep one workspace per stream of
/// batches and save its state in checkpoints. An assignment uses the centre of *before* its batch, as the published code does. A prototype that is
/// forbidden (−∞) in a row of the batch, or whose logits' sum is beyond f64, keeps its centre.
///
/// DINO centres both global views of a step alike and moves the centre once a step: stack their rows into one batch of 2B and assign that. View by view, the
/// second would be centred by the first. [`Assigner::assign`](crate::Assigner::assign) keeps no state: there the centre is 0, and this is softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "raw::Centered", into = "raw::Centered"))]
pub struct Centered {
    temperature: f64,
    momentum: f64,
}

impl Centered {
    /// Teacher temperature τ > 0 and centre momentum m ∈ [0, 1).
    ///
    /// # Errors
    /// [`Error::InvalidTemperature`], [`Error::InvalidMomentum`], [`Error::ScaleOverflow`].
    pub fn new(temperature: f64, momentum: f64) -> Result<Self, Error> {
        let temperature = valid_temperature(temperature)?;
        if !(0.0..1.0).contains(&momentum) {
            return Err(Error::InvalidMomentum { got: momentum });
        }
        valid_scale(temperature)?;
        Ok(Self { temperature, momentum })
    }

    /// DINO's setting: τ = 0.04, m = 0.9.
    pub const fn dino() -> Self {
        Self { temperature: 0.04, momentum: 0.9 }
    }

    /// τ.
    pub const fn temperature(&self) -> f64 {
        self.temperature
    }

    /// m.
    pub const fn momentum(&self) -> f64 {
        self.momentum
    }
}

/// Which assignment to compute. Exhaustive on purpose: a backend must decide about every method.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Method {
    /// Mutual-information regularised assignment.
    Mira(Mira),
    /// Sinkhorn–Knopp.
    Sinkhorn(Sinkhorn),
    /// Row softmax.
    Softmax(Softmax),
    /// DINO's centring and sharpening.
    Centered(Centered),
}

impl Default for Method {
    fn default() -> Self {
        Self::Mira(Mira::default())
    }
}

impl Method {
    /// The method's place in the family.
    pub fn scaling(&self) -> Scaling {
        match self {
            Self::Mira(m) => {
                Scaling { epsilon: m.temperature * (1.0 - m.beta), relaxation: m.beta }
            }
            Self::Sinkhorn(s) => Scaling { epsilon: s.epsilon, relaxation: 1.0 },
            Self::Softmax(s) => Scaling { epsilon: s.temperature, relaxation: 0.0 },
            Self::Centered(c) => Scaling { epsilon: c.temperature, relaxation: 0.0 },
        }
    }

    /// The stop rule; methods without an iteration make no sweep.
    pub const fn stop(&self) -> StopRule {
        match self {
            Self::Mira(m) => m.stop,
            Self::Sinkhorn(s) => s.stop,
            Self::Softmax(_) | Self::Centered(_) => StopRule::Sweeps(0),
        }
    }

    /// The method's name in reports; that of `mira-train`'s command line and recipes, too, which do not offer `centered`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mira(_) => "mira",
            Self::Sinkhorn(_) => "sinkhorn",
            Self::Softmax(_) => "softmax",
            Self::Centered(_) => "centered",
        }
    }
}

impl From<Mira> for Method {
    fn from(method: Mira) -> Self {
        Self::Mira(method)
    }
}
impl From<Sinkhorn> for Method {
    fn from(method: Sinkhorn) -> Self {
        Self::Sinkhorn(method)
    }
}
impl From<Softmax> for Method {
    fn from(method: Softmax) -> Self {
        Self::Softmax(method)
    }
}
impl From<Centered> for Method {
    fn from(method: Centered) -> Self {
        Self::Centered(method)
    }
}

/// A method's place in the family of scaling iterations.
///
/// With the kernel `k_ij = exp(S_ij/ε)` and log column weights `a`, one sweep computes
/// `t_j = (1/B) Σ_i k_ij / Σ_l e^{a_l} k_il` and maps
///
/// ```text
/// a ← −ρ log t        (ρ = 0: softmax, ρ = β: Eq. 7 of MIRA, ρ = 1: Sinkhorn–Knopp)
/// ```
///
/// For MIRA `log u = (1−β) log t`, so `a = −(β/(1−β)) log u` and this is Eq. 7 without its powers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// ε of the kernel: τ(1−β) for MIRA.
    pub epsilon: f64,
    /// ρ ∈ [0, 1].
    pub relaxation: f64,
}

fn positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}

fn valid_temperature(got: f64) -> Result<f64, Error> {
    if positive(got) { Ok(got) } else { Err(Error::InvalidTemperature { got }) }
}

fn valid_scale(epsilon: f64) -> Result<(), Error> {
    // Room for the largest f32 logit difference times log2(e): the exponent itself must stay finite.
    if epsilon > 0.0 && (1.0 / epsilon).is_finite() && 1.0 / epsilon < 1e200 {
        Ok(())
    } else {
        Err(Error::ScaleOverflow { epsilon })
    }
}

#[cfg(feature = "serde")]
mod raw;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_parameters_are_refused_with_their_value() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Mira::new(bad, 0.5), Err(Error::InvalidTemperature { .. })));
            assert!(matches!(Softmax::new(bad), Err(Error::InvalidTemperature { .. })));
            assert!(matches!(Sinkhorn::new(bad), Err(Error::InvalidEpsilon { .. })));
            assert!(matches!(Centered::new(bad, 0.9), Err(Error::InvalidTemperature { .. })));
            assert!(matches!(
                Mira::default().with_stop(StopRule::tolerance(bad)),
                Err(Error::InvalidTolerance { .. })
            ));
            assert!(matches!(
                Sinkhorn::swav().with_stop(StopRule::duality_gap(bad)),
                Err(Error::InvalidTolerance { .. })
            ));
        }
        for bad in [1.0, 1.5, -0.1, f64::NAN] {
            assert!(matches!(Mira::new(0.2, bad), Err(Error::InvalidBeta { .. })));
            assert!(matches!(Centered::new(0.2, bad), Err(Error::InvalidMomentum { .. })));
        }
        assert_eq!(Sinkhorn::swav().with_stop(StopRule::Sweeps(0)), Err(Error::NoSweeps));
        assert!(matches!(Mira::new(1e-300, 0.9), Err(Error::ScaleOverflow { .. })));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_round_trips_and_validates() {
        let methods: [Method; 4] = [
            Mira::published().into(),
            Sinkhorn::swav().into(),
            Softmax::new(0.1).unwrap().into(),
            Centered::dino().into(),
        ];
        for method in methods {
            let text = serde_json::to_string(&method).unwrap();
            assert_eq!(serde_json::from_str::<Method>(&text).unwrap(), method, "{text}");
        }
        let bad = r#"{"mira": {"temperature": 0.2, "beta": 1.0}}"#;
        assert!(
            serde_json::from_str::<Method>(bad)
                .unwrap_err()
                .to_string()
                .contains("beta must be in [0, 1)")
        );
        let misspelt = r#"{"mira": {"temperature": 0.2, "bta": 0.5}}"#;
        assert!(serde_json::from_str::<Method>(misspelt).is_err());
        let short = r#"{"tolerance":{"tolerance":1e-5}}"#;
        let expected = StopRule::tolerance(1e-5);
        assert_eq!(serde_json::from_str::<StopRule>(short).unwrap(), expected);
    }
}
