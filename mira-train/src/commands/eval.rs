//! `mira-train eval`: what a trained encoder is worth.

use serde_json::json;

use super::encoder::Encoder;
use crate::Error;
use crate::cli::eval::{EvalArgs, Protocol};
use crate::eval::linear::{LinearSettings, probe};
use crate::eval::{self, NEVER, knn};
use crate::train::{self, Representations};

/// Runs `mira-train eval` and returns what to print.
///
/// # Errors
/// Every [`Error`].
pub fn run(args: &EvalArgs) -> Result<String, Error> {
    let flags = args.protocol.encoder();
    let encoder = Encoder::load(flags)?;
    let found = representations(&encoder)?;
    let recipe = &encoder.recipe;
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
    if flags.json {
        encoder.describe(&mut report);
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
    Ok(format!(
        "{protocol} of {encoder} on {} training and {} test images: top-1 {:.2} %, top-5 {:.2} %{left_out}\n",
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

/// Features of the labelled images.
fn representations(encoder: &Encoder) -> Result<Representations, Error> {
    let Encoder { recipe, network, values, running, sources, .. } = encoder;
    let mut left_out = Vec::new();
    let found = Representations::of_encoder(
        NEVER,
        recipe,
        network,
        values,
        running,
        sources,
        &mut left_out,
    );
    super::encoder::complain_of(left_out.iter().map(|(_, image)| image));
    found?.ok_or_else(|| Error::NothingToEvaluate {
        reason: sources.no_test.clone().unwrap_or_default(),
    })
}
