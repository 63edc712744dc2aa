//! What a run would cost, in words.

use std::fmt::{self, Write as _};

use super::{Assignment, BatchNorm, Method, OptimizerKind, Recipe, View};
use crate::text::{bytes, count, scaled};

/// Costs of a run, filled in by whoever builds the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Trained parameters: encoder, projector, prototypes.
    pub num_parameters: u64,
    /// Floating-point operations of the encoder's forward pass over one view of the first size; a multiply-add counts two.
    pub flops_per_image_forward: u64,
    /// Floating-point operations of one optimiser step: all views, forward and backward, teacher included.
    pub flops_per_step: u64,
    /// Bytes of activations and their gradients at the most.
    pub activation_bytes: u64,
    /// Bytes of parameters, gradients and teacher.
    pub parameter_bytes: u64,
    /// Bytes of the optimiser's state.
    pub optimizer_bytes: u64,
    /// Bytes of the objective's loss and its gradients, banks and queues, about.
    pub objective_bytes: u64,
    /// Bytes of the batches that are made ahead, at the most.
    pub loader_bytes: u64,
    /// Bytes of what evaluations hold at the most: features of all labelled images.
    pub evaluation_bytes: u64,
    /// Optimiser steps an epoch.
    pub steps_per_epoch: u64,
}

/// How long a step takes on a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Seconds.
    pub seconds_per_step: f64,
    /// What says so.
    pub basis: Basis,
}

/// What is known of a pace, and by that what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Basis {
    /// Steps of the recipe were made.
    Steps {
        /// So many.
        num_steps: u64,
        /// Of its images, which were read and augmented meanwhile; otherwise of random pixels.
        are_read: bool,
    },
    /// Its network went forward and backward; the rest by their operations.
    Pass {
        /// With so many images.
        num_images: usize,
    },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Steps { num_steps, are_read } => {
                let steps = if num_steps == 1 { "step" } else { "steps" };
                write!(f, "by {} {steps} made here", count(num_steps))?;
                if are_read {
                    Ok(())
                } else {
                    f.write_str(" of made-up images, whose reading it leaves out")
                }
            }
            Self::Pass { num_images } => write!(
                f,
                "by passes of {} images through the network here, which leave out objective, optimiser and reading",
                count(num_images)
            ),
        }
    }
}

impl Cost {
    /// All of the memory.
    pub const fn total_bytes(&self) -> u64 {
        self.activation_bytes
            .saturating_add(self.parameter_bytes)
            .saturating_add(self.optimizer_bytes)
            .saturating_add(self.objective_bytes)
            .saturating_add(self.loader_bytes)
            .saturating_add(self.evaluation_bytes)
    }
}

/// A summary in comments, then the resolved recipe: redirected to a file, the whole text is a recipe.
pub fn dry_run(recipe: &Recipe, cost: &Cost, pace: Option<&Pace>) -> String {
    let mut text = String::new();
    for (label, line) in lines(recipe, cost, pace) {
        text.push_str(&format!("# {label:<12} {line}").replace(char::is_control, " "));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&recipe.to_toml());
    text
}

fn lines(recipe: &Recipe, cost: &Cost, pace: Option<&Pace>) -> Vec<(&'static str, String)> {
    let (schedule, train) = (&recipe.schedule, &recipe.train);
    let epochs = schedule.epochs as u64;
    let num_steps = cost.steps_per_epoch.saturating_mul(epochs);
    let total = cost.total_bytes();
    let prototypes = recipe.prototypes.as_ref();
    let prototypes =
        prototypes.map_or_else(String::new, |p| format!(" and {} prototypes", count(p.count)));
    let network = format!(
        "{} of width {} with projector to {}{}: {} parameters",
        key(recipe.model.architecture),
        recipe.model.width,
        recipe.projector.output_dim,
        prototypes,
        count(cost.num_parameters)
    );
    let optimizer = format!(
        "{}, learning rate {} after {} epochs of warm-up, weight decay {}",
        match recipe.optimizer.kind {
            OptimizerKind::Lars => "LARS",
            OptimizerKind::Sgd => "SGD",
            OptimizerKind::Adamw => "AdamW",
        },
        recipe.peak_lr(),
        schedule.warmup_epochs,
        recipe.optimizer.weight_decay
    );
    let length = format!(
        "{} epochs × {} steps of {} images = {} steps",
        count(epochs),
        count(cost.steps_per_epoch),
        count(train.batch_size),
        count(num_steps)
    );
    let compute = format!(
        "{} a view forward, {} a step, {} in all",
        flops(cost.flops_per_image_forward as f64),
        flops(cost.flops_per_step as f64),
        flops(cost.flops_per_step as f64 * num_steps as f64)
    );
    let memory = format!(
        "{} = {} activations + {} parameters + {} optimiser + {} objective + {} batches ahead + {} evaluation",
        bytes(total),
        bytes(cost.activation_bytes),
        bytes(cost.parameter_bytes),
        bytes(cost.optimizer_bytes),
        bytes(cost.objective_bytes),
        bytes(cost.loader_bytes),
        bytes(cost.evaluation_bytes)
    );
    let time = pace.map_or_else(
        || "not estimated".into(),
        |pace| {
            let epoch = pace.seconds_per_step * cost.steps_per_epoch as f64;
            let (epoch, all) = (time(epoch), time(epoch * epochs as f64));
            format!("about {epoch} an epoch, {all} in all without evaluations, {}", pace.basis)
        },
    );
    let mut objective = recipe.objective.name.clone();
    for (key, value) in &recipe.objective.settings {
        let _ = write!(objective, ", {key} {value}");
    }
    if let Some(settings) = &recipe.assignment {
        let _ = write!(objective, ": {}", assignment(settings));
    }
    let at_once = train.batch_size / train.accumulation_steps;
    let views = match train.batch_norm {
        BatchNorm::PerView => "one view",
        BatchNorm::PerSize => "all views of one size",
    };
    let mut batch_norm = format!("over {} images of {views}", count(at_once));
    if train.accumulation_steps > 1 {
        let _ = write!(
            batch_norm,
            ", not over the {} of a step: train.accumulation_steps is {}",
            count(train.batch_size),
            train.accumulation_steps
        );
    }
    vec![
        ("network", network),
        ("views", recipe.views.iter().map(view).collect::<Vec<_>>().join(", ")),
        ("objective", objective),
        ("batch norm", batch_norm),
        ("optimiser", optimizer),
        ("length", length),
        ("compute", compute),
        ("memory", memory),
        ("time", time),
    ]
}

