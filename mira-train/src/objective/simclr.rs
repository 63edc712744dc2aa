//! SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020): find an image's other view among all views of a batch.
//!
//! | | |
//! |---|---|
//! | u | `[z⁽¹⁾; z⁽²⁾]`, rows of unit length, 2N × D |
//! | loss | `mean_i −log exp(u_i·u_p(i)/τ) / Σ_{k≠i} exp(u_i·u_k/τ)`, p(i) the other view of i's image (NT-Xent) |
//!
//! Nothing is stop-gradiented. N counts the samples of all ranks. Provenance: released code, whose loss is twice this mean; τ = 0.1
//! for ImageNet, 0.5 for CIFAR-10. Its projector ends in a batch norm, which is taken (`projector.batch_norm_last`).

use candle_core::{D, Tensor};

use super::math::{unit_rows, widen};
use super::{Error, Loss, Memory, Method, Needs, Objective, Setup, Step, Weights};
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Bounds, Fallback, Key, Kind};

/// `objective.name = "simclr"`.
pub(super) const METHOD: Method = Method {
    name: "simclr",
    title: "SimCLR: NT-Xent between two views of a batch (Chen et al. 2020)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &[],
    defaults: &[
        ("projector.hidden_dim", "2048"),
        ("projector.num_hidden", "1"),
        ("projector.output_dim", "128"),
        ("projector.batch_norm_last", "true"),
    ],
    needs: Needs { unit_length: false, targets: false, couples_samples: true, two_views: true },
    memory: Memory { embeddings: 15, pairs: 17, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(SimClr::new(setup)?)),
};

const KEYS: &[Key] = &[key(
    "objective.temperature",
    Kind::Number(Bounds::Temperature),
    Fallback::Value("0.1"),
    "0.1",
)
.only("objective.name", &["simclr"])];

/// NT-Xent of two views (N × D each), a scalar.
///
/// # Errors
/// Shapes that do not fit.
pub fn nt_xent(views: &[Tensor; 2], temperature: f64) -> Result<Tensor, Error> {
    let first = unit_rows(&widen(&views[0])?)?;
    let second = unit_rows(&widen(&views[1])?)?;
    let n = first.dim(0)?;
    let all = Tensor::cat(&[&first, &second], 0)?;
    let similarities = (all.matmul(&all.t()?)? / temperature)?;
    // A row is not compared with itself; what is far below the others vanishes in the softmax, and stays finite.
    let eye = Tensor::eye(2 * n, all.dtype(), all.device())?;
    let least = -4.0 / temperature - 100.0;
    let others = ((&similarities * (1.0 - &eye)?)? + (eye * least)?)?;
    let swapped = Tensor::cat(&[&second, &first], 0)?;
    let positives = ((all * swapped)?.sum(D::Minus1)? / temperature)?;
    Ok((others.log_sum_exp(D::Minus1)? - positives)?.mean_all()?)
}

documented! {
    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        /// Temperature τ > 0 of the cosines (0.1 for `ImageNet`, 0.5 for CIFAR-10).
        temperature: f64,
    }
}

/// SimCLR in a run.
#[derive(Debug)]
pub struct SimClr {
    settings: Settings,
}

impl SimClr {
    /// For a recipe.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { settings: setup.settings()? })
    }
}

impl Objective for SimClr {
    fn loss(
        &mut self,
        views: &[Tensor],
        _: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let [first, second] = views else { return Err(Error::NoViews) };
        let all = [step.ranks.gather(&widen(first)?)?, step.ranks.gather(&widen(second)?)?];
        Ok(nt_xent(&all, self.settings.temperature)?.into())
    }
}
