//! What must not change an answer.

use mira_core::{Method, Softmax, StopRule};
use proptest::prelude::*;

use crate::Backend;
use crate::definitions::total_variation;
use crate::problem::{Random, for_all, problems};

use super::{assign, methods, tolerance};

/// The order of rows and of prototypes is no part of the problem.
pub fn permuting_rows_and_columns_permutes_the_answer<B: Backend>() {
    for_all(B::cases(32), &problems::<B>(), |problem| {
        let (batch, k) = (problem.shape.batch(), problem.num_prototypes());
        let mut random = Random::new(problem.seed);
        let (rows, columns) = (random.shuffled(batch), random.shuffled(k));
        let permuted = |x: &[f64]| -> Vec<f64> {
            rows.iter().flat_map(|i| columns.iter().map(move |j| x[i * k + j])).collect()
        };
        for method in methods(&problem) {
            let straight = assign::<B>(method, problem.shape, &problem.logits)?;
            let crossed = assign::<B>(method, problem.shape, &permuted(&problem.logits))?;
            let tv = total_variation(&permuted(&straight.assignment), &crossed.assignment, k);
            let slack = straight.report.certificate.log_ratio_bound.min(1.0);
            let stops_early = matches!(method.stop(), StopRule::Tolerance { .. });
            let tolerance = tolerance::<B>(&problem, &method, &straight.log_weights)
                + if stops_early {
                    slack + crossed.report.certificate.log_ratio_bound
                } else {
                    0.0
                };
            prop_assert!(tv <= tolerance, "{method:?}: total variation {tv:e} > {tolerance:e}");
        }
        Ok(())
    });
}

/// A constant added to a row changes no softmax and no converged answer; after few sweeps of Sinkhorn–Knopp only a constant
/// added to everything does not, and the answers after few sweeps do differ otherwise.
pub fn shifting_rows_changes_nothing<B: Backend>() {
    for_all(B::cases(48), &problems::<B>(), |problem| {
        let k = problem.num_prototypes();
        let mut random = Random::new(problem.seed);
        // Multiples of 1/16 below 8 are exact in every element type, shifted or not.
        let logits: Vec<f64> =
            problem.logits.iter().map(|s| (16.0 * s).round().clamp(-48.0, 48.0) / 16.0).collect();
        let shifts: Vec<f64> =
            (0..problem.shape.batch()).map(|_| random.below(9) as f64 - 4.0).collect();
        let by_row: Vec<f64> = logits
            .chunks_exact(k)
            .zip(&shifts)
            .flat_map(|(row, c)| row.iter().map(move |s| s + c))
            .collect();
        let everywhere: Vec<f64> = logits.iter().map(|s| s + shifts[0]).collect();
        let softmax: Method = Softmax::new(problem.temperature).expect("valid").into();
        let cases = [
            (softmax, &by_row),
            (problem.mira(StopRule::Sweeps(4)), &by_row),
            (problem.sinkhorn(StopRule::Sweeps(1)), &everywhere),
            (problem.sinkhorn(StopRule::Sweeps(3)), &everywhere),
        ];
        for (method, shifted) in cases {
            let (one, two) = (
                assign::<B>(method, problem.shape, &logits)?,
                assign::<B>(method, problem.shape, shifted)?,
            );
            let tv = total_variation(&one.assignment, &two.assignment, k);
            let tolerance = tolerance::<B>(&problem, &method, &one.log_weights)
                + 64.0 * f64::EPSILON / method.scaling().epsilon;
            prop_assert!(tv <= tolerance, "{method:?}: total variation {tv:e} > {tolerance:e}");
        }
        Ok(())
    });
}
