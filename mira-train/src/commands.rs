//! What the subcommands do; their flags are in [`crate::cli`].

pub mod compare;
pub mod data;
mod encoder;
pub mod eval;
pub mod export;
pub mod features;
pub mod plot;
mod progress;
pub mod run;

use std::path::Path;

use crate::model::Network;
use crate::recipe::Recipe;
use crate::run_folder::{self, load_latest, read_recipe};
use crate::train::{Error, Networks, Which};

/// A run's folder, as of its latest checkpoint that is whole.
struct Run {
    recipe: Recipe,
    network: Network,
    networks: Networks,
    step: u64,
    /// What the checkpoint says beside its tensors.
    meta: serde_json::Value,
}

fn load_run(run: &Path) -> Result<Run, crate::Error> {
    let text = read_recipe(run).map_err(|error| match error {
        // Nobody is about to resume anything.
        run_folder::Error::NotARun { path } => crate::Error::NoRun { path },
        other => Error::from(other).into(),
    })?;
    let recipe = Recipe::from_toml(&text, &run.join("recipe.toml").display().to_string())?;
    let network = Network::new(&recipe).map_err(Error::from)?;
    let Some(mut loaded) = load_latest(run, false).map_err(Error::from)? else {
        return Err(crate::Error::NoCheckpoint { run: run.into() });
    };
    for warning in std::mem::take(&mut loaded.warnings) {
        crate::complain("warning", &warning);
    }
    let networks = Networks::take(&recipe, &network, &mut loaded.snapshot)?;
    Ok(Run { recipe, network, networks, step: loaded.step, meta: loaded.snapshot.meta })
}

/// The network of a run that is asked for, or else the one that its recipe has evaluated; with parameters and running statistics.
fn chosen<'a>(
    networks: &'a Networks,
    asked: Option<Which>,
    recipe: &Recipe,
    run: &Path,
) -> Result<(Which, &'a [f32], &'a [f32]), crate::Error> {
    let which = asked.unwrap_or_else(|| Which::of(recipe));
    let Some((values, running)) = networks.of(which) else {
        return Err(crate::Error::Usage(format!(
            "{} has no teacher: targets of {} come from the student; use --network student",
            run.display(),
            recipe.objective.name
        )));
    };
    Ok((which, values, running))
}
