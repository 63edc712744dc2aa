//! What every backend must do. Each function is instantiated as a test per backend in `main.rs`.

use mira_core::{
    Centered, Error, Matrix, Method, Mira, Shape, Softmax, Status, StopRule, Verification, verify,
};
use proptest::prelude::*;

use crate::optimum;
use crate::oracle;
use crate::support::{
    Answer, Backend, Failure, Kind, Problem, Random, exp, f64_noise, for_all, log_assignment,
    log_marginal, marginal, mira_objective, problems, problems_of, shape, sinkhorn_objective, span,
    total_variation,
};

type Checked = Result<(), TestCaseError>;

fn assign<B: Backend>(
    method: Method,
    shape: Shape,
    logits: &[f64],
) -> Result<Answer, TestCaseError> {
    B::assign(method, shape, logits)
        .map_err(|e| TestCaseError::fail(format!("{}: {method:?}: {e:?}", B::NAME)))
}

/// What float64 rounding may do to the backend and to the oracle alike, as a total variation; weights amplify it by β/(1−β).
fn tolerance<B: Backend>(problem: &Problem, method: &Method, a: &[f64]) -> f64 {
    let amplification = match method {
        Method::Mira(m) => 1.0 / (1.0 - m.beta()),
        _ => 1.0,
    };
    B::TOLERANCE_TV.max(amplification * f64_noise(problem, method.scaling().epsilon, a))
}

/// MIRA and Sinkhorn–Knopp after some sweeps and at their tolerance, and softmax.
fn methods(problem: &Problem) -> [Method; 6] {
    let sweeps = StopRule::Sweeps;
    [
        problem.mira(sweeps(0)),
        problem.mira(sweeps(5)),
        problem.mira(StopRule::default()),
        problem.sinkhorn(sweeps(1)),
        problem.sinkhorn(sweeps(3)),
        Softmax::new(problem.temperature).expect("valid").into(),
    ]
}

