//! An encoder and the images it is applied to, as flags name them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Run, chosen, load_run};
use crate::Error;
use crate::cli::eval::EncoderArgs;
use crate::cli::run::{Device, load_recipe};
use crate::data::{Classes, Format, Quarantined};
use crate::model::{Network, load_weights};
use crate::recipe::Recipe;
use crate::train::{self, Sources, Which};
use crate::weights::Weights;

/// An encoder that is loaded, and its images, opened.
pub(super) struct Encoder {
    /// As given.
    path: PathBuf,
    /// Its recipe, with the settings of evaluation and data that the flags change.
    pub(super) recipe: Recipe,
    pub(super) network: Network,
    pub(super) values: Vec<f32>,
    pub(super) running: Vec<f32>,
    /// Which of the run's networks, where there are two.
    which: Option<Which>,
    /// Steps made, of how many, where that is known.
    trained: Option<(u64, Option<u64>)>,
    pub(super) sources: Sources,
}

impl Encoder {
    /// Loads the encoder and opens the images that `args` name.
    ///
    /// # Errors
    /// A device that is not there, flags that do not go together, a damaged or other network, images that are not there.
    pub(super) fn load(args: &EncoderArgs) -> Result<Self, Error> {
        if let Device::Cuda(_) = args.device {
            return Err(Error::NoDevice { device: args.device.to_string() });
        }
        let which;
        let (mut run, mut step) = (None, None);
        let (mut recipe, network, values, running) = if args.encoder.is_dir() {
            if let Some(recipe) = &args.recipe {
                return Err(Error::Usage(format!(
                    "--recipe {recipe} is for files of weights, but {} is a run's folder, which has its own; leave --recipe out",
                    args.encoder.display()
                )));
            }
            let Run { recipe, network, networks: state, step, meta } = load_run(&args.encoder)?;
            let (named, values, running) = chosen(&state, args.network, &recipe, &args.encoder)?;
            which = state.teacher.is_some().then_some(named);
            run = Some((step, meta));
            (recipe, network, values.to_vec(), running.to_vec())
        } else {
            let file = from_weights(&args.encoder, args.recipe.as_deref(), args.network)?;
            (which, step) = (file.which, file.step);
            (file.recipe, file.network, file.values, file.running)
        };
        change(&mut recipe, args);
        super::run::set_threads(recipe.train.num_threads);
        let sources = Sources::open(&recipe.data).map_err(|error| match &recipe.data.path {
            Some(path) if run.is_some() && args.data.is_none() && !path.exists() => {
                Error::MovedData { path: path.clone(), source: Box::new(error.into()) }
            }
            _ => error.into(),
        })?;
        let is_the_runs = args.data.is_none() && args.source.is_none() && args.classes.is_none();
        if let Some((_, meta)) = run.as_ref().filter(|_| is_the_runs)
            && let Some(difference) = train::other_images(&*sources.train, meta)
        {
            complain_of_other_images(&recipe, &difference);
        }
        let trained = run.map(|(step, meta)| {
            let of_an_epoch = meta.get("steps_per_epoch").and_then(Value::as_u64);
            (step, of_an_epoch.map(|steps| steps * recipe.schedule.epochs as u64))
        });
        let trained = trained.or(step.map(|step| (step, None)));
        let path = args.encoder.clone();
        Ok(Self { path, recipe, network, values, running, which, trained, sources })
    }

    /// Puts what it is, and what it is applied to, into a report.
    pub(super) fn describe(&self, report: &mut Value) {
        let data = &self.recipe.data;
        let shown = |path: &PathBuf| path.display().to_string();
        let all = data.label_list.is_none().then_some(1.0);
        report["encoder"] = shown(&self.path).into();
        report["network"] = self.which.map(Which::name).into();
        report["fraction"] = data.label_fraction.or(all).into();
        report["label_list"] = data.label_list.as_ref().map(shown).into();
        report["step"] = self.trained.map(|(step, _)| step).into();
        report["num_steps"] = self.trained.and_then(|(_, num_steps)| num_steps).into();
        report["image_size"] = train::image_size(&self.recipe).into();
        report["data"] = data.path.as_ref().map(shown).into();
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(which) = self.which {
            write!(f, "the {} of ", which.name())?;
        }
        write!(f, "{}", self.path.display())?;
        match self.trained {
            Some((step, Some(num_steps))) if step < num_steps => {
                write!(f, ", of step {step} of {num_steps},")
            }
            _ => Ok(()),
        }
    }
}

