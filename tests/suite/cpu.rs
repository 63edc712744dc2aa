//! `mira::cpu` in each of its element types.

use std::sync::Arc;

use half::{bf16, f16};
use mira::cpu::{CpuAssigner, Error as CpuError};
use mira_core::{
    Assigner, Certificate, Collective, Error, Method, Mira, Shape, Sinkhorn, Softmax, Status,
    StopRule,
};
use ndarray::{Array2, ArrayView2, s};

use mira_conformance::definitions::total_variation;
use mira_conformance::oracle;
use mira_conformance::problem::{Kind, Problem, shape, to_f32};
use mira_conformance::{Answer, Backend, Distributed, Failure, IN_F32, IN_F64, Limits};

mod numbers;

fn failure(error: CpuError) -> Failure {
    match error {
        CpuError::Core(error) => Failure::Core(error),
        other => Failure::Backend(other.to_string()),
    }
}

/// A backend of logits `$logits` and assignments `$element`, `$from` and `$to` converting a logit from and to f64.
macro_rules! cpu_backend {
    ($name:ident, $label:literal, $logits:ty, $element:ty, $from:expr, $to:expr, $arithmetic:expr) => {
        pub(crate) struct $name;

        impl $name {
            fn one(
                assigner: &CpuAssigner<$logits, $element>,
                workspace: &mut <CpuAssigner<$logits, $element> as Assigner>::Workspace,
                shape: Shape,
                logits: &[f64],
            ) -> Result<Answer, CpuError> {
                let (rows, columns) = (shape.batch(), shape.num_prototypes());
                let logits: Vec<$logits> = logits.iter().map(|s| $from(*s)).collect();
                let view = ArrayView2::from_shape((rows, columns), &logits).expect("as many");
                let mut assignment = Array2::<$element>::zeros((rows, columns));
                assigner.assign_into(view, assignment.view_mut(), workspace)?;
                Ok(Answer {
                    assignment: assignment.iter().map(|w| f64::from(*w)).collect(),
                    report: assigner.report(workspace)?,
                    log_weights: workspace.log_weights().to_vec(),
                })
            }
        }

        impl Backend for $name {
            const NAME: &'static str = $label;
            const LIMITS: Limits = $arithmetic;
            const STARTS_WARM: bool = true;

            fn stored(logit: f64) -> f64 {
                $to($from(logit))
            }

            fn stream(
                method: Method,
                shape: Shape,
                warm_start: bool,
                batches: &[&[f64]],
            ) -> Vec<Result<Answer, Failure>> {
                let assigner = CpuAssigner::<$logits, $element>::new(method)
                    .with_warm_start(warm_start)
                    .with_objective(true);
                let mut workspace = assigner.workspace(shape).expect("memory for a small problem");
                batches
                    .iter()
                    .map(|logits| {
                        Self::one(&assigner, &mut workspace, shape, logits).map_err(failure)
                    })
                    .collect()
            }
        }

        impl Distributed for $name {
            fn assign_on_rank(
                method: Method,
                shape: Shape,
                logits: &[f64],
                collective: Arc<dyn Collective>,
            ) -> Result<Answer, Failure> {
                let assigner = CpuAssigner::<$logits, $element>::new(method)
                    .with_objective(true)
                    .with_collective(collective);
                let mut workspace = assigner.workspace(shape).map_err(failure)?;
                Self::one(&assigner, &mut workspace, shape, logits).map_err(failure)
            }
        }
    };
}

cpu_backend!(F64, "cpu f64", f64, f64, |s: f64| s, |s: f64| s, IN_F64);
cpu_backend!(F32, "cpu f32", f32, f32, to_f32, f64::from, IN_F32);
cpu_backend!(F16, "cpu f16", f16, f32, f16::from_f64, f16::to_f64, IN_F32);
cpu_backend!(Bf16, "cpu bf16", bf16, f32, bf16::from_f64, bf16::to_f64, IN_F32);

