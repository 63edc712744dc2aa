//! Quantities that change from step to step: learning rate, EMA momentum, weight decay.

use std::f64::consts::PI;

use crate::recipe::Recipe;

/// A quantity as a function of the optimiser step, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Always the same.
    Constant(f64),
    /// `to + ½ (from − to) (1 + cos(π t/T))`: `from` at step 0, `to` from step T on.
    Cosine {
        /// Value at step 0.
        from: f64,
        /// Value from step T on.
        to: f64,
        /// T.
        num_steps: u64,
    },
    /// `start + (peak − start)(t + 1)/(W + 1)` for t < W, then `end + ½ (peak − end)(1 + cos(π (t − W)/(T − W)))`.
    WarmupCosine {
        /// Value the warm-up starts above.
        start: f64,
        /// Value at step W.
        peak: f64,
        /// Value from step T on.
        end: f64,
        /// W.
        num_warmup_steps: u64,
        /// T.
        num_steps: u64,
    },
}

impl Schedule {
    /// Along a cosine, or constant where both ends are the same.
    pub fn annealed(from: f64, to: f64, num_steps: u64) -> Self {
        if from == to { Self::Constant(from) } else { Self::Cosine { from, to, num_steps } }
    }

    /// The value at a step.
    pub fn at(&self, step: u64) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::Cosine { from, to, num_steps } => cosine(from, to, step, num_steps),
            Self::WarmupCosine { start, peak, num_warmup_steps, .. } if step < num_warmup_steps => {
                start + (peak - start) * (step as f64 + 1.0) / (num_warmup_steps as f64 + 1.0)
            }
            Self::WarmupCosine { peak, end, num_warmup_steps, num_steps, .. } => cosine(
                peak,
                end,
                step - num_warmup_steps,
                num_steps.saturating_sub(num_warmup_steps),
            ),
        }
    }
}

fn cosine(from: f64, to: f64, step: u64, num_steps: u64) -> f64 {
    if step == 0 && num_steps > 0 {
        return from; // exactly
    }
    if step >= num_steps {
        return to;
    }
    to + 0.5 * (from - to) * (1.0 + (PI * step as f64 / num_steps as f64).cos())
}

/// A run's schedules; T is `schedule.epochs` × `steps_per_epoch`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedules {
    /// Learning rate.
    pub lr: Schedule,
    /// Weight decay.
    pub weight_decay: Schedule,
    /// Momentum of the teacher; 0, a copy of the student, without EMA.
    pub ema_momentum: Schedule,
    /// Steps at the start in which the prototypes do not move.
    pub num_frozen_steps: u64,
    /// T.
    pub num_steps: u64,
}

