//! The theory: certificates and verifier at arbitrary column weights, against definitions and Newton's optimum.

use mira_core::{
    Matrix, Method, StopRule, mira_certificate, sinkhorn_certificate, verify, verify_at,
};
use proptest::prelude::*;

use mira_conformance::definitions::{
    exp, f64_noise, kl, log_assignment, log_marginal, mean_kl, mira_objective, sinkhorn_dual,
    sinkhorn_objective, span, worst_log_ratio,
};
use mira_conformance::optimum;
use mira_conformance::problem::{Kind, Problem, Random, for_all, problems_of};

fn problems() -> impl Strategy<Value = Problem> {
    problems_of(&[Kind::Gaussian, Kind::Cosine, Kind::Clusters], 16, |s| s)
}

/// Weights of any size from next to nothing to far out.
fn arbitrary_weights(problem: &Problem) -> Vec<f64> {
    let mut random = Random::new(problem.seed ^ 0xa5a5);
    let scale = 10f64.powi(i32::try_from(random.below(6)).expect("small") - 4);
    random.normals(problem.num_prototypes()).into_iter().map(|a| scale * a).collect()
}

/// `log u = −((1−β)/β) a`, normalised.
fn log_u(beta: f64, a: &[f64]) -> Vec<f64> {
    let log_u: Vec<f64> = a.iter().map(|a| -a * (1.0 - beta) / beta).collect();
    let mass = mira_conformance::definitions::log_sum_exp(&log_u);
    log_u.iter().map(|l| l - mass).collect()
}

/// Rounding of objectives and divergences of problems of this size, relative to their terms.
fn slack(problem: &Problem) -> f64 {
    1e-12 * (1.0 + span(&problem.logits) / problem.temperature)
}

fn matrix<'a>(problem: &Problem, values: &'a [f64]) -> Matrix<'a, f64> {
    Matrix::new(values, problem.shape).expect("the problem's shape")
}

/// `F(W) − F(W*) = (1−β) mean KL(w‖w*) + β KL(w̄‖w̄*)` for every assignment: Newton's optimum is the optimum of Eq. 4.
#[test]
fn suboptimality_is_a_sum_of_divergences() {
    for_all(128, &problems(), |problem| {
        let k = problem.num_prototypes();
        let optimum = optimum::mira(&problem);
        let anything = log_assignment(
            &Random::new(problem.seed).normals(problem.logits.len()),
            0.5,
            &vec![0.0; k],
        );
        let suboptimality =
            mira_objective(&problem, &anything) - mira_objective(&problem, &optimum.log_w);
        let divergences = (1.0 - problem.beta) * mean_kl(&anything, &optimum.log_w, k)
            + problem.beta * kl(&log_marginal(&anything, k), &optimum.log_marginal);
        let tolerance = slack(&problem) + 1e-12 * span(&optimum.log_w);
        prop_assert!(
            (suboptimality - divergences).abs() <= tolerance,
            "{suboptimality:e} and {divergences:e}"
        );
        Ok(())
    });
}

/// All three bounds of MIRA, and that the gap is `F(W) − D(u)` itself.
#[test]
fn mira_bounds_hold_at_arbitrary_weights() {
    for_all(256, &problems(), |problem| {
        let (k, beta, epsilon) = (problem.num_prototypes(), problem.beta, problem.epsilon());
        let gamma = beta / (1.0 - beta);
        let a = arbitrary_weights(&problem);
        let log_w = log_assignment(&problem.logits, epsilon, &a);
        let certificate = mira_certificate(beta, &a, &log_marginal(&log_w, k), 0.0);
        let optimum = optimum::mira(&problem);
        let noise = f64_noise(&problem, epsilon, &optimum.log_weights) + optimum.residual;

        let suboptimality =
            mira_objective(&problem, &log_w) - mira_objective(&problem, &optimum.log_w);
        let gap = certificate.duality_gap;
        prop_assert!(suboptimality <= gap + slack(&problem), "gap {gap:e} < {suboptimality:e}");

        // D(u) = −((1−β)/B) Σ_i log Σ_l p_il^{1/(1−β)} u_l^{−β/(1−β)}
        let log_p = log_assignment(&problem.logits, problem.temperature, &vec![0.0; k]);
        let log_u = log_u(beta, &a);
        let row_terms = log_p.chunks_exact(k).map(|row| {
            let terms: Vec<f64> =
                row.iter().zip(&log_u).map(|(p, u)| p / (1.0 - beta) - gamma * u).collect();
            mira_conformance::definitions::log_sum_exp(&terms)
        });
        let dual = -(1.0 - beta) * row_terms.sum::<f64>() / problem.shape.batch() as f64;
        let tolerance = slack(&problem) + 1e-12 * (span(&a) + span(&log_u));
        let exact = mira_objective(&problem, &log_w) - dual;
        prop_assert!((exact - gap).abs() <= tolerance, "gap {gap:e}, F − D = {exact:e}");

        let divergence = mean_kl(&log_w, &optimum.log_w, k);
        let bound = certificate.label_kl_bound;
        let root = gamma * noise;
        prop_assert!(
            divergence <= bound + root * (2.0 * bound.sqrt() + root) + 1e-15,
            "label KL bound {bound:e} < {divergence:e}"
        );
        // Random weights stay below half of this bound; that it is what the gap implies, and no less, must be asked for.
        prop_assert!(
            (bound * (1.0 - beta) - gap).abs() <= 1e-12 * gap,
            "label KL bound {bound:e}, gap {gap:e}"
        );
        let ratio = worst_log_ratio(&log_w, &optimum.log_w, f64::NEG_INFINITY);
        let bound = certificate.log_ratio_bound;
        prop_assert!(
            ratio <= bound + (1.0 + gamma) * noise,
            "log-ratio bound {bound:e} < {ratio:e}"
        );
        Ok(())
    });
}

