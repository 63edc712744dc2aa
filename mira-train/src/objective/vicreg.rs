//! VICReg (Bardes, Ponce, LeCun, ICLR 2022): views agree, every dimension varies, no two are correlated.
//!
//! | | |
//! |---|---|
//! | invariance | `mean_{i,d} (z⁽¹⁾_id − z⁽²⁾_id)²`, embeddings N × D |
//! | variance | `½ Σ_v mean_d max(0, 1 − √(var_d + 1e-4))` |
//! | covariance | `Σ_v (1/D) Σ_{i≠j} cov_ij²`, `cov = z̃ᵀz̃/(N − 1)`, z̃ the centred embeddings |
//! | loss | `25·invariance + 25·variance + 1·covariance` |
//!
//! Nothing is stop-gradiented. N counts the samples of all ranks; variances are divided by N − 1. Provenance: released code, whose
//! scale this is: invariance is a mean over dimensions, too, and variance has the ½.
//! The released code runs each view by itself: `train.batch_norm = "per-view"`, the default.

use candle_core::Tensor;

use super::math::{off_diagonal, widen};
use super::{Error, Loss, Memory, Method, Needs, Objective, PER_VIEW, Setup, Step, Weights};
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Bounds, Fallback, Key, Kind};

/// `objective.name = "vicreg"`.
pub(super) const METHOD: Method = Method {
    name: "vicreg",
    title: "VICReg: variance, invariance, covariance (Bardes et al. 2022)",
    keys: KEYS,
    settings: VicRegWeights::FIELDS,
    sections: &[],
    defaults: &[
        ("projector.hidden_dim", "8192"),
        ("projector.num_hidden", "2"),
        ("projector.output_dim", "8192"),
        ("train.batch_norm", PER_VIEW),
    ],
    needs: Needs { unit_length: false, targets: false, couples_samples: true, two_views: true },
    memory: Memory { embeddings: 10, moments: 23, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(VicReg::new(setup)?)),
};

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.invariance_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("25.0"), "25.0").only("objective.name", &["vicreg"]),
    key("objective.variance_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("25.0"), "25.0").only("objective.name", &["vicreg"]),
    key("objective.covariance_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("1.0"), "1.0").only("objective.name", &["vicreg"]),
];

/// Added to a variance below the root.
const EPSILON: f64 = 1e-4;

documented! {
    /// What the three terms are multiplied by.
    #[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
    pub struct VicRegWeights {
        /// Weight ≥ 0 of invariance: views of an image agree (25).
        pub invariance_weight: f64,
        /// Weight ≥ 0 of variance: every dimension varies (25).
        pub variance_weight: f64,
        /// Weight ≥ 0 of covariance: no two dimensions are correlated (1).
        pub covariance_weight: f64,
    }
}

/// The loss of two views (N × D each, N ≥ 2), a scalar.
///
/// # Errors
/// Shapes that do not fit.
pub fn variance_invariance_covariance(
    views: &[Tensor; 2],
    weights: &VicRegWeights,
) -> Result<Tensor, Error> {
    let views = [widen(&views[0])?, widen(&views[1])?];
    let invariance = (&views[0] - &views[1])?.sqr()?.mean_all()?;
    let mut loss = (invariance * weights.invariance_weight)?;
    for view in &views {
        let (n, dim) = view.dims2()?;
        let centred = view.broadcast_sub(&view.mean_keepdim(0)?)?;
        let covariance = (centred.t()?.matmul(&centred)? / (n as f64 - 1.0))?;
        let variance = (centred.sqr()?.sum(0)? / (n as f64 - 1.0))?;
        let hinge = (1.0 - (variance + EPSILON)?.sqrt()?)?.relu()?.mean_all()?;
        let off = (covariance * off_diagonal(dim, view)?)?.sqr()?.sum_all()?;
        loss = (loss + (hinge * (weights.variance_weight / 2.0))?)?;
        loss = (loss + (off * (weights.covariance_weight / dim as f64))?)?;
    }
    Ok(loss)
}

/// VICReg in a run.
#[derive(Debug)]
pub struct VicReg {
    weights: VicRegWeights,
}

impl VicReg {
    /// For a recipe.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { weights: setup.settings()? })
    }
}

impl Objective for VicReg {
    fn loss(
        &mut self,
        views: &[Tensor],
        _: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let [first, second] = views else { return Err(Error::NoViews) };
        let all = [step.ranks.gather(&widen(first)?)?, step.ranks.gather(&widen(second)?)?];
        Ok(variance_invariance_covariance(&all, &self.weights)?.into())
    }
}
