//! The edges: extreme logits, one row or column, forbidden prototypes, and logits that are none.

use mira_core::{Centered, Error, Method, Mira, Shape, Sinkhorn, Softmax, Status, StopRule};
use proptest::prelude::*;

use crate::definitions::{exp, log_assignment, total_variation};
use crate::oracle;
use crate::problem::{Kind, Problem, Random, for_all, problems, problems_of, shape};
use crate::{Answer, Backend, Failure};

use super::{assign, methods, same_as_the_oracle, tolerance};

/// ±1e4 logits, τ down to 0.02, β up to 0.99.
pub fn extreme_logits_stay_finite_and_right<B: Backend>() {
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

/// From where all but the largest logits vanish to where all are alike; a forbidden prototype gets nothing even there.
pub fn any_temperature_leaves_rows_that_sum_to_one<B: Backend>() {
    let temperatures = [1e-30, 1e-12, 1e-10, 1e-4, 1e4, 1e30, 1e38, 1e60];
    for (seed, temperature) in (0..).zip(temperatures) {
        for kind in [Kind::Extreme, Kind::Gaussian] {
            let problem = Problem::new(kind, shape(7, 9), temperature, 0.5, seed, B::stored);
            let mut logits = problem.logits.clone();
            // Ties for the first place in a row, and an entry that is forbidden.
            (logits[10], logits[12], logits[21]) = (logits[9], logits[9], f64::NEG_INFINITY);
            let softmax: Method = Softmax::new(temperature).expect("valid").into();
            let methods =
                [softmax, problem.mira(StopRule::Sweeps(3)), problem.mira(StopRule::default())];
            for method in methods {
                let answer = B::assign(method, problem.shape, &logits);
                let answer = answer.unwrap_or_else(|e| panic!("{}: {method:?}: {e:?}", B::NAME));
                assert_eq!(answer.assignment[21], 0.0, "{}: {method:?}", B::NAME);
                for row in answer.assignment.chunks_exact(9) {
                    let sum: f64 = row.iter().sum();
                    assert!((sum - 1.0).abs() <= B::TOLERANCE_TV, "{}: {method:?}: {sum}", B::NAME);
                }
            }
        }
    }
}

/// K = 1: every label is 1, and nothing is left to prove.
pub fn one_prototype_takes_everything<B: Backend>() {
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

/// Rows that are all alike: MIRA gives back `softmax(S/τ)`, Sinkhorn–Knopp the uniform row.
pub fn one_row_or_identical_rows_give_back_p<B: Backend>() {
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

/// Entries of −∞ get exactly 0, and a prototype that all rows forbid might as well not be there.
pub fn forbidden_prototypes_get_nothing<B: Backend>() {
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

/// It is no reason to leave the linear domain, which would cost a pass: nothing underflowed, so the others' sums can be relied on.
pub fn a_prototype_that_every_row_forbids_costs_no_pass<B: Backend>() {
    for (batch, k) in [(1, 2), (12, 7), (40, 70)] {
        let few = Problem::new(Kind::Cosine, shape(batch, k - 1), 0.2, 0.6, 11, B::stored);
        let forbidden = k / 2;
        let mut logits = Vec::new();
        for row in few.logits.chunks_exact(k - 1) {
            logits.extend_from_slice(&row[..forbidden]);
            logits.push(f64::NEG_INFINITY);
            logits.extend_from_slice(&row[forbidden..]);
        }
        let softmax: Method = Softmax::new(few.temperature).expect("valid").into();
        let mira = [StopRule::Sweeps(3), StopRule::default()].map(|stop| few.mira(stop));
        for method in [softmax, mira[0], mira[1]] {
            let all = B::assign(method, shape(batch, k), &logits).expect("valid logits");
            let without = B::assign(method, few.shape, &few.logits).expect("valid logits");
            let passes = (all.report.passes, without.report.passes);
            assert_eq!(passes.0, passes.1, "{}: {batch}×{k}, {method:?}", B::NAME);
            assert_eq!(all.report.status, without.report.status, "{}: {method:?}", B::NAME);
            assert!(all.assignment.iter().skip(forbidden).step_by(k).all(|w| *w == 0.0));
            let kept: Vec<f64> = all
                .assignment
                .chunks_exact(k)
                .flat_map(|row| [&row[..forbidden], &row[forbidden + 1..]].concat())
                .collect();
            let tv = total_variation(&kept, &without.assignment, k - 1);
            let tolerance = tolerance::<B>(&few, &method, &without.log_weights) + 1e-5;
            assert!(tv <= tolerance, "{}: {method:?}: total variation {tv:e}", B::NAME);
        }
    }
}

/// A prototype whose labels all underflow is not one that every row forbids, though both have sums of 0 in the linear domain: its log weight
/// follows its marginal.
pub fn a_prototype_that_nobody_likes_is_not_forbidden<B: Backend>() {
    // Spans just below and far above what exponents hold, in single and double precision: by the logits, or by what a row's total adds to that.
    for span in [60.0, 85.0, 87.0, 95.0, 120.0, 690.0, 709.0, 760.0, 1500.0] {
        let (batch, k) = (9, 40);
        let mut problem = Problem::new(Kind::Gaussian, shape(batch, k), 1.0, 0.5, 3, B::stored);
        problem.logits.iter_mut().skip(7).step_by(k).for_each(|s| *s = B::stored(-span));
        for method in [problem.mira(StopRule::Sweeps(4)), problem.mira(StopRule::default())] {
            let ours = B::assign(method, problem.shape, &problem.logits).expect("valid logits");
            let theirs = oracle::answer(method, problem.shape, &problem.logits);
            let weight = |answer: &Answer| answer.log_weights[7] - answer.log_weights[8];
            let (got, expected) = (weight(&ours), weight(&theirs));
            assert!(
                (got - expected).abs() <= 1e-3 * expected.abs(),
                "{}: {method:?}, {span}: log weight {got}, expected {expected}",
                B::NAME
            );
        }
    }
}

/// Code masks by the most negative number of its type as often as by −∞: labels of the other prototypes have nothing to do with which it is.
pub fn a_prototype_masked_by_a_huge_number_spoils_no_other<B: Backend>() {
    // One of four in every row, so that the rest is a problem of its own; most of five.
    let three = [0.0, 0.5, 1.0, 0.1, 0.5, 1.2, 0.6, 0.0, 1.1].map(B::stored);
    let of_two = [0.2, 0.9, 0.7, 0.1, 0.4, 0.5].map(B::stored);
    let masked = |few: &[f64], width: usize, count: usize, mask: f64| -> Vec<f64> {
        let row = |row: &[f64]| [row, &vec![mask; count]].concat();
        few.chunks_exact(width).flat_map(row).collect()
    };
    for mask in [-1e4, -1e9, -1e17, -1e20, -1e30, f64::from(f32::MIN)].map(B::stored) {
        for (few, width, count) in [(&three[..], 3, 1), (&of_two, 2, 3)] {
            let (rows, k) = (few.len() / width, width + count);
            let logits = masked(few, width, count, mask);
            let mira = Mira::new(0.225, 2.0 / 3.0).expect("valid");
            let published = mira.with_stop(StopRule::Sweeps(30)).expect("valid");
            let softmax = Softmax::new(0.225).expect("valid");
            for method in [mira.into(), published.into(), Method::from(softmax)] {
                let ours = B::assign(method, shape(rows, k), &logits).expect("valid logits");
                let theirs = oracle::answer(method, shape(rows, width), few);
                let kept: Vec<f64> =
                    ours.assignment.chunks_exact(k).flat_map(|row| row[..width].to_vec()).collect();
                let tv = total_variation(&kept, &theirs.assignment, width);
                assert!(tv <= 2e-5, "{}: {method:?}, {mask:e}: total variation {tv:e}", B::NAME);
            }
        }
        // Equal usage must not depend on it, either: of four prototypes the last has as much of every row.
        let logits = [0.0, 2.0, mask, 1.0, 0.0, mask, 0.0, 3.0, mask, 0.5, 1.0, mask];
        let sinkhorn = Sinkhorn::new(1.0).expect("valid").into();
        let ours = B::assign(sinkhorn, shape(4, 3), &logits).expect("valid logits");
        if mask == f64::NEG_INFINITY {
            assert_eq!(ours.report.status, Status::Stalled, "{}: no such plan", B::NAME);
            continue;
        }
        let near = logits.map(|s| if s == mask { -1.0 } else { s });
        let theirs = oracle::answer(sinkhorn, shape(4, 3), &near);
        let tv = total_variation(&ours.assignment, &theirs.assignment, 3);
        // Weights as large as that are not known to a nat; which is no reason to say that they are.
        let is_right = tv <= 2e-5;
        let status = ours.report.status;
        assert!(is_right || status != Status::Converged, "{}: {mask:e}: {tv:e}", B::NAME);
        assert!(is_right || mask < -1e10, "{}: {mask:e}: total variation {tv:e}", B::NAME);
        assert!(status == Status::Converged || mask < -1e5, "{}: {mask:e}: {ours:?}", B::NAME);
    }
}

/// The bound of Sinkhorn–Knopp has a factor that is infinite with forbidden entries, and one that may be 0: no NaN may come of it.
pub fn certificates_with_forbidden_prototypes_are_numbers<B: Backend>() {
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

/// NaN and +∞ are `NonFiniteLogit` at the first such place, a row of −∞ is `AllForbidden`.
pub fn invalid_logits_are_named<B: Backend>() {
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
