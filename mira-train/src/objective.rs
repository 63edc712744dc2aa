//! What training minimises: the seam that every method goes through, on candle's autograd.
//!
//! The network hands over the embeddings of all views and takes back ∂L/∂embeddings; everything between is tensor code of one method. A
//! method is one file: its settings ([`Key`](crate::recipe)s under `[objective]`), its loss, its state, and one line in [`METHODS`].
//!
//! | a step | who |
//! |---|---|
//! | 1. the teacher embeds the two global views, if the method wants targets | trainer |
//! | 2. [`Objective::prepare`]: targets of the whole batch, without gradient | method |
//! | 3. the student embeds all views; [`Objective::loss`], its gradient by [`gradients`] | method |
//! | 4. backward through the network, optimiser, teacher | trainer |
//! | 5. [`Objective::commit`]: the state becomes that of the next step; not after a skipped one | method |
//!
//! Sums over the batch go through [`Ranks`], so that a batch spread over ranks has one loss and its whole gradient.

pub mod barlow_twins;
pub mod byol;
pub mod deepcluster;
pub(crate) mod dino;
mod error;
pub mod imsvd;
pub mod math;
pub mod memory;
pub mod minc;
pub mod mio;
pub mod mira;
mod ranks;
pub mod self_classifier;
pub mod simclr;
pub mod spectral;
pub mod swav;
mod targets;
pub mod twist;
pub mod vicreg;
mod weights;

pub use barlow_twins::{BarlowTwins, redundancy_reduction};
pub use byol::{Byol, prediction_of_embeddings};
pub use deepcluster::{DeepCluster, label_cross_entropy, spherical_kmeans};
pub use dino::{Dino, centred_softmax, distillation};
pub use error::Error;
pub use memory::Memory;
pub use mira::{Mira, Reduction, swapped_prediction};
pub use ranks::Ranks;
pub use self_classifier::{
    SelfClassifier, SelfClassifierTemperatures, uniform_prior_classification,
};
pub use simclr::{SimClr, nt_xent};
pub use swav::Swav;
pub use targets::Targets;
pub use twist::{Twist, TwistWeights, twin_class, twist_logits};
pub use vicreg::{VicReg, VicRegWeights, variance_invariance_covariance};
pub use weights::{Gradients, Leaves, Weights, gradients};

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::nn::Initialisation;
use crate::recipe::{Key, Recipe};

/// Among a method's defaults: `train.batch_norm` where the released code runs each view by itself.
const PER_VIEW: &str = "\"per-view\"";

/// Numbers worth a line in `metrics.jsonl`, by name.
pub type Diagnostics = BTreeMap<&'static str, f64>;

/// A method as recipes name it.
#[derive(Debug)]
pub struct Method {
    /// `objective.name` in a recipe.
    pub name: &'static str,
    /// One line: what it is, and whose.
    pub title: &'static str,
    /// Its settings, under `[objective]`.
    pub keys: &'static [Key],
    /// What these are, by the names they have there.
    pub settings: &'static [(&'static str, &'static str)],
    /// Which of the sections `prototypes`, `assignment`, `loss`, `teacher` it has.
    pub sections: &'static [&'static str],
    /// Published values, as TOML, of other settings than its own that a recipe leaves out.
    pub defaults: &'static [(&'static str, &'static str)],
    /// What it wants of the network.
    pub needs: Needs,
    /// What it takes beside the network.
    pub memory: Memory,
    /// What its settings and others must agree on: the problem and the remedy.
    pub check: fn(&Recipe) -> Result<(), (String, &'static str)>,
    /// The parameters it has beside prototypes.
    pub parameters: fn(&Recipe) -> Vec<OwnParameter>,
    /// Builds it for a recipe.
    pub new: fn(&Setup<'_>) -> Result<Box<dyn Objective>, Error>,
}

/// What a method wants of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // independent of each other
pub struct Needs {
    /// Whether embeddings have unit length, so that logits against prototypes are cosines.
    pub unit_length: bool,
    /// Whether targets are made before the loss, from the teacher's embeddings of the global views (the student's, without a teacher).
    pub targets: bool,
    /// Whether a sample's loss depends on other samples beyond the targets: a batch that is accumulated is then embedded twice.
    pub couples_samples: bool,
    /// Whether there are exactly two views; otherwise at least two.
    pub two_views: bool,
}

/// What a method is built for.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The run's recipe.
    pub recipe: &'a Recipe,
    /// Images in the training set.
    pub num_images: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Who shares the batch.
    pub ranks: &'a Ranks,
}

