//! Which network is which: what shares a batch in batch norms, the teacher's statistics, and the network that is evaluated.

use mira_train::data::Batch;
use mira_train::model::Network;
use mira_train::nn::Pass;
use mira_train::nn::cpu::{Executor, Statistics};
use mira_train::objective::{Ranks, Setup};
use mira_train::recipe::Recipe;
use mira_train::train::{Normaliser, Sources, State, Trainer, loader};
use mira_train::weights::Weights;
use serde_json::Value;

use super::support::{Sandbox, TINY, refused, succeeds};

fn recipe(more: &[&str]) -> Recipe {
    let settings: Vec<String> = TINY.iter().chain(more).map(|s| (*s).to_owned()).collect();
    Recipe::builtin("default").and_then(|r| r.with_overrides(&settings)).expect("a recipe")
}

/// Running statistics after these views have gone through the network together.
fn passed(
    recipe: &Recipe,
    network: &Network,
    values: &[f32],
    running: &mut [f32],
    batch: &Batch,
    views: &[usize],
) {
    let (rows, size) = (recipe.train.batch_size, batch.views[views[0]].size);
    let graph = network.training_graph(rows * views.len(), size).expect("it fits");
    let mut executor = Executor::<f32>::new(graph, network.parameters(), Pass::Forward);
    let normaliser = Normaliser::new(recipe.data.mean, recipe.data.std);
    let len = rows * size * size * 3;
    for (&view, to) in views.iter().zip(executor.input_mut().chunks_exact_mut(len)) {
        normaliser.apply(&batch.views[view].pixels, to);
    }
    executor.forward(values, Statistics::BatchUpdating(running));
}

/// Of both networks, by hand: the student's of all views, the teacher's of the global ones with the values it had.
#[test]
fn statistics_are_of_a_networks_own_passes() {
    let multicrop = "views.1.count=3"; // the first two of four views are global, whatever their names
    for (batch_norm, groups) in [
        ("per-size", vec![vec![0, 1, 2, 3]]),
        ("per-view", vec![vec![0], vec![1], vec![2], vec![3]]),
    ] {
        let recipe = recipe(&[&format!("train.batch_norm={batch_norm}"), multicrop]);
        assert_eq!(recipe.view_groups(), groups);
        let teachers: &[&[usize]] =
            if batch_norm == "per-size" { &[&[0, 1]] } else { &[&[0], &[1]] };
        let network = Network::new(&recipe).expect("a network");
        let ranks = Ranks::default();
        let setup = Setup { recipe: &recipe, num_images: 240, steps_per_epoch: 6, ranks: &ranks };
        let mut trainer = Trainer::new(&recipe, &network, 6).expect("memory");
        let mut state = State::new(&setup, &network).expect("settings");
        let sources = Sources::open(&recipe.data).expect("images");
        let mut loader = loader(&recipe, &sources, 0).expect("a loader");
        let (mut student, mut teacher) = (state.running.clone(), state.running.clone());
        for _ in 0..3 {
            let batch = loader.next_batch().expect("a batch");
            for views in &groups {
                passed(&recipe, &network, &state.student, &mut student, &batch, views);
            }
            let values = state.teacher.clone().expect("a teacher");
            for views in teachers {
                passed(&recipe, &network, &values, &mut teacher, &batch, views);
            }
            trainer.step(&mut state, &batch).expect("a step");
            assert_eq!(state.running, student, "{batch_norm}");
            assert_eq!(state.teacher_running.as_ref(), Some(&teacher), "{batch_norm}");
        }
        assert_ne!(student, teacher);
        assert_eq!(state.evaluated(&recipe).1, student);
    }
    let published = Recipe::builtin("imagenet-r50-400ep-multicrop").expect("a recipe");
    assert_eq!(published.view_groups().len(), 8);
    let together = published.with_overrides(&["train.batch_norm=per-size".into()]);
    let groups = together.expect("a recipe").view_groups();
    assert_eq!(groups, [vec![0, 1], (2..8).collect::<Vec<_>>()]);
}

