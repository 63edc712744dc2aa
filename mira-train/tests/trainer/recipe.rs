//! Recipes as people write them: what is read, what is refused and in which words, and the values of the published runs.

mod command_line;
mod objectives;
mod published;
mod refusals;

use mira_train::data::{Classes, Labels, Subset};
use mira_train::recipe::{Method, OptimizerKind, Recipe, builtins};

/// The shortest recipe.
const MINIMAL: &str = r#"
[model]
architecture = "resnet20"
[assignment]
iterations = 30
[optimizer]
kind = "sgd"
base_lr = 1
weight_decay = 1e-4
[schedule]
epochs = 3
warmup_epochs = 0
[train]
batch_size = 64
[[views]]
name = "global"
count = 2
size = 32
scale = [0.2, 1]
"#;

fn minimal() -> Recipe {
    Recipe::from_toml(MINIMAL, "minimal").unwrap()
}

fn set(recipe: &Recipe, overrides: &[&str]) -> Result<Recipe, String> {
    let overrides: Vec<String> = overrides.iter().map(|&o| o.to_owned()).collect();
    recipe.with_overrides(&overrides).map_err(|e| e.to_string())
}

#[test]
fn every_builtin_resolves_and_round_trips() {
    for builtin in builtins() {
        let recipe = Recipe::builtin(builtin.name).unwrap();
        recipe.validate().unwrap();
        let text = recipe.to_toml();
        let again = Recipe::from_toml(&text, "again").unwrap();
        assert_eq!(again, recipe, "{}", builtin.name);
        assert_eq!(again.to_toml(), text);
        assert_eq!(again.hash(), recipe.hash());
    }
}

#[test]
fn a_star_sets_a_key_of_all_views() {
    let recipe = Recipe::builtin("imagenet-r50-400ep-multicrop").unwrap();
    let num_views = recipe.views.len();
    assert!(num_views > 1);
    let flips = |overrides: &[&str]| -> Vec<f32> {
        set(&recipe, overrides).unwrap().views.iter().map(|view| view.flip).collect()
    };
    assert_eq!(flips(&["views.*.flip=0.125"]), vec![0.125; num_views]);
    // Later ones win.
    let last = flips(&["views.*.flip=0.125", "views.1.flip=0.25"]);
    assert_eq!((last[0], last[1]), (0.125, 0.25));
    assert_eq!(flips(&["views.1.flip=0.25", "views.*.flip=0"]), vec![0.0; num_views]);
    let table = set(&recipe, &["views.*.blur={ probability = 0.75 }"]).unwrap();
    assert!(table.views.iter().all(|view| view.blur.probability > 0.5));
    let refused = set(&recipe, &["views.*.flap=0.125"]).unwrap_err();
    assert!(refused.contains("did you mean `flip`?"), "{refused}");
}

#[test]
fn classes_and_labels_are_lists_or_shares() {
    let recipe = set(&minimal(), &["data.classes=imagenet100.txt", "data.label_fraction=0.01"]);
    let recipe = recipe.unwrap();
    let list = Classes::List("imagenet100.txt".into());
    let labels = Some(Labels::Fraction(0.01));
    assert_eq!(recipe.data.subset(), Subset { classes: Some(list), labels });
    assert_eq!(Recipe::from_toml(&recipe.to_toml(), "again").unwrap(), recipe);
    // The one given last replaces the other.
    let recipe =
        set(&recipe, &["data.classes=[\"a\", \"b\"]", "data.label_list=1percent.txt"]).unwrap();
    let names = Classes::Names(vec!["a".into(), "b".into()]);
    let labels = Some(Labels::List("1percent.txt".into()));
    assert_eq!(recipe.data.subset(), Subset { classes: Some(names), labels });
    assert_eq!(Recipe::from_toml(&recipe.to_toml(), "again").unwrap(), recipe);
    assert_eq!(minimal().data.subset(), Subset::default());
}

#[test]
fn paths_in_full_lead_to_the_same_places_from_anywhere() {
    let here = std::env::current_dir().unwrap();
    let lists = ["data.classes=lists/100.txt", "data.label_list=./1percent.txt"];
    let recipe = set(&minimal(), &lists).unwrap();
    let of = |path: &str| {
        let recipe = set(&recipe, &[&format!("data.path={path}")]).unwrap();
        recipe.with_full_paths().data
    };
    let data = of("some set");
    assert_eq!(data.path, Some(here.join("some set")));
    assert_eq!(data.classes, Some(Classes::List(here.join("lists/100.txt"))));
    assert_eq!(data.label_list, Some(here.join("1percent.txt")));
    for full in ["/data/imagenet", "s3://bucket/train-{000..146}.tar", "HTTPS://host/folder"] {
        assert_eq!(of(full).path.as_deref(), Some(full.as_ref()));
    }
    let names = set(&minimal(), &["data.classes=[\"a\", \"b\"]"]).unwrap();
    assert_eq!(names.clone().with_full_paths(), names);
}

#[test]
fn numbers_in_single_precision_are_told_as_they_were_written() {
    let recipe = set(&minimal(), &["views.0.flip=0.3", "data.mean=[0.1, 0.2, 0.3]"]).unwrap();
    let json = recipe.to_json();
    assert_eq!(json["views"][0]["flip"].to_string(), "0.3");
    assert_eq!(json["data"]["mean"].to_string(), "[0.1,0.2,0.3]");
    assert_eq!(json["train"]["batch_size"].to_string(), "64");
    assert_eq!(json["assignment"]["beta_end"].to_string(), "0.6666666666666666");
}