/// Views into larger arrays, rows apart or in reverse: the layout is no part of the problem.
#[test]
fn any_row_stride_gives_the_same_bits() {
    for (batch, k) in [(1, 1), (5, 3), (17, 40), (64, 33)] {
        let problem = Problem::new(Kind::Clusters, shape(batch, k), 0.1, 0.8, 3, F32::stored);
        let logits: Vec<f32> = problem.logits.iter().map(|s| to_f32(*s)).collect();
        let plain = Array2::from_shape_vec((batch, k), logits).expect("as many");
        for method in [problem.mira(StopRule::Sweeps(5)), problem.sinkhorn(StopRule::Sweeps(3))] {
            let assigner = CpuAssigner::<f32, f32>::new(method);
            let (expected, _) = assigner.assign(plain.view()).expect("valid logits");

            let mut padded = Array2::from_elem((batch + 2, k + 3), f32::NAN);
            padded.slice_mut(s![1..=batch, 2..k + 2]).assign(&plain);
            let mut apart = Array2::from_elem((3 * batch, k), f32::NAN);
            apart.slice_mut(s![..;3, ..]).assign(&plain);
            let backwards = plain.slice(s![..;-1, ..]).to_owned();
            let layouts = [
                ("padded", padded.slice(s![1..=batch, 2..k + 2])),
                ("apart", apart.slice(s![..;3, ..])),
                ("reversed", backwards.slice(s![..;-1, ..])),
            ];
            for (layout, view) in layouts {
                let (answer, _) = assigner.assign(view).expect("valid logits");
                assert_eq!(answer, expected, "{layout} logits, {problem:?}, {method:?}");
            }
            let mut workspace = assigner.workspace(problem.shape).expect("small");
            let mut wide = Array2::from_elem((2 * batch, k + 5), -1.0f32);
            assigner
                .assign_into(plain.view(), wide.slice_mut(s![..;2, 3..k + 3]), &mut workspace)
                .expect("valid logits");
            let written = wide.slice(s![..;2, 3..k + 3]);
            assert_eq!(written, expected, "apart assignment, {problem:?}, {method:?}");
            let untouched = wide.iter().filter(|w| **w == -1.0).count();
            assert_eq!(untouched, wide.len() - batch * k, "{problem:?}: wrote beside its elements");
        }
    }
}

/// A sequence is carried out until the rest is below rounding, and then the end of the sequence is what stands there.
#[test]
fn sweeps_that_change_nothing_are_left_out() {
    fn check<B: Backend>(most: usize) {
        let problem = Problem::new(Kind::Clusters, shape(40, 12), 0.2, 0.6, 5, B::stored);
        let run = |n| {
            B::assign(problem.mira(StopRule::Sweeps(n)), problem.shape, &problem.logits)
                .expect("valid logits")
        };
        for n in 0..4 {
            assert_eq!(run(n).report.passes, n + 2, "{}: sweep {n} of {n}", B::NAME);
        }
        let long = run(1000);
        assert_eq!(long.report.iterations, 1000, "{}", B::NAME);
        // β^n of the first residual, which is of order 1, is below rounding after `most` sweeps.
        assert!(long.report.passes <= most + 2, "{}: {:?}", B::NAME, long.report);
        let left = run(long.report.passes - 4).report.certificate;
        assert!(0.6 * left.log_ratio_bound > left.rounding_allowance, "{}: too late", B::NAME);
        let expected =
            oracle::answer(problem.mira(StopRule::Sweeps(1000)), problem.shape, &problem.logits);
        assert_eq!(expected.report.passes, 1002, "the oracle leaves nothing out");
        let tv = total_variation(&long.assignment, &expected.assignment, 12);
        assert!(tv <= long.report.certificate.rounding_allowance, "{}: {tv:e}", B::NAME);
    }
    check::<F32>(35);
    check::<F64>(75);
}

#[test]
fn columns_that_are_not_contiguous_are_refused() {
    let problem = Problem::new(Kind::Gaussian, shape(4, 3), 0.1, 0.5, 1, F64::stored);
    let assigner = CpuAssigner::<f64, f64>::new(problem.mira(StopRule::default()));
    let wide = Array2::<f64>::zeros((4, 6));
    let error = assigner.assign(wide.slice(s![.., ..;2])).expect_err("every other column");
    assert!(matches!(error, CpuError::ColumnStride { stride: 2, .. }), "{error}");
}

