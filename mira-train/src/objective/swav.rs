//! SwAV (Caron et al., NeurIPS 2020): swapped prediction of balanced assignments, made by Sinkhorn–Knopp on the batch itself.
//!
//! | | |
//! |---|---|
//! | logits | `S = z·cᵀ`, unit-length embeddings z (N × D) and prototypes c (K × D) |
//! | targets | Sinkhorn–Knopp of `exp(S/ε)` of each global view, 3 sweeps, over all ranks; no gradient |
//! | loss | `½ Σ_t mean_{v≠t} mean_i −Σ_j Q⁽ᵗ⁾_ij log softmax(S⁽ᵛ⁾/τ)_ij` |
//!
//! With a queue the logits of earlier embeddings of the same view, against the present prototypes, are assigned together with the batch's;
//! only the batch's rows are targets. It is filled from `queue_start_epoch` on, newest first, and used once full.
//! Provenance: released code (3840 is its queue for batches of 256), against which loss, queue and schedule were checked (but its warm-up of W steps goes from the first rate at step 0 to the peak at step W − 1, ours as MIRA's from just above the first to just below the peak). There a queue length that is no multiple of
//! the batch is rounded down in silence; here it is an error. Its LARC gives biases and batch norms a trust ratio and decay, too, where `optimizer.kind = "lars"` gives them neither; it shortens
//! prototypes to length 1 after each step, where ours are divided by their lengths in the loss; and its residual blocks do not begin with γ = 0 (`model.zero_init_residual`).

use candle_core::{DType, Tensor};
use mira_core::{Sinkhorn, StopRule};

use super::math::widen;
use super::mira::certificates;
use super::{
    Error, Loss, Memory, Method, Needs, Objective, Reduction, Setup, State, Step, Targets, Weights,
    swapped_prediction,
};
use crate::model::PROTOTYPES;
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Bounds, Fallback, Key, Kind, Recipe};

/// `objective.name = "swav"`.
pub(super) const METHOD: Method = Method {
    name: "swav",
    title: "SwAV: swapped prediction of Sinkhorn assignments of the batch (Caron et al. 2020)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &["prototypes"],
    defaults: &[
        ("projector.hidden_dim", "2048"),
        ("projector.num_hidden", "1"),
        ("projector.output_dim", "128"),
        ("prototypes.count", "3000"),
    ],
    needs: Needs { unit_length: true, targets: false, couples_samples: true, two_views: false },
    memory: Memory { embeddings: 7, logits: 17, others: queues, ..Memory::NOTHING },
    check,
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(Swav::new(setup)?)),
};

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.epsilon", Kind::Number(Bounds::Temperature), Fallback::Value("0.05"), "0.05").only("objective.name", &["swav"]),
    key("objective.iterations", Kind::Whole(1, 1_000_000), Fallback::Value("3"), "3").only("objective.name", &["swav"]),
    key("objective.temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.1"), "0.1").only("objective.name", &["swav"]),
    key("objective.queue_length", Kind::Whole(0, 1 << 32), Fallback::Value("0"), "3840").only("objective.name", &["swav"]),
    key("objective.queue_start_epoch", Kind::Whole(0, 1_000_000), Fallback::Value("15"), "15").only("objective.name", &["swav"]),
];

/// Names of the two queues in a checkpoint.
const QUEUES: [&str; 2] = ["queue.0", "queue.1"];

fn check(recipe: &Recipe) -> Result<(), (String, &'static str)> {
    let length = recipe.objective.settings.get("queue_length").and_then(toml::Value::as_integer);
    let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let batch = recipe.train.batch_size;
    if length.is_multiple_of(batch) {
        return Ok(());
    }
    Err((
        format!(
            "`objective.queue_length` is {length}, expected 0 or a multiple of the {batch} of `train.batch_size`"
        ),
        "round it down to one",
    ))
}

/// The queues of both global views.
fn queues(recipe: &Recipe, _: u64) -> u64 {
    let length = recipe.objective.settings.get("queue_length").and_then(toml::Value::as_integer);
    let length = length.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    length.saturating_mul(2 * recipe.projector.output_dim as u64)
}

documented! {
    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        /// Entropic regularisation ε > 0 of Sinkhorn, in units of the logits (0.05).
        epsilon: f64,
        /// Sweeps of Sinkhorn, ≥ 1 (3).
        iterations: usize,
        /// Temperature τ > 0 of the predictions, in units of the logits (0.1).
        temperature: f64,
        /// Embeddings of earlier batches, of each global view, that are assigned with the batch's; 0: none; a multiple of `train.batch_size` (3840 for batches of 256).
        queue_length: usize,
        /// Epoch, from 0, from which on the queue is filled (15).
        queue_start_epoch: u64,
    }
}

/// SwAV in a run.
#[derive(Debug)]
pub struct Swav {
    settings: Settings,
    batch: usize,
    dim: usize,
    targets: Targets,
    /// For batch and queue together.
    with_queue: Option<Targets>,
    used_queue: bool,
    /// Embeddings of earlier batches, all ranks', newest first; as many on every rank.
    queue: [Vec<f32>; 2],
    /// This step's embeddings, if they are to be queued.
    newest: Option<[Vec<f32>; 2]>,
}

