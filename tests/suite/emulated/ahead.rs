//! Sweeps that go on before anybody knows of the others' columns, and are judged later.

use std::ops::Range;

use super::*;

/// Of the kernels whose elements may be lost.
const EPSILON: f64 = 0.1;

/// A run's answer, and how many sweeps before its last judgement nobody judged.
fn answer_and_unjudged(
    method: Method,
    problem: &Problem,
    hardware: Hardware,
    seed: u64,
) -> (Answer, i32) {
    let (dtypes, columns) = ((Dtype::F32, Dtype::F32), problem.num_prototypes());
    let mut emulated = Emulated::new(method, problem.shape, dtypes, hardware);
    emulated.seed = seed;
    let logits: Vec<f32> = problem.logits.iter().map(|s| to_f32(*s)).collect();
    let mut assignment = Guarded::<f32>::poisoned(logits.len());
    let answer = emulated
        .assign(&Guarded::from_slice(&logits), &mut assignment, columns, false)
        .unwrap_or_else(|e| panic!("{problem:?}, {method:?}, {hardware:?}: {e:?}"));
    (answer, emulated.read::<Control>(emulated.plan.at_control(), 1)[0].unjudged)
}

/// Most of a fixed number of sweeps go on before anybody knows of the others' columns, and are those of the oracle all the same.
#[test]
fn sweeps_that_go_ahead_are_the_same() {
    let mut mira_ahead = 0;
    for (batch, columns) in [(5, 3), (33, 40), (70, 60), (3, 300), (12, 300), (43, 300)] {
        let problem = Problem::new(Kind::Clusters, shape(batch, columns), 0.4, 0.8, 3, F32::stored);
        for sweeps in [3, 4, 12] {
            let stop = StopRule::Sweeps(sweeps);
            for method in [problem.mira(stop), problem.sinkhorn(stop)] {
                let expected = oracle::answer(method, problem.shape, &problem.logits);
                for (seed, hardware) in [SMALL, CRAMPED, ROOMY, SMALL].into_iter().enumerate() {
                    let context = format!("{batch}×{columns}, {method:?}, {hardware:?}");
                    let (answer, unjudged) =
                        answer_and_unjudged(method, &problem, hardware, 1000 * seed as u64);
                    let tv = total_variation(&answer.assignment, &expected.assignment, columns);
                    assert!(tv < 1e-5, "{context}: total variation {tv:e}");
                    let (ours, theirs) = (answer.report, expected.report);
                    // What settles in f32 is cut short.
                    assert_eq!(ours.iterations, theirs.iterations, "{context}");
                    assert!(ours.passes <= theirs.passes, "{context}: {} passes", ours.passes);
                    let is_settled = ours.passes < theirs.passes;
                    assert!(unjudged > 0 || is_settled, "{context}: every sweep was judged");
                    mira_ahead += usize::from(unjudged > 0 && matches!(method, Method::Mira(_)));
                    if let (Some(ours), Some(theirs)) = (ours.objective, theirs.objective) {
                        assert!((ours - theirs).abs() < 1e-5 * theirs.abs().max(1.0), "{context}");
                    }
                }
            }
        }
    }
    assert!(mira_ahead > 10, "of MIRA {mira_ahead} runs");
}

/// Sums that could not be relied on are found out some sweeps later, which are then made again.
#[test]
fn sweeps_that_went_ahead_in_vain_are_made_again() {
    let sinkhorn = Problem::new(Kind::Clusters, shape(6, 5), EPSILON, 0.95, 0, F32::stored);
    let mira = Problem { temperature: EPSILON / (1.0 - sinkhorn.beta), ..sinkhorn.clone() };
    let sinkhorn_of = |problem: &Problem, stop| problem.sinkhorn(stop);
    let mira_of = |problem: &Problem, stop| problem.mira(stop);
    in_vain(sinkhorn, sinkhorn_of, 1.0, 160..172);
    in_vain(mira, mira_of, 4.0, 104..124);
}

/// With logits `spread` times as far apart and, of one prototype, so many half bits of the kernel below the others.
fn in_vain(
    mut problem: Problem,
    method: fn(&Problem, StopRule) -> Method,
    spread: f64,
    half_bits: Range<u32>,
) {
    let (mut made_again, mut held) = (0, 0);
    let logits = problem.logits.clone();
    for half_bits in half_bits {
        let offset = 0.5 * f64::from(half_bits) * EPSILON * std::f64::consts::LN_2;
        for (i, (shifted, s)) in problem.logits.iter_mut().zip(&logits).enumerate() {
            *shifted = F32::stored(if i % 5 == 4 { spread * s - offset } else { spread * s });
        }
        for sweeps in [4, 8] {
            let method = method(&problem, StopRule::Sweeps(sweeps));
            let expected = oracle::answer(method, problem.shape, &problem.logits);
            for hardware in [SMALL, CRAMPED, ROOMY] {
                let context = format!("{method:?}, 2^-{}, {hardware:?}", half_bits / 2);
                let (answer, unjudged) = answer_and_unjudged(method, &problem, hardware, 1);
                let tv = total_variation(&answer.assignment, &expected.assignment, 5);
                assert!(tv < 1e-5, "{context}: total variation {tv:e}");
                let (ours, theirs) = (answer.report, expected.report);
                assert_eq!(ours.iterations, theirs.iterations, "{context}");
                // A pass is made again wherever the log domain takes over.
                if ours.passes > theirs.passes + 2 {
                    assert_eq!(unjudged, 0, "{context}");
                    made_again += 1;
                }
                held += usize::from(unjudged > 0);
            }
        }
    }
    assert!(made_again > 2 && held > 2, "{made_again} times made again, {held} times not");
}

/// A sweep in the midst of those that go ahead is judged, too: where its sums cannot be relied on, and those after it could be, no longer run
/// goes on in the linear domain.
#[test]
fn none_of_the_sweeps_that_go_ahead_is_overlooked() {
    // Logits over ε, with which the lowest column sum, beside what may be lost of it, falls and rises again.
    let rows = [
        [16.69, -18.44, -40.86],
        [-13.41, -6.90, -55.90],
        [-2.85, -0.64, -69.41],
        [-0.41, -4.74, -55.75],
        [10.95, -2.67, -56.17],
        [5.46, 1.10, -46.56],
        [5.78, -1.89, -57.22],
    ];
    let mut problem = Problem::new(Kind::Gaussian, shape(7, 3), 0.1, 0.5, 0, F32::stored);
    let mut in_the_midst = 0;
    for step in 0..80 {
        let nats = 4.0 + f64::from(step) / 20.0; // that the last prototype is further off by
        for (logit, s) in problem.logits.iter_mut().zip(rows.as_flattened()) {
            let is_last = *s < -40.0;
            *logit = F32::stored((if is_last { s - nats } else { *s }) * problem.temperature);
        }
        // Passes beside one a sweep: the unnormalised columns and the labels are always made again in the log domain.
        let again = |sweeps| {
            let method = problem.sinkhorn(StopRule::Sweeps(sweeps));
            let (answer, _) = answer_and_unjudged(method, &problem, SMALL, 1);
            answer.report.passes - sweeps - 1
        };
        let again: Vec<usize> = (2..10).map(again).collect();
        let Some(first) = again.iter().position(|passes| *passes > 2) else { continue };
        assert!(again[first..].iter().all(|passes| *passes > 2), "{nats} nats: {again:?}");
        in_the_midst += usize::from(first > 0);
    }
    assert!(in_the_midst > 2, "{in_the_midst}");
}