/// A choice as it is written in the recipe.
fn key(choice: impl serde::Serialize) -> String {
    toml::Value::try_from(choice)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn view(view: &View) -> String {
    let [low, high] = view.scale;
    let times = if view.count == 1 { String::new() } else { format!("{} × ", view.count) };
    format!("{times}{} {}×{} (scale {low}–{high})", view.name, view.size, view.size)
}

fn assignment(assignment: &Assignment) -> String {
    let stop = match (assignment.iterations, assignment.tolerance) {
        (Some(n), _) => format!(", {n} sweeps"),
        (None, Some(tolerance)) => format!(", proven to {tolerance:e}"),
        (None, None) => String::new(),
    };
    let or_nan = |x: Option<f64>| x.unwrap_or(f64::NAN);
    let method = match assignment.method {
        Method::Mira => format!(
            "MIRA, τ {}, β {:.4} → {:.4}",
            or_nan(assignment.temperature),
            or_nan(assignment.beta_start),
            or_nan(assignment.beta_end)
        ),
        Method::Sinkhorn => format!("Sinkhorn–Knopp, ε {}", or_nan(assignment.epsilon)),
        Method::Softmax => format!("softmax, τ {}", or_nan(assignment.temperature)),
    };
    method + &stop
}

fn flops(n: f64) -> String {
    scaled(n, 1000.0, &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"])
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s if s < 7170.0 => format!("{:.0} min", s / 60.0),
        s if s < 2.0 * 86400.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Cost = Cost {
        num_parameters: 28_750_744,
        flops_per_image_forward: 8_178_000_000,
        flops_per_step: 240_000_000_000_000,
        activation_bytes: 3 << 30,
        parameter_bytes: 512 << 20,
        optimizer_bytes: 1536,
        objective_bytes: 2 << 20,
        loader_bytes: 256 << 20,
        evaluation_bytes: 5 << 30,
        steps_per_epoch: 312,
    };
    const PACE: Pace = Pace {
        seconds_per_step: 900.0 / 312.0,
        basis: Basis::Steps { num_steps: 5, are_read: true },
    };

    #[test]
    fn the_text_is_a_recipe_again() {
        let recipe = Recipe::builtin("imagenet-r50-100ep-multicrop").unwrap();
        let text = dry_run(&recipe, &COST, Some(&PACE));
        assert_eq!(Recipe::from_toml(&text, "dry run").unwrap(), recipe);
        for part in [
            "resnet50 of width 64",
            "3,000 prototypes: 28,750,744 parameters",
            "6 × local 96×96 (scale 0.05–0.14)",
            "mira: MIRA, τ 0.225, β 0.7000 → 0.6667, 30 sweeps",
            "LARS, learning rate 4.8 after 5 epochs",
            "100 epochs × 312 steps of 4,096 images = 31,200 steps",
            "8.2 GFLOP a view forward, 240.0 TFLOP a step, 7.5 EFLOP in all",
            "8.8 GiB = 3.0 GiB activations + 512.0 MiB parameters + 1.5 KiB optimiser + 2.0 MiB objective + 256.0 MiB batches ahead + 5.0 GiB evaluation",
            "about 15 min an epoch, 25.0 h in all without evaluations, by 5 steps made here\n",
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }

    #[test]
    fn a_name_cannot_end_the_comment() {
        let mut recipe = Recipe::builtin("default").unwrap();
        recipe.views[0].name = "a\n[data]\nb".into();
        let text = dry_run(&recipe, &COST, None);
        assert_eq!(Recipe::from_toml(&text, "dry run").unwrap(), recipe);
        assert!(text.contains("not estimated"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024)], ["0 B", "1023 B", "1.0 KiB"]);
        assert_eq!([flops(999.0), flops(999_990.0)], ["999 FLOP", "1.0 MFLOP"]);
        assert_eq!([time(9.94), time(119.0), time(120.0)], ["9.9 s", "119 s", "2 min"]);
        assert_eq!([time(7200.0), time(90_000.0), time(1.0e6)], ["2.0 h", "25.0 h", "11.6 days"]);
    }
}
