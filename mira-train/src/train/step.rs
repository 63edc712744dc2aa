//! One training step.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::Serialize;

use super::{Error, Normaliser, State};
use crate::data::Batch;
use crate::eval::{SAMPLED_ROWS, alignment_and_uniformity, effective_rank};
use crate::model::Network;
use crate::nn::Pass;
use crate::nn::cpu::{Executor, Statistics};
use crate::objective::{self, Diagnostics, Leaves, Needs, Ranks, Step, Weights, gradients};
use crate::optim::Segment;
use crate::recipe::{BatchNorm, Recipe, Reduction};
use crate::schedule::Schedules;

/// What there is to say of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Its number, from 0.
    pub step: u64,
    /// Epochs done before it, with fraction.
    pub epoch: f64,
    /// Loss; of objectives that compare distributions in nats.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Momentum with which the teacher follows after this step; NaN without one.
    pub ema_momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Euclidean length of the gradient.
    pub gradient_norm: f64,
    /// What the method says: of an assignment `sweeps`, `duality_gap`, `log_ratio_bound` (the worse of two views), and
    /// `marginal_entropy` in nats, beside `log_prototypes`, what it is at most. `loss_terms` is 2 of a loss that is the sum of both
    /// targets' cross-entropies and not their mean. Of each epoch's last step also `effective_rank`,
    /// `alignment` and `uniformity` of the embeddings.
    #[serde(flatten)]
    pub diagnostics: Diagnostics,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Parameters moved.
    Done(StepReport),
    /// Loss or gradient was not finite; nothing was changed but the step's number.
    Skipped(StepReport),
}

/// Views that go through the network together.
#[derive(Debug)]
struct Group {
    /// Their numbers among all views.
    views: Vec<usize>,
    executor: Executor<f32>,
}

/// A run's network, memory and settings.
#[derive(Debug)]
pub struct Trainer {
    recipe: Recipe,
    network: Network,
    segments: Vec<Segment>,
    schedules: Schedules,
    steps_per_epoch: u64,
    normaliser: Normaliser,
    groups: Vec<Group>,
    needs: Needs,
    /// One or both of the global views, forward only; where targets are wanted.
    teacher: Option<Executor<f32>>,
    ranks: Ranks,
    gradients: Vec<f32>,
    running_before: Vec<f32>,
    teacher_running_before: Option<Vec<f32>>,
}

impl Trainer {
    /// Memory for a recipe's steps.
    ///
    /// # Errors
    /// Views too small for the network.
    pub fn new(recipe: &Recipe, network: &Network, steps_per_epoch: u64) -> Result<Self, Error> {
        let rows = recipe.train.batch_size / recipe.train.accumulation_steps;
        let sizes = recipe.view_sizes();
        let mut groups: Vec<Group> = Vec::new();
        for views in recipe.view_groups() {
            let graph = network.training_graph(rows * views.len(), sizes[views[0]])?;
            let executor = Executor::new(graph, network.parameters(), Pass::Training);
            groups.push(Group { views, executor });
        }
        let name = &recipe.objective.name;
        let method =
            objective::find(name).ok_or_else(|| objective::Error::Unknown(name.clone()))?;
        let mut teacher = None;
        if method.needs.targets {
            let graph = network.training_graph(views_of_teacher(recipe) * rows, sizes[0])?;
            teacher = Some(Executor::new(graph, network.parameters(), Pass::Forward));
        }
        Ok(Self {
            segments: network.segments(),
            schedules: Schedules::new(recipe, steps_per_epoch),
            steps_per_epoch,
            normaliser: Normaliser::new(recipe.data.mean, recipe.data.std),
            groups,
            needs: method.needs,
            teacher,
            ranks: Ranks::default(),
            gradients: vec![0.0; network.parameters().num_values()],
            running_before: Vec::new(),
            teacher_running_before: None,
            network: network.clone(),
            recipe: recipe.clone(),
        })
    }

    /// The schedules.
    pub fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    /// Who shares the batch.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Bytes of activations and their gradients, student and teacher.
    pub fn activation_bytes(&self) -> usize {
        let groups = self.groups.iter().map(|group| group.executor.plan().num_bytes());
        groups.sum::<usize>() + self.teacher.as_ref().map_or(0, |t| t.plan().num_bytes())
    }

