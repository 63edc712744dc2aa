//! `mira-train compare`: recipes over seeds, each run a process of its own, and a table of what they learned.

mod child;
mod plan;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::run::{check_memory, cost_and_pace, images_to_count, open, set_threads};
use crate::Error;
use crate::cli::compare::CompareArgs;
use crate::output::write_whole;
use crate::pages::compare::{self, Comparison, State};
use crate::run_folder::{self, EXIT_INTERRUPTED, Lock, StopRequest, read_short_text};
use crate::terminal::tell;
use crate::text::in_shell;
use crate::train::{self, NumImages, check_images, cost, hours};
use child::Outcome;
use plan::Plan;

const LOCK: &str = "lock";
/// Present from the start of a comparison on.
const RESULTS: &str = "results.csv";
/// The commands that made it what it is, a line each.
const COMMANDS: &str = "commands.txt";

/// Runs `mira-train compare`; what it prints on stdout is the second part of the result.
///
/// # Errors
/// Every [`Error`] that is found before the first run; those of a run are in the results.
pub fn run(args: &CompareArgs) -> Result<(ExitCode, String), Error> {
    let mut plan = Plan::new(args)?;
    if args.dry_run {
        return Ok((ExitCode::SUCCESS, dry_run(&plan, args.out.as_deref())?));
    }
    let out = args.out.clone().unwrap_or_else(|| free_folder(&plan.name));
    refuse_occupied(&out)?;
    plan.join(&out)?;
    plan.check_folder(&out)?;
    check_machine(&plan)?;
    std::fs::create_dir_all(&out)
        .map_err(|source| run_folder::Error::unwritable(&out, source))
        .map_err(train::Error::from)?;
    let _lock = Lock::acquire(&out, LOCK).map_err(train::Error::from)?;
    let stop = StopRequest::install().map_err(train::Error::from)?;

    let commands = with_earlier(&out, &command(args, args.out.as_deref()))?;
    let mut comparison = plan.survey(&out, commands);
    write(&comparison, &out)?;
    let is_whole = go_through(&plan, &mut comparison, &out, &stop, args.quiet)?;

    let mut text = compare::text(&comparison);
    for failure in comparison.failures() {
        let _ = writeln!(text, "failed: {failure}");
    }
    if !is_whole {
        let signal =
            stop.requested().map_or_else(|| "a signal".into(), |signal| signal.to_string());
        let (num_done, num_runs) = (comparison.num_done(), comparison.runs().count());
        let _ = writeln!(
            text,
            "stopped by {signal} with {num_done} of {num_runs} runs finished; results so far are in {}\ngo on with: {}",
            out.display(),
            command(args, Some(&out))
        );
        return Ok((ExitCode::from(EXIT_INTERRUPTED), text));
    }
    let _ = writeln!(text, "everything is in {}", out.display());
    let _ = writeln!(text, "open {}", in_shell(out.join("results.html").display()));
    let code = if comparison.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok((code, text))
}

