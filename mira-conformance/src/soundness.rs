//! Every bound of every report against the truth, on `MIRA_SOUNDNESS_PROBLEMS` random problems (300 unless given).

use mira_core::{Matrix, Method, StopRule, verify};

use crate::definitions::{
    f64_noise, log_assignment, mean_kl, mira_objective, sinkhorn_dual, span, worst_log_ratio,
};
use crate::optimum;
use crate::problem::{Kind, Problem, Random, shape};
use crate::{Answer, Backend};

/// One kind of bound over many problems.
#[derive(Default)]
struct Tally {
    name: &'static str,
    checked: usize,
    violations: Vec<String>,
    num_violations: usize,
    /// Largest truth/bound where the truth is far above rounding, and where it was.
    tightest: f64,
    at: String,
}

impl Tally {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn check(&mut self, truth: f64, bound: f64, slack: f64, context: impl Fn() -> String) {
        self.checked += 1;
        if truth > bound + slack || truth.is_nan() || bound.is_nan() {
            self.num_violations += 1;
            if self.violations.len() < 5 {
                self.violations.push(format!(
                    "{}: truth {truth:e} > bound {bound:e} + {slack:e}: {}",
                    self.name,
                    context()
                ));
            }
        }
        if truth > 1e3 * slack && truth / bound > self.tightest {
            self.tightest = truth / bound;
            self.at = context();
        }
    }
}

fn asked_for() -> Option<u64> {
    let text = std::env::var("MIRA_SOUNDNESS_PROBLEMS").ok()?;
    Some(text.parse().expect("MIRA_SOUNDNESS_PROBLEMS is a number of problems"))
}

/// Gap, divergence and log ratio of MIRA and Sinkhorn–Knopp under random stop rules: none is smaller than the truth, and some come near it.
pub fn every_bound_holds<B: Backend>() {
    let num_problems = asked_for().unwrap_or(B::cases(300).into());
    let mut tallies = [
        Tally::new("mira duality gap"),
        Tally::new("mira label KL"),
        Tally::new("mira log ratio"),
        Tally::new("sinkhorn duality gap"),
        Tally::new("sinkhorn label KL"),
        Tally::new("sinkhorn log ratio"),
        Tally::new("verified sinkhorn KL"),
    ];
    let mut unsolved = 0;
    for seed in 0..num_problems {
        let problem = Problem::random(seed, B::stored);
        let mut random = Random::new(!seed);
        let tolerance = 10f64.powi(-1 - i32::try_from(random.below(10)).expect("small"));
        let stop = match random.below(3) {
            0 => StopRule::Sweeps(1 + random.below(30)),
            1 => StopRule::Tolerance { tolerance: Some(tolerance), max_sweeps: 200 },
            _ => StopRule::DualityGap { tolerance, max_sweeps: 200 },
        };
        let [gap, label, ratio, sinkhorn @ ..] = &mut tallies;
        mira::<B>(&problem, problem.mira(stop), [gap, label, ratio]);
        let [gap, label, ratio, verified] = sinkhorn;
        unsolved += usize::from(!sinkhorn_knopp::<B>(
            &problem,
            problem.sinkhorn(stop),
            [gap, label, ratio, verified],
        ));
    }
    let name = B::NAME;
    println!(
        "{name}: {num_problems} problems; Sinkhorn–Knopp's optimum known only from below in {unsolved}"
    );
    for tally in &tallies {
        println!(
            "{name}: {:<21} {} checked, {} violations, tightest truth/bound {:.6} ({})",
            tally.name, tally.checked, tally.num_violations, tally.tightest, tally.at
        );
    }
    let violations: Vec<_> = tallies.iter().flat_map(|t| &t.violations).collect();
    assert!(violations.is_empty(), "{name}: {violations:#?}");
    // Checks that are never near the bound would not notice a wrong one.
    if num_problems >= 300 {
        assert!(tallies[0].tightest > 0.5, "{name}: no problem comes near the duality gap");
        assert!(tallies[2].tightest > 0.5, "{name}: no problem comes near the log-ratio bound");
        assert!(tallies[6].tightest > 0.5, "{name}: no problem comes near the verified divergence");
    }
}

