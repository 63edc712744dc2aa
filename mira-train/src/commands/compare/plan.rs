//! Which runs there are to be: recipes that may be compared, their names, and what a folder has of them already.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::compare::{CompareArgs, Compared, recipes};
use crate::pages::compare::{Comparison, Measured, Method, Run, State};
use crate::pages::metrics::Metrics;
use crate::recipe::Recipe;
use crate::run_folder::{Difference, diff, read_recipe};
use crate::{Error, train};

/// What must be equal, by the beginning of its key.
const EQUAL: [&str; 6] = ["data", "model", "views", "eval", "train", "schedule.epochs"];
/// What may be different when a comparison goes on, since no number depends on it.
const MAY_CHANGE: [&str; 5] =
    ["data.path", "data.num_workers", "data.prefetch", "data.read_timeout", "checkpoint"];
/// As many seeds as the command line takes; a folder of another name is not a run's.
const MAX_SEEDS: u64 = 1000;
/// What to say where a command line names nothing.
const NOTHING_TO_COMPARE: &str = "nothing to compare; name recipes, as in `mira-train compare default mine.toml`, or objectives, as in \
    `mira-train compare --objectives mira,swav`; see 'mira-train compare --help'";
/// How many differences an error lists.
const MAX_LISTED: usize = 6;

/// Recipes and seeds.
#[derive(Debug)]
pub(super) struct Plan {
    /// What to call it.
    pub(super) name: String,
    /// The images, as they are given.
    data: String,
    /// Those of the command line, then those that a folder has beside them.
    pub(super) methods: Vec<Planned>,
    /// Seeds that there are results of, or will be.
    pub(super) num_seeds: u64,
    /// How many methods and seeds are asked for: the first of either.
    pub(super) asked: (usize, u64),
}

/// A recipe, and what it is called.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    given: String,
    pub(super) recipe: Recipe,
}

impl Plan {
    /// The plan of a command line, if its recipes may be compared.
    pub(super) fn new(args: &CompareArgs) -> Result<Self, Error> {
        let compared = recipes(args)?;
        let names = names(&compared.iter().map(|c| c.given.as_str()).collect::<Vec<_>>())?;
        let data = compared.first().map_or_else(String::new, |first| {
            let data = &first.recipe.data;
            let path = data.path.as_ref().map(|path| path.display().to_string());
            path.unwrap_or_else(|| data.source.name().to_owned())
        });
        let methods: Vec<Planned> = names
            .into_iter()
            .zip(compared)
            .map(|(name, Compared { given, recipe })| Planned {
                name,
                given,
                recipe: recipe.with_full_paths(),
            })
            .collect();
        let Some(first) = methods.first() else {
            return Err(Error::Usage(NOTHING_TO_COMPARE.into()));
        };
        for other in &methods[1..] {
            check_equal(first, other)?;
        }
        let all: Vec<&str> = methods.iter().map(|m| m.name.as_str()).collect();
        let name = if !args.objectives.is_empty() {
            args.family.clone()
        } else if all.len() <= 3 {
            all.join("-")
        } else {
            format!("{}-and-{}-more", all[0], all.len() - 1)
        };
        let asked = (methods.len(), args.seeds);
        Ok(Self { name, data, methods, num_seeds: args.seeds, asked })
    }

