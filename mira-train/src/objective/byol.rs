//! BYOL (Grill et al., NeurIPS 2020): predict from each view the teacher's embedding of another.
//!
//! | | |
//! |---|---|
//! | t⁽¹⁾, t⁽²⁾ | the teacher's embeddings (N × D) of the two global views; no gradient |
//! | q⁽ᵛ⁾ | predictor of the student's embedding: Linear (no bias, which the batch norm takes out), batch norm, ReLU, Linear (with bias; the code has none) |
//! | loss | `Σ_t mean_{v≠t} mean_i (2 − 2 cos(q⁽ᵛ⁾_i, t⁽ᵗ⁾_i))`, in both directions |
//!
//! `linear-byol` has a predictor of one linear layer without bias (as studied by Tian, Chen, Ganguli, ICML 2021). Batch norm
//! goes over the samples of all ranks, view by view, and has no running statistics: the predictor is not used outside training.
//! Provenance: released code, with the sizes of its ImageNet model. For more than two views, which it does not have, a target's loss is the mean over views.
//! The released code runs each view by itself: `train.batch_norm = "per-view"`, the default.

use candle_core::{D, Tensor};
use serde::Deserialize as _;

use super::math::{shared, standardise, unit_rows, widen};
use super::{
    Diagnostics, Error, Loss, Memory, Method, Needs, Objective, OwnParameter, PER_VIEW, Ranks,
    Step, Weights,
};
use crate::nn::Initialisation;
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Fallback, Key, Kind, Recipe};

const DEFAULTS: &[(&str, &str)] = &[
    ("projector.hidden_dim", "4096"),
    ("projector.num_hidden", "1"),
    ("projector.output_dim", "256"),
    ("teacher.momentum_start", "0.996"),
    ("teacher.momentum_end", "1.0"),
    ("train.batch_norm", PER_VIEW),
];