#[test]
fn shapes_that_differ_from_the_workspace_are_refused() {
    let problem = Problem::new(Kind::Gaussian, shape(4, 3), 0.1, 0.5, 1, F64::stored);
    let assigner = CpuAssigner::<f64, f64>::new(problem.mira(StopRule::default()));
    let mut workspace = assigner.workspace(shape(4, 3)).expect("small");
    for (logits, assignment) in
        [((3, 4), (4, 3)), ((4, 3), (3, 4)), ((4, 2), (4, 2)), ((5, 3), (5, 3))]
    {
        let error = assigner
            .assign_into(
                Array2::zeros(logits).view(),
                Array2::zeros(assignment).view_mut(),
                &mut workspace,
            )
            .expect_err("another shape");
        assert!(
            matches!(error, CpuError::Core(Error::ShapeMismatch { .. })),
            "{logits:?} into {assignment:?}: {error}"
        );
    }
    assert!(matches!(assigner.report(&workspace), Err(CpuError::Core(Error::NothingAssigned))));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    // Several blocks, a last one that is short, rows that do not fill whole vectors; kernels, sweeps and the log domain.
    let methods: [Method; 4] = [
        Mira::default().into(),
        Mira::new(0.02, 0.9).and_then(|m| m.with_stop(StopRule::Sweeps(5))).expect("valid").into(),
        Sinkhorn::swav().into(),
        Softmax::new(0.1).expect("valid").into(),
    ];
    for scale in [1.0, 1e4] {
        let logits = Array2::from_shape_fn((203, 77), |(i, j)| {
            ((((i * 31 + j * 57) % 101) as f32 / 101.0) - 0.5) * scale
        });
        for method in methods {
            let assigner = CpuAssigner::<f32>::new(method);
            let mut answers = [1, 2, 3, 7].map(|num_threads| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(num_threads)
                    .build()
                    .expect("threads");
                pool.install(|| assigner.assign(logits.view()).expect("finite logits"))
            });
            let (first, others) = answers.split_first_mut().expect("four");
            for (other, report) in others {
                let same =
                    first.0.iter().zip(other.iter()).all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{method:?}, logits × {scale}");
                assert_eq!(first.1, *report, "{method:?}, logits × {scale}");
            }
        }
    }
}

/// Where no kernel can be built the objective is computed in the log domain, if it is asked for.
#[test]
fn the_objective_is_there_where_the_kernel_is_not() {
    let problem = Problem::new(Kind::Extreme, shape(9, 7), 0.02, 0.9, 3, F32::stored);
    for method in [problem.mira(StopRule::default()), problem.mira(StopRule::Sweeps(2))] {
        let expected = oracle::answer(method, problem.shape, &problem.logits).report.objective;
        let expected = expected.expect("the oracle always has it");
        for stored in [
            F32::assign(method, problem.shape, &problem.logits),
            F64::assign(method, problem.shape, &problem.logits),
        ] {
            let got = stored.expect("valid logits").report.objective.expect("asked for");
            // Of terms as large as S/ε.
            let largest = problem.logits.iter().fold(0.0f64, |m, s| m.max(s.abs()));
            let rounding = 1e-13 * largest / problem.epsilon();
            assert!((got - expected).abs() <= rounding, "{method:?}: {got}, not {expected}");
        }
    }
}

/// Restored weights are no answer: what would be said of them was never assigned.
#[test]
fn restored_weights_have_no_report() {
    let assigner = CpuAssigner::<f64>::new(Mira::default());
    let mut workspace = assigner.workspace(shape(6, 4)).expect("small");
    let logits = Array2::from_shape_fn((6, 4), |(i, j)| ((3 * i + 5 * j) as f64).sin());
    let mut assignment = Array2::zeros((6, 4));
    assigner.assign_into(logits.view(), assignment.view_mut(), &mut workspace).expect("valid");
    assigner.report(&workspace).expect("assigned");
    workspace.set_log_weights(&[0.0; 4]).expect("numbers");
    let nothing = assigner.report(&workspace);
    assert!(matches!(nothing, Err(CpuError::Core(Error::NothingAssigned))), "{nothing:?}");
}

