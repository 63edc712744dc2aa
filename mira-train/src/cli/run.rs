//! The flags of `mira-train run`, and the recipe they ask for.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use crate::data::Format;
use crate::recipe::{Error, Recipe, builtins, find_builtin};
use crate::run_folder::read_short_text;

const EXAMPLES: &str = "\
Examples:
  mira-train run
      pre-trains a small ResNet on embedded images in minutes, and measures what it learned
  mira-train run cifar10-small-cpu --data cifar-10-batches-bin --out runs/cifar
      another recipe, on your data, into a folder of your choice
  mira-train run --set train.seed=1 --set schedule.epochs=4
      the default recipe with two settings changed
  mira-train run my.toml --dry-run
      checks a recipe, prints it in full and what it would cost; writes nothing
  mira-train run --resume --out runs/cifar
      continues an interrupted run where it stopped

`mira-train recipes` lists the recipes; `mira-train recipes NAME` prints one, to be changed.";

/// Flags of `mira-train run`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools)] // flags are what they are
pub struct RunArgs {
    /// Recipe: a name from `mira-train recipes`, or the path of a .toml file [default: default]
    #[arg(value_name = "RECIPE")]
    pub recipe: Option<String>,

    /// Images to train on, in the recipe's format: a folder, or a file
    ///
    /// Goes before the recipe's data.path. The default recipe needs none, its images are in the binary. The folder of a packed set, and tar shards (train-{000000..000146}.tar), may be addresses (https, http, s3, gs) where the program is built with the feature `object-store`.
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub data: Option<PathBuf>,

    /// Run folder: recipe, metrics, checkpoints, encoder and report go here [default: a new folder in runs/]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Continue the run in --out from its last checkpoint, exactly where it stopped
    #[arg(long, requires = "out", conflicts_with = "dry_run", help_heading = "Output")]
    pub resume: bool,

    /// With --resume: stop if the last checkpoint is damaged, rather than go on from the one before it with a warning
    #[arg(long, requires = "resume", help_heading = "Output")]
    pub strict: bool,

    /// Print no progress, only the summary at the end
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,

    /// Where to compute: cpu. Training and evaluation on CUDA devices (cuda:N) are not there yet
    #[arg(long, value_name = "DEVICE", default_value = "cpu", help_heading = "Training")]
    pub device: Device,

    /// Change a setting, as often as needed: dotted key and TOML value, such as train.seed=3, views.0.flip=0, or views.*.flip=0 for all views
    ///
    /// Later ones win. Another assignment.method, optimizer.kind or teacher.ema drops settings that no longer apply.
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Training")]
    pub overrides: Vec<String>,

    /// Seed of everything random; short for --set train.seed=N
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64),
        help_heading = "Training"
    )]
    pub seed: Option<u64>,

    /// Check and print the recipe with all its settings, and what a run would cost; write nothing
    ///
    /// How long it would take is measured by a second of its own steps, which are thrown away; where a step takes more than 2 s, by passes of a few images through its network.
    #[arg(long, help_heading = "Training")]
    pub dry_run: bool,
}

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// This machine's processor.
    #[default]
    Cpu,
    /// A CUDA device by number.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cuda = || text.strip_prefix("cuda:")?.parse().ok().map(Self::Cuda);
        if text == "cpu" { Some(Self::Cpu) } else { cuda() }
            .ok_or_else(|| "expected cpu, or cuda:N such as cuda:0".into())
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// The recipe that a command line asks for, flags applied.
///
/// # Errors
/// Those of [`Recipe::from_toml`] and [`Recipe::with_overrides`]; [`Error::UnknownRecipe`] and [`Error::Unreadable`] for RECIPE;
/// [`Error::Override`] for a setting that a flag gives, too.
pub fn resolve(args: &RunArgs) -> Result<Recipe, Error> {
    check_flags(args)?;
    let mut overrides = args.overrides.clone();
    overrides.extend(args.seed.map(|seed| format!("train.seed={seed}")));
    let recipe = load_recipe(args.recipe.as_deref().unwrap_or("default"))?;
    let mut recipe = recipe.with_overrides(&overrides)?;
    if let Some(path) = &args.data {
        recipe.data.path = Some(path.clone());
        if recipe.data.source == Format::Embedded {
            // The default recipe on one's own images: what they are is found out.
            recipe.data.source = Format::Auto;
        }
    }
    Ok(recipe)
}

/// Refuses settings that a flag gives, too.
///
/// # Errors
/// [`Error::Override`].
pub fn check_flags(args: &RunArgs) -> Result<(), Error> {
    for (flag, key, given) in [
        ("--seed", "train.seed", args.seed.is_some()),
        ("--data", "data.path", args.data.is_some()),
    ] {
        if let (true, Some(text)) = (given, setting(args, key)) {
            let problem = format!("{flag} gives `{key}`, too; remove one of the two");
            return Err(Error::Override { text: text.into(), problem });
        }
    }
    Ok(())
}

/// The setting of a key, as it was given with `--set`.
pub(crate) fn setting<'a>(args: &'a RunArgs, key: &str) -> Option<&'a str> {
    let sets = |text: &&String| text.split('=').next().is_some_and(|k| k.trim() == key);
    args.overrides.iter().find(sets).map(String::as_str)
}

/// A built-in recipe by name; otherwise a file.
///
/// # Errors
/// [`Error::UnknownRecipe`], [`Error::Unreadable`], those of [`Recipe::from_toml`].
pub fn load_recipe(name: &str) -> Result<Recipe, Error> {
    let path = Path::new(name);
    let is_builtin = builtins().iter().any(|builtin| builtin.name == name);
    let looks_like_path = path.extension().is_some_and(|e| e == "toml")
        || path.components().count() > 1
        || path.is_file();
    if is_builtin || !looks_like_path {
        return Recipe::from_toml(find_builtin(name)?.text, name);
    }
    let unreadable = |problem: String| Error::Unreadable { path: path.into(), problem };
    let text = read_short_text(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => unreadable("it is no UTF-8 text".into()),
        _ => unreadable(e.to_string()),
    })?;
    Recipe::from_toml(&text, name)
}