    /// Trains on one batch.
    ///
    /// # Errors
    /// A loss or an assignment that fails for another reason than embeddings that are not finite.
    pub fn step(&mut self, state: &mut State, batch: &Batch) -> Result<Outcome, Error> {
        let step = state.step;
        let mut report = self.settings(step);
        self.running_before.clone_from(&state.running);
        self.teacher_running_before.clone_from(&state.teacher_running);
        self.gradients.fill(0.0);

        let loss = self
            .make_targets(state, batch, &mut report)
            .and_then(|()| self.accumulate(state, batch, &mut report));
        let loss = match loss {
            Ok(loss) => loss,
            // The network's output is not finite: as bad as a loss that is not.
            Err(Error::Objective(error)) if error.is_of_numbers() => f64::NAN,
            Err(error) => return Err(error),
        };
        let squares: f64 = self.gradients.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
        report.loss = loss;
        report.gradient_norm = squares.sqrt();
        state.step += 1;
        // Batch norms make numbers of any size finite, but not the statistics that an evaluation takes.
        let of_teacher = state.teacher_running.iter().flatten();
        let has_statistics = state.running.iter().chain(of_teacher).all(|x| x.is_finite());
        if !(loss.is_finite() && squares.is_finite() && has_statistics) {
            state.running.clone_from(&self.running_before);
            state.teacher_running.clone_from(&self.teacher_running_before);
            state.num_skipped += 1;
            return Ok(Outcome::Skipped(report));
        }
        state.num_skipped = 0;

        let prototypes = self.network.prototypes().map(|p| p.range.clone());
        let is_prototypes = |i: usize| Some(&self.segments[i].range) == prototypes.as_ref();
        let freezes = step < self.schedules.num_frozen_steps;
        let frozen = |i: usize| freezes && is_prototypes(i);
        let (gradients, segments) = (&self.gradients, &self.segments);
        state.optimizer.step(
            &mut state.student,
            gradients,
            segments,
            &frozen,
            report.lr,
            report.weight_decay,
        );
        state.follow(report.ema_momentum);
        state.objective.commit();
        Ok(Outcome::Done(report))
    }

    /// The schedules' values at a step.
    fn settings(&self, step: u64) -> StepReport {
        let is_sum = self.recipe.loss.as_ref().is_some_and(|loss| loss.reduction == Reduction::Sum);
        StepReport {
            step,
            epoch: step as f64 / self.steps_per_epoch as f64,
            loss: f64::NAN,
            lr: self.schedules.lr.at(step),
            // The teacher is moved at the end of a step for the next one's targets, so that a skipped step leaves it alone.
            ema_momentum: if self.recipe.has_teacher() {
                self.schedules.ema_momentum.at(step + 1)
            } else {
                f64::NAN
            },
            weight_decay: self.schedules.weight_decay.at(step),
            gradient_norm: f64::NAN,
            diagnostics: self
                .network
                .num_prototypes()
                .map(|k| ("log_prototypes", (k as f64).ln()))
                .into_iter()
                .chain(is_sum.then_some(("loss_terms", 2.0)))
                .collect(),
        }
    }

    /// Embeds the global views of the whole batch, a part at a time, for the method's targets.
    fn make_targets(
        &mut self,
        state: &mut State,
        batch: &Batch,
        report: &mut StepReport,
    ) -> Result<(), Error> {
        let rows = self.rows_at_once();
        let Some(teacher) = &mut self.teacher else { return Ok(()) };
        // Without a teacher the student is its own; its gradient does not flow here.
        let values = state.teacher.as_ref().unwrap_or(&state.student);
        let dim = self.network.embedding_dim();
        let batch_size = self.recipe.train.batch_size;
        let mut embeddings = [Vec::new(), Vec::new()];
        for start in (0..batch_size).step_by(rows) {
            for views in [0, 1].chunks(views_of_teacher(&self.recipe)) {
                fill(teacher, &self.normaliser, batch, views, start, rows);
                let statistics = match &mut state.teacher_running {
                    Some(running) => Statistics::BatchUpdating(running),
                    None => Statistics::Batch,
                };
                teacher.forward(values, statistics);
                for (&view, part) in views.iter().zip(teacher.output(1).chunks_exact(rows * dim)) {
                    embeddings[view].extend_from_slice(part);
                }
            }
        }
        let tensor = |rows| Tensor::from_vec(rows, (batch_size, dim), &candle_core::Device::Cpu);
        let [first, second] = embeddings;
        let embeddings = [
            tensor(first).map_err(objective::Error::from)?,
            tensor(second).map_err(objective::Error::from)?,
        ];
        let weights = self.weights(state, &self.leaves(state, &[], rows)?)?;
        let step = self.at(state.step, batch);
        report.diagnostics.extend(state.objective.prepare(&embeddings, &weights, &step)?);
        Ok(())
    }

