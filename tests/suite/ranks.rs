//! What ranks of the CPU backend do when they are not alike: in their method, their state, or their arguments.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use mira::cpu::{CpuAssigner, CpuWorkspace, Error as CpuError};
use mira_core::{
    Assigner, Centered, Collective, CollectiveError, Error, Matrix, Method, Mira, Shape, Sinkhorn,
    Softmax, StopRule, ThreadCollective, verify,
};
use ndarray::{Array2, Axis, concatenate, s};

/// Longer than any of these tests.
const PATIENCE: Duration = Duration::from_secs(30);

fn logits(rank: usize) -> Array2<f64> {
    Array2::from_shape_fn((5, 4), |(i, j)| ((7 * i + 3 * j + 11 * rank) as f64).sin())
}

type Answer = Result<(Array2<f64>, mira_core::Report), CpuError>;

/// One assignment on each of two ranks; `prepare` sets up a rank's workspace, from a shape that fits.
fn on_two_ranks(
    methods: [Method; 2],
    prepare: impl Fn(usize, &mut CpuWorkspace<f64>) + Sync,
) -> [Answer; 2] {
    on_two_ranks_with(methods, |rank, assigner| {
        let mut workspace = assigner.workspace(Shape::new(5, 4)?)?;
        prepare(rank, &mut workspace);
        Ok(workspace)
    })
}

fn on_two_ranks_with(
    methods: [Method; 2],
    workspace: impl Fn(usize, &CpuAssigner<f64>) -> Result<CpuWorkspace<f64>, CpuError> + Sync,
) -> [Answer; 2] {
    together(|rank, collective| {
        let assigner = CpuAssigner::<f64>::new(methods[rank])
            .with_warm_start(true)
            .with_collective(collective);
        let mut workspace = workspace(rank, &assigner)?;
        let mut assignment = Array2::zeros((5, 4));
        assigner.assign_into(logits(rank).view(), assignment.view_mut(), &mut workspace)?;
        Ok((assignment, assigner.report(&workspace)?))
    })
}

/// What two ranks do, without one being left waiting for the other.
fn together<T: Send>(one: impl Fn(usize, Arc<dyn Collective>) -> T + Sync) -> [T; 2] {
    let start = Instant::now();
    // Kept to the end, so that no rank is rescued by another's being dropped.
    let world: Vec<_> =
        ThreadCollective::world_with_timeout(2, PATIENCE).into_iter().map(Arc::new).collect();
    let (one, world) = (&one, &world);
    let answers = std::thread::scope(|scope| {
        [0, 1]
            .map(|rank| scope.spawn(move || one(rank, Arc::clone(&world[rank]) as _)))
            .map(|h| h.join().expect("no panic"))
    });
    assert!(start.elapsed() < PATIENCE / 2, "a rank was left waiting");
    answers
}

fn mira(beta: f64) -> Method {
    Mira::new(0.225, beta).expect("valid").into()
}

/// What all ranks are told differs.
fn difference(answers: [Answer; 2]) -> String {
    let [one, other] = answers.map(|answer| match answer {
        Err(CpuError::Core(Error::Collective(CollectiveError::Differ { what }))) => what,
        other => panic!("expected a difference, got {other:?}"),
    });
    assert_eq!(one, other);
    one
}

#[test]
fn other_methods_are_told_apart() {
    let sweeps = |n| Mira::default().with_stop(StopRule::Sweeps(n)).expect("valid").into();
    let softmax: Method = Softmax::new(0.225).expect("valid").into();
    let tolerance = Mira::default().with_stop(StopRule::tolerance(1e-6)).expect("valid").into();
    let cases: [([Method; 2], &str); 5] = [
        ([sweeps(3), tolerance], "the stop rule (a number of sweeps and a tolerance)"),
        ([mira(0.5), mira(0.9)], "ε"),
        ([sweeps(3), sweeps(4)], "sweeps"),
        (
            [mira(0.5), Sinkhorn::new(0.1125).expect("valid").into()],
            "the method (mira and sinkhorn)",
        ),
        ([softmax, Softmax::new(0.3).expect("valid").into()], "ε"),
    ];
    for (methods, what) in cases {
        let said = difference(on_two_ranks(methods, |_, _| ()));
        assert!(said.contains(what), "{methods:?}: {said}");
    }
}

