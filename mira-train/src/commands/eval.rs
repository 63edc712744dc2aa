//! `mira-train eval`: what a trained encoder is worth.

use std::path::Path;

use serde_json::json;

use super::{Run, chosen, load_run};
use crate::Error;
use crate::cli::eval::{EncoderArgs, EvalArgs, Protocol};
use crate::cli::run::{Device, load_recipe};
use crate::data::{Classes, Format};
use crate::eval::linear::{LinearSettings, probe};
use crate::eval::{self, NEVER, knn};
use crate::model::{Network, load_weights};
use crate::recipe::Recipe;
use crate::train::{self, Representations, Sources, Which};
use crate::weights::Weights;

/// Runs `mira-train eval` and returns what to print.
///
/// # Errors
/// Every [`Error`].
pub fn run(args: &EvalArgs) -> Result<String, Error> {
    let encoder = args.protocol.encoder();
    if let Device::Cuda(_) = encoder.device {
        return Err(Error::NoDevice { device: encoder.device.to_string() });
    }
    let (recipe, network, trained, found) = representations(encoder)?;
    let (top1, top5, mut report) = match &args.protocol {
        Protocol::Knn(args) => {
            let k = args.neighbours.map_or(recipe.eval.knn_neighbours, |k| k as usize);
            let temperature = args.temperature.unwrap_or(recipe.eval.knn_temperature);
            let accuracy = knn::top1(&found.train, &found.test, k, temperature)
                .map_err(|error| refused(error, 0.0))?
                .accuracy;
            let report = json!({ "protocol": "knn", "neighbours": k, "temperature": temperature });
            (accuracy.top1, accuracy.top5, report)
        }
        Protocol::Linear(args) => {
            let batch_size = args.batch_size.map_or(recipe.eval.linear_batch_size, |b| b as usize);
            let lr = args.lr.unwrap_or(recipe.eval.linear_lr);
            let settings = LinearSettings {
                // A run without a probe does not say.
                epochs: match args.epochs.map_or(recipe.eval.linear_epochs, |n| n as usize) {
                    0 => LinearSettings::default().epochs,
                    epochs => epochs,
                },
                lr: lr * 256.0 / batch_size.min(found.train.len()) as f64,
                batch_size,
                standardise: recipe.eval.linear_standardise,
                seed: args.seed,
                ..LinearSettings::default()
            };
            let accuracy = probe(&found.train, &found.test, &settings)
                .map_err(|error| refused(error, lr))?
                .accuracy;
            let report = json!({ "protocol": "linear", "epochs": settings.epochs, "lr": lr, "batch_size": batch_size, "standardise": settings.standardise, "seed": args.seed });
            (accuracy.top1, accuracy.top5, report)
        }
    };
    if encoder.json {
        report["encoder"] = encoder.encoder.display().to_string().into();
        report["network"] = network.map(Which::name).into();
        let label_list = recipe.data.label_list.as_ref().map(|path| path.display().to_string());
        let all = label_list.is_none().then_some(1.0);
        report["fraction"] = recipe.data.label_fraction.or(all).into();
        report["label_list"] = label_list.into();
        report["step"] = trained.map(|(step, _)| step).into();
        report["num_steps"] = trained.map(|(_, num_steps)| num_steps).into();
        report["image_size"] = recipe.eval.image_size.into();
        report["data"] = recipe.data.path.as_ref().map(|path| path.display().to_string()).into();
        report["num_train"] = found.train.len().into();
        report["num_test"] = found.test.len().into();
        report["num_train_left_out"] = found.train_set.num_left_out.into();
        report["num_test_left_out"] = found.test_set.num_left_out.into();
        report["top1"] = top1.into();
        report["top5"] = top5.into();
        return Ok(format!("{report}\n"));
    }
    let protocol = report["protocol"].as_str().unwrap_or_default();
    let left_out = found.left_out();
    let left_out = left_out.map_or_else(String::new, |n| format!("; left out as unreadable: {n}"));
    let unfinished = match trained {
        Some((step, num_steps)) if step < num_steps => format!(", of step {step} of {num_steps}"),
        _ => String::new(),
    };
    Ok(format!(
        "{protocol} of {}{}{unfinished} on {} training and {} test images: top-1 {:.2} %, top-5 {:.2} %{left_out}\n",
        network.map_or_else(String::new, |network| format!("the {} of ", network.name())),
        encoder.encoder.display(),
        found.train.len(),
        found.test.len(),
        100.0 * top1,
        100.0 * top5
    ))
}