    /// The student's loss, and its gradient in `self.gradients`, a part of the batch at a time.
    fn accumulate(
        &mut self,
        state: &mut State,
        batch: &Batch,
        report: &mut StepReport,
    ) -> Result<f64, Error> {
        let (rows, batch_size) = (self.rows_at_once(), self.recipe.train.batch_size);
        if self.needs.couples_samples && rows < batch_size {
            return self.accumulate_coupled(state, batch, report);
        }
        #[allow(clippy::cast_possible_truncation)] // gradients are f32
        let share = (rows as f64 / batch_size as f64) as f32;
        let mut loss = 0.0;
        for start in (0..batch_size).step_by(rows) {
            let embeddings = self.embed(state, batch, start, true);
            let part = self.loss(state, batch, &embeddings, start, rows, report)?;
            loss += rows as f64 / batch_size as f64 * f64::from(part.loss);
            self.backward(state, &part.embeddings, 0, rows, share);
            self.add_own(&part.own, share);
        }
        Ok(loss)
    }

    /// The same where the loss is one of the whole batch: its parts are embedded for it first, and again for the way back.
    fn accumulate_coupled(
        &mut self,
        state: &mut State,
        batch: &Batch,
        report: &mut StepReport,
    ) -> Result<f64, Error> {
        let (rows, batch_size) = (self.rows_at_once(), self.recipe.train.batch_size);
        let (dim, num_views) = (self.network.embedding_dim(), self.num_views());
        let mut all = vec![0.0; num_views * batch_size * dim];
        for start in (0..batch_size).step_by(rows) {
            let part = self.embed(state, batch, start, false);
            for (to, from) in
                all.chunks_exact_mut(batch_size * dim).zip(part.chunks_exact(rows * dim))
            {
                to[start * dim..(start + rows) * dim].copy_from_slice(from);
            }
        }
        let found = self.loss(state, batch, &all, 0, batch_size, report)?;
        for start in (0..batch_size).step_by(rows) {
            self.embed(state, batch, start, true);
            self.backward(state, &found.embeddings, start, batch_size, 1.0);
        }
        self.add_own(&found.own, 1.0);
        Ok(f64::from(found.loss))
    }

    /// The student's embeddings of a part of the batch, view after view; running statistics follow where `updating` is set.
    fn embed(
        &mut self,
        state: &mut State,
        batch: &Batch,
        start: usize,
        updating: bool,
    ) -> Vec<f32> {
        let rows = self.rows_at_once();
        let len = rows * self.network.embedding_dim();
        let mut embeddings = vec![0.0; self.num_views() * len];
        for group in &mut self.groups {
            fill(&mut group.executor, &self.normaliser, batch, &group.views, start, rows);
            let statistics = if updating {
                Statistics::BatchUpdating(&mut state.running)
            } else {
                Statistics::Batch
            };
            group.executor.forward(&state.student, statistics);
            let output = group.executor.output(1).chunks_exact(len);
            for (&view, from) in group.views.iter().zip(output) {
                embeddings[view * len..(view + 1) * len].copy_from_slice(from);
            }
        }
        embeddings
    }

    /// The method's loss of embeddings, view after view, of `rows` samples from `start` on, with its gradients.
    fn loss(
        &self,
        state: &mut State,
        batch: &Batch,
        embeddings: &[f32],
        start: usize,
        rows: usize,
        report: &mut StepReport,
    ) -> Result<objective::Gradients, Error> {
        let leaves = self.leaves(state, embeddings, rows)?;
        let weights = self.weights(state, &leaves)?;
        let step = self.at(state.step, batch);
        let loss = state.objective.loss(&leaves.views(), &weights, start, &step)?;
        let found = gradients(&loss, &leaves)?;
        report.diagnostics.extend(loss.diagnostics);
        if (state.step + 1).is_multiple_of(self.steps_per_epoch.max(1)) && start == 0 {
            let (view, dim) = (rows * self.network.embedding_dim(), self.network.embedding_dim());
            report.diagnostics.extend(probe(&embeddings[..view], &embeddings[view..2 * view], dim));
        }
        Ok(found)
    }