/// `objective.name = "byol"`.
pub(super) const METHOD: Method = Method {
    name: "byol",
    title: "BYOL: a predictor of the teacher's embeddings (Grill et al. 2020)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &["teacher"],
    defaults: DEFAULTS,
    needs: Needs { unit_length: false, targets: true, couples_samples: true, two_views: false },
    memory: Memory { embeddings: 17, others: predictor, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: predictor_parameters,
    new: |_| Ok(Box::new(Byol { is_linear: false, targets: None })),
};

/// `objective.name = "linear-byol"`.
pub(super) const LINEAR: Method = Method {
    name: "linear-byol",
    title: "BYOL with a linear predictor",
    keys: &[],
    settings: &[],
    sections: &["teacher"],
    defaults: DEFAULTS,
    needs: Needs { unit_length: false, targets: true, couples_samples: false, two_views: false },
    memory: Memory { embeddings: 17, moments: 6, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |recipe| {
        let dim = recipe.projector.output_dim;
        vec![linear("predictor.0.weight", dim, dim)]
    },
    new: |_| Ok(Box::new(Byol { is_linear: true, targets: None })),
};

const KEYS: &[Key] = &[key(
    "objective.predictor_hidden_dim",
    Kind::Whole(1, 1 << 20),
    Fallback::Value("4096"),
    "4096",
)
.only("objective.name", &["byol"])];

/// Added to the variance of the predictor's batch norm.
const EPSILON: f64 = 1e-5;

documented! {
    #[derive(serde::Deserialize)]
    struct Settings {
        /// Features of the predictor's hidden layer, ≥ 1 (4096).
        predictor_hidden_dim: usize,
    }
}

fn linear(name: &str, from: usize, to: usize) -> OwnParameter {
    let initialisation = Initialisation::UniformFanIn(from);
    OwnParameter { name: name.into(), shape: vec![from, to], initialisation }
}

fn predictor_parameters(recipe: &Recipe) -> Vec<OwnParameter> {
    let settings = Settings::deserialize(toml::Value::Table(recipe.objective.settings.clone()));
    let Ok(Settings { predictor_hidden_dim: hidden }) = settings else { return Vec::new() };
    let dim = recipe.projector.output_dim;
    let vector = |name: &str, len: usize, initialisation: Initialisation| OwnParameter {
        name: name.into(),
        shape: vec![len],
        initialisation,
    };
    vec![
        linear("predictor.0.weight", dim, hidden),
        vector("predictor.1.weight", hidden, Initialisation::Constant(1.0)),
        vector("predictor.1.bias", hidden, Initialisation::Constant(0.0)),
        linear("predictor.3.weight", hidden, dim),
        vector("predictor.3.bias", dim, Initialisation::UniformFanIn(hidden)),
    ]
}

/// What the predictor's hidden layer computes for all views, and the gradients of its weights, twice.
fn predictor(recipe: &Recipe, _: u64) -> u64 {
    let own = predictor_parameters(recipe);
    let hidden = own.first().map_or(0, |first| first.shape[1] as u64);
    let num_views: u64 = recipe.views.iter().map(|view| view.count as u64).sum();
    let rows = num_views * recipe.train.batch_size as u64;
    let weights: usize = own.iter().map(|p| p.shape.iter().product::<usize>()).sum();
    (12 * rows).saturating_mul(hidden).saturating_add(2 * weights as u64)
}

/// The loss of two or more views' predictions against two targets (N × D each), a scalar: target t supervises every view but view t.
///
/// # Errors
/// Fewer than two views; shapes that do not fit.
pub fn prediction_of_embeddings(
    predictions: &[Tensor],
    targets: &[Tensor; 2],
) -> Result<Tensor, Error> {
    if predictions.len() < 2 {
        return Err(Error::NoViews);
    }
    let targets = [&targets[0], &targets[1]].map(|t| unit_rows(&widen(&t.detach())?));
    let predictions = predictions.iter().map(|view| unit_rows(&widen(view)?));
    let predictions = predictions.collect::<Result<Vec<_>, _>>()?;
    let mut loss = Tensor::zeros((), predictions[0].dtype(), predictions[0].device())?;
    for (t, target) in targets.into_iter().enumerate() {
        let target = target?;
        for (_, prediction) in predictions.iter().enumerate().filter(|(v, _)| *v != t) {
            let cosines = (prediction * &target)?.sum(D::Minus1)?.mean_all()?;
            loss = (loss + (2.0 - (cosines * 2.0)?)?)?;
        }
    }
    Ok((loss / (predictions.len() as f64 - 1.0))?)
}

/// BYOL in a run, with either predictor.
#[derive(Debug)]
pub struct Byol {
    is_linear: bool,
    targets: Option<[Tensor; 2]>,
}

/// Linear, batch norm, ReLU, Linear on one view's rows of all ranks.
fn predict(embeddings: &Tensor, weights: &Weights, ranks: &Ranks) -> Result<Tensor, Error> {
    let parameter = |name: &str| shared(&widen(weights.student(name)?)?, ranks);
    let hidden = embeddings.matmul(&parameter("predictor.0.weight")?)?;
    let hidden = standardise(&hidden, EPSILON)?
        .broadcast_mul(&parameter("predictor.1.weight")?)?
        .broadcast_add(&parameter("predictor.1.bias")?)?
        .relu()?;
    let out = hidden.matmul(&parameter("predictor.3.weight")?)?;
    Ok(out.broadcast_add(&parameter("predictor.3.bias")?)?)
}

impl Objective for Byol {
    fn prepare(
        &mut self,
        teacher: &[Tensor; 2],
        _: &Weights,
        _: &Step<'_>,
    ) -> Result<Diagnostics, Error> {
        self.targets = Some([widen(&teacher[0].detach())?, widen(&teacher[1].detach())?]);
        Ok(Diagnostics::new())
    }

    fn loss(
        &mut self,
        views: &[Tensor],
        weights: &Weights,
        start: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let (Some(first), Some([one, two])) = (views.first(), &self.targets) else {
            return Err(Error::NoViews);
        };
        let rows = first.dim(0)?;
        let targets = [one.narrow(0, start, rows)?, two.narrow(0, start, rows)?];
        if self.is_linear {
            let predictor = widen(weights.student("predictor.0.weight")?)?;
            let predictions = views.iter().map(|view| Ok(widen(view)?.matmul(&predictor)?));
            let predictions = predictions.collect::<Result<Vec<_>, Error>>()?;
            let loss = prediction_of_embeddings(&predictions, &targets)?;
            return Ok(step.ranks.mean_all(&loss)?.into());
        }
        let ranks = step.ranks;
        let predictions =
            views.iter().map(|view| predict(&ranks.gather(&widen(view)?)?, weights, ranks));
        let predictions = predictions.collect::<Result<Vec<_>, Error>>()?;
        let targets = [ranks.gather(&targets[0])?, ranks.gather(&targets[1])?];
        Ok(prediction_of_embeddings(&predictions, &targets)?.into())
    }
}
