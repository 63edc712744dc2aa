//! A loss that is not finite: nothing of the step is applied, and too many of them end the run.

use std::fs;
use std::path::Path;
use std::process::Output;

use mira_train::model::Network;
use mira_train::objective::{Ranks, Setup};
use mira_train::recipe::Recipe;
use mira_train::run_folder::container;
use mira_train::train::{Outcome, Sources, State, Trainer, loader};

use super::support::{Sandbox, TINY, refused_with};

#[test]
fn a_step_without_a_finite_loss_changes_nothing_but_its_number() {
    let settings: Vec<String> = TINY.iter().map(ToString::to_string).collect();
    let recipe = Recipe::builtin("default").unwrap().with_overrides(&settings).unwrap();
    let network = Network::new(&recipe).unwrap();
    let sources = Sources::open(&recipe.data).unwrap();
    let mut loader = loader(&recipe, &sources, 0).unwrap();
    let mut trainer = Trainer::new(&recipe, &network, 6).unwrap();
    let ranks = Ranks::default();
    let setup = Setup { recipe: &recipe, num_images: 240, steps_per_epoch: 6, ranks: &ranks };
    let mut state = State::new(&setup, &network).unwrap();
    let bits = |state: &State| {
        let mut arrays = vec![&state.student[..], &state.running];
        arrays.extend(state.teacher.as_deref());
        arrays.extend(state.optimizer.state().into_iter().map(|(_, values)| values));
        assert_eq!(arrays.len(), 5, "student, statistics, teacher, momentum, counts");
        arrays.concat().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let batch = loader.next_batch().unwrap();
        assert!(matches!(trainer.step(&mut state, &batch).unwrap(), Outcome::Done(_)));
    }
    let batch = loader.next_batch().unwrap();
    // In the student, whose gradient is then not finite, and in the teacher, whose embeddings cannot be assigned. The last is a number, whose square
    // is none: loss and gradient are finite, running variances are not.
    for (of_teacher, value) in [(false, f32::NAN), (true, f32::NAN), (false, 1e25)] {
        let meta = serde_json::json!({});
        let (mut bytes, path) = (Vec::new(), Path::new("memory"));
        container::write(&mut bytes, &state.snapshot(&meta), path).unwrap();
        let snapshot = container::read_from(&mut &bytes[..], bytes.len() as u64, path).unwrap();
        let mut broken = State::restore(&setup, &network, snapshot).unwrap();
        let values =
            if of_teacher { broken.teacher.as_mut().unwrap() } else { &mut broken.student };
        values[0] = value;
        let before = bits(&broken);
        for skipped in 1..=2 {
            let outcome = trainer.step(&mut broken, &batch).unwrap();
            let Outcome::Skipped(report) = outcome else { panic!("{outcome:?}") };
            assert_eq!(report.loss.is_finite(), !value.is_nan(), "{report:?}");
            assert_eq!((broken.num_skipped, broken.step), (skipped, 2 + skipped as u64));
            assert!(bits(&broken) == before, "it changed, teacher: {of_teacher}");
        }
    }
    // The memory that the broken ones went through is clean again.
    assert!(matches!(trainer.step(&mut state, &batch).unwrap(), Outcome::Done(_)));
    assert!(state.student.iter().all(|x| x.is_finite()));
    assert_eq!(state.num_skipped, 0);
}

#[test]
fn a_run_that_diverges_ends_and_names_its_last_good_checkpoint() {
    let sandbox = Sandbox::new();
    let wild = ["--quiet", "--set", "optimizer.base_lr=1e30", "--set", "train.max_skipped_steps=8"];
    let words = ["9 steps in a row", "There is no checkpoint yet", "optimizer.base_lr (now 1e30)"];
    refused_with(1, &mut sandbox.tiny("wild", &wild), &words);
    let skips = sandbox.metrics("wild", "skip");
    assert_eq!(skips.len(), 9);
    assert!(skips.iter().all(|skip| skip["loss"].is_null()), "{skips:?}");
    // An epoch ended meanwhile: what it ended with is not kept.
    let checkpoints = fs::read_dir(sandbox.path("wild/checkpoints")).expect("the folder");
    assert_eq!(checkpoints.count(), 0);
    assert!(!sandbox.path("wild/encoder.safetensors").exists());
}

#[test]
fn a_run_that_ends_with_skipped_steps_has_diverged() {
    let sandbox = Sandbox::new();
    let wild =
        ["--quiet", "--set", "optimizer.base_lr=1e30", "--set", "train.max_skipped_steps=100"];
    refused_with(1, &mut sandbox.tiny("wild", &wild), &["steps in a row", "optimizer.base_lr"]);
    let (skips, steps) =
        (sandbox.metrics("wild", "skip").len(), sandbox.metrics("wild", "step").len());
    assert!(skips > 9 && skips + steps == 24, "{skips} {steps}");
    assert!(!sandbox.path("wild/encoder.safetensors").exists());
    assert!(sandbox.metrics("wild", "eval").iter().all(|e| e["step"] == 0), "what has diverged");
}

#[test]
fn the_last_good_checkpoint_is_one_from_which_a_step_was_made() {
    let sandbox = Sandbox::new();
    // A checkpoint a step: also of the state that has diverged.
    let wild =
        ["--quiet", "--set", "optimizer.base_lr=1e30", "--set", "checkpoint.every_minutes=1e-9"];
    let Output { status, stderr, .. } = sandbox.tiny("wild", &wild).output().expect("the binary");
    let said = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(status.code(), Some(1), "{said}");
    let done = sandbox.metrics("wild", "step").len();
    let saved = |step: usize| format!("step-{step:08}.mira");
    assert!(sandbox.path("wild/checkpoints").join(saved(done)).exists(), "{done}: {said}");
    assert!(!said.contains(&saved(done)), "{said}");
    let expected = if done > 1 { saved(done - 1) } else { "no checkpoint yet".into() };
    assert!(said.contains(&expected), "{expected} in {said}");
}
