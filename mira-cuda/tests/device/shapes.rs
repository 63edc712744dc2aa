//! A shape for each kernel, at the width it has on a device; what comes back is verified in f64 from the logits alone.

use std::sync::Arc;

use half::{bf16, f16};
use mira_core::{
    Assigner, Centered, Matrix, Method, Mira, Reference, Shape, SingleProcess, Sinkhorn, Softmax,
    Status, StopRule, verify_at,
};
use mira_cuda::cross_entropy::{CrossEntropy, CrossEntropyPlan};
use mira_cuda::params::THREADS;
use mira_cuda::plan::{Dtype, Hardware, Plan, Ranks};
use mira_cuda::{CudaAssigner, DeviceMatrix, Logit, Probability, ThroughHost};

use crate::reference::{Answer, Problem, Stored};
use crate::stream;

/// What rounding labels and arithmetic to f32 may add to a bound.
const ROUNDING: f64 = 2e-6;

/// The second needs far more shared memory than kernels have unasked. With 64 KiB on three multiprocessors (`dev/check_driver` has such a device) not
/// all rows of the first five stay on chip. From 4097 columns on blocks share rows, as long as there are blocks enough, which the stand-in has
/// not for the last. Of 14 rows of 16,000 two stay on chip there, so that a
/// group has both kinds.
const SHAPES: [(usize, usize); 10] = [
    (100, 500),
    (150, 1000),
    (25, 2000),
    (16, 3000),
    (13, 4000),
    (3, 5000),
    (70, 4100),
    (9, 8000),
    (14, 16_000),
    (3, 17_000),
];

/// A row for as many blocks as there may be, on a device that has them.
const WIDEST: (usize, usize, usize) = (2, 131_072, 33);

/// Those above, and one with more columns than all blocks of the device can share, which they can of the last one above where there are more than four.
fn shapes() -> Vec<(usize, usize)> {
    let too_long = 4096 * hardware().multiprocessors as usize + 616;
    let (_, last) = SHAPES[SHAPES.len() - 1];
    let (rows, columns, least) = WIDEST;
    let has_room = hardware().multiprocessors as usize >= least;
    let widest = has_room.then_some((rows, columns));
    SHAPES.into_iter().chain(widest).chain((too_long > last).then_some((3, too_long))).collect()
}

/// As the backend finds it.
pub(crate) fn hardware() -> Hardware {
    use mira_cuda::cudarc::driver::sys::CUdevice_attribute as Attribute;
    let number = |attribute| {
        let number = crate::CONTEXT.attribute(attribute).expect("a device");
        u32::try_from(number).expect("a count")
    };
    let shared_memory = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    Hardware {
        multiprocessors: number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
        shared_memory: number(shared_memory),
        threads: THREADS,
    }
}

/// Those with as many columns as `MIRA_DEVICE_COLUMNS` says, those with the kernel `MIRA_DEVICE_KERNEL`, or all: `dev/check_orders` and
/// `dev/gpu-bundle` want one kernel at a time.
fn chosen(
    shapes: &[(usize, usize)],
    kernel_of: impl Fn(Shape) -> &'static str,
) -> Vec<(usize, usize)> {
    let columns = std::env::var("MIRA_DEVICE_COLUMNS").ok().map(|text| text.parse::<usize>());
    let columns = columns.transpose().expect("MIRA_DEVICE_COLUMNS is a number");
    let kernel = std::env::var("MIRA_DEVICE_KERNEL").ok();
    let is_chosen = |shape: &&(usize, usize)| {
        let its = || kernel_of(Shape::new(shape.0, shape.1).expect("small"));
        columns.is_none_or(|columns| columns == shape.1)
            && kernel.as_ref().is_none_or(|kernel| *kernel == its())
    };
    let chosen: Vec<_> = shapes.iter().filter(is_chosen).copied().collect();
    if let Some(kernel) = kernel {
        assert!(!chosen.is_empty(), "no shape of this test has {kernel} on this device");
    }
    chosen
}

/// The kernel of an assignment, of a pass of one over ranks.
fn assigned_by(over_ranks: bool) -> impl Fn(Shape) -> &'static str {
    move |shape| {
        let hardware = hardware();
        let multiprocessors = hardware.multiprocessors;
        let alone = Ranks { rank: 0, world_size: 1, multiprocessors, max_passes: 32 };
        let ranks = over_ranks.then_some(alone);
        let dtypes = (Dtype::F32, Dtype::F32);
        let plan = Plan::over_ranks(Mira::default().into(), shape, dtypes, 1, hardware, ranks);
        plan.expect("it fits").kernel
    }
}