pub(crate) fn rows_are_on_the_simplex_and_the_report_describes_them<B: Backend>() {
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

pub(crate) fn follows_the_oracle_sweep_by_sweep<B: Backend>() {
    for_all(B::cases(48), &(problems::<B>(), 0usize..12), |(problem, n)| {
        for method in [problem.mira(StopRule::Sweeps(n)), problem.sinkhorn(StopRule::Sweeps(n + 1))]
        {
            same_as_the_oracle::<B>(&problem, method)?;
        }
        Ok(())
    });
}

fn same_as_the_oracle<B: Backend>(problem: &Problem, method: Method) -> Checked {
    let (ours, theirs) = (
        assign::<B>(method, problem.shape, &problem.logits)?,
        oracle::answer(method, problem.shape, &problem.logits),
    );
    let tv = total_variation(&ours.assignment, &theirs.assignment, problem.num_prototypes());
    let tolerance = tolerance::<B>(problem, &method, &theirs.log_weights);
    prop_assert!(tv <= tolerance, "{method:?}: total variation {tv:e} > {tolerance:e}");
    prop_assert_eq!(ours.report.iterations, theirs.report.iterations, "{:?}", method);
    Ok(())
}

/// `log w_ij = log k_ij − (β/(1−β)) log w̄_j + const_i` (Eq. 5), from the assignment alone.
pub(crate) fn converged_answers_satisfy_the_optimality_condition<B: Backend>() {
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

/// ±1e4 logits, τ down to 0.02, β up to 0.99.
pub(crate) fn extreme_logits_stay_finite_and_right<B: Backend>() {
    let extreme = problems_of(&[Kind::Extreme, Kind::Gaussian, Kind::Clusters], 12, B::stored);
    let betas = proptest::sample::select(vec![0.5, 0.9, 0.99]);
    let temperatures = proptest::sample::select(vec![0.02, 0.1, 1.0]);
    for_all(
        B::cases(64),
        &(extreme, betas, temperatures, 0usize..12),
        |(problem, beta, temperature, n)| {
            let problem = Problem { temperature, beta, ..problem };
            for method in
                [problem.mira(StopRule::Sweeps(n)), problem.sinkhorn(StopRule::Sweeps(n + 1))]
            {
                same_as_the_oracle::<B>(&problem, method)?;
            }
            let softmax: Method = Softmax::new(temperature).expect("valid").into();
            let methods = [
                softmax,
                problem.mira(StopRule::Sweeps(n)),
                problem.mira(StopRule::default()),
                problem.sinkhorn(StopRule::Sweeps(n + 1)),
                problem.sinkhorn(StopRule::default()),
            ];
            for method in methods {
                let answer = assign::<B>(method, problem.shape, &problem.logits)?;
                for (i, row) in answer.assignment.chunks_exact(problem.num_prototypes()).enumerate()
                {
                    let sum: f64 = row.iter().sum();
                    prop_assert!(
                        (sum - 1.0).abs() <= B::TOLERANCE_TV,
                        "{method:?}: row {i} sums to {sum}"
                    );
                }
                let certificate = answer.report.certificate;
                prop_assert!(certificate.duality_gap >= 0.0, "{method:?}: {certificate:?}");
                prop_assert!(certificate.log_ratio_bound >= 0.0, "{method:?}: {certificate:?}");
            }
            Ok(())
        },
    );
}

pub(crate) fn one_prototype_takes_everything<B: Backend>() {
    for batch in [1, 2, 33] {
        let problem = Problem::new(Kind::Extreme, shape(batch, 1), 0.02, 0.9, 7, B::stored);
        for method in methods(&problem) {
            let answer = B::assign(method, problem.shape, &problem.logits).expect("valid logits");
            assert!(
                answer.assignment.iter().all(|w| (w - 1.0).abs() <= 2.0 * B::UNIT_ROUNDOFF),
                "{problem:?}: {method:?}: {answer:?}"
            );
            assert_eq!(answer.report.status, Status::Converged, "{problem:?}: {method:?}");
            assert_eq!(answer.report.certificate.duality_gap, 0.0, "{problem:?}: {method:?}");
        }
    }
}

pub(crate) fn one_row_or_identical_rows_give_back_p<B: Backend>() {
    for_all(B::cases(48), &(problems::<B>(), 1usize..20), |(problem, copies)| {
        let k = problem.num_prototypes();
        let logits = problem.logits[..k].repeat(copies);
        let problem = Problem { shape: shape(copies, k), logits, ..problem };
        let p = exp(&log_assignment(&problem.logits, problem.temperature, &vec![0.0; k]));
        let tight =
            StopRule::Tolerance { tolerance: Some(B::tight(problem.beta)), max_sweeps: 5000 };
        let method = problem.mira(tight);
        let answer = assign::<B>(method, problem.shape, &problem.logits)?;
        let tv = total_variation(&answer.assignment, &p, k);
        let tolerance =
            tolerance::<B>(&problem, &method, &answer.log_weights) + B::tight(problem.beta);
        prop_assert!(tv <= tolerance, "{copies} rows: total variation {tv:e} from p");
        // With one row to share, equal usage is the uniform row.
        let method = problem.sinkhorn(StopRule::default());
        let answer = assign::<B>(method, problem.shape, &problem.logits)?;
        let tv = total_variation(&answer.assignment, &vec![1.0 / k as f64; copies * k], k);
        prop_assert!(
            tv <= 10.0 * B::TOLERANCE_TV,
            "{copies} rows: total variation {tv:e} from uniform"
        );
        Ok(())
    });
}

pub(crate) fn permuting_rows_and_columns_permutes_the_answer<B: Backend>() {
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
pub(crate) fn shifting_rows_changes_nothing<B: Backend>() {
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

pub(crate) fn beta_zero_is_softmax_and_small_beta_is_near<B: Backend>() {
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
pub(crate) fn beta_towards_one_approaches_sinkhorn<B: Backend>() {
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
pub(crate) fn bounds_contract_by_beta<B: Backend>() {
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

/// Forbids about one entry in six, and one whole column if there are two, always leaving each row one prototype.
fn forbid(problem: &Problem) -> Problem {
    let k = problem.num_prototypes();
    let mut random = Random::new(!problem.seed);
    let mut logits = problem.logits.clone();
    let column = random.below(k);
    for row in logits.chunks_exact_mut(k) {
        let kept = (column + 1 + random.below(k.max(2) - 1)) % k;
        for (j, s) in row.iter_mut().enumerate() {
            if j != kept && (j == column || random.uniform() < 0.15) {
                *s = f64::NEG_INFINITY;
            }
        }
    }
    Problem { logits, ..problem.clone() }
}

pub(crate) fn forbidden_prototypes_get_nothing<B: Backend>() {
    for_all(B::cases(48), &problems::<B>(), |problem| {
        let problem = forbid(&problem);
        let k = problem.num_prototypes();
        for method in methods(&problem) {
            let answer = assign::<B>(method, problem.shape, &problem.logits)?;
            for (w, s) in answer.assignment.iter().zip(&problem.logits) {
                prop_assert!(w.is_finite(), "{method:?}: {w}");
                prop_assert!(*s > f64::NEG_INFINITY || *w == 0.0, "{method:?}: forbidden, got {w}");
            }
            if matches!(method.stop(), StopRule::Sweeps(_)) {
                same_as_the_oracle::<B>(&problem, method)?;
            }
        }
        // A prototype forbidden to all might as well not be there.
        let active: Vec<usize> = (0..k)
            .filter(|j| problem.logits.iter().skip(*j).step_by(k).any(|s| *s > f64::NEG_INFINITY))
            .collect();
        let without = |x: &[f64]| -> Vec<f64> {
            x.chunks_exact(k).flat_map(|row| active.iter().map(move |j| row[*j])).collect()
        };
        for n in [0, 4] {
            let method = problem.mira(StopRule::Sweeps(n));
            let all = assign::<B>(method, problem.shape, &problem.logits)?;
            let reduced = shape(problem.shape.batch(), active.len());
            let few = assign::<B>(method, reduced, &without(&problem.logits))?;
            let tv = total_variation(&without(&all.assignment), &few.assignment, active.len());
            let tolerance = tolerance::<B>(&problem, &method, &all.log_weights);
            prop_assert!(
                tv <= tolerance,
                "{method:?}: total variation {tv:e} from the reduced problem"
            );
        }
        Ok(())
    });
}

/// The bound of Sinkhorn–Knopp has a factor that is infinite with forbidden entries, and one that may be 0: no NaN may come of it.
pub(crate) fn certificates_with_forbidden_prototypes_are_numbers<B: Backend>() {
    let never = f64::NEG_INFINITY;
    let symmetric: [(Shape, &[f64]); 3] = [
        (shape(2, 2), &[0.5, never, never, 0.5]),
        (shape(2, 3), &[0.5, never, 0.5, never, 0.5, never]),
        (shape(1, 2), &[0.5, never]),
    ];
    for (shape, logits) in symmetric {
        let problem = Problem { shape, logits: logits.to_vec(), ..Problem::random(1, B::stored) };
        for method in methods(&problem) {
            let answer = B::assign(method, shape, logits).expect("every row has a finite logit");
            let c = answer.report.certificate;
            for bound in [c.duality_gap, c.label_kl_bound, c.log_ratio_bound, c.marginal_error] {
                assert!(bound >= 0.0, "{}: {logits:?}: {method:?}: {c:?}", B::NAME);
            }
        }
    }
}

pub(crate) fn invalid_logits_are_named<B: Backend>() {
    for_all(B::cases(48), &problems::<B>(), |problem| {
        let (k, mut random) = (problem.num_prototypes(), Random::new(problem.seed));
        let (first, second) =
            (random.below(problem.shape.len()), random.below(problem.shape.len()));
        let mut methods = methods(&problem).to_vec();
        methods.push(Centered::dino().into());
        for method in methods {
            for bad in [f64::NAN, f64::INFINITY] {
                let mut logits = problem.logits.clone();
                (logits[first], logits[second]) = (bad, bad);
                let named = first.min(second);
                let failure = B::assign(method, problem.shape, &logits);
                let right = matches!(
                    failure,
                    Err(Failure::Core(Error::NonFiniteLogit { row, column, value }))
                        if (row, column) == (named / k, named % k) && value.to_bits() << 1 == bad.to_bits() << 1
                            || (row, column) == (named / k, named % k) && bad.is_nan() && value.is_nan()
                );
                prop_assert!(right, "{method:?}: {bad} at {named}: {failure:?}");
            }
            let mut logits = problem.logits.clone();
            let row = first / k;
            logits[row * k..(row + 1) * k].fill(f64::NEG_INFINITY);
            let failure = B::assign(method, problem.shape, &logits);
            prop_assert_eq!(
                failure,
                Err(Failure::Core(Error::AllForbidden { row })),
                "{:?}",
                method
            );
        }
        Ok(())
    });
}

/// Also after an error; and the same batch gives the same bits.
pub(crate) fn a_workspace_can_be_used_again<B: Backend>() {
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

pub(crate) fn a_warm_start_changes_the_work_not_the_answer<B: Backend>() {
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
pub(crate) fn the_centre_follows_the_batches<B: Backend>() {
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
