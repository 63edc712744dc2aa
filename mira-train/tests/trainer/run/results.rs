//! What a finished run leaves behind, and what the other subcommands make of it.

use std::fs;
use std::process::Command;

use mira_train::data::{Format, Split};
use serde_json::Value;

use super::support::{Sandbox, refused, refused_with, succeeds};

#[test]
fn a_run_leaves_everything_it_promises_and_other_commands_read_it() {
    let sandbox = Sandbox::new();
    let said = succeeds(&mut sandbox.tiny("run", &["--quiet"]));
    assert!(
        said.contains("k-NN") && said.contains("linear probe") && said.contains("report.html"),
        "{said}"
    );

    let run = sandbox.path("run");
    for file in ["recipe.toml", "metrics.jsonl", "encoder.safetensors", "report.html"] {
        assert!(run.join(file).metadata().expect(file).len() > 100, "{file}");
    }
    let files = |folder: &std::path::Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    };
    assert!(files(&run).iter().any(|name| name.starts_with("events.out.tfevents")));
    assert_eq!(files(&run.join("checkpoints")).len(), 2, "the default keeps two");

    let steps = sandbox.metrics("run", "step");
    assert_eq!(steps.len(), 24);
    for (n, step) in steps.iter().enumerate() {
        assert_eq!(step["step"], n as u64);
        for key in [
            "epoch",
            "loss",
            "lr",
            "beta",
            "ema_momentum",
            "sweeps",
            "duality_gap",
            "marginal_entropy",
        ] {
            assert!(step[key].is_number(), "step {n} has no {key}");
        }
        let entropy = step["marginal_entropy"].as_f64().expect("a number");
        assert!((0.0..=12f64.ln() + 1e-9).contains(&entropy), "{entropy}");
        assert!(step["log_ratio_bound"].as_f64().expect("a number") <= 1e-5);
    }
    let evaluations = sandbox.metrics("run", "eval");
    let value = |encoder: &str, metric: &str, step: u64| {
        let of = |e: &&Value| e["encoder"] == encoder && e["metric"] == metric && e["step"] == step;
        evaluations.iter().find(of).map(|e| e["value"].as_f64().expect("a number"))
    };
    for (encoder, metric, step) in [
        ("pixels", "knn_top1", 0),
        ("untrained", "knn_top1", 0),
        ("untrained", "linear_top1", 0),
        ("trained", "knn_top1", 12),
        ("trained", "linear_top1", 24),
    ] {
        assert!(
            value(encoder, metric, step).is_some_and(|v| (0.0..=1.0).contains(&v)),
            "{encoder} {metric} {step}"
        );
    }

    // The same number from the checkpoint, and from the exported weights.
    let knn = value("trained", "knn_top1", 24).expect("evaluated");
    let top1 = |said: &str| {
        serde_json::from_str::<Value>(said).expect("JSON")["top1"].as_f64().expect("a number")
    };
    assert_eq!(top1(&succeeds(&mut sandbox.command(&["eval", "knn", "run", "--json"]))), knn);
    let recipe = "run/recipe.toml";
    let of_weights = &["eval", "knn", "run/encoder.safetensors", "--recipe", recipe, "--json"];
    assert_eq!(top1(&succeeds(&mut sandbox.command(of_weights))), knn);
    let export = &["export", "run", "--format", "torchvision", "--out", "exported.safetensors"];
    succeeds(&mut sandbox.command(export));
    let weights =
        mira_train::weights::Weights::read(&sandbox.path("exported.safetensors")).expect("weights");
    assert_eq!(weights.tensor("conv1.weight").expect("torchvision's key").shape, [4, 3, 3, 3]);
    assert_eq!(
        weights.tensor("layer2.0.downsample.1.running_var").expect("torchvision's key").shape,
        [8]
    );
    assert!(weights.tensor("prototypes.weight").is_err(), "the encoder alone");
    // A share of every class's labels among the 240 images.
    let half = &["eval", "knn", "run", "--label-fraction", "0.5", "--json"];
    let half = serde_json::from_str::<Value>(&succeeds(&mut sandbox.command(half))).expect("JSON");
    let all = mira_train::data::open(Format::Embedded, None, Split::Train).expect("the images");
    let of_class = |class| (0..240).filter(|&i| all.label(i) == Some(class)).count();
    let kept: usize = (0..10).map(|class| of_class(class).div_ceil(2)).sum();
    assert_eq!((&half["num_train"], &half["fraction"]), (&kept.into(), &0.5.into()));
    assert_eq!(half["num_test"], 60);
    refused(
        &mut sandbox.command(&["eval", "knn", "run", "--label-list", "run/recipe.toml"]),
        &["recipe.toml", "no file names"],
    );

    let linear = succeeds(&mut sandbox.command(&["eval", "linear", "run", "--epochs", "2"]));
    assert!(linear.contains("top-1"), "{linear}");

    for picture in ["curves.html", "curves.png", "curves.svg"] {
        succeeds(&mut sandbox.command(&["plot", "run", "--out", picture]));
        assert!(sandbox.path(picture).metadata().expect(picture).len() > 1000);
    }
    refused(&mut sandbox.command(&["eval", "knn", "exported.safetensors"]), &["--recipe"]);
}

