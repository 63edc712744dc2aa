//! Spectral contrastive loss (HaoChen, Wei, Gaidon, Ma 2021).
//!
//! | | |
//! |---|---|
//! | embeddings | `z` (B × D), those longer than √μ shortened to it |
//! | loss | `(1/μ)·[−2·mean_n ⟨z¹_n, z²_n⟩ + 1/(B(B−1))·Σ_{n≠m} ⟨z¹_n, z²_m⟩²]` |
//!
//! Nothing is stop-gradiented. Its minimiser factorises the matrix of co-occurring views: the objective that MINC takes apart. Batches over
//! ranks: all pairs of the whole batch.
//!
//! Provenance: the paper's loss with the clipping of its released code; μ = 1 there for CIFAR, 10 for ImageNet, which is the default as the projector's is. It decays
//! biases and batch norms, too, and residual blocks do not begin with γ = 0.
//! The released code runs each view by itself: `train.batch_norm = "per-view"`, the default.

use candle_core::{D, Tensor};
use serde::Deserialize;

use super::math::{off_diagonal, widen};
use super::{Error, Loss, Memory, Method, Needs, Objective, PER_VIEW, Ranks, Step, Weights};
use crate::recipe::documented::documented;
use crate::recipe::schema::{Bounds, Fallback, Key, Kind, key};

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.mu", Kind::Number(Bounds::Positive), Fallback::Value("10.0"), "10").only("objective.name", &["spectral"]),
    key("objective.clip", Kind::Flag, Fallback::Value("true"), "true").only("objective.name", &["spectral"]),
];

/// `objective.name = "spectral"`.
pub const METHOD: Method = Method {
    name: "spectral",
    title: "Spectral contrastive loss (HaoChen et al. 2021)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &[],
    defaults: &[
        ("projector.hidden_dim", "8192"),
        ("projector.num_hidden", "2"),
        ("projector.output_dim", "8192"),
        ("projector.batch_norm_last", "true"),
        ("train.batch_norm", PER_VIEW),
    ],
    needs: Needs { unit_length: false, targets: false, couples_samples: true, two_views: true },
    memory: Memory { embeddings: 12, pairs: 4, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(Spectral { settings: setup.settings()? })),
};

documented! {
    /// Settings of the loss.
    #[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
    pub struct Settings {
        /// μ > 0: the squared length that embeddings have at most, and the loss's scale (10; 1 for CIFAR).
        pub mu: f64,
        /// Whether embeddings longer than √μ are shortened to it (true).
        pub clip: bool,
        /// Whether a sample's own other view is left out of the squares.
        #[serde(default = "yes")]
        pub exclude_diagonal: bool,
    }
}

const fn yes() -> bool {
    true
}

/// Rows longer than √μ shortened to it.
///
/// # Errors
/// None that is expected.
pub fn clip_rows(z: &Tensor, mu: f64) -> Result<Tensor, Error> {
    let squares = z.sqr()?.sum_keepdim(D::Minus1)?;
    // max(‖z‖², μ) is μ, without gradient, for the rows that stay.
    Ok(z.broadcast_mul(&(squares.maximum(mu)?.sqrt()?.recip()? * mu.sqrt())?)?)
}

/// The loss of two views (B × D each), a scalar.
///
/// # Errors
/// Shapes that do not fit; ranks that are gone.
pub fn spectral(z1: &Tensor, z2: &Tensor, s: &Settings, ranks: &Ranks) -> Result<Tensor, Error> {
    let prepare = |z: &Tensor| -> Result<Tensor, Error> {
        let z = widen(z)?;
        ranks.gather(&if s.clip { clip_rows(&z, s.mu)? } else { z })
    };
    let (z1, z2) = (prepare(z1)?, prepare(z2)?);
    let batch = z1.dim(0)?;
    let attraction = (&z1 * &z2)?.sum(1)?.mean_all()?;
    let squares = z1.matmul(&z2.t()?)?.sqr()?;
    let repulsion = if s.exclude_diagonal {
        let num_pairs = (batch * batch.saturating_sub(1)).max(1) as f64;
        ((squares * off_diagonal(batch, &z1)?)?.sum_all()? / num_pairs)?
    } else {
        squares.mean_all()?
    };
    Ok(((repulsion - (attraction * 2.0)?)? / s.mu)?)
}

/// The spectral loss in a run.
#[derive(Debug)]
pub struct Spectral {
    settings: Settings,
}

impl Objective for Spectral {
    fn loss(
        &mut self,
        views: &[Tensor],
        _: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let [z1, z2] = views else { return Err(Error::NoViews) };
        Ok(spectral(z1, z2, &self.settings, step.ranks)?.into())
    }
}
