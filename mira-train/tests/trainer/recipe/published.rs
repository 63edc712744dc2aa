//! The published runs' settings, from the paper and its code, not from the files.

use std::collections::BTreeSet;

use mira_train::data::{Format, Interpolation};
use mira_train::recipe::{
    Architecture, BatchNorm, Method, OptimizerKind, Recipe, Reduction, Stem, View, builtins,
};
use mira_train::schedule::Schedules;

/// A published run's row.
#[derive(Clone, Copy)]
struct Run {
    name: &'static str,
    epochs: usize,
    batch: usize,
    warmup: f64,
    optimizer: OptimizerKind,
    architecture: Architecture,
    momentum: f64,
    multicrop: bool,
}

const fn resnet50(name: &'static str, epochs: usize, warmup: f64, multicrop: bool) -> Run {
    let (optimizer, architecture) = (OptimizerKind::Lars, Architecture::Resnet50);
    Run { name, epochs, batch: 4096, warmup, optimizer, architecture, momentum: 0.99, multicrop }
}

const fn sgd(run: Run, batch: usize) -> Run {
    Run { batch, optimizer: OptimizerKind::Sgd, ..run }
}

const fn resnet18(run: Run) -> Run {
    Run { architecture: Architecture::Resnet18, ..run }
}

fn imagenet() -> Vec<Run> {
    vec![
        resnet50("imagenet-r50-100ep", 100, 5.0, false),
        resnet50("imagenet-r50-200ep", 200, 5.0, false),
        resnet50("imagenet-r50-400ep", 400, 10.0, false),
        Run { momentum: 0.996, ..resnet50("imagenet-r50-800ep", 800, 10.0, false) },
        resnet50("imagenet-r50-100ep-multicrop", 100, 5.0, true),
        resnet50("imagenet-r50-200ep-multicrop", 200, 5.0, true),
        resnet50("imagenet-r50-400ep-multicrop", 400, 10.0, true),
        sgd(resnet50("imagenet-r50-100ep-bs512", 100, 10.0, false), 512),
        resnet18(sgd(resnet50("imagenet100-r18-400ep", 400, 10.0, false), 512)),
    ]
}

fn cifar() -> Vec<Run> {
    vec![
        resnet18(sgd(resnet50("cifar10-r18-1000ep", 1000, 10.0, false), 256)),
        resnet18(sgd(resnet50("cifar100-r18-1000ep", 1000, 10.0, false), 256)),
    ]
}

#[test]
fn all_are_built_in_and_nothing_else() {
    let published = imagenet().into_iter().chain(cifar()).map(|run| run.name);
    let expected: BTreeSet<_> = published.chain(["default", "cifar10-small-cpu"]).collect();
    // Those of each objective are checked in `objectives`.
    let ours = || builtins().iter().map(|builtin| builtin.name).filter(|n| !n.contains('/'));
    let got: BTreeSet<_> = ours().collect();
    assert_eq!(got, expected);
    assert_eq!(ours().count(), expected.len());
    assert_eq!(builtins()[0].name, "default");
}

