//! The flags of `mira-train compare`, and the recipes they stand for.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::run::{Device, RunArgs, load_recipe, resolve};
use crate::objective::METHODS;
use crate::recipe::{Error, Recipe, builtins, find_builtin, names};

const EXAMPLES: &str = "\
Examples:
  mira-train compare --objectives mira,mio --seeds 5
      two objectives on the embedded images, everything else equal: a table of means and standard deviations over five seeds
  mira-train compare --objectives all --family cifar10-small --data cifar-10-batches-bin --out comparisons/cifar
      all objectives that have a recipe of this family, on your data; the same command again goes on where it stopped
  mira-train compare default mine.toml --seeds 3 --set schedule.epochs=4
      recipes by name or file, with a setting changed in all of them
  mira-train compare default mine.toml --dry-run
      how many runs and how long they take; writes nothing

Recipes may differ in objective, projector, prototypes, teacher, assignment, loss, optimizer and learning rates, which are a method's own, and must
agree in data, model, views, batch, epochs and evaluation. Results are in results.md, results.csv and results.html, anew after every run, with the commands that they are of (commands.txt).
Exit codes: 1 if a run failed (the others are made all the same), 75 if interrupted and saved.";

/// Recipes that are alike in everything but the objective.
const FAMILIES: [&str; 4] = ["small", "cifar10-small", "cifar10-r18", "imagenet-r50"];

/// Flags of `mira-train compare`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// Recipes to compare: names from `mira-train recipes`, or paths of .toml files
    #[arg(value_name = "RECIPE", num_args = 1..)]
    pub recipes: Vec<String>,

    /// Objectives to compare, with commas between them, by the recipes FAMILY/OBJECTIVE; or `all`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "recipes")]
    pub objectives: Vec<String>,

    /// Which recipes --objectives stands for
    ///
    /// Those of cifar10-r18 and imagenet-r50 have the published epochs and batches of each, which --set schedule.epochs=N --set train.batch_size=N makes equal.
    #[arg(
        long,
        value_name = "FAMILY",
        default_value = "small",
        value_parser = PossibleValuesParser::new(FAMILIES),
        conflicts_with = "recipes"
    )]
    pub family: String,

    /// Images to train on, for all recipes: a folder, or a file
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub data: Option<PathBuf>,

    /// Folder of the comparison; one that was begun goes on [default: a new folder in comparisons/]
    ///
    /// Finished runs are kept, begun ones resumed, failed ones tried again, others started. Further recipes and seeds may be added: the results have all
    /// runs of the folder, though only those that are named are made.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Print no progress, only warnings and the table at the end
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,

    /// Runs of each recipe, with seeds 0 to N − 1
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=1000),
        help_heading = "Training"
    )]
    pub seeds: u64,

    /// Change a setting of all recipes, as often as needed: dotted key and TOML value, such as schedule.epochs=4
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Training")]
    pub overrides: Vec<String>,

    /// Print which runs there would be, what is done already and how long the rest takes, as `run --dry-run` measures it; write nothing
    #[arg(long, help_heading = "Training")]
    pub dry_run: bool,
}

/// A recipe to be compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// As the command line has it, or as `--objectives` stands for it.
    pub given: String,
    /// Its settings, flags applied; the seed is not decided yet.
    pub recipe: Recipe,
}

/// The recipes that a command line asks for, flags applied.
///
/// # Errors
/// [`Error::UnknownObjective`]; those of [`load_recipe`] and [`resolve`], with the recipe's name where a flag does not suit it.
pub fn recipes(args: &CompareArgs) -> Result<Vec<Compared>, Error> {
    let sets_seed =
        |text: &&String| text.split('=').next().is_some_and(|k| k.trim() == "train.seed");
    if let Some(text) = args.overrides.iter().find(sets_seed) {
        let problem = "--seeds gives `train.seed`; leave this out".into();
        return Err(Error::Override { text: text.clone(), problem });
    }
    let given = if args.objectives.is_empty() { args.recipes.clone() } else { of_family(args)? };
    let resolved = given.into_iter().map(|given| {
        load_recipe(&given)?;
        let run = RunArgs {
            recipe: Some(given.clone()),
            data: args.data.clone(),
            out: None,
            resume: false,
            strict: false,
            quiet: true,
            device: Device::Cpu,
            overrides: args.overrides.clone(),
            seed: None,
            dry_run: false,
        };
        let recipe = resolve(&run).map_err(|source| Error::OfCompared {
            recipe: given.clone(),
            source: Box::new(source),
        })?;
        Ok(Compared { given, recipe })
    });
    resolved.collect()
}

/// The recipes that `--objectives` stands for.
fn of_family(args: &CompareArgs) -> Result<Vec<String>, Error> {
    let of = |objective: &str| format!("{}/{objective}", args.family);
    let all = || METHODS.iter().map(|method| method.name);
    // Also beside others, which it includes.
    if args.objectives.iter().any(|name| name == "all") {
        let exists = |name: &String| builtins().iter().any(|builtin| builtin.name == name);
        let found: Vec<String> = all().map(of).filter(exists).collect();
        if found.is_empty() {
            find_builtin(&of(METHODS[0].name))?;
        }
        return Ok(found);
    }
    for name in &args.objectives {
        if !all().any(|known| known == name) {
            let suggestion = names::nearest(name, all()).map_or_else(
                || format!("expected all, {}", all().collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Error::UnknownObjective { name: name.clone(), suggestion });
        }
    }
    let found = args.objectives.iter().map(|name| Ok(find_builtin(&of(name))?.name.to_owned()));
    found.collect()
}