/// Batches of a few distinct rows, as of a data set with duplicates: whatever is rounded alike in all of them, no mean evens out. (A fiftieth of the
/// problems asked for, for they are larger.)
pub fn rows_that_repeat_are_not_rounded_alike<B: Backend>() {
    let [mut gap, mut label, mut ratio] = ["gap", "label KL", "log ratio"].map(Tally::new);
    // Beside the first ones those that told sums in pairs from sums one after the other, of thousands.
    let num_problems = asked_for().map_or(B::cases(48).into(), |asked| asked / 50);
    for seed in (0..num_problems).chain([42, 362, 414]) {
        let mut random = Random::new(seed ^ 0x0a11_a11e);
        let (distinct, k, batch) = (2 + random.below(3), 6 + random.below(5), 512);
        let few = Problem::new(Kind::Gaussian, shape(distinct, k), 0.5625, 0.9, seed, B::stored);
        let row_of = |i: usize| i * distinct / batch;
        let rows = few.logits.chunks_exact(k).collect::<Vec<_>>();
        let logits = (0..batch).flat_map(|i| rows[row_of(i)].iter().copied()).collect();
        let problem = Problem { shape: shape(batch, k), logits, ..few };
        mira::<B>(&problem, problem.mira(StopRule::default()), [&mut gap, &mut label, &mut ratio]);
    }
    for tally in [gap, label, ratio] {
        assert!(tally.violations.is_empty(), "{}: {:#?}", B::NAME, tally.violations);
        println!("{}: {} truth/bound {:.3}", B::NAME, tally.name, tally.tightest);
    }
}

fn answer<B: Backend>(problem: &Problem, method: Method) -> Answer {
    B::assign(method, problem.shape, &problem.logits)
        .unwrap_or_else(|e| panic!("{}: {problem:?}: {method:?}: {e:?}", B::NAME))
}

/// Logarithms of the assignment as delivered, rows renormalised.
fn delivered(assignment: &[f64], k: usize) -> Vec<f64> {
    let normalised = |row: &[f64]| {
        let sum: f64 = row.iter().sum();
        row.iter().map(|w| (w / sum).ln()).collect::<Vec<_>>()
    };
    assignment.chunks_exact(k).flat_map(normalised).collect()
}

/// `(√bound + δ)² − bound`: gaps and divergences are, to leading order, squared norms of relative errors, so that rounding each
/// probability by a relative δ moves their root by no more than δ.
fn squared_slack(bound: f64, delta: f64) -> f64 {
    2.0 * delta * bound.sqrt() + delta * delta
}

/// Relative error of a probability or marginal in the backend's arithmetic; elements of one sample add up to 1, so that only
/// exponents of order log(1/w) matter, and w log(1/w) ≤ 1/e.
fn delta<B: Backend>() -> f64 {
    16.0 * B::UNIT_ROUNDOFF
}

