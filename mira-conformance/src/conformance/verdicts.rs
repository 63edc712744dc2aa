//! What is said of an answer: the status, and the independent verifier.

use mira_core::{
    Certificate, Matrix, Method, Mira, Sinkhorn, Softmax, Status, StopRule, Verification, verify,
    verify_at,
};
use proptest::prelude::*;

use crate::Backend;
use crate::definitions::f64_noise;
use crate::problem::{Kind, Problem, Random, for_all, problems, shape};

use super::assign;

/// Whatever the stop rule, also with tolerances below what rounding allows: the end is near, and `Converged` means it.
pub fn the_status_says_what_the_certificate_says<B: Backend>() {
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
                    // And the rounding of a marginal, which is checked by itself.
                    (Method::Sinkhorn(_), _) if report.status == Status::Converged => {
                        c.marginal_error + 8.0 * B::UNIT_ROUNDOFF
                    }
                    (Method::Sinkhorn(_), _) => {
                        let of_logarithms = 2.0 * f64::EPSILON * 1e6;
                        c.marginal_error + 8.0 * B::UNIT_ROUNDOFF + of_logarithms
                    }
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

/// A marginal is computed, labels are rounded: `Converged` speaks of the labels.
pub fn converged_marginals_are_those_of_the_labels<B: Backend>() {
    let mut num_converged = 0;
    for seed in 0..u64::from(B::cases(64)) {
        let problem = Problem::new(Kind::Gaussian, shape(8, 4), 0.3, 0.5, seed, B::stored);
        for tolerance in [100.0 * B::UNIT_ROUNDOFF, 10.0 * B::UNIT_ROUNDOFF, B::UNIT_ROUNDOFF] {
            let stop = StopRule::Tolerance { tolerance: Some(tolerance), max_sweeps: 1000 };
            let method = problem.sinkhorn(stop);
            let answer = B::assign(method, problem.shape, &problem.logits).expect("valid logits");
            if answer.report.status != Status::Converged {
                continue;
            }
            num_converged += 1;
            let marginal =
                |j: usize| answer.assignment.iter().skip(j).step_by(4).sum::<f64>() / 8.0;
            let error: f64 = (0..4).map(|j| (marginal(j) - 0.25).abs()).sum();
            assert!(error <= tolerance, "{}, {seed}: {error:e} of {tolerance:e}", B::NAME);
        }
    }
    assert!(num_converged > 0, "{}: none converged", B::NAME);
}

/// Forbidden entries may leave no plan with equal usage; then more sweeps are no remedy.
pub fn without_a_plan_the_iteration_ends_where_it_stands_still<B: Backend>() {
    let never = f64::NEG_INFINITY;
    let mut one_column = Problem::new(Kind::Gaussian, shape(12, 7), 0.3, 0.5, 3, B::stored);
    one_column.logits.iter_mut().skip(2).step_by(7).for_each(|s| *s = never);
    // Three rows have but one prototype, of four.
    let mut three_rows = Problem::new(Kind::Gaussian, shape(8, 4), 0.3, 0.5, 4, B::stored);
    for row in three_rows.logits.chunks_exact_mut(4).take(3) {
        row[1..].fill(never);
    }
    for problem in [one_column, three_rows] {
        let stop = StopRule::Tolerance { tolerance: None, max_sweeps: 100_000 };
        let method = problem.sinkhorn(stop);
        let report = B::assign(method, problem.shape, &problem.logits).expect("valid").report;
        assert_eq!(report.status, Status::Stalled, "{}: {report:?}", B::NAME);
        assert!(report.certificate.marginal_error > 0.1, "{}: {report:?}", B::NAME);
        assert!(report.iterations < 1000, "{}: {report:?}", B::NAME);
    }
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

/// `verify` finds an answer as good as its report says, and none as good that mass was moved in.
pub fn the_verifier_accepts_answers_and_accuses_forgeries<B: Backend>() {
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
pub fn the_allowance_covers_what_f64_finds<B: Backend>() {
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

/// `|log w − log w*|` of a row whose optimum is known but for `noise`, of elements that have not underflown, within what the report says.
#[track_caller]
fn is_as_near_as_said<B: Backend>(
    method: Method,
    row: &[f64],
    optimum: &[f64],
    said: Certificate,
    noise: f64,
) {
    let bound = said.log_ratio_bound + said.rounding_allowance;
    for (j, (w, truth)) in row.iter().zip(optimum).enumerate() {
        if *w > 256.0 * B::SMALLEST_NORMAL {
            let error = (w.ln() - truth).abs();
            assert!(
                error <= bound + noise,
                "{}: {method:?}: column {j}: {error:e} > {bound:e}",
                B::NAME
            );
        }
    }
}

/// As delivered, without renormalising: thousands of labels of a row that are alike, and sums of terms that are alike, which are all rounded the same way.
/// Of rows that are the same the optimum is softmax.
pub fn labels_that_are_alike_are_as_near_as_said<B: Backend>() {
    let (batch, k) = if B::cases(64) < 64 { (2, 300) } else { (64, 3000) };
    let mira = |beta| Method::from(Mira::new(0.225, beta).expect("valid"));
    let softmax = Method::from(Softmax::new(0.225).expect("valid"));
    for high in [0.0, 0.1, 0.7, 1.3, 2.0] {
        let mut row = vec![0.3; k];
        row[k / 2] = B::stored(0.3 + high);
        for s in &mut row {
            *s = B::stored(*s);
        }
        let x: Vec<f64> = row.iter().map(|s| (s - row[0]) / 0.225).collect();
        // The others are e⁰.
        let log_sum = x[k / 2].exp().ln_1p() + ((k - 2) as f64 / (1.0 + x[k / 2].exp())).ln_1p();
        // What is rounded here: exponents, their sum's logarithm, the label's.
        let noise = f64::EPSILON * (x[k / 2] + log_sum);
        let optimum: Vec<f64> = x.iter().map(|x| x - log_sum).collect();
        for method in [softmax, mira(0.1), mira(2.0 / 3.0)] {
            let answer = B::assign(method, shape(batch, k), &row.repeat(batch));
            let answer = answer.unwrap_or_else(|e| panic!("{}: {method:?}: {e:?}", B::NAME));
            for row in answer.assignment.chunks_exact(k) {
                is_as_near_as_said::<B>(method, row, &optimum, answer.report.certificate, noise);
            }
        }
    }
}

/// Two rows that mirror each other have no weights in their optimum: `log w = −log(1 + e^d)` with `d` the logits' difference over ε.
pub fn small_labels_are_as_near_as_said<B: Backend>() {
    let largest = -(512.0 * B::SMALLEST_NORMAL).ln();
    for share in [0.31, 0.77, 0.99] {
        for (temperature, beta) in [(0.07, 0.0), (0.3, 0.3), (0.9, 2.0 / 3.0)] {
            let epsilon =
                Method::from(Mira::new(temperature, beta).expect("valid")).scaling().epsilon;
            let logit = B::stored(share * largest * epsilon);
            // The quotient in two numbers, for one of some hundred has few digits behind the point.
            let d = logit / epsilon;
            let rest = (-d).mul_add(epsilon, logit) / epsilon;
            let high = -(-d).exp().ln_1p();
            let methods = [
                Method::from(Mira::new(temperature, beta).expect("valid")),
                Softmax::new(epsilon).expect("valid").into(),
            ];
            for method in methods {
                let answer = B::assign(method, shape(2, 2), &[logit, 0.0, 0.0, logit]);
                let answer = answer.unwrap_or_else(|e| panic!("{}: {method:?}: {e:?}", B::NAME));
                let said = answer.report.certificate;
                for row in [[0, 1], [3, 2]].map(|at| at.map(|i| answer.assignment[i])) {
                    // Not by logarithms, of which f64 has few digits behind the point.
                    let error = row[1] / ((-d).exp() * high.exp()) - 1.0 + rest;
                    let of_exponents =
                        if B::ROUNDS_EXPONENTS { 2.0 * f64::EPSILON * d } else { 0.0 };
                    let bound = said.log_ratio_bound + said.rounding_allowance + of_exponents;
                    // Two exponentials, and operations on them.
                    let noise = 4.0 * f64::EPSILON;
                    assert!(
                        error.abs() <= bound + noise,
                        "{}: {method:?}, d = {d}: {error:e} > {bound:e}",
                        B::NAME
                    );
                    is_as_near_as_said::<B>(method, &row[..1], &[high], said, noise);
                }
            }
        }
    }
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
