//! `mira-train data hash`: that batches depend on nothing but the recipe, the images and the step.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use twox_hash::XxHash3_64;

use crate::Error;
use crate::cli::data::hash::HashArgs;
use crate::cli::run::load_recipe;
use crate::data::{self, Format, Loader, LoaderConfig, Source, Split};
use crate::recipe::Recipe;
use crate::text::count;
use crate::train::{self, loader_config, open_split};

/// The same batches made in different ways are not the same.
const EXIT_DIFFERENT: u8 = 1;

/// A way to make the batches, and the hash of each.
struct Made {
    num_workers: usize,
    /// The batch before which the loader was thrown away, and another one made.
    interrupted: Option<u64>,
    hashes: Vec<u64>,
}

pub(super) fn run(args: &HashArgs) -> Result<(ExitCode, String), Error> {
    let recipe = recipe(args)?;
    let source = open_split(&recipe.data, Split::Train).map_err(train::Error::from)?;
    let all = make(args, &source, &loader_config(&recipe)).map_err(train::Error::from)?;
    let is_same = all.iter().all(|made| made.hashes == all[0].hashes);
    let text = if args.json {
        in_json(args, &all, is_same)
    } else {
        in_words(args, &recipe, source.len(), &all, is_same)
    };
    Ok((ExitCode::from(if is_same { 0 } else { EXIT_DIFFERENT }), text))
}

/// The recipe on the data that the command line names.
fn recipe(args: &HashArgs) -> Result<Recipe, Error> {
    let mut recipe = load_recipe(&args.recipe)?.with_overrides(&args.overrides)?;
    if let Some(path) = &args.path {
        recipe.data.path = Some(path.clone());
        recipe.data.source = Format::Auto;
    }
    recipe.data.source = args.source.unwrap_or(recipe.data.source);
    Ok(recipe)
}

fn make(
    args: &HashArgs,
    source: &Arc<dyn Source>,
    config: &LoaderConfig,
) -> Result<Vec<Made>, data::Error> {
    let end = args.first + u64::from(args.batches);
    let middle = args.first + u64::from(args.batches) / 2;
    let interrupted = args.threads.last().map(|&last| (last, Some(middle)));
    let ways = args.threads.iter().map(|&num_workers| (num_workers, None)).chain(interrupted);
    let made = ways.map(|(num_workers, interrupted)| {
        let num_workers = num_workers as usize;
        let config = LoaderConfig { num_workers, ..config.clone() };
        let mut hashes = Vec::with_capacity(args.batches as usize);
        let middle = interrupted.unwrap_or(args.first);
        for part in [args.first..middle, middle..end].into_iter().filter(|part| !part.is_empty()) {
            // Dropped with batches that it has made ahead.
            let mut loader = Loader::new(Arc::clone(source), config.clone(), part.start)?;
            for _ in part {
                let batch = loader.next_batch()?;
                hashes.push(batch.hash());
                loader.recycle(batch);
            }
        }
        Ok(Made { num_workers, interrupted, hashes })
    });
    made.collect()
}

impl Made {
    /// The hash of all batches.
    fn hash(&self) -> String {
        let bytes: Vec<u8> = self.hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        hex(XxHash3_64::oneshot(&bytes))
    }
}

fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

fn in_words(
    args: &HashArgs,
    recipe: &Recipe,
    num_images: usize,
    all: &[Made],
    is_same: bool,
) -> String {
    let num_views: usize = recipe.views.iter().map(|view| view.count).sum();
    let mut text = format!(
        "{} batches from step {} of {} images with {num_views} views, seed {}, of a set of {}\n\n{:<20} hash\n",
        count(args.batches as usize),
        args.first,
        count(recipe.train.batch_size),
        recipe.train.seed,
        count(num_images),
        "threads"
    );
    for made in all {
        let mut way = made.num_workers.to_string();
        if let Some(step) = made.interrupted {
            let _ = write!(way, ", resumed at {step}");
        }
        let _ = writeln!(text, "{way:<20} {}", made.hash());
    }
    text += if is_same {
        "\nThe same, byte for byte.\n"
    } else {
        "\nThey differ: this is a bug unless the images have changed meanwhile, please report it.\n"
    };
    text
}

fn in_json(args: &HashArgs, all: &[Made], is_same: bool) -> String {
    let ways = all.iter().map(|made| {
        json!({ "workers": made.num_workers, "resumed_at": made.interrupted, "hash": made.hash() })
    });
    let report = json!({
        "first": args.first,
        "num_batches": args.batches,
        "is_same": is_same,
        "made": ways.collect::<Vec<_>>(),
        "batches": all[0].hashes.iter().map(|&hash| hex(hash)).collect::<Vec<_>>(),
    });
    format!("{report}\n")
}