/// The sweep `log u ← β log u + (1−β) log w̄(u)` contracts the distance of any two points by β, in the span.
#[test]
fn sweeps_contract_any_two_points_by_beta() {
    for_all(256, &problems(), |problem| {
        let (k, beta, epsilon) = (problem.num_prototypes(), problem.beta, problem.epsilon());
        let gamma = beta / (1.0 - beta);
        let one = arbitrary_weights(&problem);
        let two = arbitrary_weights(&Problem { seed: !problem.seed, ..problem.clone() });
        let distance = |x: &[f64], y: &[f64]| {
            span(&x.iter().zip(y).map(|(x, y)| (x - y) / gamma).collect::<Vec<_>>())
        };
        let swept = |a: &[f64]| -> Vec<f64> {
            let marginal = log_marginal(&log_assignment(&problem.logits, epsilon, a), k);
            marginal.iter().zip(a).map(|(l, a)| beta * (a - l)).collect()
        };
        let (before, after) = (distance(&one, &two), distance(&swept(&one), &swept(&two)));
        let noise = f64_noise(&problem, epsilon, &one) * (1.0 + 1.0 / gamma);
        prop_assert!(after <= beta * before + noise, "{before:e} → {after:e}");
        Ok(())
    });
}

#[test]
fn sinkhorn_bounds_hold_at_arbitrary_weights() {
    for_all(192, &problems(), |problem| {
        let (k, epsilon) = (problem.num_prototypes(), problem.temperature);
        let a = arbitrary_weights(&problem);
        let log_w = log_assignment(&problem.logits, epsilon, &a);
        let row_span = problem.logits.chunks_exact(k).map(span).fold(0.0, f64::max);
        let certificate =
            sinkhorn_certificate(epsilon, row_span, &a, &log_marginal(&log_w, k), 0.0);
        let optimum = optimum::sinkhorn(&problem);
        let slack = 1e-12 * (1.0 + span(&problem.logits) + epsilon * span(&a));

        let missing = sinkhorn_dual(&problem, &optimum.log_weights) - sinkhorn_dual(&problem, &a);
        let gap = certificate.duality_gap;
        prop_assert!(missing <= gap + slack, "gap {gap:e} < {missing:e}");
        if optimum.residual > 1e-11 {
            return Ok(());
        }
        let divergence = mean_kl(&optimum.log_w, &log_w, k);
        prop_assert!(
            (epsilon * divergence - missing).abs() <= slack + 1e-9 * missing,
            "ε KL(w*‖w) = {:e}, D* − D = {missing:e}",
            epsilon * divergence
        );
        let bound = certificate.label_kl_bound;
        prop_assert!(
            divergence <= bound + slack / epsilon,
            "label KL bound {bound:e} < {divergence:e}"
        );
        let ratio = worst_log_ratio(&log_w, &optimum.log_w, f64::NEG_INFINITY);
        let bound = certificate.log_ratio_bound;
        prop_assert!(ratio <= bound * (1.0 + 1e-6) + 1e-9, "log-ratio bound {bound:e} < {ratio:e}");
        Ok(())
    });
}

/// Any assignment at all, whatever made it.
fn arbitrary_assignment(problem: &Problem) -> Vec<f64> {
    let k = problem.num_prototypes();
    let mut random = Random::new(problem.seed ^ 0x5a5a);
    let scale = 10f64.powi(-i32::try_from(random.below(8)).expect("small"));
    let near =
        log_assignment(&problem.logits, problem.epsilon(), &optimum::mira(problem).log_weights);
    let noisy: Vec<f64> = near.iter().map(|l| l + scale * random.normal()).collect();
    log_assignment(&noisy, 1.0, &vec![0.0; k])
}

