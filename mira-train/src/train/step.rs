//! One training step.

use mira_core::{Method, Mira, Report, Sinkhorn, Softmax, StopRule};
use serde::Serialize;

use super::{Error, Normaliser, State};
use crate::data::Batch;
use crate::model::Network;
use crate::nn::Pass;
use crate::nn::cpu::{Executor, Statistics};
use crate::objective::{Embeddings, Gradients, Reduction, Targets, mira_gradients};
use crate::optim::Segment;
use crate::recipe::{self, Recipe};
use crate::schedule::Schedules;

/// What there is to say of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Its number, from 0.
    pub step: u64,
    /// Epochs done before it, with fraction.
    pub epoch: f64,
    /// Loss in nats.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// β of the assignment.
    pub beta: f64,
    /// Momentum with which the teacher follows after this step.
    pub ema_momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Sweeps of the assignment, the larger of the two views.
    pub sweeps: usize,
    /// Its duality gap, the larger.
    pub duality_gap: f64,
    /// The bound on each label's log-probability, the larger.
    pub log_ratio_bound: f64,
    /// Entropy of the targets' marginal in nats, mean of the views.
    pub marginal_entropy: f64,
    /// log K, what it is at most.
    pub log_prototypes: f64,
    /// Euclidean length of the gradient.
    pub gradient_norm: f64,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Parameters moved.
    Done(StepReport),
    /// Loss or gradient was not finite; nothing was changed but the step's number.
    Skipped(StepReport),
}

/// Views of one size: they go through the network together.
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
    /// The two global views, forward only.
    teacher: Executor<f32>,
    targets: Targets,
    gradients: Vec<f32>,
    running_before: Vec<f32>,
}

impl Trainer {
    /// Memory for a recipe's steps.
    ///
    /// # Errors
    /// Views too small for the network.
    pub fn new(recipe: &Recipe, network: &Network, steps_per_epoch: u64) -> Result<Self, Error> {
        let rows = recipe.train.batch_size / recipe.train.accumulation_steps;
        let sizes: Vec<usize> = recipe
            .views
            .iter()
            .flat_map(|view| std::iter::repeat_n(view.size, view.count))
            .collect();
        let mut groups: Vec<Group> = Vec::new();
        for (v, &size) in sizes.iter().enumerate() {
            if groups.iter().any(|group| group.views.contains(&v)) {
                continue;
            }
            let views: Vec<usize> = (v..sizes.len()).filter(|&u| sizes[u] == size).collect();
            let graph = network.training_graph(rows * views.len(), size)?;
            let executor = Executor::new(graph, network.parameters(), Pass::Training);
            groups.push(Group { views, executor });
        }
        let graph = network.training_graph(2 * rows, sizes[0])?;
        let teacher = Executor::new(graph, network.parameters(), Pass::Forward);
        let dim = network.embedding_dim();
        let targets = Targets::new(recipe.train.batch_size, dim, network.num_prototypes())?;
        Ok(Self {
            segments: network.segments(),
            schedules: Schedules::new(recipe, steps_per_epoch),
            steps_per_epoch,
            normaliser: Normaliser::new(recipe.data.mean, recipe.data.std),
            groups,
            teacher,
            targets,
            gradients: vec![0.0; network.parameters().num_values()],
            running_before: Vec::new(),
            network: network.clone(),
            recipe: recipe.clone(),
        })
    }

    /// The schedules.
    pub fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    /// Bytes of activations and their gradients, student and teacher.
    pub fn activation_bytes(&self) -> usize {
        let groups = self.groups.iter().map(|group| group.executor.plan().num_bytes());
        groups.sum::<usize>() + self.teacher.plan().num_bytes()
    }

    /// Floating-point operations of the convolutions of a step.
    pub fn flops(&self) -> u64 {
        let student = self.groups.iter().map(|group| {
            let graph = group.executor.graph();
            graph.forward_flops() + graph.backward_flops()
        });
        let once = student.sum::<u64>() + self.teacher.graph().forward_flops();
        once * self.recipe.train.accumulation_steps as u64
    }

    /// The targets of the last step.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Trains on one batch.
    ///
    /// # Errors
    /// A failed assignment, which needs embeddings that are not finite in a way that the loss is not.
    pub fn step(&mut self, state: &mut State, batch: &Batch) -> Result<Outcome, Error> {
        let step = state.step;
        let mut report = self.settings(step);
        self.running_before.clone_from(&state.running);
        self.gradients.fill(0.0);

        let loss = self
            .assign_targets(state, batch, &mut report)
            .and_then(|()| self.accumulate(state, batch));
        let loss = match loss {
            Ok(loss) => loss,
            // The network's output is not finite: as bad as a loss that is not.
            Err(Error::Objective(crate::objective::Error::Assignment(_))) => f64::NAN,
            Err(error) => return Err(error),
        };
        let squares: f64 = self.gradients.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
        report.loss = loss;
        report.gradient_norm = squares.sqrt();
        state.step += 1;
        if !loss.is_finite() || !squares.is_finite() {
            state.running.clone_from(&self.running_before);
            state.num_skipped += 1;
            return Ok(Outcome::Skipped(report));
        }
        state.num_skipped = 0;

        let is_prototypes = |i: usize| self.segments[i].range == self.network.prototypes().range;
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
        Ok(Outcome::Done(report))
    }