impl Swav {
    /// For a recipe.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let settings: Settings = setup.settings()?;
        let Some(prototypes) = &setup.recipe.prototypes else {
            return Err(Error::Settings("no [prototypes]".into()));
        };
        let (batch, dim) = (setup.batch_size(), setup.recipe.projector.output_dim);
        let targets = |rows| Targets::new(rows, dim, prototypes.count, setup.ranks);
        let share = settings.queue_length / setup.ranks.world_size();
        Ok(Self {
            batch,
            dim,
            targets: targets(batch)?,
            with_queue: if share > 0 { Some(targets(batch + share)?) } else { None },
            used_queue: false,
            queue: [Vec::new(), Vec::new()],
            newest: None,
            settings,
        })
    }

    /// Numbers in a full queue.
    fn full(&self) -> usize {
        self.settings.queue_length * self.dim
    }
}

impl Objective for Swav {
    fn loss(
        &mut self,
        views: &[Tensor],
        weights: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let views = views.iter().map(widen).collect::<Result<Vec<_>, _>>()?;
        let [first, second, ..] = views.as_slice() else { return Err(Error::NoViews) };
        let prototypes = widen(weights.student(PROTOTYPES)?)?;
        let numbers = |of: &Tensor| -> Result<Vec<f32>, Error> {
            Ok(of.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
        };
        let mut rows = [numbers(first)?, numbers(second)?];
        let full = self.full();
        self.used_queue = full > 0 && self.queue[0].len() == full;
        self.newest = None;
        if full > 0 && step.epoch >= self.settings.queue_start_epoch {
            let all = |of: &Tensor| numbers(&step.ranks.gather(&of.detach())?);
            self.newest = Some([all(first)?, all(second)?]);
        }
        let targets = match &mut self.with_queue {
            Some(with_queue) if self.used_queue => {
                // Each rank assigns a part of the queue.
                let share = full / step.ranks.world_size();
                let start = share * step.ranks.collective().rank();
                for (rows, queue) in rows.iter_mut().zip(&self.queue) {
                    rows.extend_from_slice(&queue[start..start + share]);
                }
                with_queue
            }
            _ => &mut self.targets,
        };
        for (view, rows) in rows.iter().enumerate() {
            targets.collect(view, rows);
        }
        let method = Sinkhorn::new(self.settings.epsilon)
            .and_then(|sinkhorn| sinkhorn.with_stop(StopRule::Sweeps(self.settings.iterations)))
            .map_err(mira_cpu::Error::from)?;
        let reports = targets.assign(&numbers(&prototypes)?, method.into())?;
        let shape = (self.batch, prototypes.dim(0)?);
        let target = |view| -> Result<Tensor, Error> {
            let rows = targets.rows(view, 0, self.batch);
            Ok(Tensor::from_slice(rows, shape, first.device())?.to_dtype(first.dtype())?)
        };
        let loss = swapped_prediction(
            &views,
            &prototypes,
            &[target(0)?, target(1)?],
            self.settings.temperature,
            Reduction::Mean,
        )?;
        let value = step.ranks.mean_all(&loss)?;
        Ok(Loss { value, diagnostics: certificates(&reports) })
    }

    fn commit(&mut self) {
        let full = self.full();
        let Some(newest) = self.newest.take() else { return };
        for (queue, mut newest) in self.queue.iter_mut().zip(newest) {
            newest.extend_from_slice(queue);
            newest.truncate(full);
            *queue = newest;
        }
    }

    fn state(&self) -> Vec<(&'static str, &[f32])> {
        if self.full() == 0 {
            return Vec::new();
        }
        QUEUES.into_iter().zip(self.queue.iter().map(Vec::as_slice)).collect()
    }

    fn restore(&mut self, mut saved: State) -> Result<(), Error> {
        if self.full() > 0 {
            let mut queue = [Vec::new(), Vec::new()];
            for (queue, name) in queue.iter_mut().zip(QUEUES) {
                let of_state = saved.remove(name);
                *queue = of_state.ok_or_else(|| Error::State(format!("`{name}` is missing")))?;
            }
            let whole = queue[0].len().is_multiple_of(self.batch * self.dim);
            if queue[0].len() != queue[1].len() || queue[0].len() > self.full() || !whole {
                return Err(Error::State(format!(
                    "the queues have {} and {} numbers, expected whole batches of at most {}",
                    queue[0].len(),
                    queue[1].len(),
                    self.full()
                )));
            }
            self.queue = queue;
            self.newest = None;
        }
        match saved.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::State(format!("`{name}` is not of this method"))),
        }
    }

    fn usage(&self) -> Option<Vec<f32>> {
        if self.used_queue { self.with_queue.as_ref()?.usage() } else { self.targets.usage() }
    }
}