/// The verifier must never say less than the truth, of any assignment, at its own dual point or at any other.
#[test]
fn verify_never_flatters_mira() {
    for_all(128, &problems(), |problem| {
        let (k, gamma) = (problem.num_prototypes(), problem.beta / (1.0 - problem.beta));
        let method = problem.mira(StopRule::default());
        let log_w = arbitrary_assignment(&problem);
        let w = exp(&log_w);
        let optimum = optimum::mira(&problem);
        let noise = (1.0 + gamma)
            * (f64_noise(&problem, problem.epsilon(), &optimum.log_weights) + optimum.residual);
        let truth = mira_objective(&problem, &log_w) - mira_objective(&problem, &optimum.log_w);
        let divergence = mean_kl(&log_w, &optimum.log_w, k);
        let floor = (256.0 * f64::MIN_POSITIVE).ln();
        let ratio = worst_log_ratio(&log_w, &optimum.log_w, floor);
        let (logits, assignment) = (matrix(&problem, &problem.logits), matrix(&problem, &w));
        let own = verify(logits, assignment, &method);
        let given = verify_at(logits, assignment, &method, &arbitrary_weights(&problem));
        for (dual, verification) in [("own", own), ("given", given)] {
            let verification = verification.map_err(|e| TestCaseError::fail(e.to_string()))?;
            let c = verification.certificate;
            let slack = slack(&problem) + noise * noise;
            prop_assert!(
                truth <= c.duality_gap + slack,
                "{dual}: gap {:e} < {truth:e}",
                c.duality_gap
            );
            prop_assert!(
                divergence <= c.label_kl_bound + slack / (1.0 - problem.beta),
                "{dual}: label KL bound {:e} < {divergence:e}",
                c.label_kl_bound
            );
            prop_assert!(
                ratio <= c.log_ratio_bound + c.rounding_allowance + noise,
                "{dual}: log-ratio bound {:e} < {ratio:e}",
                c.log_ratio_bound
            );
            let objective = mira_objective(&problem, &log_w);
            let reported = verification.objective.unwrap_or(f64::NAN);
            prop_assert!(
                (reported - objective).abs() <= 10.0 * slack,
                "{dual}: objective {reported}, not {objective}"
            );
        }
        // With its own dual point, the verdict is about the assignment, not about the verifier.
        let own = verify(logits, assignment, &method).expect("verified above").certificate;
        prop_assert!(
            own.duality_gap <= 1.1 * truth + slack(&problem) + 1e-9,
            "gap {:e} is far above {truth:e}",
            own.duality_gap
        );
        Ok(())
    });
}

/// The rounded assignment is feasible, so its gap bounds what the assignment's dual point lacks and is never negative.
#[test]
fn verify_never_flatters_sinkhorn() {
    for_all(96, &problems(), |problem| {
        let (k, epsilon) = (problem.num_prototypes(), problem.temperature);
        let method: Method = problem.sinkhorn(StopRule::default());
        let a = arbitrary_weights(&problem);
        let log_w = log_assignment(&problem.logits, epsilon, &a);
        let w = exp(&log_w);
        let best = sinkhorn_dual(&problem, &optimum::sinkhorn(&problem).log_weights);
        let slack = 1e-12 * (1.0 + span(&problem.logits) + epsilon * span(&a)) * k as f64;
        let (logits, assignment) = (matrix(&problem, &problem.logits), matrix(&problem, &w));
        let given = verify_at(logits, assignment, &method, &a)
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        let own =
            verify(logits, assignment, &method).map_err(|e| TestCaseError::fail(e.to_string()))?;
        for (dual, verification) in [("own", own), ("given", given)] {
            let gap = verification.certificate.duality_gap;
            prop_assert!(gap >= 0.0, "{dual}: {gap:e}");
            let objective = sinkhorn_objective(&problem, &log_w);
            let reported = verification.objective.unwrap_or(f64::NAN);
            prop_assert!(
                (reported - objective).abs() <= slack,
                "{dual}: {reported}, not {objective}"
            );
        }
        let missing = best - sinkhorn_dual(&problem, &a);
        let gap = given.certificate.duality_gap;
        prop_assert!(missing <= gap + slack, "gap {gap:e} < D* − D(f) = {missing:e}");
        // What a row sum 1 and the marginal's distance from 1/K say directly.
        let error: f64 =
            log_marginal(&log_w, k).iter().map(|l| (l.exp() - 1.0 / k as f64).abs()).sum();
        prop_assert!((given.certificate.marginal_error - error).abs() <= 1e-12);
        Ok(())
    });
}
