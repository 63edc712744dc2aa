//! `mira-train run`: pre-trains, evaluates, and leaves a folder that says what happened.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Error;
use crate::cli::run::{Device, RunArgs, check_flags, resolve, setting};
use crate::pages::metrics::Metrics;
use crate::pages::report::headline;
use crate::recipe::{Architecture, Cost, Pace, Recipe, dry_run};
use crate::run_folder::{
    EXIT_INTERRUPTED, StopRequest, check_resume, read_recipe, refuse_occupied,
};
use crate::terminal::available_memory;
use crate::text::{count, in_shell};
use crate::train::{
    self, Ending, NumImages, Session, Sources, Start, cost, pace, write_encoder, write_report,
};

/// Images of the set that a recipe seems to be written for, where a dry run is not given the data: CIFAR's have 32 pixels a side, and who trains a
/// ResNet-18 on larger ones does so on a hundred classes of ImageNet's.
fn assumed(recipe: &Recipe) -> (&'static str, NumImages) {
    let is_small = recipe.views.first().is_some_and(|view| view.size <= 32);
    let (name, train, test) = match recipe.model.architecture {
        _ if is_small => ("CIFAR", 50_000, 10_000),
        Architecture::Resnet18 => ("ImageNet-100", 126_689, 5_000),
        _ => ("ImageNet", 1_281_167, 50_000),
    };
    let train = recipe.data.max_train.map_or(train, |max| max.min(train));
    let test = recipe.data.max_test.map_or(test, |max| max.min(test));
    (name, NumImages { train, labelled: train, test })
}

/// Runs `mira-train run`; what it prints on stdout is the second part of the result.
///
/// # Errors
/// Every [`Error`]; a run that had begun can be resumed.
pub fn run(args: &RunArgs) -> Result<(ExitCode, String), Error> {
    if let Device::Cuda(_) = args.device {
        return Err(Error::NoDevice { device: args.device.to_string() });
    }
    let (recipe, warnings) =
        if args.resume { resumed(args)? } else { (resolve(args)?, Vec::new()) };
    set_threads(recipe.train.num_threads);
    if args.dry_run {
        if let Some(out) = &args.out {
            refuse_occupied(out).map_err(train::Error::from)?;
        }
        return Ok((ExitCode::SUCCESS, dry_run_text(&recipe)?));
    }
    // What is shown has them as they were given.
    let recipe = recipe.with_full_paths();
    let is_given = args.data.is_some() || setting(args, "data.path").is_some();
    let sources = open(&recipe).map_err(|error| match &recipe.data.path {
        Some(path) if args.resume && !is_given && !path.exists() => {
            Error::MovedData { path: path.clone(), source: Box::new(error) }
        }
        _ => error,
    })?;
    check_memory(&cost(&recipe, NumImages::of(&sources))?)?;
    let name = recipe_name(args);
    let out = args.out.clone().unwrap_or_else(|| free_folder(&name));
    let stop = StopRequest::install().map_err(train::Error::from)?;
    let start = if args.resume { Start::Resumed { strict: args.strict } } else { Start::New };
    let mut session = match Session::new(&recipe, sources, &out, start, stop, args.quiet) {
        Err(stopped @ train::Error::Stopped { .. }) => {
            let text =
                format!("{stopped}{}\n", if args.resume { go_on(&out) } else { String::new() });
            return Ok((ExitCode::from(EXIT_INTERRUPTED), text));
        }
        session => session?,
    };
    for warning in warnings {
        crate::terminal::tell(&format!("warning: {warning}"));
    }
    if !args.quiet {
        let from =
            if args.resume { format!(", from step {}", session.state.step) } else { String::new() };
        crate::terminal::tell(&format!(
            "{name} into {}{from}; follow with: tensorboard --logdir {}",
            out.display(),
            in_shell(out.display())
        ));
    }
    if let Ending::Interrupted(signal, checkpoint) = session.train()? {
        let text = format!(
            "stopped by {signal} after step {}; saved {}{}\n",
            session.state.step,
            checkpoint.display(),
            go_on(&out)
        );
        return Ok((ExitCode::from(EXIT_INTERRUPTED), text));
    }
    write_encoder(&session)?;
    let seconds = session.seconds();
    // The report of a finished run says more than could be said of it now.
    if !(session.was_finished() && out.join("report.html").is_file()) {
        let command = command_of(args, &out);
        write_report(&session, &name, &command, seconds, session.found())?;
    }
    Ok((ExitCode::SUCCESS, summary(&recipe, &out, seconds)?))
}

/// A line with the command that goes on with a run.
fn go_on(out: &Path) -> String {
    format!("\ncontinue with: mira-train run --resume --out {}", in_shell(out.display()))
}

pub(super) fn set_threads(num_threads: usize) {
    // Fails only where a pool exists already, as in tests that call this twice; results do not depend on its size.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build_global();
}

