//! The answers: against the oracle, the optimality condition, and the methods' limits in β.

use mira_core::{Method, Mira, StopRule};
use proptest::prelude::*;

use crate::Backend;
use crate::definitions::{
    exp, f64_noise, log_assignment, log_marginal, marginal, mira_objective, sinkhorn_objective,
    span, total_variation,
};
use crate::optimum;
use crate::problem::{Kind, Problem, for_all, problems, problems_of};

use super::{assign, methods, same_as_the_oracle, tolerance};

/// Every row is a probability distribution; entropy, objective and log weights in the report are those of the assignment delivered.
pub fn rows_are_on_the_simplex_and_the_report_describes_them<B: Backend>() {
    for_all(B::cases(48), &problems::<B>(), |problem| {
        let k = problem.num_prototypes();
        for method in methods(&problem) {
            let answer = assign::<B>(method, problem.shape, &problem.logits)?;
            for row in answer.assignment.chunks_exact(k) {
                let sum: f64 = row.iter().sum();
                prop_assert!(row.iter().all(|w| (0.0..=1.0 + 1e-6).contains(w)), "{method:?}");
                prop_assert!((sum - 1.0).abs() <= B::TOLERANCE_TV, "{method:?}: row sum {sum}");
            }
            // Log weights and report must belong to the assignment delivered with them.
            let log_w =
                log_assignment(&problem.logits, method.scaling().epsilon, &answer.log_weights);
            let tolerance = tolerance::<B>(&problem, &method, &answer.log_weights);
            let tv = total_variation(&answer.assignment, &exp(&log_w), k);
            prop_assert!(tv <= tolerance, "{method:?}: weights belong to another answer, {tv:e}");
            let entropy: f64 = log_marginal(&log_w, k).iter().map(|l| -l.exp() * l).sum();
            let scale = 1.0 + (k as f64).ln();
            let reported = answer.report.marginal_entropy;
            prop_assert!(
                (reported - entropy).abs() <= 10.0 * scale * tolerance,
                "{method:?}: marginal entropy {reported}, not {entropy}"
            );
            let objective = match method {
                Method::Mira(_) => mira_objective(&problem, &log_w),
                Method::Sinkhorn(_) => sinkhorn_objective(&problem, &log_w),
                Method::Softmax(_) | Method::Centered(_) => 0.0,
            };
            if let Some(reported) = answer.report.objective {
                let scale = 1.0 + span(&problem.logits) / problem.temperature.min(1.0);
                prop_assert!(
                    (reported - objective).abs() <= 10.0 * scale * tolerance,
                    "{method:?}: objective {reported}, not {objective}"
                );
            }
        }
        Ok(())
    });
}

/// After any fixed number of sweeps the assignment is the naive f64 oracle's.
pub fn follows_the_oracle_sweep_by_sweep<B: Backend>() {
    for_all(B::cases(48), &(problems::<B>(), 0usize..12), |(problem, n)| {
        for method in [problem.mira(StopRule::Sweeps(n)), problem.sinkhorn(StopRule::Sweeps(n + 1))]
        {
            same_as_the_oracle::<B>(&problem, method)?;
        }
        Ok(())
    });
}

/// `log w_ij = log k_ij − (β/(1−β)) log w̄_j + const_i` (Eq. 5), from the assignment alone.
pub fn converged_answers_satisfy_the_optimality_condition<B: Backend>() {
    for_all(B::cases(48), &problems::<B>(), |problem| {
        let (k, gamma) = (problem.num_prototypes(), problem.beta / (1.0 - problem.beta));
        let tight = B::tight(problem.beta);
        let stop = StopRule::Tolerance { tolerance: Some(tight), max_sweeps: 5000 };
        let answer = assign::<B>(problem.mira(stop), problem.shape, &problem.logits)?;
        let noise =
            2.0 * f64_noise(&problem, problem.epsilon(), &answer.log_weights) * (1.0 + gamma);
        prop_assert!(
            answer.report.certificate.log_ratio_bound <= tight + noise,
            "stopped at {:?}",
            answer.report
        );
        let log_w_bar: Vec<f64> =
            marginal(&answer.assignment, k).iter().map(|w| w.max(f64::MIN_POSITIVE).ln()).collect();
        // What the marginal of the answer induces must be the answer.
        let induced_weights: Vec<f64> = log_w_bar.iter().map(|l| -gamma * l).collect();
        let induced = exp(&log_assignment(&problem.logits, problem.epsilon(), &induced_weights));
        let tv = total_variation(&answer.assignment, &induced, k);
        // Rounding of the marginal, relative, is multiplied by β/(1−β).
        let rounding = 32.0 * B::UNIT_ROUNDOFF * (1.0 + gamma);
        prop_assert!(tv <= 2.0 * tight + rounding + noise, "KKT residual {tv:e}");
        Ok(())
    });
}