/// Each by the name that the command line has for it, and with the exit code of who can put it right.
#[test]
fn other_commands_refuse_what_cannot_be() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("run", &["--quiet", "--set", "schedule.epochs=2"]));
    fs::create_dir_all(sandbox.path("none/taken.png")).expect("folders");
    for (arguments, words) in [
        (&["eval", "knn", "run", "-k", "100000"][..], &["100000 neighbours", "240", "give -k"][..]),
        (&["eval", "linear", "run", "--lr", "1e300", "--epochs", "1"], &["--lr 1e300; lower --lr"]),
        (&["eval", "knn", "run", "--label-list", "nope.txt"], &["cannot read nope.txt"]),
        (&["eval", "knn", "run", "--source", "foo"], &["'foo'", "'--source <FORMAT>'", "idx"]),
        (
            &["eval", "knn", "run", "--recipe", "default"],
            &["--recipe default", "run is a run's folder", "leave --recipe out"],
        ),
        (&["eval", "knn", "none"], &["none holds no run", "give the folder of a run"]),
        (
            &["export", "none", "--format", "torchvision", "--out", "x"],
            &["none holds no run", "give the folder of a run"],
        ),
        (&["plot", "nowhere", "--out", "a.png"], &["cannot read nowhere"]),
        (&["plot", "run", "--out", "a.gif"], &[".html, .png or .svg"]),
        (&["plot", "run", "--out", "no/a.png"], &["no/a.png", "in a folder that is there"]),
        (&["plot", "run", "--out", "none/taken.png"], &["taken.png", "this is a folder"]),
    ] {
        refused(&mut sandbox.command(arguments), words);
    }
    if cfg!(target_os = "linux") {
        // A limit on the size of files stands for a disk that is full.
        let limited = |line: &str| {
            let mut command = Command::new("sh");
            let line = format!(
                "trap '' XFSZ; ulimit -f 1; exec '{}' {line}",
                env!("CARGO_BIN_EXE_mira-train")
            );
            command.current_dir(sandbox.path(".")).args(["-c", &line]);
            command
        };
        for line in
            ["export run --format torchvision --out big.safetensors", "plot run --out big.png"]
        {
            refused_with(1, &mut limited(line), &["big", "File too large"]);
        }
        assert!(!sandbox.path("big.png").exists() && !sandbox.path("big.safetensors").exists());
    }
}