pub(super) fn open(recipe: &Recipe) -> Result<Sources, Error> {
    let sources = Sources::open(&recipe.data)?;
    // Of those that are used, where no list withholds labels.
    let all_labelled = recipe.data.label_list.is_none();
    let is_single = sources.train.num_classes() == Some(1)
        || (all_labelled && train::num_classes_used(&*sources.train) == 1);
    if is_single {
        let class = sources.train.label(0).unwrap_or(0) as usize;
        let class = sources.train.class_names().get(class).cloned().unwrap_or_default();
        return Err(Error::SingleClass { class });
    }
    Ok(sources)
}

/// The recipe to go on with: the folder's, unless one is named, with the command line's changes, which must not touch what the run is; and
/// what to warn of.
fn resumed(args: &RunArgs) -> Result<(Recipe, Vec<String>), Error> {
    let out = args.out.as_deref().unwrap_or(Path::new("."));
    let text = read_recipe(out).map_err(train::Error::from)?;
    let saved = Recipe::from_toml(&text, &out.join("recipe.toml").display().to_string())?;
    // Those of earlier versions have paths as they were given.
    let saved = saved.with_full_paths();
    let given = if args.recipe.is_some() {
        resolve(args)?
    } else {
        check_flags(args)?;
        let mut given = saved.with_overrides(&args.overrides)?;
        given.data.path = args.data.clone().or(given.data.path);
        given.train.seed = args.seed.unwrap_or(given.train.seed);
        given
    };
    let given = given.with_full_paths();
    let changed =
        check_resume(out, &saved.to_json(), &given.to_json()).map_err(train::Error::from)?;
    // Numbers of other settings do not compare; without a probe there are none of its own.
    let has_probe = given.eval.linear_epochs > 0;
    let is_measured = |key: &str| {
        ["eval.knn_", "eval.image_size", "data.label_", "teacher.evaluate"]
            .iter()
            .any(|start| key.starts_with(start))
            || (has_probe && key.starts_with("eval.linear_"))
    };
    let warnings = changed.iter().filter(|change| is_measured(&change.key)).map(|change| {
        format!("{change}: the untrained encoder is evaluated again with the new one, and what was evaluated with the old one since is no longer shown")
    });
    Ok((given, warnings.collect()))
}

fn recipe_name(args: &RunArgs) -> String {
    let name = args.recipe.as_deref().unwrap_or("default");
    let name = if args.resume && args.recipe.is_none() {
        args.out.as_deref().and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or(name)
    } else {
        name
    };
    Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("run").to_owned()
}

/// `runs/NAME`, or with a number where that is taken.
fn free_folder(name: &str) -> PathBuf {
    let runs = Path::new("runs");
    let numbered = (2..).map(|n| runs.join(format!("{name}-{n}")));
    std::iter::once(runs.join(name)).chain(numbered).find(|path| !path.exists()).unwrap_or_default()
}

/// The command line that makes the run again; of a resumed one from the recipe in its folder, since that is all that is known.
fn command_of(args: &RunArgs, out: &Path) -> String {
    let mut command = String::from("mira-train run");
    if args.resume {
        let _ = write!(command, " {}", in_shell(out.join("recipe.toml").display()));
    } else if let Some(recipe) = &args.recipe {
        let _ = write!(command, " {}", in_shell(recipe));
    }
    if let Some(path) = &args.data {
        let _ = write!(command, " --data {}", in_shell(path.display()));
    }
    if let Some(seed) = args.seed {
        let _ = write!(command, " --seed {seed}");
    }
    for setting in &args.overrides {
        let _ = write!(command, " --set {}", in_shell(setting));
    }
    command
}

fn dry_run_text(recipe: &Recipe) -> Result<String, Error> {
    let images = images_to_count(recipe)?;
    let notes = images.note.iter().cloned().chain(train::frozen_for_ever(recipe));
    let note = notes.fold(String::new(), |notes, note| notes + "# note         " + &note + "\n");
    let (cost, pace) = cost_and_pace(recipe, &images)?;
    Ok(note + &dry_run(recipe, &cost, Some(&pace)))
}

/// The images that a dry run counts with.
pub(super) struct Counted {
    pub(super) num_images: NumImages,
    /// None where they are not given.
    sources: Option<Sources>,
    /// What there is to say of that.
    pub(super) note: Option<String>,
}

pub(super) fn images_to_count(recipe: &Recipe) -> Result<Counted, Error> {
    match open(recipe) {
        Ok(sources) => {
            train::check_images(recipe, &sources)?;
            let num_images = NumImages::of(&sources);
            Ok(Counted { num_images, sources: Some(sources), note: None })
        }
        Err(error) if recipe.data.path.is_none() => {
            let (name, num_images) = assumed(recipe);
            let note = format!("counted for {} images of {name}: {error}", count(num_images.train));
            Ok(Counted { num_images, sources: None, note: Some(note) })
        }
        Err(error) => Err(error),
    }
}