#[test]
fn every_width_is_right() {
    for shape in chosen(&shapes(), assigned_by(false)) {
        right::<f32>(shape, false);
    }
}

#[test]
fn every_width_is_right_over_ranks() {
    for shape in chosen(&shapes(), assigned_by(true)) {
        right::<f32>(shape, true);
    }
}

#[test]
fn every_width_takes_halves() {
    for (i, shape) in chosen(&shapes(), assigned_by(false)).into_iter().enumerate() {
        if i % 2 == 0 {
            right::<f16>(shape, false);
        } else {
            right::<bf16>(shape, false);
        }
    }
}

/// Fixed sweeps, with logits whose exponents leave f32 (the log domain), and the methods without sweeps.
#[test]
fn every_width_follows_the_oracle() {
    let mira = Mira::default().with_stop(StopRule::Sweeps(3)).expect("valid");
    let softmax = Softmax::new(0.1).expect("valid");
    let centered = Centered::new(0.1, 0.9).expect("valid");
    let swav = Method::from(Sinkhorn::swav());
    let sweeps = Sinkhorn::new(0.5).and_then(|s| s.with_stop(StopRule::Sweeps(6))).expect("valid");
    for (batch, columns) in chosen(&shapes(), assigned_by(false)) {
        let shape = Shape::new(batch.min(7), columns).expect("small");
        for (method, over_ranks) in
            [(softmax.into(), false), (softmax.into(), true), (centered.into(), false)]
        {
            follows_the_oracle(shape, &logits(shape, 1.0), method, over_ranks);
        }
        for (method, over_ranks) in [(mira.into(), false), (swav, false), (swav, true)] {
            follows_the_oracle(shape, &logits(shape, 60.0), method, over_ranks);
        }
        // Most of these go ahead unjudged in the kernels for short rows.
        follows_the_oracle(shape, &logits(shape, 1.0), sweeps.into(), false);
        // Every other row is not as usual, and is looked at again.
        for over_ranks in [false, true] {
            let mut logits = logits(shape, 1.0);
            let is_forbidden = |i: usize| (i / columns).is_multiple_of(2) && i % 61 == 7;
            for (_, logit) in logits.iter_mut().enumerate().filter(|(i, _)| is_forbidden(*i)) {
                *logit = f32::NEG_INFINITY;
            }
            follows_the_oracle(shape, &logits, softmax.into(), over_ranks);
            follows_the_oracle(shape, &logits, mira.into(), over_ranks);
        }
    }
}

/// Of about `size`; some prototypes are popular.
fn logits<L: Stored>(shape: Shape, size: f64) -> Vec<L> {
    let columns = shape.num_prototypes();
    let popularity = |j: usize| j as f64 / columns as f64;
    let value = |i: usize| (0.37 * ((i * i) % 8191) as f64).sin() + popularity(i % columns);
    (0..shape.len()).map(|i| L::stored(size * value(i))).collect()
}

fn follows_the_oracle(shape: Shape, logits: &[f32], method: Method, over_ranks: bool) {
    let stream = stream();
    let mut assigner = CudaAssigner::<f32>::new(method, &stream).expect("the kernels load");
    if over_ranks {
        assigner = assigner.with_collective(Arc::new(ThroughHost(Arc::new(SingleProcess))));
    } else {
        assigner = assigner.with_objective(true);
    }
    let oracle = Reference::<f32>::new(method);
    let on_device = DeviceMatrix::from_host(&stream, shape, logits).expect("memory");
    let mut workspace = assigner.workspace(shape).expect("memory");
    let mut out = assigner.output(shape).expect("memory");
    let mut its_workspace = oracle.workspace(shape).expect("memory");
    let mut expected = vec![0.0; shape.len()];
    // Twice, for a centre has moved by then.
    for _ in 0..2 {
        assigner.assign_into(on_device.rows(), out.rows_mut(), &mut workspace).unwrap();
        let matrix = Matrix::new(logits, shape).expect("as many");
        oracle.assign_into(matrix, &mut expected, &mut its_workspace).expect("valid logits");
        let report = assigner.report(&workspace).expect("valid logits");
        let its_report = oracle.report(&its_workspace).expect("valid logits");
        let context = format!("{method:?} at {shape:?}, over ranks: {over_ranks}");
        assert_eq!(report.iterations, its_report.iterations, "{context}");
        if let (false, Some(expected)) = (over_ranks, its_report.objective) {
            let objective = report.objective.expect("asked for");
            let is_close = (objective - expected).abs() <= 1e-5 * expected.abs().max(1.0);
            assert!(is_close, "{context}: objective {objective}, not {expected}");
        }
        let out: Vec<f32> = out.to_host().expect("a device");
        let off =
            out.iter().zip(&expected).map(|(got, expected)| (f64::from(*got) - expected).abs());
        let off = off.fold(0.0, f64::max);
        assert!(off < 1e-5, "{context}: {off:e}");
    }
}