#[test]
fn builtins_are_written_in_full() {
    for builtin in builtins() {
        let resolved: toml::Table =
            toml::from_str(&Recipe::builtin(builtin.name).unwrap().to_toml()).unwrap();
        let written: toml::Table = toml::from_str(builtin.text).unwrap();
        if written.contains_key("extends") {
            continue;
        }
        for (section, values) in &resolved {
            let Some(values) = values.as_table() else { continue };
            for key in values.keys() {
                assert!(
                    written.get(section).and_then(|s| s.get(key)).is_some(),
                    "{}: {section}.{key} is left to its default",
                    builtin.name
                );
            }
        }
    }
}

#[test]
fn absent_settings_get_the_published_values() {
    let recipe = minimal();
    assert_eq!(recipe.model.width, 16);
    assert_eq!(recipe.prototypes.as_ref().unwrap().count, 3000);
    assert_eq!(recipe.assignment.as_ref().unwrap().temperature, Some(0.225));
    assert_eq!(recipe.assignment.as_ref().unwrap().beta_start, Some(0.7));
    assert_eq!(recipe.assignment.as_ref().unwrap().beta_end, Some(2.0 / 3.0));
    assert_eq!(recipe.assignment.as_ref().unwrap().epsilon, None);
    assert_eq!(recipe.teacher.as_ref().unwrap().momentum_start, Some(0.99));
    assert_eq!(recipe.optimizer.momentum, Some(0.9));
    assert_eq!(recipe.optimizer.trust_coefficient, None);
    assert_eq!(recipe.views[0].ratio, [3.0 / 4.0, 4.0 / 3.0]);
    assert_eq!(recipe.views[0].blur.probability, 0.0);
    assert_eq!(recipe.peak_lr(), 0.25);
    let wide = Recipe::from_toml(&MINIMAL.replace("resnet20", "resnet18"), "").unwrap();
    assert_eq!(wide.model.width, 64);
}

#[test]
fn the_hash_is_of_the_settings_not_of_the_text() {
    let recipe = minimal();
    let reformatted = MINIMAL
        .replace("1e-4", "0.00010")
        .replace("[train]", "# a comment\n[train]\nseed=0")
        .replace("warmup_epochs = 0", "warmup_epochs = 0.0");
    assert_eq!(Recipe::from_toml(&reformatted, "").unwrap().hash(), recipe.hash());
    let free = [
        "data.path=/elsewhere",
        "train.num_threads=3",
        "checkpoint.keep=9",
        "teacher.evaluate=false",
        "eval.every_epochs=0",
        "data.label_fraction=0.5",
    ];
    assert_eq!(set(&recipe, &free).unwrap().hash(), recipe.hash());
    // Of a list it is the path, too, that does not count.
    let classes = |list: &str| set(&recipe, &[&format!("data.classes={list}")]).unwrap().hash();
    assert_eq!(classes("imagenet100.txt"), classes("/lists/100.txt"));
    assert_ne!(classes("[\"ant\"]"), classes("[\"bee\"]"));
    for other in ["train.seed=1", "views.0.flip=0.1", "loss.temperature=0.2", "data.max_train=9"] {
        assert_ne!(set(&recipe, &[other]).unwrap().hash(), recipe.hash(), "{other}");
    }
}

#[test]
fn overrides_take_toml_and_bare_words() {
    let recipe = set(
        &minimal(),
        &[
            "train.seed=3",
            "views.0.size = 24",
            "views.0.scale=[0.5, 1]",
            "views.0.jitter.probability=0.25",
            "data.source=image-folder",
            "data.path=/data/some set",
            "model.zero_init_residual=false",
            "optimizer.base_lr=1e-1",
            "train.seed=4",
        ],
    )
    .unwrap();
    assert_eq!((recipe.train.seed, recipe.views[0].size), (4, 24));
    assert_eq!(recipe.views[0].scale, [0.5, 1.0]);
    assert_eq!(recipe.views[0].jitter.probability, 0.25);
    assert_eq!(recipe.data.source, mira_train::data::Format::ImageFolder);
    assert_eq!(recipe.data.path.as_deref(), Some("/data/some set".as_ref()));
    assert!(!recipe.model.zero_init_residual);
    assert_eq!(recipe.optimizer.base_lr, 0.1);
    assert_eq!(set(&minimal(), &[]).unwrap(), minimal());
}

#[test]
fn another_kind_drops_what_no_longer_applies() {
    let recipe = set(&minimal(), &["optimizer.kind=lars", "assignment.method=sinkhorn"]).unwrap();
    assert_eq!(recipe.optimizer.kind, OptimizerKind::Lars);
    assert_eq!(recipe.optimizer.trust_coefficient, Some(0.001));
    assert_eq!(recipe.optimizer.nesterov, None);
    assert_eq!(recipe.assignment.as_ref().unwrap().method, Method::Sinkhorn);
    assert_eq!(
        (
            recipe.assignment.as_ref().unwrap().temperature,
            recipe.assignment.as_ref().unwrap().epsilon
        ),
        (None, Some(0.05))
    );
    assert_eq!(recipe.assignment.as_ref().unwrap().iterations, Some(30));

    let recipe = set(&minimal(), &["assignment.tolerance=1e-4", "teacher.ema=false"]).unwrap();
    assert_eq!(recipe.assignment.as_ref().unwrap().tolerance, Some(1e-4));
    assert_eq!(recipe.assignment.as_ref().unwrap().iterations, None);
    assert_eq!(recipe.teacher.as_ref().unwrap().momentum_start, None);
    let recipe = set(&minimal(), &["assignment.method=softmax"]).unwrap();
    assert_eq!(
        (
            recipe.assignment.as_ref().unwrap().iterations,
            recipe.assignment.as_ref().unwrap().beta_start
        ),
        (None, None)
    );
}