/// What a run of a recipe would cost, and how long its steps take.
pub(super) fn cost_and_pace(recipe: &Recipe, images: &Counted) -> Result<(Cost, Pace), Error> {
    let cost = cost(recipe, images.num_images)?;
    let pace = pace(recipe, images.sources.as_ref(), &cost, check_memory(&cost).is_ok())?;
    Ok((cost, pace))
}

/// Refuses a run for which the machine has too little memory, rather than being killed in its middle.
pub(super) fn check_memory(cost: &Cost) -> Result<(), Error> {
    let needed = cost.total_bytes();
    match available_memory(Path::new("/")) {
        Some(available) if needed > available => Err(Error::TooLarge {
            needed_gib: gib(needed),
            evaluation_gib: gib(cost.evaluation_bytes),
            available_gib: gib(available),
        }),
        _ => Ok(()),
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1u32 << 30)
}

/// What was learned, from the metrics as written.
fn summary(recipe: &Recipe, out: &Path, seconds: f64) -> Result<String, Error> {
    let metrics = Metrics::read(&out.join("metrics.jsonl")).map_err(train::Error::from)?;
    let seconds = metrics.seconds.unwrap_or(seconds);
    let mut text = String::new();
    let row = |name: &str, metric: &str| {
        let before = metrics.latest("untrained", metric)?;
        let after = metrics.latest("trained", metric)?;
        let pixels = metrics.latest("pixels", metric);
        let pixels = pixels.map_or_else(|| "      –".into(), |p| format!("{:5.1} %", 100.0 * p));
        Some(format!(
            "{name:<14} {:>7.1} %  {:>7.1} %  {:>7} points  {pixels:>11}\n",
            100.0 * before,
            100.0 * after,
            headline::points(before, after)
        ))
    };
    let k = recipe.eval.knn_neighbours;
    let rows = [row(&format!("k-NN (k={k})"), "knn_top1"), row("linear probe", "linear_top1")];
    if rows.iter().any(Option::is_some) {
        let _ = writeln!(
            text,
            "{:<14} {:>9}  {:>9}  {:>14}  {:>11}",
            "", "untrained", "trained", "gain", "raw pixels"
        );
    }
    rows.into_iter().flatten().for_each(|row| text += &row);
    if metrics.num_skips > 0 {
        let _ = writeln!(
            text,
            "{} of the steps were skipped, for their loss, gradient or batch norms were not finite",
            count(metrics.num_skips)
        );
    }
    let _ =
        writeln!(text, "{} in all; everything is in {}", train::hours_of(seconds), out.display());
    let _ = writeln!(text, "open {}", in_shell(out.join("report.html").display()));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    #[test]
    fn without_data_a_dry_run_counts_the_images_that_a_recipe_is_written_for() {
        let counted = |name: &str, more: &[&str]| {
            let settings: Vec<String> = more.iter().map(|s| (*s).to_owned()).collect();
            let recipe = Recipe::builtin(name).unwrap().with_overrides(&settings).unwrap();
            let Counted { num_images: images, note, .. } = images_to_count(&recipe).unwrap();
            (images.train, images.labelled, images.test, note.unwrap())
        };
        for (name, more, expected, words) in [
            ("imagenet-r50-100ep", &[][..], (1_281_167, 50_000), "1,281,167 images of ImageNet"),
            ("imagenet100-r18-400ep", &[], (126_689, 5_000), "126,689 images of ImageNet-100"),
            ("cifar100-r18-1000ep", &[], (50_000, 10_000), "50,000 images of CIFAR"),
            ("cifar10-small-cpu", &["data.max_train=512"], (512, 10_000), "512 images of CIFAR"),
        ] {
            let (train, labelled, test, note) = counted(name, more);
            assert_eq!((train, test), expected, "{name}");
            assert_eq!(labelled, train, "{name}");
            assert!(note.contains(words) && note.contains("give the path of the data"), "{note}");
        }
    }

    #[test]
    fn the_command_in_a_report_may_be_pasted() {
        let given =
            ["mira-train", "run", "a b.toml", "--data", "$HOME", "--set", "data.std=[1, 2]"];
        let command = |more: &[&str]| {
            let given = given.iter().chain(more).copied();
            let Command::Run(args) = Cli::parse_from(given).command else { panic!() };
            command_of(&args, Path::new("it's"))
        };
        let rest = "--data '$HOME' --seed 3 --set 'data.std=[1, 2]'";
        assert_eq!(command(&["--seed", "3"]), format!("mira-train run 'a b.toml' {rest}"));
        assert_eq!(
            command(&["--seed", "3", "--resume", "--out", "it's"]),
            format!("mira-train run 'it'\\''s/recipe.toml' {rest}")
        );
    }
}
