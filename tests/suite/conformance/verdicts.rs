//! What is said of an answer: the status, and the independent verifier.

use mira_core::{Matrix, Method, Sinkhorn, Status, StopRule, Verification, verify, verify_at};
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

/// At the backend's own weights, in f64: no residual is larger than the bound and what it says rounding may add.
pub(crate) fn the_allowance_covers_what_f64_finds<B: Backend>() {
    for_all(B::cases(32), &(problems::<B>(), 1usize..8), |(problem, sweeps)| {
        for stop in [StopRule::Sweeps(sweeps), StopRule::default()] {
            // Of two ε: where the amplification is moderate the bound says something.
            let wide =
                Sinkhorn::new(2.0 * problem.temperature + 0.5).and_then(|m| m.with_stop(stop));
            let wide = wide.expect("valid by construction").into();
            for method in [problem.mira(stop), problem.sinkhorn(stop), wide] {
                let answer = assign::<B>(method, problem.shape, &problem.logits)?;
                let logits = Matrix::new(&problem.logits, problem.shape).expect("its shape");
                // The assignment of the weights, so that nothing but the marginals is compared.
                let exact = exact_assignment(&problem, method, &answer.log_weights);
                let exact = Matrix::new(&exact, problem.shape).expect("its shape");
                let found = verify_at(logits, exact, &method, &answer.log_weights);
                let found = found.map_err(|e| TestCaseError::fail(e.to_string()))?.certificate;
                let said = answer.report.certificate;
                let bound = said.log_ratio_bound + said.rounding_allowance;
                prop_assert!(
                    found.log_ratio_bound <= bound + found.rounding_allowance,
                    "{:?}: {:?}, but {:?}",
                    method,
                    said,
                    found
                );
            }
        }
        Ok(())
    });
}

/// Rows of `e^{a_j + S_ij/ε}`, normalised, in f64.
fn exact_assignment(problem: &Problem, method: Method, a: &[f64]) -> Vec<f64> {
    let epsilon = method.scaling().epsilon;
    let row = |logits: &[f64]| {
        let exponents = || logits.iter().zip(a).map(|(s, a)| s / epsilon + a);
        let highest = exponents().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = exponents().map(|x| (x - highest).exp()).sum();
        exponents().map(|x| (x - highest).exp() / sum).collect::<Vec<_>>()
    };
    problem.logits.chunks_exact(a.len()).flat_map(row).collect()
}
