//! TWIST (Wang, Kong, Zhang, Liu, Li, arXiv 2110.07402, 2021): twin class distributions that agree, are sharp and differ between images.
//!
//! | | |
//! |---|---|
//! | P⁽ᵛ⁾ | softmax over the D classes of the embeddings (N × D) after a batch norm without γ and β (ε = 1e-5) |
//! | consistency | `½ (KL(P⁽¹⁾‖P⁽²⁾) + KL(P⁽²⁾‖P⁽¹⁾))`, mean over samples |
//! | sharpness | `½ Σ_v mean_i H(P⁽ᵛ⁾_i)` |
//! | diversity | `½ Σ_v H(mean_i P⁽ᵛ⁾_i)` |
//! | loss | `consistency + w_s·sharpness − w_d·diversity` |
//!
//! Nothing is stop-gradiented. Batch norm and means go over the samples of all ranks. With more than two views consistency is the mean over
//! all pairs with a global view in them, the other two are means over all views.
//! Provenance: released code, with `w_s = 1 + lam1 = 1` and `w_d = lam2 = 1`; of more views it takes all three terms over pairs, so that global views weigh more. Logarithms are exact (the code adds 1e-5 inside),
//! its batch norm is over groups of 256
//! samples with all of their views together, where ours is of each view by itself, over the whole batch (which takes out what a view's mean has in common); and its residual blocks do not begin with γ = 0
//! (`model.zero_init_residual`).

use candle_core::{D, Tensor};

use super::math::{log_probability, log_softmax, standardise, widen};
use super::{Error, Loss, Memory, Method, Needs, Objective, Setup, Step, Weights};
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Bounds, Fallback, Key, Kind};

/// `objective.name = "twist"`.
pub(super) const METHOD: Method = Method {
    name: "twist",
    title: "TWIST: consistent, sharp and diverse twin class distributions (Wang et al. 2021)",
    keys: KEYS,
    settings: TwistWeights::FIELDS,
    sections: &[],
    defaults: &[
        ("projector.hidden_dim", "4096"),
        ("projector.num_hidden", "2"),
        ("projector.output_dim", "4096"),
    ],
    needs: Needs { unit_length: false, targets: false, couples_samples: true, two_views: false },
    memory: Memory { embeddings: 17, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(Twist::new(setup)?)),
};

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.sharpness_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("1.0"), "1.0").only("objective.name", &["twist"]),
    key("objective.diversity_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("1.0"), "1.0").only("objective.name", &["twist"]),
];

/// Added to the variance of the batch norm.
const EPSILON: f64 = 1e-5;

documented! {
    /// What two of the three terms are multiplied by.
    #[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
    pub struct TwistWeights {
        /// Weight ≥ 0 of the mean entropy of a sample's classes, which is made small (1).
        pub sharpness_weight: f64,
        /// Weight ≥ 0 of the entropy of their mean, which is made large (1).
        pub diversity_weight: f64,
    }
}

/// Logits as the method sees them: brought to mean 0 and variance 1 over the batch.
///
/// # Errors
/// Shapes that do not fit.
pub fn twist_logits(embeddings: &Tensor) -> Result<Tensor, Error> {
    standardise(&widen(embeddings)?, EPSILON)
}

/// The loss of two or more views' logits (N × D each, global views first), a scalar.
///
/// # Errors
/// Fewer than two views; shapes that do not fit.
pub fn twin_class(logits: &[Tensor], weights: &TwistWeights) -> Result<Tensor, Error> {
    if logits.len() < 2 {
        return Err(Error::NoViews);
    }
    let log_p: Vec<Tensor> =
        logits.iter().map(|view| log_softmax(&widen(view)?)).collect::<Result<_, _>>()?;
    let p: Vec<Tensor> = log_p.iter().map(Tensor::exp).collect::<Result<_, _>>()?;
    let mut loss = Tensor::zeros((), p[0].dtype(), p[0].device())?;
    let num_views = p.len() as f64;
    for (p, log_p) in p.iter().zip(&log_p) {
        let sharpness = (p * log_p)?.sum(D::Minus1)?.mean_all()?.neg()?;
        let mean = p.mean(0)?;
        let diversity = (&mean * log_probability(&mean)?)?.sum_all()?.neg()?;
        let term =
            ((sharpness * weights.sharpness_weight)? - (diversity * weights.diversity_weight)?)?;
        loss = (loss + (term / num_views)?)?;
    }
    let pairs: Vec<(usize, usize)> =
        (0..2).flat_map(|a| (a + 1..p.len()).map(move |b| (a, b))).collect();
    let num_pairs = pairs.len() as f64;
    for (a, b) in pairs {
        // The two directions of KL together: Σ (P − Q)(log P − log Q).
        let both = ((&p[a] - &p[b])? * (&log_p[a] - &log_p[b])?)?.sum(D::Minus1)?.mean_all()?;
        loss = (loss + (both / (2.0 * num_pairs))?)?;
    }
    Ok(loss)
}

/// TWIST in a run.
#[derive(Debug)]
pub struct Twist {
    weights: TwistWeights,
}

impl Twist {
    /// For a recipe.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { weights: setup.settings()? })
    }
}

impl Objective for Twist {
    fn loss(
        &mut self,
        views: &[Tensor],
        _: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let logits = views.iter().map(|view| twist_logits(&step.ranks.gather(&widen(view)?)?));
        let logits = logits.collect::<Result<Vec<_>, Error>>()?;
        Ok(twin_class(&logits, &self.weights)?.into())
    }
}
