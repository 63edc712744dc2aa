//! A batch spread over ranks: the answer of one process, the same report on every rank, and errors instead of hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mira_core::{Collective, CollectiveError, Error, Method, Softmax, StopRule, ThreadCollective};
use proptest::prelude::*;

use crate::definitions::{f64_noise, total_variation};
use crate::problem::{Problem, Random, for_all, problems, shape};
use crate::{Answer, Distributed, Failure};

/// Longer than any of these tests: a rank that waits this long has been left hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs rank `r` on `parts[r]`. Handles are kept until all are done, so that no rank is rescued by another's being dropped.
fn on_ranks<B: Distributed>(
    methods: &[Method],
    num_prototypes: usize,
    parts: &[Vec<f64>],
    keep_handles: bool,
) -> Vec<Result<Answer, Failure>> {
    let world = ThreadCollective::world_with_timeout(parts.len(), PATIENCE);
    let mut world: Vec<Arc<dyn Collective>> =
        world.into_iter().map(|rank| Arc::new(rank) as Arc<dyn Collective>).collect();
    let kept = if keep_handles { world.clone() } else { Vec::new() };
    let answers = std::thread::scope(|scope| {
        let handles: Vec<_> = world
            .drain(..)
            .zip(parts.iter().zip(methods))
            .map(|(collective, (part, &method))| {
                let shape = shape(part.len() / num_prototypes, num_prototypes);
                scope.spawn(move || B::assign_on_rank(method, shape, part, collective))
            })
            .collect();
        handles.into_iter().map(|h| h.join().expect("no panic")).collect()
    });
    drop(kept);
    answers
}

/// Two or three uneven parts, each at least one row.
fn split(problem: &Problem) -> Vec<Vec<f64>> {
    let (batch, k) = (problem.shape.batch(), problem.num_prototypes());
    let mut random = Random::new(problem.seed);
    let num_ranks = (2 + random.below(2)).min(batch);
    let mut cuts = vec![0, batch];
    while cuts.len() <= num_ranks {
        let cut = random.below(batch);
        if !cuts.contains(&cut) {
            cuts.push(cut);
        }
    }
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| problem.logits[cut[0] * k..cut[1] * k].to_vec()).collect()
}

/// Uneven parts on two or three ranks: the labels of the whole batch, and one report on all ranks.
pub fn ranks_together_are_one_batch<B: Distributed>() {
    for_all(40, &problems::<B>(), |problem| {
        let (k, parts) = (problem.num_prototypes(), split(&problem));
        let methods = [
            problem.mira(StopRule::Sweeps(4)),
            problem.mira(StopRule::default()),
            problem.sinkhorn(StopRule::Sweeps(3)),
            problem.sinkhorn(StopRule::Tolerance { tolerance: None, max_sweeps: 50 }),
            Softmax::new(problem.temperature).expect("valid").into(),
        ];
        for method in methods {
            let single = B::assign(method, problem.shape, &problem.logits)
                .map_err(|e| TestCaseError::fail(format!("{method:?}: {e:?}")))?;
            let ranks = on_ranks::<B>(&vec![method; parts.len()], k, &parts, true)
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| TestCaseError::fail(format!("{method:?}: {e:?}")))?;
            for rank in &ranks[1..] {
                prop_assert_eq!(rank.report, ranks[0].report, "{:?}", method);
                prop_assert_eq!(&rank.log_weights, &ranks[0].log_weights, "{:?}", method);
            }
            let together: Vec<f64> =
                ranks.iter().flat_map(|r| r.assignment.iter().copied()).collect();
            let tv = total_variation(&together, &single.assignment, k);
            let noise = f64_noise(&problem, method.scaling().epsilon, &single.log_weights);
            // A sum in another order may stop one sweep earlier or later; both answers are then as near the optimum as they say.
            let tolerance = match (method, method.stop()) {
                (Method::Mira(m), StopRule::Sweeps(_)) => noise / (1.0 - m.beta()),
                (Method::Mira(m), _) => {
                    noise / (1.0 - m.beta())
                        + single.report.certificate.log_ratio_bound
                        + ranks[0].report.certificate.log_ratio_bound
                }
                (Method::Sinkhorn(_), StopRule::Tolerance { .. }) => continue,
                _ => noise,
            };
            let tolerance = tolerance.max(B::TOLERANCE_TV);
            prop_assert!(tv <= tolerance, "{method:?} on {} ranks: {tv:e}", ranks.len());
        }
        Ok(())
    });
}

/// A NaN on one rank: an error on every rank, soon, and on that rank the one that says where.
pub fn one_ranks_error_ends_all_ranks<B: Distributed>() {
    B::prepare();
    for_all(24, &(problems::<B>(), any::<bool>()), |(problem, keep_handles)| {
        let (k, mut parts) = (problem.num_prototypes(), split(&problem));
        let guilty = Random::new(!problem.seed).below(parts.len());
        parts[guilty][0] = f64::NAN;
        let methods = [
            problem.mira(StopRule::default()),
            problem.mira(StopRule::Sweeps(2)),
            problem.sinkhorn(StopRule::Sweeps(3)),
            Softmax::new(problem.temperature).expect("valid").into(),
        ];
        for method in methods {
            let start = Instant::now();
            let answers = on_ranks::<B>(&vec![method; parts.len()], k, &parts, keep_handles);
            prop_assert!(start.elapsed() < PATIENCE / 2, "{method:?}: a rank was left waiting");
            for (rank, answer) in answers.iter().enumerate() {
                let right = match answer {
                    Err(Failure::Core(Error::NonFiniteLogit { row: 0, column: 0, .. })) => {
                        rank == guilty
                    }
                    Err(Failure::Core(
                        Error::PeerFailed | Error::Collective(CollectiveError::RankLeft { .. }),
                    )) => rank != guilty,
                    _ => false,
                };
                prop_assert!(right, "{method:?}: NaN on rank {guilty}, rank {rank} got {answer:?}");
            }
        }
        Ok(())
    });
}

/// Another number of prototypes or another method on one rank.
pub fn ranks_that_disagree_are_told<B: Distributed>() {
    B::prepare();
    let problem = Problem::random(11, B::stored);
    let wide: Vec<f64> = (0..12).map(|n| B::stored(f64::from(n) / 8.0)).collect();
    for method in [problem.mira(StopRule::default()), problem.sinkhorn(StopRule::Sweeps(3))] {
        let world = ThreadCollective::world_with_timeout(2, PATIENCE);
        let start = Instant::now();
        let answers: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = world
                .into_iter()
                .zip([3, 4])
                .map(|(collective, k)| {
                    let (wide, shape) = (&wide, shape(12 / k, k));
                    scope
                        .spawn(move || B::assign_on_rank(method, shape, wide, Arc::new(collective)))
                })
                .collect();
            handles.into_iter().map(|h| h.join().expect("no panic")).collect()
        });
        assert!(start.elapsed() < PATIENCE / 2, "{method:?}: a rank was left waiting");
        for answer in answers {
            let told = matches!(
                &answer,
                Err(Failure::Core(Error::Collective(
                    CollectiveError::Mismatch { rank: 1, .. } | CollectiveError::Differ { .. }
                )))
            );
            assert!(told, "{}: {method:?}: {answer:?}", B::NAME);
        }
    }
}