    /// The schedules' values at a step.
    fn settings(&self, step: u64) -> StepReport {
        StepReport {
            step,
            epoch: step as f64 / self.steps_per_epoch as f64,
            loss: f64::NAN,
            lr: self.schedules.lr.at(step),
            beta: self.schedules.beta.at(step),
            // The teacher is moved at the end of a step for the next one's targets, so that a skipped step leaves it alone.
            ema_momentum: self.schedules.ema_momentum.at(step + 1),
            weight_decay: self.schedules.weight_decay.at(step),
            sweeps: 0,
            duality_gap: f64::NAN,
            log_ratio_bound: f64::NAN,
            marginal_entropy: f64::NAN,
            log_prototypes: (self.network.num_prototypes() as f64).ln(),
            gradient_norm: f64::NAN,
        }
    }

    /// Embeds the global views of the whole batch, a part at a time, and assigns them.
    fn assign_targets(
        &mut self,
        state: &State,
        batch: &Batch,
        report: &mut StepReport,
    ) -> Result<(), Error> {
        // Without a teacher the student is its own; its gradient does not flow here.
        let values = state.teacher.as_ref().unwrap_or(&state.student);
        let rows = self.rows_at_once();
        let dim = self.network.embedding_dim();
        for start in (0..self.recipe.train.batch_size).step_by(rows) {
            fill(&mut self.teacher, &self.normaliser, batch, &[0, 1], start, rows);
            self.teacher.forward(values, Statistics::Batch);
            for (view, embeddings) in self.teacher.output(1).chunks_exact(rows * dim).enumerate() {
                self.targets.collect(view, start, embeddings);
            }
        }
        let prototypes = &state.student[self.network.prototypes().range.clone()];
        let method = method(&self.recipe.assignment, report.beta)?;
        let reports = self.targets.assign(prototypes, method)?;
        let most = |value: fn(&Report) -> f64| value(&reports[0]).max(value(&reports[1]));
        report.sweeps = reports[0].iterations.max(reports[1].iterations);
        report.duality_gap = most(|r| r.certificate.duality_gap);
        report.log_ratio_bound = most(|r| r.certificate.log_ratio_bound);
        report.marginal_entropy =
            f64::midpoint(reports[0].marginal_entropy, reports[1].marginal_entropy);
        Ok(())
    }

    /// The student's loss, and its gradient in `self.gradients`, a part of the batch at a time.
    fn accumulate(&mut self, state: &mut State, batch: &Batch) -> Result<f64, Error> {
        let rows = self.rows_at_once();
        let share = rows as f64 / self.recipe.train.batch_size as f64;
        let prototypes = self.network.prototypes().range.clone();
        let mut loss = 0.0;
        for start in (0..self.recipe.train.batch_size).step_by(rows) {
            for group in &mut self.groups {
                fill(&mut group.executor, &self.normaliser, batch, &group.views, start, rows);
                group
                    .executor
                    .forward(&state.student, Statistics::BatchUpdating(&mut state.running));
            }
            let part = self.objective(&state.student[prototypes.clone()], start, rows)?;
            loss += share * f64::from(part.loss);
            #[allow(clippy::cast_possible_truncation)] // gradients are f32
            let share = share as f32;
            let dim = self.network.embedding_dim();
            for group in &mut self.groups {
                let of_view = |&v: &usize| &part.embeddings[v * rows * dim..(v + 1) * rows * dim];
                let seed: Vec<f32> =
                    group.views.iter().flat_map(of_view).map(|gradient| gradient * share).collect();
                group.executor.backward(&state.student, &seed, &mut self.gradients);
            }
            let to = &mut self.gradients[prototypes.clone()];
            to.iter_mut().zip(&part.prototypes).for_each(|(to, from)| *to += share * from);
        }
        Ok(loss)
    }

    fn objective(&self, prototypes: &[f32], start: usize, rows: usize) -> Result<Gradients, Error> {
        let len = rows * self.network.embedding_dim();
        let num_views: usize = self.groups.iter().map(|group| group.views.len()).sum();
        let mut embeddings = vec![0.0; num_views * len];
        for group in &self.groups {
            for (&view, from) in group.views.iter().zip(group.executor.output(1).chunks_exact(len))
            {
                embeddings[view * len..(view + 1) * len].copy_from_slice(from);
            }
        }
        let embeddings = Embeddings::new(&embeddings, rows, self.network.embedding_dim())?;
        let targets = [self.targets.rows(0, start, rows), self.targets.rows(1, start, rows)];
        let reduction = match self.recipe.loss.reduction {
            recipe::Reduction::Mean => Reduction::Mean,
            recipe::Reduction::Sum => Reduction::Sum,
        };
        Ok(mira_gradients(
            &embeddings,
            prototypes,
            targets,
            self.recipe.loss.temperature,
            reduction,
        )?)
    }

    fn rows_at_once(&self) -> usize {
        self.recipe.train.batch_size / self.recipe.train.accumulation_steps
    }
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

/// The method of a recipe at a value of β.
fn method(assignment: &recipe::Assignment, beta: f64) -> Result<Method, mira_core::Error> {
    let stop = match (assignment.iterations, assignment.tolerance) {
        (Some(sweeps), _) => StopRule::Sweeps(sweeps),
        (None, Some(tolerance)) => StopRule::tolerance(tolerance),
        (None, None) => StopRule::default(),
    };
    let temperature = assignment.temperature.unwrap_or(Mira::default().temperature());
    Ok(match assignment.method {
        recipe::Method::Mira => Mira::new(temperature, beta)?.with_stop(stop)?.into(),
        recipe::Method::Sinkhorn => {
            let epsilon = assignment.epsilon.unwrap_or(Sinkhorn::swav().epsilon());
            Sinkhorn::new(epsilon)?.with_stop(stop)?.into()
        }
        recipe::Method::Softmax => Softmax::new(temperature)?.into(),
    })
}
