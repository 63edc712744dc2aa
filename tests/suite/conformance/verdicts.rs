//! What is said of an answer: the status, and the independent verifier.

use mira_core::{Matrix, Method, Status, StopRule, Verification, verify};
use proptest::prelude::*;

use crate::support::{Backend, Problem, Random, f64_noise, for_all, problems};

use super::assign;

/// Whatever the stop rule, also with tolerances below what rounding allows: the end is near, and `Converged` means it.
pub(crate) fn the_status_says_what_the_certificate_says<B: Backend>() {
    for_all(B::cases(32), &(problems::<B>(), -20i32..0), |(problem, exponent)| {
        let (tolerance, max_sweeps) = (10f64.powi(exponent), 60);
        let stops = [
            StopRule::Tolerance { tolerance: Some(tolerance), max_sweeps },
            StopRule::DualityGap { tolerance, max_sweeps },
        ];
        for stop in stops {
            for method in [problem.mira(stop), problem.sinkhorn(stop)] {
                let report = assign::<B>(method, problem.shape, &problem.logits)?.report;
                let c = report.certificate;
                let distance = match (method, stop) {
                    (_, StopRule::DualityGap { .. }) => c.duality_gap,
                    (Method::Sinkhorn(_), _) => c.marginal_error,
                    _ => c.log_ratio_bound + c.rounding_allowance,
                };
                prop_assert_eq!(
                    report.status == Status::Converged,
                    distance <= tolerance,
                    "{:?}: {:?}",
                    method,
                    report
                );
                prop_assert!(report.iterations <= max_sweeps, "{method:?}: {report:?}");
                prop_assert!(
                    report.status == Status::Converged || distance > 0.0,
                    "{method:?}: {report:?}"
                );
            }
        }
        Ok(())
    });
}

/// [`verify`] in the backend's own output type, which decides what counts as underflown.
fn verified<B: Backend>(
    method: &Method,
    problem: &Problem,
    assignment: &[f64],
) -> Result<Verification, TestCaseError> {
    let logits = Matrix::new(&problem.logits, problem.shape).expect("the problem's shape");
    let verification = if B::SMALLEST_NORMAL == f64::from(f32::MIN_POSITIVE) {
        #[allow(clippy::cast_possible_truncation)] // these were f32
        let assignment: Vec<f32> = assignment.iter().map(|w| *w as f32).collect();
        verify(logits, Matrix::new(&assignment, problem.shape).expect("as long"), method)
    } else {
        verify(logits, Matrix::new(assignment, problem.shape).expect("as long"), method)
    };
    verification.map_err(|e| TestCaseError::fail(format!("{method:?}: {e}")))
}

pub(crate) fn the_verifier_accepts_answers_and_accuses_forgeries<B: Backend>() {
    for_all(B::cases(32), &problems::<B>(), |problem| {
        let k = problem.num_prototypes();
        let tight = B::tight(problem.beta);
        let stop = StopRule::Tolerance { tolerance: Some(tight), max_sweeps: 5000 };
        let method = problem.mira(stop);
        let answer = assign::<B>(method, problem.shape, &problem.logits)?;
        let accepted = verified::<B>(&method, &problem, &answer.assignment)?.certificate;
        // A log-probability of −87 is the least an f32 holds, −745 in f64, and its rounding error grows with it.
        let noise = -B::SMALLEST_NORMAL.ln() * 4.0 * B::UNIT_ROUNDOFF / (1.0 - problem.beta)
            + f64_noise(&problem, problem.epsilon(), &answer.log_weights) / (1.0 - problem.beta);
        prop_assert!(accepted.log_ratio_bound <= 2.0 * tight + noise, "refused: {accepted:?}");

        if k == 1 {
            return Ok(());
        }
        // Moves a thousandth of the largest element of a random row to another prototype.
        let mut random = Random::new(problem.seed);
        let row = random.below(problem.shape.batch()) * k;
        let mut forged = answer.assignment.clone();
        let largest =
            (0..k).max_by(|a, b| forged[row + a].total_cmp(&forged[row + b])).unwrap_or(0);
        let moved = 1e-3 * forged[row + largest];
        forged[row + largest] -= moved;
        forged[row + (largest + 1) % k] += moved;
        let accused = verified::<B>(&method, &problem, &forged)?.certificate;
        prop_assert!(accused.log_ratio_bound >= 1e-3 - tight - noise, "not accused: {accused:?}");
        Ok(())
    });
}