#[test]
fn what_all_published_runs_share() {
    for run in imagenet().into_iter().chain(cifar()) {
        let r = Recipe::builtin(run.name).unwrap();
        let name = run.name;
        assert_eq!(r.schedule.epochs, run.epochs, "{name}");
        assert_eq!(r.train.batch_size, run.batch, "{name}");
        assert_eq!(r.schedule.warmup_epochs, run.warmup, "{name}");
        assert_eq!(r.schedule.final_lr, 0.0, "{name}");
        assert_eq!((r.model.architecture, r.model.width), (run.architecture, 64), "{name}");
        assert!(r.model.zero_init_residual, "{name}");
        let p = &r.projector;
        assert_eq!((p.hidden_dim, p.num_hidden, p.output_dim), (2048, 2, 256), "{name}");
        assert_eq!(
            (r.prototypes.as_ref().unwrap().count, r.prototypes.as_ref().unwrap().freeze_epochs),
            (3000, 1.0),
            "{name}"
        );
        let a = r.assignment.as_ref().unwrap();
        let (loss, teacher) = (r.loss.as_ref().unwrap(), r.teacher.as_ref().unwrap());
        assert_eq!((a.method, a.temperature), (Method::Mira, Some(0.225)), "{name}");
        assert_eq!((a.beta_start, a.beta_end), (Some(0.7), Some(2.0 / 3.0)), "{name}");
        assert_eq!((a.iterations, a.tolerance), (Some(30), None), "{name}");
        assert_eq!((loss.temperature, loss.reduction), (0.1, Reduction::Mean), "{name}");
        assert!(teacher.ema, "{name}");
        assert_eq!(teacher.momentum_start, Some(run.momentum), "{name}");
        assert_eq!(teacher.momentum_end, Some(1.0), "{name}");
        let o = &r.optimizer;
        assert_eq!((o.kind, o.base_lr, o.momentum), (run.optimizer, 0.3, Some(0.9)), "{name}");
        assert_eq!(o.weight_decay_end, None, "{name}");
        let (decay, trust, start) = match run.optimizer {
            OptimizerKind::Lars => (1e-6, Some(0.001), 0.3),
            _ => (1e-4, None, 0.0),
        };
        assert_eq!((o.weight_decay, o.trust_coefficient), (decay, trust), "{name}");
        assert_eq!(r.schedule.warmup_start_lr, start, "{name}");
        assert_eq!((r.eval.knn_neighbours, r.eval.knn_temperature), (20, 0.07), "{name}");
        // The code's: every view by itself, and `--momentum` of its evaluation.
        assert_eq!(r.train.batch_norm, BatchNorm::PerView, "{name}");
        assert!(r.evaluates_teacher(), "{name}");
        for view in &r.views {
            // The code's transforms of CIFAR leave torchvision's default.
            let bilinear = name.starts_with("cifar");
            let expected = if bilinear { Interpolation::Bilinear } else { Interpolation::Bicubic };
            assert_eq!(view.interpolation, expected, "{name}");
            assert_eq!((view.flip, view.grayscale), (0.5, 0.2), "{name}");
            let j = &view.jitter;
            let jitter = [j.probability, j.brightness, j.contrast, j.saturation, j.hue];
            assert_eq!(jitter, [0.8, 0.4, 0.4, 0.2, 0.1], "{name}");
            assert_eq!(view.blur.sigma, [0.1, 2.0], "{name}");
            assert_eq!(view.solarize.threshold, 128, "{name}");
            assert_eq!(view.ratio, [3.0 / 4.0, 4.0 / 3.0], "{name}");
        }
    }
}

/// Count, size, scale, probabilities of blur and solarisation.
fn rows(views: &[View]) -> Vec<(usize, usize, [f32; 2], f32, f32)> {
    let row = |v: &View| (v.count, v.size, v.scale, v.blur.probability, v.solarize.probability);
    views.iter().map(row).collect()
}

#[test]
fn views_and_data_of_imagenet() {
    for run in imagenet() {
        let r = Recipe::builtin(run.name).unwrap();
        assert_eq!((r.data.source, r.model.stem), (Format::Auto, Stem::Imagenet));
        assert_eq!(r.data.mean, [0.485, 0.456, 0.406], "{}", run.name);
        assert_eq!(r.data.std, [0.229, 0.224, 0.225], "{}", run.name);
        let low = if run.multicrop { 0.14 } else { 0.08 };
        let mut expected = vec![(1, 224, [low, 1.0], 1.0, 0.0), (1, 224, [low, 1.0], 0.1, 0.2)];
        if run.multicrop {
            expected.push((6, 96, [0.05, 0.14], 0.5, 0.0));
        }
        assert_eq!(rows(&r.views), expected, "{}", run.name);
        let probe = (r.eval.linear_epochs, r.eval.linear_lr, r.eval.linear_batch_size);
        assert_eq!(probe, (100, 0.075 * 1024.0 / 256.0, 1024), "{}", run.name);
        assert_eq!(r.eval.image_size, 224, "{}", run.name);
    }
}

