//! Barlow Twins (Zbontar, Jing, Misra, LeCun, Deny, ICML 2021): the cross-correlation of two views is to be the identity.
//!
//! | | |
//! |---|---|
//! | ẑ | embeddings (N × D), each column brought to mean 0 and variance 1 over the batch: `(z − mean)/√(var + ε)` |
//! | C | `ẑ⁽¹⁾ᵀ ẑ⁽²⁾ / N`, D × D |
//! | loss | `Σ_i (1 − C_ii)² + λ Σ_{i≠j} C_ij²` |
//!
//! Nothing is stop-gradiented. N counts the samples of all ranks; the variance is divided by N. Provenance: ε = 1e-5 and the variance are the
//! released code's (a batch norm without γ and β), and so is λ = 0.0051. Its learning rate of biases and batch norms, a fortieth of the others', is not
//! taken over.
//! The released code runs each view by itself: `train.batch_norm = "per-view"`, the default.

use candle_core::Tensor;

use super::math::{off_diagonal, standardise, widen};
use super::{Error, Loss, Memory, Method, Needs, Objective, PER_VIEW, Setup, Step, Weights};
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Bounds, Fallback, Key, Kind};

/// `objective.name = "barlow-twins"`.
pub(super) const METHOD: Method = Method {
    name: "barlow-twins",
    title: "Barlow Twins: cross-correlation of two views near the identity (Zbontar et al. 2021)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &[],
    defaults: &[
        ("projector.hidden_dim", "8192"),
        ("projector.num_hidden", "2"),
        ("projector.output_dim", "8192"),
        ("train.batch_norm", PER_VIEW),
    ],
    needs: Needs { unit_length: false, targets: false, couples_samples: true, two_views: true },
    memory: Memory { embeddings: 11, moments: 23, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(BarlowTwins::new(setup)?)),
};

const KEYS: &[Key] = &[key(
    "objective.redundancy_weight",
    Kind::Number(Bounds::ZeroUp),
    Fallback::Value("0.0051"),
    "0.0051",
)
.only("objective.name", &["barlow-twins"])];

/// Added to the variance, as a batch norm does.
const EPSILON: f64 = 1e-5;

/// The loss of two views (N × D each), a scalar; `redundancy_weight` is λ.
///
/// # Errors
/// Shapes that do not fit.
pub fn redundancy_reduction(views: &[Tensor; 2], redundancy_weight: f64) -> Result<Tensor, Error> {
    let first = standardise(&widen(&views[0])?, EPSILON)?;
    let second = standardise(&widen(&views[1])?, EPSILON)?;
    let (n, dim) = first.dims2()?;
    let correlation = (first.t()?.matmul(&second)? / n as f64)?;
    let off = off_diagonal(dim, &correlation)?;
    let on = (1.0 - &off)?;
    // 1 − C on the diagonal.
    let diagonal = ((1.0 - &correlation)? * on)?.sqr()?.sum_all()?;
    let rest = (correlation * off)?.sqr()?.sum_all()?;
    Ok((diagonal + (rest * redundancy_weight)?)?)
}

documented! {
    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        /// λ ≥ 0 of the squared correlations between dimensions (0.0051).
        redundancy_weight: f64,
    }
}

/// Barlow Twins in a run.
#[derive(Debug)]
pub struct BarlowTwins {
    settings: Settings,
}

impl BarlowTwins {
    /// For a recipe.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { settings: setup.settings()? })
    }
}

impl Objective for BarlowTwins {
    fn loss(
        &mut self,
        views: &[Tensor],
        _: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let [first, second] = views else { return Err(Error::NoViews) };
        let all = [step.ranks.gather(&widen(first)?)?, step.ranks.gather(&widen(second)?)?];
        Ok(redundancy_reduction(&all, self.settings.redundancy_weight)?.into())
    }
}