#[test]
fn another_centre_is_an_error() {
    let method: Method = Centered::new(0.04, 0.9).expect("valid").into();
    let centre = |rank: usize, workspace: &mut CpuWorkspace<f64>| {
        workspace.set_center(&[0.0, rank as f64, 0.1, -0.1]).expect("K values");
    };
    assert_eq!(difference(on_two_ranks([method; 2], centre)), "the centre");
    for answer in on_two_ranks([method; 2], |_, workspace| centre(1, workspace)) {
        answer.expect("the same centre");
    }
}

/// Each starting from weights of its own, ranks would look for a fixed point that none of them has.
#[test]
fn ranks_that_do_not_start_alike_start_cold() {
    let weights = |rank: usize, workspace: &mut CpuWorkspace<f64>| {
        let sign = 1.0 - 2.0 * rank as f64;
        workspace.set_log_weights(&[3.0 * sign, -3.0 * sign, 2.0, 0.5]).expect("K values");
    };
    for method in [mira(2.0 / 3.0), Sinkhorn::new(0.4).expect("valid").into()] {
        let cold = on_two_ranks([method; 2], |_, _| ());
        let only_one = |rank, workspace: &mut _| {
            if rank == 1 {
                weights(rank, workspace);
            }
        };
        for answers in [on_two_ranks([method; 2], weights), on_two_ranks([method; 2], only_one)] {
            let mut parts = Vec::new();
            for (answer, cold) in answers.into_iter().zip(&cold) {
                let ((w, report), (cold, cold_report)) =
                    (answer.expect("an answer"), cold.as_ref().expect("an answer"));
                assert_eq!((&w, report), (cold, *cold_report), "{method:?}");
                parts.push((w, report));
            }
            // The certificate is one of the whole batch.
            let [all, w] = [
                concatenate![Axis(0), logits(0), logits(1)],
                concatenate![Axis(0), parts[0].0, parts[1].0],
            ]
            .map(|m| m.iter().copied().collect::<Vec<f64>>());
            let shape = Shape::new(10, 4).expect("not empty");
            let matrix = |values| Matrix::new(values, shape).expect("as many");
            let found = verify(matrix(&all), matrix(&w), &method).expect("an assignment");
            let said = parts[0].1.certificate;
            assert!(
                found.certificate.marginal_error <= said.marginal_error + 1e-9,
                "{method:?}: {said:?}, but {found:?}"
            );
        }
        // Alike, they start warm, which shows in the passes.
        let alike = |_: usize, workspace: &mut CpuWorkspace<f64>| weights(0, workspace);
        let [warm, _] = on_two_ranks([method; 2], alike);
        let cold = cold[0].as_ref().expect("an answer").1;
        assert_ne!(warm.expect("an answer").1, cold, "{method:?}");
    }
}

#[test]
fn a_rank_that_is_refused_ends_the_others() {
    let answers = on_two_ranks_with([mira(0.5); 2], |rank, assigner| {
        assigner.workspace(Shape::new(5 + rank, 4)?)
    });
    let [waiting, refused] = answers;
    assert!(matches!(waiting, Err(CpuError::Core(Error::PeerFailed))), "{waiting:?}");
    let refused = refused.expect_err("of another shape");
    assert!(matches!(refused, CpuError::Core(Error::ShapeMismatch { .. })), "{refused:?}");
}

#[test]
fn a_rank_without_rows_ends_the_others() {
    let assigner = |collective| CpuAssigner::<f64>::new(mira(0.5)).with_collective(collective);
    let [waiting, refused] = together(|rank, collective| {
        let rows = logits(rank).slice_move(s![..5 * (1 - rank), ..]);
        assigner(collective).assign(rows.view())
    });
    assert!(matches!(waiting, Err(CpuError::Core(Error::PeerFailed))), "{waiting:?}");
    let refused = refused.expect_err("no rows");
    assert!(matches!(refused, CpuError::Core(Error::EmptyShape { batch: 0, .. })), "{refused:?}");

    let [waiting, _] = together(|rank, collective| {
        let assigner = assigner(collective);
        if rank == 1 {
            // Its batch could not be read, say.
            assigner.refuse();
            return Ok(());
        }
        assigner.assign(logits(0).view()).map(drop)
    });
    assert!(matches!(waiting, Err(CpuError::Core(Error::PeerFailed))), "{waiting:?}");
}

