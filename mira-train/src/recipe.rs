//! A run's settings: TOML in, checked and fully resolved structs out.
//!
//! Text → `schema` (names, types, ranges, defaults) → the structs here → `checks` (what several keys must agree on).
//! [`Recipe::to_toml`] writes every setting that applies, defaults included, and reads back to the same recipe.

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::data::Classes;
use documented::documented;

mod builtin;
mod checks;
mod defaults;
pub(crate) mod documented;
mod dry_run;
mod error;
mod extend;
mod model;
pub(crate) mod names;
mod objective;
mod optimisation;
mod overrides;
mod paths;
mod resolve;
pub(crate) mod schema;
mod views;

pub use builtin::{Builtin, builtins, find_builtin};
pub use dry_run::{Basis, Cost, Pace, dry_run};
pub use error::Error;
pub use model::{Architecture, Data, Model, Projector, Stem};
pub use objective::{Assignment, Loss, Method, Objective, Prototypes, Reduction, Teacher};
pub use optimisation::{Optimizer, OptimizerKind, Schedule};
pub use schema::{Bounds, Fallback, Key, Kind};
pub use views::{Blur, Jitter, Solarize, View};

documented! {
    /// Everything a run depends on; a field's name is its key in TOML.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Recipe {
        /// Images to train on; paths are relative to the folder in which a command is given, and a run's folder has them in full.
        pub data: Data,
        /// Encoder.
        pub model: Model,
        /// Projector on the encoder.
        pub projector: Projector,
        /// What is minimised. Which of the four sections after it there are depends on the method.
        pub objective: Objective,
        /// Prototypes, the head's weights.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub prototypes: Option<Prototypes>,
        /// Pseudo-label assignment of the teacher's logits.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub assignment: Option<Assignment>,
        /// Cross-entropy of the student's predictions with the assignment.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub loss: Option<Loss>,
        /// Network the targets come from.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub teacher: Option<Teacher>,
        /// Optimiser of the student.
        pub optimizer: Optimizer,
        /// Length of training and the learning rate over it.
        pub schedule: Schedule,
        /// Batches, seed, threads.
        pub train: Train,
        /// Augmented views; the first two are the global ones, whose targets supervise all others.
        pub views: Vec<View>,
        /// Evaluations during and after training.
        pub eval: Eval,
        /// Checkpoints.
        pub checkpoint: Checkpoint,
    }
}

documented! {
    /// `[train]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Train {
        /// Images an optimiser step, over all accumulation steps and devices; ≥ 2.
        pub batch_size: usize,
        /// Parts a batch goes through the network in; divides `batch_size`.
        pub accumulation_steps: usize,
        /// What shares a batch in batch norms: all views of one size (`per-size`), or each view by itself (`per-view`).
        pub batch_norm: BatchNorm,
        /// Seed of everything random.
        pub seed: u64,
        /// Threads that compute; 0: as many as the machine has.
        pub num_threads: usize,
        /// Steps in a row with a non-finite loss or gradient, each left out, after which the run ends.
        pub max_skipped_steps: usize,
    }
}

/// What shares a batch in batch norms, and passes through the network together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BatchNorm {
    /// All views of one size, as in the released codes of SwAV and DINO.
    PerSize,
    /// Each view by itself, as in those of MIRA, BYOL, Barlow Twins, `VICReg` and the spectral loss.
    PerView,
}

documented! {
    /// `[eval]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Eval {
        /// Neighbours that vote, k ≥ 1 (20 in the paper's protocol).
        pub knn_neighbours: usize,
        /// Temperature T > 0 of a neighbour's vote exp(cos/T) (0.07).
        pub knn_temperature: f64,
        /// Epochs between k-NN evaluations during training; 0: none before the end.
        pub every_epochs: usize,
        /// Epochs of the linear probe at the end; 0: no probe.
        pub linear_epochs: usize,
        /// Learning rate of the linear probe at its start, as used (not scaled by the batch), > 0.
        pub linear_lr: f64,
        /// Batch of the linear probe, ≥ 1.
        pub linear_batch_size: usize,
        /// Whether the linear probe sees features brought to mean 0 and variance 1 by the training set; not in the published protocol.
        pub linear_standardise: bool,
        /// Side of the images the encoder is evaluated on, in pixels; 0: that of the first view.
        pub image_size: usize,
    }
}

documented! {
    /// `[checkpoint]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Checkpoint {
        /// Epochs between checkpoints, ≥ 1; there is always one at the end.
        pub every_epochs: usize,
        /// Minutes between further checkpoints within an epoch, > 0; none where absent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub every_minutes: Option<f64>,
        /// Newest checkpoints kept, ≥ 1.
        pub keep: usize,
    }
}