#[test]
fn views_and_data_of_cifar() {
    for run in cifar() {
        let r = Recipe::builtin(run.name).unwrap();
        assert_eq!((r.data.source, r.model.stem), (Format::Auto, Stem::Cifar));
        assert_eq!(r.model.stem_padding, Some(2), "the code's");
        assert_eq!(r.data.mean, [0.4914, 0.4822, 0.4465]);
        assert_eq!(r.data.std, [0.247, 0.243, 0.261]);
        let scale = [0.2, 1.0];
        assert_eq!(rows(&r.views), [(1, 32, scale, 0.0, 0.0), (1, 32, scale, 0.0, 0.2)]);
        assert_eq!(r.eval.linear_lr, 0.1);
    }
}

#[test]
fn schedules_of_the_400_epoch_run() {
    let recipe = Recipe::builtin("imagenet-r50-400ep").unwrap();
    let s = Schedules::new(&recipe, 312);
    assert_eq!((s.num_steps, s.num_frozen_steps), (124_800, 312));
    assert!((s.lr.at(0) - 0.301_442).abs() < 5e-7);
    assert!((s.lr.at(3119) - 4.798_558).abs() < 5e-7);
    assert!((s.lr.at(3120) - 4.8).abs() < 1e-12);
    assert_eq!(s.lr.at(124_800), 0.0);
    assert_eq!((s.ema_momentum.at(0), s.ema_momentum.at(124_800)), (0.99, 1.0));
    assert!((s.ema_momentum.at(62_400) - 0.995).abs() < 1e-15);
    assert_eq!((s.weight_decay.at(0), s.weight_decay.at(124_800)), (1e-6, 1e-6));
}

#[test]
fn schedules_follow_every_setting() {
    let changes = [
        "schedule.epochs=30",
        "optimizer.weight_decay_end=0.04",
        "schedule.final_lr=0.01",
        "teacher.ema=false",
    ];
    let recipe = super::set(&Recipe::builtin("default").unwrap(), &changes).unwrap();
    let s = Schedules::new(&recipe, 10);
    assert_eq!((s.weight_decay.at(0), s.weight_decay.at(300)), (1e-4, 0.04));
    assert!((s.weight_decay.at(150) - 0.020_05).abs() < 1e-12);
    assert_eq!(s.lr.at(300), 0.01);
    assert_eq!(s.ema_momentum.at(0), 0.0);
    let half = super::set(&recipe, &["prototypes.freeze_epochs=0.5"]).unwrap();
    assert_eq!(Schedules::new(&half, 10).num_frozen_steps, 5);
}

/// Where paper and code differ, the recipe says so beside the number.
#[test]
fn numbers_of_the_paper_that_are_not_its_codes_are_marked() {
    for run in imagenet().into_iter().chain(cifar()) {
        let text = builtins().iter().find(|b| b.name == run.name).expect("built in").text;
        let marked = |number: &str, what: &str| {
            let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(number)).collect();
            assert!(lines.iter().all(|line| line.contains(what)), "{}: {lines:?}", run.name);
            lines.len()
        };
        assert_eq!(marked("beta_start = 0.7", "code has 0.75"), 1);
        let crops = marked("scale = [0.08", "code has 0.14");
        let is_imagenet = run.name.starts_with("imagenet");
        assert_eq!(crops, if is_imagenet && !run.multicrop { 2 } else { 0 }, "{}", run.name);
    }
}

/// Whether each view goes by itself is the method's, as in its released code; in the small families all are alike.
#[test]
fn what_shares_a_batch_is_the_methods_own() {
    let by_itself = ["mira", "byol", "linear-byol", "barlow-twins", "vicreg", "spectral"];
    for method in mira_train::objective::METHODS {
        for (family, is_small) in [
            ("small", true),
            ("cifar10-small", true),
            ("cifar10-r18", false),
            ("imagenet-r50", false),
        ] {
            let recipe = Recipe::builtin(&format!("{family}/{}", method.name)).unwrap();
            let is_per_view = recipe.train.batch_norm == BatchNorm::PerView;
            let name = method.name;
            assert_eq!(is_per_view, !is_small && by_itself.contains(&name), "{family}/{name}");
            let evaluates_teacher = !is_small && ["mira", "dino"].contains(&name);
            assert_eq!(recipe.evaluates_teacher(), evaluates_teacher, "{family}/{name}");
        }
    }
}