    /// Back through the network from the gradients of embeddings, of which there are `num_rows` a view; the part that was embedded last
    /// is at `start` among them.
    fn backward(
        &mut self,
        state: &State,
        gradients: &[f32],
        start: usize,
        num_rows: usize,
        share: f32,
    ) {
        let (rows, dim) = (self.rows_at_once(), self.network.embedding_dim());
        for group in &mut self.groups {
            let of_view = |&view: &usize| {
                let first = view * num_rows + start;
                &gradients[first * dim..(first + rows) * dim]
            };
            let seed: Vec<f32> =
                group.views.iter().flat_map(of_view).map(|gradient| gradient * share).collect();
            group.executor.backward(&state.student, &seed, &mut self.gradients);
        }
    }

    fn add_own(&mut self, gradients: &BTreeMap<String, Vec<f32>>, share: f32) {
        for parameter in self.network.own_parameters() {
            if let Some(from) = gradients.get(&parameter.name) {
                let to = &mut self.gradients[parameter.range.clone()];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += share * from);
            }
        }
    }

    /// What the loss is differentiated by.
    fn leaves(&self, state: &State, embeddings: &[f32], rows: usize) -> Result<Leaves, Error> {
        let mut leaves = Leaves::new(embeddings, rows, self.network.embedding_dim())?;
        for parameter in self.network.own_parameters() {
            let values = &state.student[parameter.range.clone()];
            leaves.push(&parameter.name, values, &parameter.shape)?;
        }
        Ok(leaves)
    }

    fn weights(&self, state: &State, leaves: &Leaves) -> Result<Weights, Error> {
        let student = leaves.own();
        let Some(teacher) = &state.teacher else {
            let teacher = student.iter().map(|(name, t)| (name.clone(), t.detach())).collect();
            return Ok(Weights::new(student, teacher));
        };
        let mut of_teacher = Leaves::default();
        for parameter in self.network.own_parameters() {
            let values = &teacher[parameter.range.clone()];
            of_teacher.push(&parameter.name, values, &parameter.shape)?;
        }
        let teacher = of_teacher.own().into_iter().map(|(name, t)| (name, t.detach())).collect();
        Ok(Weights::new(student, teacher))
    }

    fn at<'a>(&'a self, number: u64, batch: &'a Batch) -> Step<'a> {
        let epoch = number / self.steps_per_epoch.max(1);
        Step { number, epoch, indices: &batch.indices, ranks: &self.ranks }
    }

    fn num_views(&self) -> usize {
        self.groups.iter().map(|group| group.views.len()).sum()
    }

    fn rows_at_once(&self) -> usize {
        self.recipe.train.batch_size / self.recipe.train.accumulation_steps
    }
}

/// How many of the two global views the teacher embeds at once.
pub(super) fn views_of_teacher(recipe: &Recipe) -> usize {
    match recipe.train.batch_norm {
        BatchNorm::PerSize => 2,
        BatchNorm::PerView => 1,
    }
}

/// How the embeddings of the two global views lie: a look at each epoch's last step.
fn probe(first: &[f32], second: &[f32], dim: usize) -> Diagnostics {
    let (alignment, uniformity) = alignment_and_uniformity(first, second, dim);
    let effective_rank = effective_rank(first, dim, SAMPLED_ROWS);
    Diagnostics::from([
        ("alignment", alignment),
        ("uniformity", uniformity),
        ("effective_rank", effective_rank),
    ])
}

/// Puts `rows` samples from `start` of each of the views into a network's input, view after view.
fn fill(
    executor: &mut Executor<f32>,
    normaliser: &Normaliser,
    batch: &Batch,
    views: &[usize],
    start: usize,
    rows: usize,
) {
    let input = executor.input_mut();
    let len = input.len() / views.len();
    for (&view, to) in views.iter().zip(input.chunks_exact_mut(len)) {
        let pixels = &batch.views[view].pixels;
        let per_sample = len / rows;
        normaliser.apply(&pixels[start * per_sample..(start + rows) * per_sample], to);
    }
}