impl Schedules {
    /// The schedules of a recipe at so many optimiser steps an epoch.
    pub fn new(recipe: &Recipe, steps_per_epoch: u64) -> Self {
        let num_steps = recipe.schedule.epochs as u64 * steps_per_epoch;
        let annealed = |from, to| Schedule::annealed(from, to, num_steps);
        let optimizer = &recipe.optimizer;
        let weight_decay = optimizer.weight_decay;
        let momentum = |of: fn(&crate::recipe::Teacher) -> Option<f64>| {
            recipe.teacher.as_ref().and_then(of).unwrap_or(0.0)
        };
        let frozen_epochs = recipe.prototypes.as_ref().map_or(0.0, |p| p.freeze_epochs);
        Self {
            lr: Schedule::WarmupCosine {
                start: recipe.schedule.warmup_start_lr,
                peak: recipe.peak_lr(),
                end: recipe.schedule.final_lr,
                num_warmup_steps: steps_of(recipe.schedule.warmup_epochs, steps_per_epoch),
                num_steps,
            },
            weight_decay: annealed(
                weight_decay,
                optimizer.weight_decay_end.unwrap_or(weight_decay),
            ),
            ema_momentum: annealed(momentum(|t| t.momentum_start), momentum(|t| t.momentum_end)),
            num_frozen_steps: steps_of(frozen_epochs, steps_per_epoch),
            num_steps,
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative, and far below 2⁵³
fn steps_of(epochs: f64, steps_per_epoch: u64) -> u64 {
    (epochs * steps_per_epoch as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGENET: Schedule = Schedule::WarmupCosine {
        start: 0.3,
        peak: 4.8,
        end: 0.0,
        num_warmup_steps: 3120,
        num_steps: 124_800,
    };

    #[test]
    fn learning_rate_at_312_steps_an_epoch() {
        assert!((IMAGENET.at(0) - 0.301_442).abs() < 5e-7);
        assert!((IMAGENET.at(3119) - 4.798_558).abs() < 5e-7);
        assert_eq!(IMAGENET.at(3120), 4.8);
        // half-way through the cosine, one third, two thirds: cos = 0, ½, −½
        let rest = 124_800 - 3120;
        assert!((IMAGENET.at(3120 + rest / 2) - 2.4).abs() < 1e-12);
        assert!((IMAGENET.at(3120 + rest / 3) - 3.6).abs() < 1e-12);
        assert!((IMAGENET.at(3120 + 2 * rest / 3) - 1.2).abs() < 1e-12);
        // 1 + cos(π − x) ≈ x²/2
        let x = PI / rest as f64;
        assert!((IMAGENET.at(124_799) / (1.2 * x * x) - 1.0).abs() < 1e-6);
        assert_eq!(IMAGENET.at(124_800), 0.0);
        assert_eq!(IMAGENET.at(u64::MAX), 0.0);
    }

    #[test]
    fn a_final_rate_is_the_cosines_end() {
        let lr = |step| {
            let (start, peak, end) = (0.0, 1.0, 0.25);
            Schedule::WarmupCosine { start, peak, end, num_warmup_steps: 0, num_steps: 8 }.at(step)
        };
        assert_eq!((lr(0), lr(8)), (1.0, 0.25));
        assert!((lr(4) - 0.625).abs() < 1e-15);
    }

    #[test]
    fn momentum_of_the_teacher() {
        let m = Schedule::Cosine { from: 0.99, to: 1.0, num_steps: 300 };
        assert_eq!((m.at(0), m.at(300), m.at(301)), (0.99, 1.0, 1.0));
        assert!((m.at(150) - 0.995).abs() < 1e-15);
        assert!((m.at(100) - (1.0 - 0.75 * 0.01)).abs() < 1e-15); // cos(π/3) = ½
        for step in 0..300 {
            let t = step as f64 / 300.0;
            let expected = 1.0 - 0.5 * (1.0 + (PI * t).cos()) * (1.0 - 0.99);
            assert!((m.at(step) - expected).abs() < 1e-15, "{step}");
        }
    }

    #[test]
    fn beta() {
        let b = Schedule::Cosine { from: 0.7, to: 2.0 / 3.0, num_steps: 1200 };
        assert_eq!((b.at(0), b.at(1200)), (0.7, 2.0 / 3.0));
        assert!((b.at(600) - (0.35 + 1.0 / 3.0)).abs() < 1e-15);
        assert!((b.at(800) - (2.0 / 3.0 + 0.25 * (0.7 - 2.0 / 3.0))).abs() < 1e-15);
    }

    #[test]
    fn nothing_divides_by_zero() {
        assert_eq!(Schedule::Cosine { from: 1.0, to: 2.0, num_steps: 0 }.at(0), 2.0);
        let warmup_only = Schedule::WarmupCosine {
            start: 0.0,
            peak: 1.0,
            end: 0.5,
            num_warmup_steps: 2,
            num_steps: 2,
        };
        assert!((warmup_only.at(1) - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(warmup_only.at(2), 0.5);
        assert_eq!(Schedule::Constant(0.1).at(7), 0.1);
    }
}
