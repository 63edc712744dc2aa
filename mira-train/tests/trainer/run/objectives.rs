//! Every objective in the trainer: it trains, accumulates and resumes.

use mira_train::data::Batch;
use mira_train::model::Network;
use mira_train::objective::{METHODS, Ranks, Setup};
use mira_train::recipe::Recipe;
use mira_train::train::{Outcome, Sources, State, StepReport, Trainer, loader};

use super::resume::{OFTEN, same, started};
use super::support::{Sandbox, TINY, succeeds};

/// What the recipe of an objective needs beside [`TINY`] to be tiny.
fn tiny(method: &str) -> Vec<String> {
    let own: &[&str] = match method {
        "imsvd" => &["objective.variables=4", "objective.bins=2"],
        "byol" => &["objective.predictor_hidden_dim=16"],
        "swav" => &["objective.queue_length=80", "objective.queue_start_epoch=1"],
        _ => &[],
    };
    let has_prototypes =
        METHODS.iter().any(|known| known.name == method && known.sections.contains(&"prototypes"));
    let tiny = TINY.iter().filter(|s| has_prototypes || !s.starts_with("prototypes."));
    tiny.chain(own).map(|s| (*s).to_owned()).collect()
}

fn recipe(method: &str, more: &[&str]) -> Recipe {
    let more = more.iter().map(|s| (*s).to_owned());
    let settings: Vec<String> = tiny(method).into_iter().chain(more).collect();
    Recipe::builtin(&format!("small/{method}"))
        .and_then(|recipe| recipe.with_overrides(&settings))
        .unwrap_or_else(|e| panic!("{e}"))
}

/// A batch whose second half is its first in the opposite order, so that it matters which embedding is whose.
fn doubled(recipe: &Recipe) -> Batch {
    let sources = Sources::open(&recipe.data).unwrap();
    let mut batch = loader(recipe, &sources, 0).unwrap().next_batch().unwrap();
    for view in &mut batch.views {
        let half = view.pixels.len() / 2;
        let (first, second) = view.pixels.split_at_mut(half);
        let len = half / (recipe.train.batch_size / 2);
        for (to, from) in second.chunks_exact_mut(len).rev().zip(first.chunks_exact(len)) {
            to.copy_from_slice(from);
        }
    }
    batch
}

/// Parameters after two steps on the same batch, and the last step's report.
fn trained(recipe: &Recipe, batch: &Batch) -> (Vec<f32>, StepReport) {
    let network = Network::new(recipe).unwrap();
    let ranks = Ranks::default();
    let setup = Setup { recipe, num_images: 240, steps_per_epoch: 6, ranks: &ranks };
    let mut trainer = Trainer::new(recipe, &network, 6).unwrap();
    let mut state = State::new(&setup, &network).unwrap();
    for _ in 0..2 {
        let outcome = trainer.step(&mut state, batch).unwrap();
        let Outcome::Done(report) = outcome else { panic!("{outcome:?}") };
        if state.step == 2 {
            return (state.student, report);
        }
    }
    unreachable!("there are two steps")
}

/// Both halves have the statistics of the whole, so that going through the network in parts changes nothing but rounding.
#[test]
fn a_batch_in_parts_has_the_loss_and_gradient_of_the_whole() {
    for method in METHODS {
        let whole = recipe(method.name, &[]);
        let parts = recipe(method.name, &["train.accumulation_steps=2"]);
        let batch = doubled(&whole);
        let (expected, of_whole) = trained(&whole, &batch);
        let (got, of_parts) = trained(&parts, &batch);
        assert_eq!(of_whole.ema_momentum.is_nan(), !whole.has_teacher(), "{}", method.name);
        let error = (of_parts.loss - of_whole.loss).abs();
        assert!(error <= 1e-3 * of_whole.loss.abs().max(0.1), "{}: {error}", method.name);
        let start = Network::new(&whole).unwrap().parameters().initial_values(0);
        let distance = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
        };
        let moved = distance(&expected, &start);
        let apart = distance(&got, &expected);
        assert!(moved > 1e-6, "{}: it does not train", method.name);
        assert!(apart < 0.02 * moved, "{}: {apart} apart after {moved}", method.name);
    }
}

/// Those with a state of their own, cut off in the middle of epochs and between them.
#[test]
fn queues_centres_moments_and_banks_survive_an_interruption() {
    for method in ["swav", "dino", "minc", "deepcluster-v2"] {
        let sandbox = Sandbox::new();
        let run = |out: &str, more: &[&str]| {
            let mut command = sandbox.command(&["run", &format!("small/{method}"), "--out", out]);
            for setting in tiny(method) {
                command.args(["--set", &setting]);
            }
            // Whose statistics are state, too.
            if method == "dino" {
                command.args(["--set", "teacher.evaluate=true"]);
            }
            command.args(more);
            command
        };
        succeeds(&mut run("whole", &["--quiet"]));
        let mut command = run("killed", OFTEN);
        for steps in [3, 8, 13] {
            let mut child = started(command, &sandbox, "killed", steps);
            child.kill().expect("SIGKILL");
            child.wait().expect("its end");
            command = sandbox.command(&["run", "--resume", "--out", "killed", "--quiet"]);
        }
        succeeds(&mut command);
        same(&sandbox, "killed", "whole");
    }
}