/// Applies the flags to the recipe.
fn change(recipe: &mut Recipe, args: &EncoderArgs) {
    if let Some(source) = args.source {
        recipe.data.source = source;
    } else if args.data.is_some() {
        recipe.data.source = Format::Auto;
    }
    recipe.data.path = args.data.clone().or_else(|| recipe.data.path.take());
    if let Some(fraction) = args.max_bad_fraction {
        recipe.data.max_bad_fraction = fraction;
    }
    if let Some(size) = args.image_size {
        recipe.eval.image_size = size as usize;
    }
    if args.label_fraction.is_some() || args.label_list.is_some() {
        (recipe.data.label_fraction, recipe.data.label_list) =
            (args.label_fraction, args.label_list.clone());
    }
    recipe.data.classes =
        args.classes.clone().map(Classes::List).or_else(|| recipe.data.classes.take());
}

fn complain_of_other_images(recipe: &Recipe, difference: &str) {
    let path = recipe.data.path.as_ref();
    let path = path.map_or_else(String::new, |path| format!(" (data.path is {})", path.display()));
    let text = format!(
        "these are not the images that the run was trained on: it had {difference}{path}; name them with --data"
    );
    crate::complain("warning", &text);
}

/// Names the images that are left out, also those that were one too many.
pub(super) fn complain_of<'a>(images: impl IntoIterator<Item = &'a Quarantined>) {
    for image in images {
        crate::complain("warning", &format!("{}; it is left out", image.problem));
    }
}

/// An encoder of a file of weights.
struct OfFile {
    recipe: Recipe,
    network: Network,
    values: Vec<f32>,
    running: Vec<f32>,
    /// What the file says of it.
    which: Option<Which>,
    step: Option<u64>,
}

/// What the tensors of a run's teacher are called, before their names, in a file of all of its tensors.
const TEACHER: &str = "teacher.";

fn from_weights(path: &Path, recipe: Option<&str>, asked: Option<Which>) -> Result<OfFile, Error> {
    // A recipe that is not there is said before a file that is.
    let mut weights = Weights::read(path).map_err(train::Error::from)?;
    let Some(recipe) = recipe else { return Err(Error::RecipeNeeded { path: path.into() }) };
    let recipe = load_recipe(recipe)?;
    let hash = format!("{:016x}", recipe.hash());
    if let Some(other) = weights.metadata.get("recipe_hash").filter(|saved| **saved != hash) {
        let text = format!(
            "{} is of a run with another recipe ({other}, not {hash}): sizes and normalisation of images are those of --recipe; best is the recipe.toml in the run's folder",
            path.display()
        );
        crate::complain("warning", &text);
    }
    let mut which = weights.metadata.get("network").and_then(|name| {
        [Which::Student, Which::Teacher].into_iter().find(|which| which.name() == name)
    });
    let step = weights.metadata.get("step").and_then(|step| step.parse().ok());
    if weights.iter().any(|(name, _)| name.starts_with(TEACHER)) {
        // All of a run's tensors, the student's under their own names.
        let chosen = asked.unwrap_or_else(|| Which::of(&recipe));
        if chosen == Which::Teacher {
            weights = of_teacher(&weights).map_err(train::Error::from)?;
        }
        which = Some(chosen);
    } else if let Some(asked) = asked.filter(|asked| which != Some(*asked)) {
        return Err(Error::Usage(format!(
            "--network {} chooses one of a run's, but {} is one encoder; name the run's folder, or a file of `mira-train export --format safetensors`",
            asked.name(),
            path.display()
        )));
    }
    let network = Network::new(&recipe).map_err(train::Error::from)?;
    let mut values = network.parameters().initial_values(0);
    let mut running = network.parameters().initial_buffers();
    load_weights(&network, &weights, &mut values, &mut running, Network::is_encoder)
        .map_err(train::Error::from)?;
    Ok(OfFile { recipe, network, values, running, which, step })
}

/// The teacher's tensors under their own names.
fn of_teacher(weights: &Weights) -> Result<Weights, crate::weights::Error> {
    let mut teacher = Weights::default();
    for (name, tensor) in weights.iter() {
        if let Some(name) = name.strip_prefix(TEACHER) {
            teacher.insert(name, &tensor.shape, tensor.values.clone())?;
        }
    }
    Ok(teacher)
}
