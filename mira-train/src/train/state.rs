//! What a run is after some steps: all that a checkpoint must hold.

use serde_json::{Value, json};

use super::Error;
use crate::model::Network;
use crate::optim::{Optimizer, ema};
use crate::recipe::Recipe;
use crate::run_folder::{Snapshot, SnapshotRef};

/// Parameters, teacher, statistics, optimiser. Random numbers are keyed by seed and step and need no state; the sampler's
/// position is the step.
#[derive(Clone, Debug)]
pub struct State {
    /// Steps done; also the number of the next.
    pub step: u64,
    /// The student's parameters.
    pub student: Vec<f32>,
    /// The teacher's; `None` where targets come from the student.
    pub teacher: Option<Vec<f32>>,
    /// The student's running statistics.
    pub running: Vec<f32>,
    /// The optimiser and its momentum.
    pub optimizer: Optimizer,
    /// Steps in a row that were skipped.
    pub num_skipped: usize,
}

impl State {
    /// The start of a run.
    pub fn new(recipe: &Recipe, network: &Network) -> Self {
        let student = network.parameters().initial_values(recipe.train.seed);
        Self {
            step: 0,
            teacher: recipe.teacher.ema.then(|| student.clone()),
            running: network.parameters().initial_buffers(),
            optimizer: Optimizer::new(&recipe.optimizer, student.len()),
            student,
            num_skipped: 0,
        }
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
        for (name, values) in self.optimizer.state() {
            snapshot.push(format!("optimizer.{name}"), values);
        }
        snapshot
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for tensors that are missing or of another length.
    pub fn restore(
        recipe: &Recipe,
        network: &Network,
        mut snapshot: Snapshot,
    ) -> Result<Self, Error> {
        let mut state = Self::new(recipe, network);
        let unfit = |e: &dyn std::fmt::Display| Error::Checkpoint(e.to_string());
        let number = |name: &str| {
            let value = snapshot.meta.get(name).and_then(Value::as_u64);
            value.ok_or_else(|| Error::Checkpoint(format!("its description has no number {name}")))
        };
        state.step = number("step")?;
        state.num_skipped = usize::try_from(number("num_skipped")?).unwrap_or(usize::MAX);
        let mut take = |name: &str, len: usize| snapshot.take_f32(name, len).map_err(|e| unfit(&e));
        state.student = take("student", state.student.len())?;
        if let Some(teacher) = &mut state.teacher {
            *teacher = take("teacher", teacher.len())?;
        }
        state.running = take("running_statistics", state.running.len())?;
        let mut saved = Vec::new();
        for tensor in &mut snapshot.tensors {
            if let (Some(name), crate::run_folder::TensorData::F32(values)) =
                (tensor.name.strip_prefix("optimizer."), &mut tensor.data)
            {
                saved.push((name.to_owned(), std::mem::take(values)));
            }
        }
        state.optimizer.restore(&saved).map_err(|e| unfit(&e))?;
        Ok(state)
    }

    /// Moves the teacher towards the student: `teacher ← m·teacher + (1 − m)·student`.
    pub fn follow(&mut self, momentum: f64) {
        if let Some(teacher) = &mut self.teacher {
            ema(teacher, &self.student, momentum);
        }
    }
}