fn right<L: Logit + Stored>((batch, columns): (usize, usize), over_ranks: bool) {
    let stream = stream();
    let shape = Shape::new(batch, columns).expect("small");
    let logits: Vec<L> = logits(shape, 1.0);
    let on_device = DeviceMatrix::from_host(&stream, shape, &logits).expect("memory");
    let logits: Vec<f64> = logits.into_iter().map(Into::into).collect();
    let sinkhorn = Sinkhorn::new(0.3).expect("valid");
    for method in [Method::from(Mira::default()), sinkhorn.into()] {
        let mut assigner = CudaAssigner::<L>::new(method, &stream).expect("the kernels load");
        if over_ranks {
            assigner = assigner.with_collective(Arc::new(ThroughHost(Arc::new(SingleProcess))));
        }
        let mut workspace = assigner.workspace(shape).expect("memory");
        let mut out = assigner.output(shape).expect("memory");
        assigner.assign_into(on_device.rows(), out.rows_mut(), &mut workspace).unwrap();
        let report = assigner.report(&workspace).expect("valid logits");
        let weights = workspace.log_weights(0).expect("a device");
        let out: Vec<f32> = out.to_host().expect("a device");
        let matrices = (Matrix::new(&logits, shape), Matrix::new(&out, shape));
        let (logits, out) = (matrices.0.expect("as many"), matrices.1.expect("as many"));
        let verdict = verify_at(logits, out, &method, &weights).expect("finite");
        let (found, said) = (verdict.certificate, report.certificate);
        let context = format!("{method:?} at {batch}x{columns}: {said:?}, but {found:?}");
        assert_eq!(report.status, Status::Converged, "{context}");
        assert!(
            found.log_ratio_bound <= said.log_ratio_bound + said.rounding_allowance + ROUNDING,
            "{context}"
        );
        assert!(found.marginal_error <= said.marginal_error + ROUNDING, "{context}");
        assert!(found.label_kl_bound <= said.label_kl_bound + ROUNDING, "{context}");
    }
}

const LOSSES: [(usize, usize); 8] =
    [(150, 100), (70, 200), (40, 400), (21, 900), (10, 2000), (9, 3000), (9, 4000), (9, 5000)];

/// Each of its kernels, with more rows than blocks or warps have at once.
#[test]
fn every_width_of_a_cross_entropy_is_right() {
    fn check<L: Logit + Stored, A: Probability + Stored>() {
        let stream = stream();
        let kernel_of = |shape| {
            let dtypes = (Dtype::F32, Dtype::F32);
            CrossEntropyPlan::new(shape, dtypes, 0.1, 1.0, hardware()).expect("it fits").kernel
        };
        for shape in chosen(&LOSSES, kernel_of) {
            let problem = Problem::new::<L, A>(shape, 0.1, 1.0);
            let shape = problem.shape();
            let logits: Vec<L> = problem.logits.iter().map(|x| L::stored(*x)).collect();
            let weights: Vec<A> = problem.weights.iter().map(|x| A::stored(*x)).collect();
            let logits = DeviceMatrix::from_host(&stream, shape, &logits).expect("memory");
            let weights = DeviceMatrix::from_host(&stream, shape, &weights).expect("memory");
            let mut gradient = DeviceMatrix::zeros(&stream, shape).expect("memory");
            let mut mean =
                CrossEntropy::<L, A>::new(&stream, shape, problem.temperature, problem.scale)
                    .unwrap();
            mean.launch(&logits.rows(), &weights.rows(), Some(&mut gradient.rows_mut())).unwrap();
            let answer = Answer {
                loss: mean.loss().expect("a device"),
                row_losses: problem.reference().row_losses, // which it does not give
                gradient: gradient.to_host().expect("memory").into_iter().map(L::into).collect(),
            };
            if let Err(wrong) = problem.compare::<L>(&answer) {
                let types = (<L as Stored>::DTYPE, <A as Stored>::DTYPE);
                panic!("{shape:?} of {types:?}: {wrong}");
            }
        }
    }
    check::<f32, f32>();
    check::<f16, f32>();
    check::<bf16, f32>();
    check::<f32, bf16>();
    check::<f16, bf16>();
    check::<bf16, bf16>();
}