/// A tolerance below what rounding adds is out of reach, which is no reason to go on until the sweeps run out.
#[test]
fn what_is_out_of_reach_is_not_chased() {
    let wave = Array2::from_shape_fn((64, 30), |(i, j)| ((i * j) as f64).sin());
    let stop = StopRule::Tolerance { tolerance: Some(1e-15), max_sweeps: 1000 };
    let assigner = CpuAssigner::<f64>::new(Mira::default().with_stop(stop).expect("valid"));
    let (_, in_f64) = assigner.assign(wave.view()).expect("valid");
    let small = Array2::from_shape_fn((256, 30), |(i, j)| to_f32(((i * j) as f64).sin()));
    let assigner = CpuAssigner::<f32>::new(Mira::new(0.225, 0.96).expect("valid"));
    let (_, in_f32) = assigner.assign(small.view()).expect("valid");
    for (report, tolerance) in [(in_f64, 1e-15), (in_f32, 1e-5)] {
        let Certificate { log_ratio_bound, rounding_allowance, .. } = report.certificate;
        assert!(rounding_allowance >= tolerance, "{report:?} is within reach");
        assert_eq!(report.status, Status::Stalled, "{report:?}");
        assert!(log_ratio_bound <= 2.0 * rounding_allowance, "{report:?}");
        assert!(report.passes < 60, "{report:?}");
    }
}

/// Logits whose differences overflow f64, where their quotients by ε do not.
#[test]
fn rows_that_span_more_than_numbers_hold() {
    let logits = [1.7e308, -1.7e308].repeat(8);
    let sinkhorn = Sinkhorn::new(1e10).expect("valid").with_stop(StopRule::Sweeps(3));
    let method = sinkhorn.expect("valid").into();
    let expected = oracle::answer(method, shape(8, 2), &logits);
    let answer = F64::assign(method, shape(8, 2), &logits).expect("valid logits");
    assert!(total_variation(&answer.assignment, &expected.assignment, 2) < 1e-12, "{answer:?}");
}

#[test]
fn a_sequence_without_end_ends() {
    let problem = Problem::new(Kind::Clusters, shape(20, 5), 0.2, 0.5, 5, F64::stored);
    let run = |n| {
        F64::assign(problem.mira(StopRule::Sweeps(n)), problem.shape, &problem.logits)
            .expect("valid logits")
    };
    assert_eq!(run(usize::MAX).assignment, run(1000).assignment);
    assert_eq!(run(usize::MAX).report.passes, run(1000).report.passes);
}

/// f64 has logits that no temperature can be divided into, and weights whose differences are infinite.
#[test]
fn numbers_beyond_the_arithmetic_are_refused() {
    let method = Softmax::new(0.02).expect("valid").into();
    let logits = [0.0, 1.0, 1e307, 2.0];
    let error = F64::assign(method, shape(2, 2), &logits).expect_err("1e307/0.02 is infinite");
    let expected =
        Error::LogitOverflow { row: 1, column: 0, value: 1e307, epsilon: method.scaling().epsilon };
    assert!(matches!(&error, Failure::Core(e) if *e == expected), "{error:?}");
    let from_oracle = mira_core::Reference::<f64>::new(method)
        .assign(mira_core::Matrix::new(&logits, shape(2, 2)).expect("as long"));
    assert_eq!(from_oracle.expect_err("the same"), expected);

    let assigner = CpuAssigner::<f64>::new(Mira::default());
    let mut workspace = assigner.workspace(shape(2, 3)).expect("small");
    for (weights, expected) in [
        (vec![0.0, 1.7e308, 0.0], Some(1)),
        (vec![0.0, 0.0, f64::NAN], Some(2)),
        (vec![0.0; 4], None),
        (vec![f64::NAN; 2], None),
    ] {
        let error = workspace.set_log_weights(&weights).expect_err("no state");
        let right = match (&error, expected) {
            (CpuError::Core(Error::InvalidState { index, .. }), Some(at)) => *index == at,
            (CpuError::Core(Error::LengthMismatch { expected: 3, got, .. }), None) => {
                *got == weights.len()
            }
            _ => false,
        };
        assert!(right, "{weights:?}: {error}");
    }
    workspace.set_log_weights(&[1e300, -1e300, 0.0]).expect("large, but weights");
    let assigner = assigner.with_warm_start(true);
    let mut assignment = Array2::zeros((2, 3));
    assigner
        .assign_into(
            ndarray::array![[0.9, 0.1, -0.3], [0.1, 0.7, 0.2]].view(),
            assignment.view_mut(),
            &mut workspace,
        )
        .expect("valid logits");
    for row in assignment.rows() {
        assert!((row.sum() - 1.0).abs() < 1e-12, "{row}");
    }
}