impl Setup<'_> {
    /// The settings under `[objective]`.
    ///
    /// # Errors
    /// [`Error::Settings`]; none for a recipe that was read.
    pub fn settings<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let table = toml::Value::Table(self.recipe.objective.settings.clone());
        T::deserialize(table).map_err(|e| Error::Settings(e.message().into()))
    }

    /// Steps of the whole run.
    pub fn num_steps(&self) -> u64 {
        self.recipe.schedule.epochs as u64 * self.steps_per_epoch
    }

    /// Samples a step on this rank.
    pub fn batch_size(&self) -> usize {
        self.recipe.train.batch_size / self.ranks.world_size()
    }
}

/// A parameter of the method's own, trained like the network's.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnParameter {
    /// For example `prototypes.weight`.
    pub name: String,
    /// Linear layers are `[in, out]`, prototypes K × dim.
    pub shape: Vec<usize>,
    /// How it starts.
    pub initialisation: Initialisation,
}

/// Where training is.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The step's number, from 0.
    pub number: u64,
    /// Epochs done before it, whole.
    pub epoch: u64,
    /// Which images the batch holds, on this rank.
    pub indices: &'a [u32],
    /// Who shares the batch.
    pub ranks: &'a Ranks,
}

/// A loss with what there is to say of it.
#[derive(Clone, Debug)]
pub struct Loss {
    /// A scalar, the same on all ranks.
    pub value: Tensor,
    /// Beside it.
    pub diagnostics: Diagnostics,
}

impl From<Tensor> for Loss {
    fn from(value: Tensor) -> Self {
        Self { value, diagnostics: Diagnostics::new() }
    }
}

/// State from a checkpoint, by name.
pub type State = BTreeMap<String, Vec<f32>>;

/// A method at work in a run.
pub trait Objective: std::fmt::Debug + Send {
    /// Makes the targets of a batch: `teacher` has the embeddings (B × dim) of both global views, `weights` the method's own parameters
    /// of teacher and student. Only called if the method [needs](Needs::targets) it.
    ///
    /// # Errors
    /// Embeddings that are not finite.
    fn prepare(
        &mut self,
        _teacher: &[Tensor; 2],
        _weights: &Weights,
        _step: &Step<'_>,
    ) -> Result<Diagnostics, Error> {
        Ok(Diagnostics::new())
    }

    /// The loss of the batch's samples from `start` on, and nothing but them: `views` has an f32 tensor (rows × dim) a view, global ones first. All
    /// of the batch is given, unless a method does not [couple samples](Needs::couples_samples). Then the loss is a **mean over the given
    /// rows**: parts are weighted by their share of the batch and added.
    ///
    /// # Errors
    /// Shapes that do not fit; ranks that are gone.
    fn loss(
        &mut self,
        views: &[Tensor],
        weights: &Weights,
        start: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error>;

    /// The step was taken: what the loss found becomes the state.
    fn commit(&mut self) {}

    /// What a checkpoint must hold.
    fn state(&self) -> Vec<(&'static str, &[f32])> {
        Vec::new()
    }

    /// Takes back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// [`Error::State`] for what is missing or has another length.
    fn restore(&mut self, saved: State) -> Result<(), Error> {
        match saved.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::State(format!("`{name}` is not of this method"))),
        }
    }

    /// The mean assignment to each prototype in the last batch, for the report.
    fn usage(&self) -> Option<Vec<f32>> {
        None
    }
}

/// All methods, the default first.
pub const METHODS: &[&Method] = &[
    &mira::METHOD,
    &mio::METHOD,
    &mio::MAJORIZED_METHOD,
    &imsvd::METHOD,
    &minc::METHOD,
    &spectral::METHOD,
    &swav::METHOD,
    &dino::METHOD,
    &byol::METHOD,
    &byol::LINEAR,
    &simclr::METHOD,
    &barlow_twins::METHOD,
    &vicreg::METHOD,
    &twist::METHOD,
    &self_classifier::METHOD,
    &deepcluster::METHOD,
];

/// A method by name.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name).copied()
}

/// Parameters that a recipe's method has beside the network's.
pub fn own_parameters(recipe: &Recipe) -> Vec<OwnParameter> {
    let mut all = Vec::new();
    if let Some(prototypes) = &recipe.prototypes {
        all.push(OwnParameter {
            name: crate::model::PROTOTYPES.into(),
            shape: vec![prototypes.count, recipe.projector.output_dim],
            initialisation: Initialisation::UnitRows,
        });
    }
    if let Some(method) = find(&recipe.objective.name) {
        all.extend((method.parameters)(recipe));
    }
    all
}

/// Builds the method of a recipe.
///
/// # Errors
/// [`Error::Unknown`]; settings that the method does not have.
pub fn new(setup: &Setup<'_>) -> Result<Box<dyn Objective>, Error> {
    let name = &setup.recipe.objective.name;
    let method = find(name).ok_or_else(|| Error::Unknown(name.clone()))?;
    (method.new)(setup)
}