/// What is wrong, by the names of the command line.
fn refused(error: eval::Error, lr: f64) -> Error {
    match error {
        eval::Error::NumNeighbours { k, available } => Error::NumNeighbours { k, available },
        eval::Error::Diverged { epoch, loss, .. } => Error::ProbeDiverged { lr, epoch, loss },
        other => train::Error::from(other).into(),
    }
}

/// Steps made, of how many.
type Trained = Option<(u64, u64)>;

/// Features of the labelled images by the encoder that `args` name.
fn representations(
    args: &EncoderArgs,
) -> Result<(Recipe, Option<Which>, Trained, Representations), Error> {
    let (mut which, mut run) = (None, None);
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
    } else if let Some(network) = args.network {
        return Err(Error::Usage(format!(
            "--network {} chooses one of a run's, but {} is one encoder; name the run's folder",
            network.name(),
            args.encoder.display()
        )));
    } else {
        from_weights(&args.encoder, args.recipe.as_deref())?
    };
    if let Some(source) = args.source {
        recipe.data.source = source;
    } else if args.data.is_some() {
        recipe.data.source = Format::Auto;
    }
    recipe.data.path = args.data.clone().or(recipe.data.path);
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
    recipe.data.classes = args.classes.clone().map(Classes::List).or(recipe.data.classes);
    super::run::set_threads(recipe.train.num_threads);
    let sources = Sources::open(&recipe.data).map_err(|error| match &recipe.data.path {
        Some(path)
            if run.is_some() && args.data.is_none() && path.is_relative() && !path.exists() =>
        {
            Error::MovedData { path: path.clone(), source: Box::new(error.into()) }
        }
        _ => error.into(),
    })?;
    let is_the_runs = args.data.is_none() && args.source.is_none() && args.classes.is_none();
    if let Some((_, meta)) = run.as_ref().filter(|_| is_the_runs)
        && let Some(difference) = train::other_images(&*sources.train, meta)
    {
        let path = recipe.data.path.as_ref().map_or_else(String::new, |path| {
            format!(
                " (data.path is {}, which counts from the folder a run is started in)",
                path.display()
            )
        });
        let text = format!(
            "these are not the images that the run was trained on: it had {difference}{path}; name them with --data"
        );
        crate::complain("warning", &text);
    }
    let trained = run.map(|(step, meta)| {
        let of_an_epoch = meta.get("steps_per_epoch").and_then(serde_json::Value::as_u64);
        (step, of_an_epoch.unwrap_or(0) * recipe.schedule.epochs as u64)
    });
    let no_test = sources.no_test.clone().unwrap_or_default();
    let mut left_out = Vec::new();
    let (values, running) = (&values, &running);
    let found = Representations::of_encoder(
        NEVER,
        &recipe,
        &network,
        values,
        running,
        &sources,
        &mut left_out,
    );
    // Also those that were one too many.
    for (_, image) in left_out {
        crate::complain("warning", &format!("{}; it is left out", image.problem));
    }
    let Some(found) = found? else { return Err(Error::NothingToEvaluate { reason: no_test }) };
    Ok((recipe, which, trained, found))
}

type Encoder = (Recipe, Network, Vec<f32>, Vec<f32>);

fn from_weights(path: &Path, recipe: Option<&str>) -> Result<Encoder, Error> {
    // A recipe that is not there is said before a file that is.
    let weights = Weights::read(path).map_err(train::Error::from)?;
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
    let network = Network::new(&recipe).map_err(train::Error::from)?;
    let mut values = network.parameters().initial_values(0);
    let mut running = network.parameters().initial_buffers();
    load_weights(&network, &weights, &mut values, &mut running, Network::is_encoder)
        .map_err(train::Error::from)?;
    Ok((recipe, network, values, running))
}
