//! What a run is after some steps: all that a checkpoint must hold.

use serde_json::{Value, json};

use super::Error;
use crate::model::Network;
use crate::objective::{self, Objective, Setup};
use crate::optim::{Optimizer, ema};
use crate::recipe::Recipe;
use crate::run_folder::{Snapshot, SnapshotRef};

/// Parameters, teacher, statistics, optimiser. Random numbers are keyed by seed and step and need no state; the sampler's
/// position is the step.
#[derive(Debug)]
pub struct State {
    /// Steps done; also the number of the next.
    pub step: u64,
    /// The student's parameters.
    pub student: Vec<f32>,
    /// The teacher's; `None` where targets come from the student.
    pub teacher: Option<Vec<f32>>,
    /// The student's running statistics.
    pub running: Vec<f32>,
    /// The teacher's, of its own passes over the global views.
    pub teacher_running: Option<Vec<f32>>,
    /// The optimiser and its momentum.
    pub optimizer: Optimizer,
    /// Steps in a row that were skipped.
    pub num_skipped: usize,
    /// The method, with its queues and centres.
    pub objective: Box<dyn Objective>,
}

/// What a checkpoint says of the networks.
#[derive(Clone, Debug)]
pub struct Networks {
    /// As in [`State::step`].
    pub step: u64,
    /// As in [`State::student`].
    pub student: Vec<f32>,
    /// As in [`State::teacher`].
    pub teacher: Option<Vec<f32>>,
    /// As in [`State::running`].
    pub running: Vec<f32>,
    /// As in [`State::teacher_running`].
    pub teacher_running: Option<Vec<f32>>,
}

/// Which of a run's two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// The one that the optimiser moves.
    Student,
    /// The one that follows it.
    Teacher,
}

impl Which {
    /// The one that a recipe has evaluated.
    pub fn of(recipe: &Recipe) -> Self {
        if recipe.evaluates_teacher() { Self::Teacher } else { Self::Student }
    }

    /// `student` or `teacher`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
        }
    }
}

impl Networks {
    /// Takes them out of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for tensors that are missing or of another length.
    pub fn take(
        recipe: &Recipe,
        network: &Network,
        snapshot: &mut Snapshot,
    ) -> Result<Self, Error> {
        let parameters = network.parameters();
        let mut take = |name: &str, len: usize| snapshot.take_f32(name, len).map_err(unfit);
        let student = take("student", parameters.num_values())?;
        let mut teacher = None;
        if recipe.has_teacher() {
            teacher = Some(take("teacher", parameters.num_values())?);
        }
        let running = take("running_statistics", parameters.num_buffer_values())?;
        let mut teacher_running = None;
        if recipe.has_teacher() {
            let name = "teacher_running_statistics";
            teacher_running = Some(take(name, parameters.num_buffer_values())?);
        }
        let step = number(snapshot, "step")?;
        Ok(Self { step, student, teacher, running, teacher_running })
    }

    /// Parameters and running statistics of one network; `None` for a teacher where there is none.
    pub fn of(&self, which: Which) -> Option<(&[f32], &[f32])> {
        match which {
            Which::Student => Some((&self.student, &self.running)),
            Which::Teacher => self.teacher.as_deref().zip(self.teacher_running.as_deref()),
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` has it
fn unfit(error: impl std::fmt::Display) -> Error {
    Error::Checkpoint(error.to_string())
}

fn number(snapshot: &Snapshot, name: &str) -> Result<u64, Error> {
    let value = snapshot.meta.get(name).and_then(Value::as_u64);
    value.ok_or_else(|| Error::Checkpoint(format!("its description has no number {name}")))
}

impl State {
    /// The start of a run.
    ///
    /// # Errors
    /// Settings that the method does not have.
    pub fn new(setup: &Setup<'_>, network: &Network) -> Result<Self, Error> {
        let recipe = setup.recipe;
        let student = network.parameters().initial_values(recipe.train.seed);
        Ok(Self {
            step: 0,
            teacher: recipe.has_teacher().then(|| student.clone()),
            running: network.parameters().initial_buffers(),
            teacher_running: recipe.has_teacher().then(|| network.parameters().initial_buffers()),
            optimizer: Optimizer::new(&recipe.optimizer, student.len()),
            student,
            num_skipped: 0,
            objective: objective::new(setup)?,
        })
    }

    /// What a checkpoint holds; `meta` is added to its description.
    pub fn snapshot(&self, meta: &Value) -> SnapshotRef<'_> {
        let mut all = json!({ "step": self.step, "num_skipped": self.num_skipped });
        if let (Value::Object(all), Value::Object(meta)) = (&mut all, meta) {
            all.extend(meta.clone());
        }
        let mut snapshot = SnapshotRef::new(all);
        snapshot.push("student", &self.student[..]);
        if let Some(teacher) = &self.teacher {
            snapshot.push("teacher", &teacher[..]);
        }
        snapshot.push("running_statistics", &self.running[..]);
        if let Some(running) = &self.teacher_running {
            snapshot.push("teacher_running_statistics", &running[..]);
        }
        for (name, values) in self.optimizer.state() {
            snapshot.push(format!("optimizer.{name}"), values);
        }
        for (name, values) in self.objective.state() {
            snapshot.push(format!("objective.{name}"), values);
        }
        snapshot
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for tensors that are missing or of another length.
    pub fn restore(
        setup: &Setup<'_>,
        network: &Network,
        mut snapshot: Snapshot,
    ) -> Result<Self, Error> {
        let mut state = Self::new(setup, network)?;
        state.num_skipped =
            usize::try_from(number(&snapshot, "num_skipped")?).unwrap_or(usize::MAX);
        let networks = Networks::take(setup.recipe, network, &mut snapshot)?;
        state.step = networks.step;
        (state.student, state.running) = (networks.student, networks.running);
        (state.teacher, state.teacher_running) = (networks.teacher, networks.teacher_running);
        let mut take_all = |prefix: &str| {
            let mut saved = Vec::new();
            for tensor in &mut snapshot.tensors {
                if let (Some(name), crate::run_folder::TensorData::F32(values)) =
                    (tensor.name.strip_prefix(prefix), &mut tensor.data)
                {
                    saved.push((name.to_owned(), std::mem::take(values)));
                }
            }
            saved
        };
        state.optimizer.restore(&take_all("optimizer.")).map_err(unfit)?;
        let saved = take_all("objective.").into_iter().collect();
        state.objective.restore(saved).map_err(unfit)?;
        Ok(state)
    }

    /// Parameters and running statistics of the network that the recipe has evaluated.
    pub fn evaluated(&self, recipe: &Recipe) -> (&[f32], &[f32]) {
        match (Which::of(recipe), &self.teacher, &self.teacher_running) {
            (Which::Teacher, Some(teacher), Some(running)) => (teacher, running),
            _ => (&self.student, &self.running),
        }
    }

    /// Moves the teacher towards the student: `teacher ← m·teacher + (1 − m)·student`.
    pub fn follow(&mut self, momentum: f64) {
        if let Some(teacher) = &mut self.teacher {
            ema(teacher, &self.student, momentum);
        }
    }
}