fn mira<B: Backend>(problem: &Problem, method: Method, [gap, label, ratio]: [&mut Tally; 3]) {
    let k = problem.num_prototypes();
    let gamma = problem.beta / (1.0 - problem.beta);
    let answer = answer::<B>(problem, method);
    let certificate = answer.report.certificate;
    let context = || format!("{problem:?}, {method:?}, {certificate:?}");
    let optimum = optimum::mira(problem);
    let noise = f64_noise(problem, problem.epsilon(), &optimum.log_weights);
    assert!(
        optimum.residual <= 1e3 * noise,
        "no optimum: KKT residual {:e}: {}",
        optimum.residual,
        context()
    );
    // To first order a residual r of the optimality condition is an error of (β/(1−β)) r in log w*.
    let truth_error = gamma * (optimum.residual + noise) + noise;

    let log_w = delivered(&answer.assignment, k);
    let of_weights = log_assignment(&problem.logits, problem.epsilon(), &answer.log_weights);
    let best = mira_objective(problem, &optimum.log_w);
    let magnitude = 1.0 + span(&problem.logits) / problem.temperature;
    let rounding =
        1e-13 * magnitude + squared_slack(certificate.duality_gap, delta::<B>() + truth_error);
    for log_w in [&log_w, &of_weights] {
        gap.check(
            mira_objective(problem, log_w) - best,
            certificate.duality_gap,
            rounding,
            context,
        );
        let divergence = mean_kl(log_w, &optimum.log_w, k);
        // In the labels' norm, the weights' rounding counts β/(1−β) times.
        let slack =
            squared_slack(certificate.label_kl_bound, (1.0 + gamma) * delta::<B>() + truth_error);
        label.check(divergence, certificate.label_kl_bound, slack, context);
    }

    let floor = (256.0 * B::SMALLEST_NORMAL).ln();
    let worst = worst_log_ratio(&log_w, &optimum.log_w, floor);
    let bound = certificate.log_ratio_bound + certificate.rounding_allowance;
    ratio.check(worst, bound, truth_error, context);
}

/// Whether the optimum itself was found; if not, a lower bound of it is as sound to compare with, if weaker.
fn sinkhorn_knopp<B: Backend>(
    problem: &Problem,
    method: Method,
    [gap, label, ratio, verified]: [&mut Tally; 4],
) -> bool {
    let (k, epsilon) = (problem.num_prototypes(), problem.temperature);
    let answer = answer::<B>(problem, method);
    let certificate = answer.report.certificate;
    let context = || format!("{problem:?}, {method:?}, {certificate:?}");
    let optimum = optimum::sinkhorn(problem);
    let reached = sinkhorn_dual(problem, &answer.log_weights);
    let missing = sinkhorn_dual(problem, &optimum.log_weights) - reached;
    let largest = problem.logits.iter().fold(0.0f64, |m, s| m.max(s.abs()));
    let magnitude = largest + epsilon * (1.0 + span(&answer.log_weights));
    // The bound multiplies a marginal error by potentials and logits: so does rounding.
    let slack = (1e-13 + delta::<B>()) * magnitude;
    gap.check(missing, certificate.duality_gap, slack, context);

    let noise = f64_noise(problem, epsilon, &optimum.log_weights);
    let is_optimum = optimum.residual <= 100.0 * noise && optimum.residual < 1e-9;
    if is_optimum {
        let log_w = delivered(&answer.assignment, k);
        let of_weights = log_assignment(&problem.logits, epsilon, &answer.log_weights);
        let divergence = mean_kl(&optimum.log_w, &of_weights, k);
        label.check(divergence, certificate.label_kl_bound, slack / epsilon, context);
        let floor = (256.0 * B::SMALLEST_NORMAL).ln();
        if log_w.iter().all(|w| *w > floor) {
            let logits = Matrix::new(&problem.logits, problem.shape).expect("its shape");
            let given = Matrix::new(&answer.assignment, problem.shape).expect("its shape");
            let found = verify(logits, given, &method).expect("an assignment").certificate;
            // Of the optimum and of the dual point, whose errors are squared to leading order.
            let noise = (optimum.residual + noise) * (1.0 + span(&problem.logits) / epsilon);
            let slack = squared_slack(found.label_kl_bound, noise.min(1.0));
            verified.check(
                mean_kl(&optimum.log_w, &log_w, k),
                found.label_kl_bound,
                slack,
                context,
            );
        }
        let worst = worst_log_ratio(&log_w, &optimum.log_w, floor);
        // Sensitivity of the optimum to its residual is what the bound's factor 1/(1 − tanh²) bounds.
        let factor = (span(&problem.logits) / (2.0 * epsilon)).cosh().powi(2);
        let bound = certificate.log_ratio_bound + certificate.rounding_allowance;
        ratio.check(worst, bound, (factor * (optimum.residual + noise)).min(1e300), context);
    }
    is_optimum
}