/// Makes all runs that are not finished, a seed after the other, so that there is something to compare soon; whether it came to the end.
fn go_through(
    plan: &Plan,
    comparison: &mut Comparison,
    out: &Path,
    stop: &StopRequest,
    quiet: bool,
) -> Result<bool, Error> {
    let (num_methods, num_seeds) = plan.asked;
    let num_runs = num_methods as u64 * num_seeds;
    let (mut number, mut num_made, mut took) = (0, 0, Duration::ZERO);
    for (at, seed) in (0..num_seeds).enumerate() {
        for method in 0..num_methods {
            number += 1;
            let name = &plan.methods[method].name;
            let say = |text: &str| {
                if !quiet {
                    tell(&format!("[{number}/{num_runs}] {name} seed {seed} … {text}"));
                }
            };
            let knn = |comparison: &Comparison| {
                let measured = comparison.methods[method].runs[at].measured.as_ref();
                let knn = measured.and_then(|m| m.trained.knn);
                knn.map_or("no k-NN".into(), |v| format!("k-NN {:.1} %", 100.0 * v))
            };
            if comparison.methods[method].runs[at].state == State::Done {
                say(&format!("{}, from before", knn(comparison)));
                continue;
            }
            if stop.requested().is_some() {
                return Ok(false);
            }
            let started = Instant::now();
            let (outcome, warnings) = child::make(plan, method, seed, out, stop, &say);
            for warning in warnings {
                tell(&format!("[{number}/{num_runs}] {name} seed {seed}: {warning}"));
            }
            let run = &mut comparison.methods[method].runs[at];
            *run = plan.look(method, seed, out);
            if let Outcome::Failed(reason) = &outcome {
                run.state = State::Failed(reason.clone());
            }
            write(comparison, out)?;
            took += started.elapsed();
            num_made += 1;
            match outcome {
                Outcome::Done => {
                    let done = |state: &State| matches!(state, State::Done | State::Failed(_));
                    let asked = comparison.methods[..num_methods].iter();
                    let asked =
                        asked.flat_map(|m| m.runs.iter().filter(|run| run.seed < num_seeds));
                    let left = asked.filter(|run| !done(&run.state)).count();
                    let left = match u32::try_from(left).unwrap_or(u32::MAX) {
                        0 => String::new(),
                        left => format!("; about {} left", hours(took / num_made * left)),
                    };
                    say(&format!("{}, {}{left}", knn(comparison), hours(started.elapsed())));
                }
                Outcome::Failed(reason) => say(&format!("failed: {reason}")),
                Outcome::Interrupted => {
                    say("stopped and saved");
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// Whether what the command line names may be compared.
#[cfg(test)]
pub(crate) fn check(args: &CompareArgs) -> Result<(), Error> {
    Plan::new(args).map(drop)
}

fn write(comparison: &Comparison, out: &Path) -> Result<(), Error> {
    comparison.write(out).map_err(train::Error::from).map_err(Error::from)
}

/// Refuses what every run would be refused for.
fn check_machine(plan: &Plan) -> Result<(), Error> {
    let first = &plan.methods[0].recipe;
    let sources = open(first)?;
    let num_images = NumImages::of(&sources);
    for method in &plan.methods {
        let recipe = &method.recipe;
        check_memory(&cost(recipe, num_images)?)?;
    }
    check_images(first, &sources)?;
    Ok(())
}

/// Refuses a folder that is somebody's and no comparison's.
fn refuse_occupied(out: &Path) -> Result<(), Error> {
    if out.exists() && !out.is_dir() {
        return Err(train::Error::from(run_folder::Error::NotAFolder { path: out.into() }).into());
    }
    if out.join(RESULTS).is_file() {
        return Ok(());
    }
    let names = std::fs::read_dir(out).into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    match names.find(|name| name != LOCK && name != COMMANDS && !name.starts_with(".mira-")) {
        Some(found) => Err(Error::NoComparison { path: out.into(), found }),
        None => Ok(()),
    }
}

/// `comparisons/NAME`, or with a number where that is taken.
fn free_folder(name: &str) -> PathBuf {
    let all = Path::new("comparisons");
    let numbered = (2..).map(|n| all.join(format!("{name}-{n}")));
    std::iter::once(all.join(name)).chain(numbered).find(|path| !path.exists()).unwrap_or_default()
}

/// The command line, to be pasted into a shell.
fn command(args: &CompareArgs, out: Option<&Path>) -> String {
    let mut words = vec!["mira-train".to_owned(), "compare".into()];
    words.extend(args.recipes.iter().cloned());
    if !args.objectives.is_empty() {
        words.extend(["--objectives".into(), args.objectives.join(",")]);
        words.extend(["--family".into(), args.family.clone()]);
    }
    if let Some(data) = &args.data {
        words.extend(["--data".into(), data.display().to_string()]);
    }
    words.extend(["--seeds".into(), args.seeds.to_string()]);
    for setting in &args.overrides {
        words.extend(["--set".into(), setting.clone()]);
    }
    if let Some(out) = out {
        words.extend(["--out".into(), out.display().to_string()]);
    }
    words.iter().map(in_shell).collect::<Vec<_>>().join(" ")
}

/// The commands that have had a part in a folder, this one last, which are kept for the next: its results are of all of them.
fn with_earlier(out: &Path, command: &str) -> Result<String, Error> {
    let path = out.join(COMMANDS);
    let earlier = read_short_text(&path).unwrap_or_default();
    let earlier = earlier.lines().filter(|line| *line != command);
    let commands: Vec<&str> = earlier.chain([command]).collect();
    let commands = commands.join("\n");
    write_whole(&path, format!("{commands}\n").as_bytes())
        .map_err(|source| run_folder::Error::WriteFailed { path, source })
        .map_err(train::Error::from)?;
    Ok(commands)
}

/// What there would be to do.
fn dry_run(plan: &Plan, out: Option<&Path>) -> Result<String, Error> {
    let first = &plan.methods[0].recipe;
    let images = images_to_count(first)?;
    set_threads(first.train.num_threads);
    if let Some(out) = out {
        refuse_occupied(out)?;
        plan.check_folder(out)?;
    }
    let mut text = String::new();
    let num_runs = plan.methods.len() as u64 * plan.num_seeds;
    let _ = writeln!(
        text,
        "{num_runs} runs: {} recipes × {} seeds, {} epochs each",
        plan.methods.len(),
        plan.num_seeds,
        first.schedule.epochs
    );
    let width = plan.methods.iter().map(|m| m.name.chars().count()).max().unwrap_or(0);
    let mut all = 0.0;
    for (method, planned) in plan.methods.iter().enumerate() {
        let (cost, pace) = cost_and_pace(&planned.recipe, &images)?;
        let epochs = planned.recipe.schedule.epochs as u64;
        let num_steps = cost.steps_per_epoch * epochs;
        let a_run = pace.seconds_per_step * num_steps as f64;
        let (mut num_done, mut num_begun, mut left) = (0, 0, 0.0);
        for seed in 0..plan.num_seeds {
            let (state, steps) = out.map_or((State::Waiting, 0), |out| {
                let state = plan.look(method, seed, out).state;
                (state, plan.num_steps_made(method, seed, out))
            });
            num_done += u32::from(state == State::Done);
            num_begun += u32::from(state == State::Begun);
            if state != State::Done {
                left += a_run * (1.0 - steps as f64 / num_steps.max(1) as f64).clamp(0.0, 1.0);
            }
        }
        all += left;
        let _ = writeln!(
            text,
            "{:<width$}  {num_steps} steps, about {} a run, {}; {num_done} finished, {num_begun} begun; about {} left",
            planned.name,
            seconds(a_run),
            pace.basis,
            seconds(left)
        );
    }
    let _ =
        writeln!(text, "about {} in all, without evaluations; nothing was written", seconds(all));
    if let Some(note) = images.note {
        let _ = writeln!(text, "{note}");
    }
    Ok(text)
}

fn seconds(seconds: f64) -> String {
    hours(Duration::try_from_secs_f64(seconds.max(0.0).ceil()).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    #[test]
    fn the_command_that_is_shown_says_the_same_again() {
        let given = [
            "mira-train",
            "compare",
            "a b.toml",
            "it's.toml",
            "--data",
            "$HOME x",
            "--seeds",
            "4",
            "--set",
            "data.mean=[1, 2]",
        ];
        let Command::Compare(args) = Cli::parse_from(given).command else { panic!() };
        assert_eq!(
            command(&args, Some(Path::new("o p"))),
            "mira-train compare 'a b.toml' 'it'\\''s.toml' --data '$HOME x' --seeds 4 \
             --set 'data.mean=[1, 2]' --out 'o p'"
        );
    }
}
