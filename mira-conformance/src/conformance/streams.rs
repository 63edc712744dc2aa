//! Batches one after the other: what a workspace carries, and what it must not.

use mira_core::{Centered, Method, StopRule};
use proptest::prelude::*;

use crate::Backend;
use crate::definitions::{exp, log_assignment, total_variation};
use crate::problem::{Problem, Random, for_all, problems};

use super::{methods, tolerance};

/// Also after an error; and the same batch gives the same bits.
pub fn a_workspace_can_be_used_again<B: Backend>() {
    for_all(B::cases(32), &problems::<B>(), |problem| {
        let other = Problem { seed: !problem.seed, ..problem.clone() };
        let other = Problem::new(
            other.kind,
            other.shape,
            other.temperature,
            other.beta,
            other.seed,
            B::stored,
        );
        let mut bad = problem.logits.clone();
        *bad.last_mut().expect("not empty") = f64::NAN;
        for method in methods(&problem) {
            let batches = [&problem.logits[..], &bad, &other.logits, &problem.logits];
            let answers = B::stream(method, problem.shape, false, &batches);
            prop_assert!(answers[0].is_ok(), "{method:?}: {:?}", answers[0]);
            prop_assert!(answers[1].is_err(), "{method:?}: NaN was accepted");
            prop_assert_eq!(&answers[2], &B::assign(method, problem.shape, &other.logits));
            prop_assert_eq!(&answers[3], &answers[0], "{:?}", method);
        }
        Ok(())
    });
}

/// From the last answer's weights fewer sweeps lead to the same answer; a fixed number of sweeps ignores them.
pub fn a_warm_start_changes_the_work_not_the_answer<B: Backend>() {
    for_all(B::cases(32), &problems::<B>(), |problem| {
        let k = problem.num_prototypes();
        let next: Vec<f64> = {
            let mut random = Random::new(problem.seed);
            problem.logits.iter().map(|s| B::stored(s + 0.01 * random.normal())).collect()
        };
        let tolerance = 1e3 * B::tight(problem.beta);
        let stop = StopRule::Tolerance { tolerance: Some(tolerance), max_sweeps: 5000 };
        let batches = [&problem.logits[..], &next, &next];
        for method in [
            problem.mira(stop),
            problem.mira(StopRule::Sweeps(3)),
            problem.sinkhorn(StopRule::Sweeps(3)),
        ] {
            let warm = B::stream(method, problem.shape, true, &batches);
            let cold = B::stream(method, problem.shape, false, &batches);
            for (warm, cold) in warm.iter().zip(&cold) {
                let (Ok(warm), Ok(cold)) = (warm, cold) else {
                    return Err(TestCaseError::fail(format!("{method:?}: {warm:?}, {cold:?}")));
                };
                if matches!(method.stop(), StopRule::Sweeps(_)) {
                    prop_assert_eq!(warm, cold, "a fixed number of sweeps is a promised sequence");
                    continue;
                }
                let tv = total_variation(&warm.assignment, &cold.assignment, k);
                let noise = self::tolerance::<B>(&problem, &method, &cold.log_weights);
                prop_assert!(tv <= 2.0 * tolerance + noise, "{method:?}: total variation {tv:e}");
            }
            if let (StopRule::Tolerance { .. }, Ok(again)) = (method.stop(), &warm[2]) {
                let cold = cold[2].as_ref().map_or(0, |answer| answer.report.iterations);
                // The answer to this very batch is already there; rounding may ask for one sweep more.
                let most = if B::STARTS_WARM { cold.min(1) } else { cold };
                let again = again.report.iterations;
                prop_assert!(again <= most, "{method:?}: {again} sweeps warm, {cold} cold");
            }
        }
        Ok(())
    });
}

/// DINO, Eq. 4: `softmax((S − c)/τ)` with the centre of before, then `c ← m c + (1−m) mean S`.
pub fn the_centre_follows_the_batches<B: Backend>() {
    for_all(B::cases(32), &problems::<B>(), |problem| {
        let (batch, k, momentum) = (problem.shape.batch(), problem.num_prototypes(), 0.75);
        let method: Method = Centered::new(problem.temperature, momentum).expect("valid").into();
        let mut batches: Vec<Vec<f64>> = (0..4)
            .map(|n| {
                let seed = problem.seed.wrapping_add(n);
                let (kind, temperature) = (problem.kind, problem.temperature);
                Problem::new(kind, problem.shape, temperature, 0.0, seed, B::stored).logits
            })
            .collect();
        if k > 1 {
            // A prototype with a forbidden entry has no mean, and keeps its centre.
            batches[1][0] = f64::NEG_INFINITY;
        }
        let borrowed: Vec<&[f64]> = batches.iter().map(Vec::as_slice).collect();
        let mut center = vec![0.0; k];
        for (n, answer) in
            B::stream(method, problem.shape, false, &borrowed).into_iter().enumerate()
        {
            let answer = answer.map_err(|e| TestCaseError::fail(format!("batch {n}: {e:?}")))?;
            let a: Vec<f64> = center.iter().map(|c| -c / problem.temperature).collect();
            let expected = exp(&log_assignment(&batches[n], problem.temperature, &a));
            let tv = total_variation(&answer.assignment, &expected, k);
            prop_assert!(
                tv <= tolerance::<B>(&problem, &method, &a),
                "batch {n}: total variation {tv:e}"
            );
            for (j, c) in center.iter_mut().enumerate() {
                let mean = batches[n].iter().skip(j).step_by(k).sum::<f64>() / batch as f64;
                if mean.is_finite() {
                    *c = momentum * *c + (1.0 - momentum) * mean;
                }
            }
        }
        Ok(())
    });
}