#[test]
fn a_run_without_a_probe_can_have_one_later() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("run", &["--quiet", "--set", "schedule.epochs=2"]));
    let resume = ["run", "--resume", "--out", "run", "--quiet", "--set", "eval.linear_epochs=0"];
    let output = sandbox.command(&resume).output().expect("the binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("evaluated again"), "{said}");
    // As the help says: the run's epochs, else 100.
    let said = succeeds(&mut sandbox.command(&["eval", "linear", "run", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON")["epochs"], 100, "{said}");
}

#[test]
fn accumulation_gives_the_same_assignment_of_the_same_batch() {
    let sandbox = Sandbox::new();
    // Without BN's dependence on what goes through together the two would agree in everything; the first step's targets come from the
    // same teacher, in two parts.
    succeeds(&mut sandbox.tiny("whole", &["--quiet", "--set", "schedule.epochs=2"]));
    succeeds(&mut sandbox.tiny(
        "parts",
        &["--quiet", "--set", "schedule.epochs=2", "--set", "train.accumulation_steps=2"],
    ));
    let (whole, parts) = (sandbox.metrics("whole", "step"), sandbox.metrics("parts", "step"));
    let loss = |steps: &[Value]| steps[0]["loss"].as_f64().expect("a number");
    assert!(
        (loss(&whole) - loss(&parts)).abs() < 0.2 * loss(&whole),
        "{} {}",
        loss(&whole),
        loss(&parts)
    );
    assert_ne!(whole, parts, "batch norm sees half of the batch");
}

#[test]
fn a_dry_run_is_a_recipe_and_writes_nothing() {
    let sandbox = Sandbox::new();
    let text = succeeds(&mut sandbox.tiny("run", &["--dry-run"]));
    assert!(!sandbox.path("run").exists());
    assert!(text.contains("parameters") && text.contains("an epoch"), "{text}");
    assert!(text.contains(" steps made here\n"), "{text}");
    std::fs::write(sandbox.path("again.toml"), &text).expect("a file");
    let again = succeeds(&mut sandbox.command(&["run", "again.toml", "--dry-run"]));
    let recipe = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(recipe(&again), recipe(&text));
    // Of every published recipe, however large: plans are made, memory is not.
    let large =
        succeeds(&mut sandbox.command(&["run", "imagenet-r50-400ep-multicrop", "--dry-run"]));
    // torchvision's ResNet-50 without its classifier has 23,508,032 parameters; the projector
    // 2048·2048·2 + 2·2·2048 + 2048·256 + 256, the prototypes 3000·256.
    let total = 23_508_032 + 2 * 2048 * 2048 + 4 * 2048 + 2048 * 256 + 256 + 3000 * 256;
    let digits: String = large.chars().filter(char::is_ascii_digit).collect();
    assert!(digits.contains(&total.to_string()), "{total} in {large}");
    assert!(large.contains("batch norm   over 4,096 images of one view\n"), "{large}");
    assert!(large.contains("by passes of 2 images through the network here, which"), "{large}");
    let parts = ["--dry-run", "--set", "train.accumulation_steps=4"];
    let parts = succeeds(&mut sandbox.tiny("run", &parts));
    let said = "over 10 images of all views of one size, not over the 40 of a step: train.accumulation_steps is 4";
    assert!(parts.contains(said), "{parts}");
    let frozen = ["--dry-run", "--set", "prototypes.freeze_epochs=4"];
    let frozen = succeeds(&mut sandbox.tiny("run", &frozen));
    assert!(frozen.contains("the prototypes never move; lower it"), "{frozen}");
}

#[test]
fn an_export_has_the_prototypes_of_a_teacher_that_has_its_own() {
    let sandbox = Sandbox::new();
    for (name, has_own) in [("dino", true), ("mira", false)] {
        let objective = format!("objective.name={name}");
        let settings = [
            "--quiet",
            "--set",
            &objective,
            "--set",
            "schedule.epochs=1",
            "--set",
            "schedule.warmup_epochs=0",
        ];
        succeeds(&mut sandbox.tiny(name, &settings));
        let out = format!("{name}.safetensors");
        succeeds(&mut sandbox.command(&["export", name, "--format", "safetensors", "--out", &out]));
        let weights = mira_train::weights::Weights::read(&sandbox.path(&out)).expect("weights");
        assert!(
            weights.tensor("prototypes.weight").is_ok()
                && weights.tensor("teacher.conv1.weight").is_ok()
        );
        assert_eq!(weights.tensor("teacher.prototypes.weight").is_ok(), has_own, "{name}");
    }
}