/// MIRA without regularisation is `softmax(S/τ)`, after any number of sweeps; and continuous there.
pub fn beta_zero_is_softmax_and_small_beta_is_near<B: Backend>() {
    for_all(B::cases(48), &problems::<B>(), |problem| {
        let k = problem.num_prototypes();
        let p = exp(&log_assignment(&problem.logits, problem.temperature, &vec![0.0; k]));
        for beta in [0.0, 1e-12] {
            let near = Problem { beta, ..problem.clone() };
            for stop in [StopRule::Sweeps(0), StopRule::Sweeps(7), StopRule::default()] {
                let method = near.mira(stop);
                let answer = assign::<B>(method, problem.shape, &problem.logits)?;
                let tv = total_variation(&answer.assignment, &p, k);
                // Weights are at most β · (largest −log w̄), and w̄ ≥ e^{−span(S)/τ}/K.
                let moved = beta * (span(&problem.logits) / problem.temperature + (k as f64).ln());
                let tolerance =
                    tolerance::<B>(&problem, &method, &answer.log_weights) + 2.0 * moved;
                prop_assert!(tv <= tolerance, "β = {beta}, {stop:?}: total variation {tv:e}");
            }
        }
        Ok(())
    });
}

/// The kernel's ε is held while β → 1: the answers approach Sinkhorn–Knopp's in proportion to 1 − β.
pub fn beta_towards_one_approaches_sinkhorn<B: Backend>() {
    let small = problems_of(&[Kind::Cosine, Kind::Clusters], 8, B::stored);
    for_all(B::cases(24), &small, |problem| {
        let (k, epsilon) = (problem.num_prototypes(), problem.temperature.max(0.2));
        let problem = Problem { temperature: epsilon, ..problem };
        let limit = exp(&optimum::sinkhorn(&problem).log_w);
        let distance = |beta: f64| -> Result<f64, TestCaseError> {
            let stop = StopRule::Tolerance { tolerance: Some(1e-9), max_sweeps: 20_000 };
            let mira = Mira::new(epsilon / (1.0 - beta), beta).and_then(|m| m.with_stop(stop));
            let answer = assign::<B>(mira.expect("valid").into(), problem.shape, &problem.logits)?;
            Ok(total_variation(&answer.assignment, &limit, k))
        };
        let (far, near, nearest) = (distance(0.9)?, distance(0.99)?, distance(0.999)?);
        let noise = 4.0 * B::UNIT_ROUNDOFF / 1e-3 + 1e-9;
        prop_assert!(near <= 0.5 * far + noise, "{far:e}, {near:e}, {nearest:e}");
        prop_assert!(nearest <= 0.5 * near + noise, "{far:e}, {near:e}, {nearest:e}");
        prop_assert!(nearest <= 0.05, "{far:e}, {near:e}, {nearest:e}");
        Ok(())
    });
}

/// One more sweep multiplies the bounded span by β at most.
pub fn bounds_contract_by_beta<B: Backend>() {
    for_all(B::cases(48), &(problems::<B>(), 0usize..8), |(problem, n)| {
        let gamma = problem.beta / (1.0 - problem.beta);
        let bound = |n: usize| {
            assign::<B>(problem.mira(StopRule::Sweeps(n)), problem.shape, &problem.logits)
                .map(|answer| (answer.report.certificate.log_ratio_bound, answer.log_weights))
        };
        let ((before, a), (after, _)) = (bound(n)?, bound(n + 1)?);
        let noise = gamma * (64.0 * B::UNIT_ROUNDOFF + f64_noise(&problem, problem.epsilon(), &a));
        prop_assert!(after <= problem.beta * before + noise, "sweep {n}: {before:e} → {after:e}");
        Ok(())
    });
}