impl Recipe {
    /// Reads a recipe; `origin` (a path, a name) opens every error. With `extends = "NAME"` it states only in what it differs from a
    /// built-in recipe, or from a .toml file whose path is relative to its own.
    ///
    /// # Errors
    /// Every [`Error`] but those of overrides and names: text that is no TOML, keys that are unknown, misplaced, missing or do not
    /// apply, values out of range or at odds with each other.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, Error> {
        let table: Table = toml::from_str(text).map_err(|e| Error::syntax(origin, text, &e))?;
        resolve::from_table(extend::expand(table, origin)?, origin)
    }

    /// A recipe of the binary by name; [`builtins`] lists them.
    ///
    /// # Errors
    /// [`Error::UnknownRecipe`] with the nearest name.
    pub fn builtin(name: &str) -> Result<Self, Error> {
        let found = find_builtin(name)?;
        Self::from_toml(found.text, found.name)
    }

    /// This recipe with `key=value` settings, applied in order: dotted keys (`train.seed=3`, `views.0.size=24`, `views.*.flip=0` for all
    /// views), values in TOML, bare words as strings.
    ///
    /// Another `objective.name`, `assignment.method`, `optimizer.kind` or `teacher.ema` drops the settings that no longer apply, unless they are among
    /// the overrides; so does `assignment.tolerance` with `iterations`, and `data.label_list` with
    /// `label_fraction`, and the other way round.
    ///
    /// # Errors
    /// [`Error::Override`] for what is no `key=value`, and those of [`Recipe::from_toml`].
    pub fn with_overrides(&self, overrides: &[String]) -> Result<Self, Error> {
        if overrides.is_empty() {
            return Ok(self.clone());
        }
        resolve::from_table(overrides::apply(self.to_table(), overrides)?, "--set")
    }

    /// Whether every setting is in its range and none contradicts another: for recipes changed by code.
    ///
    /// # Errors
    /// Those of [`Recipe::from_toml`].
    pub fn validate(&self) -> Result<(), Error> {
        resolve::from_table(self.to_table(), "recipe").map(|_| ())
    }

    /// Learning rate after warm-up: `optimizer.base_lr` × `train.batch_size` / 256.
    pub fn peak_lr(&self) -> f64 {
        self.optimizer.base_lr * self.train.batch_size as f64 / 256.0
    }

    /// The recipe in full, defaults included; [`Recipe::from_toml`] gives it back exactly.
    ///
    /// # Panics
    /// If code put a whole number above 2⁶³ − 1 into a field, which no recipe read from text has.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("structs of numbers, strings and tables are TOML")
    }

    /// The recipe as JSON, for comparisons and records. Its numbers are those of [`Recipe::to_toml`]: 0.3 in single precision is 0.3.
    pub fn to_json(&self) -> serde_json::Value {
        toml::from_str(&self.to_toml()).unwrap_or_default()
    }

    /// Whether there is a teacher that follows the student.
    pub fn has_teacher(&self) -> bool {
        self.teacher.as_ref().is_some_and(|teacher| teacher.ema)
    }

    /// Whether the teacher is what is evaluated and kept, and not the student.
    pub fn evaluates_teacher(&self) -> bool {
        self.has_teacher() && self.teacher.as_ref().is_some_and(|t| t.evaluate == Some(true))
    }

    /// The side of each view in pixels.
    pub fn view_sizes(&self) -> Vec<usize> {
        self.views.iter().flat_map(|view| std::iter::repeat_n(view.size, view.count)).collect()
    }

    /// The views that pass through the network together, by their numbers among all.
    pub fn view_groups(&self) -> Vec<Vec<usize>> {
        let sizes = self.view_sizes();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (v, &size) in sizes.iter().enumerate() {
            let of_size = |group: &&mut Vec<usize>| sizes[group[0]] == size;
            match groups.iter_mut().find(of_size) {
                Some(group) if self.train.batch_norm == BatchNorm::PerSize => group.push(v),
                _ => groups.push(vec![v]),
            }
        }
        groups
    }

    /// 64-bit FNV-1a of what a run's result depends on: the resolved recipe without paths, threads, waiting, evaluations and checkpoints.
    ///
    /// Formatting, order, comments and written-out defaults do not change it.
    pub fn hash(&self) -> u64 {
        let mut table = self.to_table();
        for section in ["eval", "checkpoint"] {
            table.remove(section);
        }
        let of_data =
            ["path", "label_list", "label_fraction", "num_workers", "prefetch", "read_timeout"];
        let list = matches!(self.data.classes, Some(Classes::List(_))).then_some("classes");
        let of_data = of_data.into_iter().chain(list).map(|key| ("data", key));
        let others = [("train", "num_threads"), ("teacher", "evaluate")];
        for (section, key) in of_data.chain(others) {
            table.get_mut(section).and_then(|s| s.as_table_mut()).and_then(|s| s.remove(key));
        }
        fnv1a(table.to_string().as_bytes())
    }

    fn to_table(&self) -> Table {
        Table::try_from(self).expect("structs of numbers, strings and tables are TOML")
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The values that a key may have, if it is one with a list of them.
pub(crate) fn choices(key: &str) -> &'static [&'static str] {
    match schema::find(key).map(|key| key.kind) {
        Some(schema::Kind::Choice(choices)) => choices,
        _ => &[],
    }
}