/// What candle's side refuses, before the backend is called.
#[test]
fn a_rank_whose_tensors_are_refused_ends_the_others() {
    use candle_core::{DType, Device, Tensor};
    use mira_candle::{CandleAssigner, Error as CandleError};
    let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &Device::Cpu).expect("memory");
    let f32s = |dims: &[usize]| zeros(dims, DType::F32);
    let good = || (f32s(&[5, 4]), f32s(&[5, 4]));
    // Rank 1's logits and assignment; without one, by `assign`.
    let cases = [
        ("AssignmentDType", good().0, Some(zeros(&[5, 4], DType::F64))),
        ("ShapeMismatch", f32s(&[3, 4]), Some(good().1)),
        ("ShapeMismatch", good().0, Some(f32s(&[5, 3]))),
        ("EmptyShape", f32s(&[0, 4]), Some(good().1)),
        ("Rank", f32s(&[5, 4, 1]), Some(good().1)),
        ("LogitsDType", zeros(&[5, 4], DType::U8), None),
        ("Rank", f32s(&[20]), None),
        ("EmptyShape", f32s(&[0, 4]), None),
    ];
    for (refusal, logits, assignment) in cases {
        let [waiting, refused] = together(|rank, collective| -> Result<(), CandleError> {
            let assigner = CandleAssigner::new(mira(0.5)).with_collective(collective);
            let (mut from, mut to) = good();
            if rank == 1 {
                from = logits.clone();
            }
            let Some(assignment) = &assignment else {
                return assigner.assign(&from).map(drop);
            };
            if rank == 1 {
                to = assignment.clone();
            }
            let mut workspace = assigner.workspace(Shape::new(5, 4)?)?;
            assigner.assign_into(&from, &to, &mut workspace)
        });
        let refused = format!("{:?}", refused.expect_err("refused"));
        assert!(refused.contains(refusal), "{refused}, not {refusal}");
        assert!(
            matches!(waiting, Err(CandleError::Core(Error::PeerFailed))),
            "{refusal}: {waiting:?}"
        );
    }
}

/// Rank 1 is a step behind once rank 0 has given up on it: of what either brings from then on, nobody gets an answer.
#[test]
fn after_a_timeout_no_two_steps_are_mixed() {
    let world = ThreadCollective::world_with_timeout(2, Duration::from_millis(300));
    let world: Vec<_> = world.into_iter().map(Arc::new).collect();
    let given_up = Barrier::new(2);
    let steps = |rank: usize| -> Vec<Answer> {
        if rank == 1 {
            given_up.wait();
        }
        let one = |step: usize| {
            // A new one for each step, as where the method changes from step to step.
            let assigner = CpuAssigner::<f64>::new(mira(0.5)).with_collective(world[rank].clone());
            let answer = assigner.assign(logits(2 * step + rank).view());
            if (rank, step) == (0, 0) {
                given_up.wait();
            }
            answer
        };
        (0..3).map(one).collect()
    };
    let answers = std::thread::scope(|scope| {
        let steps = &steps;
        [0, 1].map(|rank| scope.spawn(move || steps(rank))).map(|h| h.join().expect("no panic"))
    });
    let timeout = CollectiveError::Timeout { rank: 1, waited: Duration::from_millis(300) };
    let later = CollectiveError::OutOfStep { first: Box::new(timeout.clone()) };
    for (n, answer) in answers.into_iter().flatten().enumerate() {
        let expected = if n == 0 { &timeout } else { &later };
        match answer {
            Err(CpuError::Core(Error::Collective(error))) => assert_eq!(error, *expected, "{n}"),
            other => panic!("answer {n}: {other:?}"),
        }
    }
}