    /// The runs that a comparison's folder has from commands before this one belong to its results, too: they are not made, but told.
    pub(super) fn join(&mut self, out: &Path) -> Result<(), Error> {
        let names = |folder: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut names: Vec<_> =
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort();
            names
        };
        for name in names(out) {
            let folder = out.join(&name);
            let seeds = names(&folder)
                .into_iter()
                .filter_map(|file| file.strip_prefix("seed-")?.strip_suffix(".toml")?.parse().ok())
                .filter(|seed: &u64| {
                    *seed < MAX_SEEDS && folder.join(format!("seed-{seed}/recipe.toml")).is_file()
                });
            let seeds: Vec<u64> = seeds.collect();
            let Some(&seed) = seeds.first() else { continue };
            let last = seeds.into_iter().max().unwrap_or(seed);
            self.num_seeds = self.num_seeds.max(last.saturating_add(1));
            if self.methods.iter().any(|method| method.name == name) {
                continue;
            }
            let run = folder.join(format!("seed-{seed}"));
            let text = read_recipe(&run).map_err(train::Error::from)?;
            let origin = run.join("recipe.toml");
            let recipe = Recipe::from_toml(&text, &origin.display().to_string())?.with_full_paths();
            let given = run.display().to_string();
            let planned = Planned { name, given, recipe };
            check_equal(&self.methods[0], &planned)?;
            self.methods.push(planned);
        }
        Ok(())
    }

    /// The folder of a run.
    pub(super) fn folder(&self, method: usize, seed: u64, out: &Path) -> PathBuf {
        out.join(&self.methods[method].name).join(format!("seed-{seed}"))
    }

    /// A run's own recipe.
    pub(super) fn recipe(&self, method: usize, seed: u64) -> Recipe {
        let mut recipe = self.methods[method].recipe.clone();
        recipe.train.seed = seed;
        recipe
    }

    /// Refuses a folder whose runs were made with other settings.
    pub(super) fn check_folder(&self, out: &Path) -> Result<(), Error> {
        for method in 0..self.methods.len() {
            for seed in 0..self.num_seeds {
                let folder = self.folder(method, seed, out);
                if !folder.join("recipe.toml").is_file() {
                    continue;
                }
                let text = read_recipe(&folder).map_err(train::Error::from)?;
                let origin = folder.join("recipe.toml").display().to_string();
                let saved = Recipe::from_toml(&text, &origin)?.with_full_paths();
                let differences = diff(&saved.to_json(), &self.recipe(method, seed).to_json());
                let serious: Vec<Difference> =
                    differences.into_iter().filter(|d| !is_below(&d.key, &MAY_CHANGE)).collect();
                if !serious.is_empty() {
                    return Err(Error::OtherComparison {
                        run: folder,
                        differences: listed(&serious),
                    });
                }
            }
        }
        Ok(())
    }

    /// What a folder has of a run.
    pub(super) fn look(&self, method: usize, seed: u64, out: &Path) -> Run {
        let folder = self.folder(method, seed, out);
        let metrics = Metrics::read(&folder);
        let batch_size = self.methods[method].recipe.train.batch_size;
        // The report is the last thing that a run writes.
        let state = match &metrics {
            _ if !folder.join("recipe.toml").is_file() => State::Waiting,
            _ if !folder.join("report.html").is_file() => State::Begun,
            Ok(_) => State::Done,
            Err(error) => State::Failed(error.to_string()),
        };
        let measured = metrics.ok().map(|metrics| Measured::new(&metrics, batch_size));
        Run { seed, state, measured }
    }

    /// Steps that a run has made.
    pub(super) fn num_steps_made(&self, method: usize, seed: u64, out: &Path) -> u64 {
        let metrics = Metrics::read(&self.folder(method, seed, out)).unwrap_or_default();
        metrics.steps.last().map_or(0, |last| last.step.saturating_add(1))
    }

    /// What there is of all of it.
    pub(super) fn survey(&self, out: &Path, command: String) -> Comparison {
        let first = &self.methods[0];
        let methods = self.methods.iter().enumerate().map(|(i, planned)| Method {
            name: planned.name.clone(),
            recipe: planned.given.clone(),
            objective: planned.recipe.objective.name.clone(),
            differences: if i == 0 {
                format!("objective.name = \"{}\"", first.recipe.objective.name)
            } else {
                differences(&first.recipe, &planned.recipe)
            },
            runs: (0..self.num_seeds).map(|seed| self.look(i, seed, out)).collect(),
        });
        Comparison {
            title: match &self.methods[..] {
                [one] => format!("{} over seeds", one.name),
                all => format!("Comparison of {} methods", all.len()),
            },
            command,
            data: self.data.clone(),
            epochs: first.recipe.schedule.epochs,
            num_seeds: self.num_seeds,
            methods: methods.collect(),
        }
    }
}

/// What recipes are called: the last part of their names, or more of it where that is ambiguous; fit for a folder.
fn names(given: &[&str]) -> Result<Vec<String>, Error> {
    let plain = |text: &str| -> String {
        let plain = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' };
        let name: String = text.chars().map(plain).collect();
        if name.is_empty() { "recipe".into() } else { name }
    };
    let short =
        |given: &str| plain(&Path::new(given).file_stem().unwrap_or_default().to_string_lossy());
    let long = |given: &str| plain(given.strip_suffix(".toml").unwrap_or(given));
    // Not by letters' case: some file systems do not tell it.
    let is_same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    let is_unique = |name: &str, of: &dyn Fn(&str) -> String| {
        given.iter().filter(|other| is_same(&of(other), name)).count() == 1
    };
    let mut names: Vec<String> = Vec::new();
    for &one in given {
        let name = if is_unique(&short(one), &short) { short(one) } else { long(one) };
        if names.iter().any(|other| is_same(other, &name)) {
            return Err(Error::ComparedTwice { name: one.into() });
        }
        names.push(name);
    }
    Ok(names)
}