#[test]
fn the_network_that_is_evaluated_is_the_one_that_is_kept() {
    let sandbox = Sandbox::new();
    let run = |name: &str, more: &[&str]| {
        let settings = ["--quiet", "--set", "schedule.epochs=2"];
        let settings: Vec<&str> = settings.into_iter().chain(more.iter().copied()).collect();
        succeeds(&mut sandbox.tiny(name, &settings));
    };
    run("student", &[]);
    run("teacher", &["--set", "teacher.evaluate=true"]);
    let weights = |file: &str| Weights::read(&sandbox.path(file)).expect("weights");
    let values = |file: &str, tensor: &str| {
        weights(file).tensor(tensor).expect("torchvision's key").values.clone()
    };
    for name in ["student", "teacher"] {
        for network in ["student", "teacher"] {
            let out = format!("{name}-{network}.safetensors");
            let export =
                ["export", name, "--format", "torchvision", "--network", network, "--out", &out];
            succeeds(&mut sandbox.command(&export));
            assert_eq!(weights(&out).metadata["network"], network);
            for tensor in ["conv1.weight", "bn1.running_mean"] {
                let kept = values(&format!("{name}/encoder.safetensors"), tensor);
                assert_eq!(values(&out, tensor) == kept, network == name, "{out}: {tensor}");
            }
            let all = ["eval", "knn", name, "--network", network, "--json"];
            let json: Value =
                serde_json::from_str(&succeeds(&mut sandbox.command(&all))).expect("JSON");
            assert_eq!(json["network"], network);
            let of_file =
                ["eval", "knn", &out, "--recipe", &format!("{name}/recipe.toml"), "--json"];
            let of_file: Value =
                serde_json::from_str(&succeeds(&mut sandbox.command(&of_file))).expect("JSON");
            for key in ["top1", "network", "step"] {
                assert_eq!(of_file[key], json[key], "{out}: {key}");
            }
        }
        let evaluated = sandbox.metrics(name, "eval");
        assert!(evaluated.iter().all(|e| e["settings"]["network"] == name), "{evaluated:?}");
        let said = succeeds(&mut sandbox.command(&["eval", "knn", name]));
        assert!(said.contains(&format!("knn of the {name} of {name} on")), "{said}");
    }
    // Both have the same steps: only what is evaluated differs.
    assert_eq!(sandbox.metrics("student", "step"), sandbox.metrics("teacher", "step"));
    succeeds(&mut sandbox.command(&[
        "export",
        "teacher",
        "--format",
        "safetensors",
        "--out",
        "all.safetensors",
    ]));
    assert_eq!(
        values("all.safetensors", "teacher.bn1.running_mean"),
        values("teacher-teacher.safetensors", "bn1.running_mean")
    );

    // Of all tensors in one file, the network that the recipe has evaluated, or the one that is asked for.
    let recipe = "teacher/recipe.toml";
    for (more, run) in [
        (&[][..], "teacher"),
        (&["--network", "teacher"], "teacher"),
        (&["--network", "student"], "student"),
    ] {
        let judged = |first: &[&str]| -> Value {
            let command = [&["eval", "knn"], first, &["--json"], more].concat();
            serde_json::from_str(&succeeds(&mut sandbox.command(&command))).expect("JSON")
        };
        let (file, folder) =
            (judged(&["all.safetensors", "--recipe", recipe]), judged(&["teacher"]));
        assert_eq!((&file["top1"], &file["network"]), (&folder["top1"], &run.into()));
        assert_eq!(file["step"], folder["step"]);
    }

    run("alone", &["--set", "teacher.ema=false"]);
    refused(
        &mut sandbox.command(&["eval", "knn", "alone", "--network", "teacher"]),
        &["alone has no teacher", "--network student"],
    );
    let file = "alone/encoder.safetensors";
    refused(
        &mut sandbox.command(&["eval", "knn", file, "--network", "teacher", "--recipe", "default"]),
        &["--network teacher", "one encoder", "the run's folder"],
    );
    refused(
        &mut sandbox.command(&[
            "export",
            "teacher",
            "--format",
            "safetensors",
            "--network",
            "teacher",
            "--out",
            "x",
        ]),
        &["--format safetensors", "all networks"],
    );
    for name in ["resnet.pth", "resnet", "resnet.safetensor"] {
        let export = ["export", "student", "--format", "torchvision", "--out", name];
        refused(&mut sandbox.command(&export), &[name, "name it resnet.safetensors", "load_file"]);
        assert!(!sandbox.path(name).exists());
    }
    let settings = ["--set", "teacher.ema=false", "--set", "teacher.evaluate=true"];
    refused(&mut sandbox.tiny("none", &settings), &["`teacher.evaluate` does not apply"]);
}