/// Weights of an earlier method, as of a schedule of β, have no part in softmax; and are no optimum of it.
#[test]
fn a_warm_start_does_not_outlast_beta() {
    let logits = ndarray::array![[0.9, 0.1, -0.3], [0.1, 0.7, 0.2]];
    let mira = Mira::new(0.5, 0.0).and_then(|m| m.with_stop(StopRule::duality_gap(1e-6)));
    let assigner = CpuAssigner::<f64>::new(mira.expect("valid")).with_warm_start(true);
    let mut workspace = assigner.workspace(shape(2, 3)).expect("memory");
    workspace.set_log_weights(&[5.0, 0.0, -5.0]).expect("weights");
    let mut assignment = Array2::zeros((2, 3));
    assigner.assign_into(logits.view(), assignment.view_mut(), &mut workspace).expect("valid");
    let softmax = CpuAssigner::<f64>::new(Softmax::new(0.5).expect("valid"));
    let (expected, _) = softmax.assign(logits.view()).expect("valid");
    let report = assigner.report(&workspace).expect("assigned");
    for (w, expected) in assignment.iter().zip(&expected) {
        assert!((w.ln() - expected.ln()).abs() <= 1e-12, "{assignment}, {report:?}");
    }
    assert!(report.certificate.duality_gap <= 1e-6, "{report:?}");
}

/// A workspace that is saved and restored (its log weights where it says that there is a start in them) goes on with the same bits,
/// wherever in its life that was: before its first batch, after one that was refused, after one that was assigned.
#[test]
fn a_restored_workspace_goes_on_with_the_same_bits() {
    let shape = shape(40, 9);
    let batch = |n: usize| {
        Array2::from_shape_fn((40, 9), |(i, j)| to_f32(((3 * i * j + 7 * n + j) as f64).sin()))
    };
    for method in [Method::from(Mira::default()), Sinkhorn::new(0.2).expect("valid").into()] {
        let assigner = CpuAssigner::<f32>::new(method).with_warm_start(true);
        let mut workspace = assigner.workspace(shape).expect("small");
        let next = |workspace: &mut _, n| {
            let mut assignment = Array2::zeros((40, 9));
            assigner.assign_into(batch(n).view(), assignment.view_mut(), workspace).expect("valid");
            (assignment, assigner.report(workspace).expect("assigned"))
        };
        for (n, has_warm_start) in [false, false, true].into_iter().enumerate() {
            if n == 1 {
                let mut refused = batch(n);
                refused[[39, 2]] = f32::NAN;
                let mut assignment = Array2::zeros((40, 9));
                assigner
                    .assign_into(refused.view(), assignment.view_mut(), &mut workspace)
                    .expect_err("not a number");
            }
            assert_eq!(workspace.has_warm_start(), has_warm_start, "{method:?}, {n}");
            let mut restored = assigner.workspace(shape).expect("small");
            if workspace.has_warm_start() {
                restored.set_log_weights(workspace.log_weights()).expect("a run's");
            }
            let uninterrupted = next(&mut workspace, n);
            assert_eq!(next(&mut restored, n), uninterrupted, "{method:?}, {n}");
        }
    }
}
