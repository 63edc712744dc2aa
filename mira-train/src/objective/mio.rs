//! MIO (Manna, Pal, Bhattacharya): mutual information by a binary classifier of pairs.
//!
//! | | |
//! |---|---|
//! | embeddings | `u = z / max(‖z‖, 1e-12)`, `U = [u¹; u²]` (2B × D), similarities `S = U·Uᵀ`: cosines |
//! | pairs | P: the 2B ordered positive pairs; N: the other 2B(2B − 2) pairs off the diagonal |
//! | `mio` | `mean_P softplus(−s/τ_p) + mean_N softplus(s/τ_n) + λ·1/(BD)·Σ (u¹ − u²)²` |
//! | `mio-majorized` | `mean_P (−s/τ_p) + negative term`, by `bound`, below, `+ λ·…` |
//! | `lin_softplus` | `mean_N softplus(s/τ_n)` |
//! | `lin_jensen` | `log(1 + mean_N exp(s/τ_n))`, above the former by Jensen's inequality |
//! | `lin_exp` | `mean_N exp(s/τ_n)`, above both; minus the NWJ bound of mutual information, up to a constant |
//!
//! Nothing is stop-gradiented, and there is no second network. Batches over ranks: all pairs of the whole batch.
//!
//! Provenance: `mio` is the loss of the authors' released code (v1; τ = 0.5 there, λ = 1 by default and 0 in its script). `mio-majorized` is **reconstructed from the
//! abstract** of the later versions, which drop the softplus of the positive pairs and bound the negative term: which bound is the
//! authors' is not known, so all three candidates are here.

use candle_core::Tensor;
use serde::Deserialize;

use super::math::{off_diagonal, softplus, unit_rows, widen};
use super::{Error, Loss, Memory, Method, Needs, Objective, Ranks, Setup, Step, Weights};
use crate::recipe::documented::documented;
use crate::recipe::schema::{Bounds, Fallback, Key, Kind, key};

const BOTH: &[&str] = &["mio", "mio-majorized"];
const MAJORIZED: &[&str] = &["mio-majorized"];

#[rustfmt::skip]
const V1_KEYS: &[Key] = &[
    key("objective.positive_temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.5"), "0.5").only("objective.name", BOTH),
    key("objective.negative_temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.5"), "0.5").only("objective.name", BOTH),
    key("objective.mse_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("1.0"), "1").only("objective.name", &["mio"]),
];

#[rustfmt::skip]
const MAJORIZED_KEYS: &[Key] = &[
    key("objective.positive_temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.5"), "0.5").only("objective.name", BOTH),
    key("objective.negative_temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.5"), "0.5").only("objective.name", BOTH),
    key("objective.mse_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("0.0"), "0").only("objective.name", MAJORIZED),
    key("objective.bound", Kind::Choice(&["lin_exp", "lin_jensen", "lin_softplus"]), Fallback::Value("\"lin_exp\""), "\"lin_exp\"").only("objective.name", MAJORIZED),
];

const PROJECTOR: &[(&str, &str)] = &[
    ("projector.hidden_dim", "2048"),
    ("projector.num_hidden", "1"),
    ("projector.output_dim", "128"),
    ("projector.batch_norm_last", "true"),
];

const NEEDS: Needs =
    Needs { unit_length: false, targets: false, couples_samples: true, two_views: true };

/// `objective.name = "mio"`.
pub const METHOD: Method = Method {
    name: "mio",
    title: "MIO: binary contrastive mutual information, the authors' released loss (Manna et al.)",
    keys: V1_KEYS,
    settings: Settings::FIELDS,
    sections: &[],
    defaults: PROJECTOR,
    needs: NEEDS,
    memory: Memory { embeddings: 12, pairs: 23, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(Mio::new(setup)?)),
};

/// `objective.name = "mio-majorized"`.
pub const MAJORIZED_METHOD: Method = Method {
    name: "mio-majorized",
    title: "MIO with majorized terms, reconstructed from the abstract of its later versions",
    keys: MAJORIZED_KEYS,
    memory: Memory { pairs: 16, ..METHOD.memory },
    ..METHOD
};

/// How the terms of positive and negative pairs are formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Both softplus: binary cross-entropy, as released.
    #[default]
    Bce,
    /// Linear; softplus.
    LinSoftplus,
    /// Linear; log(1 + mean exp).
    LinJensen,
    /// Linear; mean exp.
    LinExp,
}

documented! {
    /// Settings of the loss.
    #[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
    pub struct Settings {
        /// Temperature `τ_p` > 0 of positive pairs (0.5).
        pub positive_temperature: f64,
        /// Temperature `τ_n` > 0 of negative pairs (0.5).
        pub negative_temperature: f64,
        /// Weight λ ≥ 0 of the squared distance of two views (1; 0 in the authors' script).
        pub mse_weight: f64,
        /// Bound that the term of negative pairs is; the highest, the middle one, or the lowest.
        #[serde(default)]
        pub bound: Bound,
    }
}

/// The loss of two views (B × D each, any length), a scalar.
///
/// # Errors
/// Shapes that do not fit; ranks that are gone.
pub fn mio(z1: &Tensor, z2: &Tensor, settings: &Settings, ranks: &Ranks) -> Result<Tensor, Error> {
    let (u1, u2) = (unit_rows(&widen(z1)?)?, unit_rows(&widen(z2)?)?);
    let (u1, u2) = (ranks.gather(&u1)?, ranks.gather(&u2)?);
    let batch = u1.dim(0)?;
    let all = Tensor::cat(&[&u1, &u2], 0)?;
    let similarities = all.matmul(&all.t()?)?;
    let positive = ((&u1 * &u2)?.sum(1)? / settings.positive_temperature)?;
    let negative = (similarities / settings.negative_temperature)?;
    // Neither the diagonal nor a sample with its other view.
    let others = off_diagonal(batch, &u1)?;
    let others = others.repeat((2, 2))?;
    let num_negative = (4 * batch * batch.saturating_sub(1)) as f64;
    let mean_negative = |terms: Tensor| -> Result<Tensor, Error> {
        Ok(((terms * &others)?.sum_all()? / num_negative.max(1.0))?)
    };
    let attraction = match settings.bound {
        Bound::Bce => softplus(&positive.neg()?)?.mean_all()?,
        _ => positive.neg()?.mean_all()?,
    };
    let repulsion = match settings.bound {
        Bound::Bce | Bound::LinSoftplus => mean_negative(softplus(&negative)?)?,
        Bound::LinJensen => (mean_negative(negative.exp()?)? + 1.0)?.log()?,
        Bound::LinExp => mean_negative(negative.exp()?)?,
    };
    let distance = (u1 - u2)?.sqr()?.mean_all()?;
    Ok(((attraction + repulsion)? + (distance * settings.mse_weight)?)?)
}

/// MIO in a run.
#[derive(Debug)]
pub struct Mio {
    settings: Settings,
}

impl Mio {
    /// For a recipe's settings.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { settings: setup.settings()? })
    }
}

impl Objective for Mio {
    fn loss(
        &mut self,
        views: &[Tensor],
        _: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let [z1, z2] = views else { return Err(Error::NoViews) };
        Ok(mio(z1, z2, &self.settings, step.ranks)?.into())
    }
}