/// Whether a key is one of some, or below one.
fn is_below(key: &str, some: &[&str]) -> bool {
    some.iter().any(|start| {
        key.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// Whether a key is not a method's own.
fn must_be_equal(key: &str) -> bool {
    is_below(key, &EQUAL) && key != "train.batch_norm"
}

/// Refuses recipes whose results would say something else than which method is better.
fn check_equal(first: &Planned, other: &Planned) -> Result<(), Error> {
    let mut differences = diff(&first.recipe.to_json(), &other.recipe.to_json());
    differences.retain(|d| must_be_equal(&d.key) && d.key != "train.seed");
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Incomparable {
        first: first.given.clone(),
        second: other.given.clone(),
        differences: listed(&differences),
    })
}

/// Keys with both values.
fn listed(differences: &[Difference]) -> String {
    let show = |value: &Option<Value>| value.as_ref().map_or("none".into(), Value::to_string);
    let mut listed: Vec<String> = differences
        .iter()
        .take(MAX_LISTED)
        .map(|d| format!("{} ({}, {})", dotted(&d.key), show(&d.saved), show(&d.given)))
        .collect();
    if differences.len() > MAX_LISTED {
        listed.push(format!("and {} more", differences.len() - MAX_LISTED));
    }
    listed.join(", ")
}

/// `views[0].size` as `--set` has it.
fn dotted(key: &str) -> String {
    key.replace('[', ".").replace(']', "")
}

/// The settings of a method, as far as they are not those of the first.
fn differences(first: &Recipe, other: &Recipe) -> String {
    let mut differences = diff(&first.to_json(), &other.to_json());
    let equal = |key: &str| must_be_equal(key) || is_below(key, &["checkpoint"]);
    differences.retain(|d| !equal(&d.key));
    // What it is comes first.
    differences.sort_by_key(|d| !d.key.starts_with("objective"));
    let mut settings = Vec::new();
    for difference in differences {
        match &difference.given {
            None => settings.push(format!("no {}", difference.key)),
            Some(value) => flat(&difference.key, value, &mut settings),
        }
    }
    if settings.is_empty() { "nothing".into() } else { settings.join(", ") }
}

fn flat(key: &str, value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(inside) => {
            for (name, value) in inside {
                flat(&format!("{key}.{name}"), value, into);
            }
        }
        value => into.push(format!("{} = {value}", dotted(key))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_where_they_can_be_and_fit_for_folders() {
        assert_eq!(names(&["small/mira", "my recipes/b c.toml"]).unwrap(), ["mira", "b-c"]);
        assert_eq!(names(&["a/x.toml", "b/X.toml", "y"]).unwrap(), ["a-x", "b-X", "y"]);
        assert_eq!(names(&["results.csv.toml", "../up.toml"]).unwrap(), ["results-csv", "up"]);
        for twice in [["x", "x"], ["a/x.toml", "a/X.toml"]] {
            assert!(matches!(names(&twice), Err(Error::ComparedTwice { .. })), "{twice:?}");
        }
    }

    #[test]
    fn the_methods_own_settings_are_told_and_others_refused() {
        let first = Recipe::builtin("default").unwrap();
        let set = |settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
            first.with_overrides(&settings).unwrap()
        };
        let planned = |name: &str, recipe: &Recipe| Planned {
            name: name.into(),
            given: name.into(),
            recipe: recipe.clone(),
        };
        let base = planned("base", &first);
        let own = set(&[
            "assignment.temperature=0.2",
            "optimizer.base_lr=0.25",
            "teacher.ema=false",
            "train.batch_norm=per-view",
        ]);
        check_equal(&base, &planned("own", &own)).unwrap();
        let told = differences(&first, &own);
        for part in [
            "assignment.temperature = 0.2",
            "optimizer.base_lr = 0.25",
            "teacher.ema = false",
            "no teacher.momentum_start",
            "train.batch_norm = \"per-view\"",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(differences(&first, &first), "nothing");
        let other = differences(&first, &set(&["objective.name=mio"]));
        assert!(other.starts_with("objective.") && other.contains("no prototypes"), "{other}");
        check_equal(&base, &planned("b", &set(&["train.seed=5", "checkpoint.keep=9"]))).unwrap();
        for (setting, key) in [
            ("schedule.epochs=4", "schedule.epochs (12, 4)"),
            ("model.width=8", "model.width (16, 8)"),
            ("train.batch_size=64", "train.batch_size (128, 64)"),
            ("eval.knn_neighbours=5", "eval.knn_neighbours (20, 5)"),
            ("views.1.flip=0.25", "views.1.flip (0.5, 0.25)"),
            ("data.max_train=100", "data.max_train (none, 100)"),
        ] {
            let refused = check_equal(&base, &planned("other", &set(&[setting]))).unwrap_err();
            let text = refused.to_string();
            assert!(text.contains(key) && text.contains("--set"), "{text}");
        }
    }
}
