//! The cross-entropy kernels, run on the CPU, against the definition in f64.

#[macro_use]
mod launch;
mod errors;
mod mistakes;
mod reference;

use half::{bf16, f16};
use mira_cuda::cross_entropy::CrossEntropyPlan;
use mira_cuda::plan::{Dtype, Hardware};

use launch::{Emulated, Gradient, Layout, SMALL, alternatives};
use reference::{Answer, Problem, Stored};

/// One and many, full and not, of a warp (32) and a block (64); more rows than the blocks have at once; too long for any registers.
const SHAPES: [(usize, usize); 14] = [
    (1, 1),
    (1, 37),
    (1, 600),
    (5, 1),
    (9, 2),
    (13, 64),
    (3, 65),
    (2, 128),
    (4, 129),
    (5, 384),
    (14, 385),
    (17, 513),
    (5, 1000),
    (2, 2500),
];

fn right<L: Stored, A: Stored>(problem: &Problem, layout: Layout) {
    for mut emulated in alternatives::<L, A>(problem, SMALL) {
        let done = emulated.run::<L, A>(problem, layout);
        if let Err(wrong) = done.and_then(|answer| problem.compare::<L>(&answer)) {
            let (rows, columns) = (problem.rows, problem.columns);
            panic!(
                "{} of {rows} × {columns}, τ {}, {:?} and {:?}, {layout:?}: {wrong}",
                emulated.kernel,
                problem.temperature,
                L::DTYPE,
                A::DTYPE
            );
        }
    }
}

fn bits(answer: &Answer) -> Vec<u64> {
    let all = answer.row_losses.iter().chain(&answer.gradient);
    all.chain([&answer.loss]).map(|x| x.to_bits()).collect()
}

#[test]
fn every_shape_type_and_kernel_is_right() {
    fn check<L: Stored, A: Stored>(seed: u64) {
        for (i, shape) in SHAPES.into_iter().enumerate() {
            let gaps = [i % 3, (i + 1) % 4, 5 * (i % 2)];
            let problem = Problem::new::<L, A>(shape, 0.1, 1.0);
            right::<L, A>(&problem, Layout { gaps, seed, ..Layout::default() });
        }
    }
    for seed in 0..2 {
        for_all_types!(check(seed));
    }
}

#[test]
fn every_temperature_and_size_of_logits_is_right() {
    fn check<L: Stored, A: Stored>() {
        for temperature in [0.05, 0.1, 0.3, 1.0] {
            for range in [1e-3, 30.0, 1e4] {
                for shape in [(5, 70), (2, 700)] {
                    let problem = Problem::new::<L, A>(shape, temperature, range);
                    right::<L, A>(&problem, Layout::default());
                }
            }
        }
    }
    for_all_types!(check());
}

#[test]
fn rows_far_from_zero_are_right() {
    for offset in [-5000.0, 5000.0] {
        for shape in [(5, 70), (3, 450), (2, 700)] {
            let mut problem = Problem::new::<f32, f32>(shape, 0.2, 1.0);
            problem.logits.iter_mut().for_each(|s| *s = (*s * 512.0).round() / 512.0 + offset);
            right::<f32, f32>(&problem, Layout::default());
        }
    }
}

#[test]
fn losses_and_their_sum_have_the_precision_of_f64() {
    // Where f32 rounds nothing: equal logits, one of three.
    let mut problem = Problem::new::<f32, f32>((33, 3), 0.1, 1.0);
    problem.logits.fill(0.25);
    problem.weights = [0.0, 1.0, 0.0].repeat(33);
    let expected = 3_f64.ln();
    for mut emulated in alternatives::<f32, f32>(&problem, SMALL) {
        let loss = emulated.run::<f32, f32>(&problem, Layout::default()).unwrap().loss;
        assert!((loss - expected).abs() < 1e-14, "{}: {loss}, not {expected}", emulated.kernel);
    }
}

#[test]
fn long_rows_are_right_wherever_their_maximum_is() {
    fn check<L: Stored, A: Stored>(columns: usize) {
        let mut problem = Problem::new::<L, A>((3, columns), 0.1, 2.0);
        problem.logits[..columns].sort_by(f64::total_cmp);
        problem.logits[columns..2 * columns].sort_by(|a, b| b.total_cmp(a));
        right::<L, A>(&problem, Layout { gaps: [1, 2, 0], ..Layout::default() });
    }
    for columns in [513, 3000, 131_072] {
        check::<f32, f32>(columns);
        check::<bf16, f32>(columns);
    }
}

#[test]
fn the_scale_is_that_of_loss_and_gradient_but_not_of_rows() {
    for scale in [0.0, -2.0, 1024.0] {
        let problem = Problem { scale, ..Problem::new::<f32, f32>((7, 90), 0.2, 1.0) };
        right::<f32, f32>(&problem, Layout::default());
    }
}

#[test]
fn a_gradient_may_replace_the_logits_or_be_left_out() {
    fn check<L: Stored, A: Stored>() {
        for shape in [(13, 50), (5, 400), (3, 900)] {
            let problem = Problem::new::<L, A>(shape, 0.1, 1.0);
            for mut emulated in alternatives::<L, A>(&problem, SMALL) {
                let mut run = |gradient, row_losses| {
                    let layout =
                        Layout { gaps: [3, 1, 2], gradient, row_losses, ..Layout::default() };
                    emulated.run::<L, A>(&problem, layout).unwrap()
                };
                let apart = run(Gradient::Apart, true);
                assert_eq!(bits(&run(Gradient::InPlace, true)), bits(&apart), "{shape:?}");
                let none = run(Gradient::None, true);
                assert!(none.gradient.iter().all(|g| g.is_nan()), "not written");
                assert_eq!((none.loss, none.row_losses), (apart.loss, apart.row_losses));
                let no_rows = run(Gradient::Apart, false);
                assert!(no_rows.row_losses.iter().all(|l| l.is_nan()), "not written");
                assert_eq!((no_rows.loss, no_rows.gradient), (apart.loss, apart.gradient));
            }
        }
    }
    check::<f32, f32>();
    check::<f16, bf16>();
    check::<bf16, f32>();
}

#[test]
fn bits_depend_neither_on_the_order_of_threads_nor_on_the_number_of_blocks() {
    for shape in [(70, 50), (29, 400), (5, 900)] {
        let problem = Problem::new::<f32, f32>(shape, 0.1, 1.0);
        let kernels = alternatives::<f32, f32>(&problem, SMALL).len();
        for kernel in 0..kernels {
            let run = |multiprocessors, seed| {
                let hardware = Hardware { multiprocessors, ..SMALL };
                let mut emulated = alternatives::<f32, f32>(&problem, hardware).remove(kernel);
                let layout = Layout { seed, ..Layout::default() };
                let answer = emulated.run::<f32, f32>(&problem, layout).unwrap();
                (bits(&answer), emulated.plan.blocks)
            };
            let (first, blocks) = run(1, 0);
            for seed in 1..8 {
                assert_eq!(run(1, seed).0, first, "{shape:?}, seed {seed}");
            }
            let (many, more_blocks) = run(9, 8);
            assert!(more_blocks > blocks, "{shape:?}: {more_blocks} blocks");
            assert_eq!(many, first, "{shape:?} over {more_blocks} blocks");
        }
    }
}

#[test]
fn a_launch_leaves_the_workspace_ready_for_the_next() {
    let problems: Vec<Problem> =
        [0.05, 0.5, 0.1].map(|tau| Problem::new::<f32, f32>((41, 70), tau, 1.0)).into();
    for problem in &problems {
        right::<f32, f32>(problem, Layout::default());
    }
    // The same workspace, other logits.
    let mut emulated = alternatives::<f32, f32>(&problems[0], SMALL).remove(0);
    for seed in 0..4 {
        let mut other = problems[0].clone();
        other.logits.rotate_left(usize::try_from(seed).unwrap() * 11);
        let layout = Layout { seed, ..Layout::default() };
        other.compare::<f32>(&emulated.run::<f32, f32>(&other, layout).unwrap()).unwrap();
    }
}

#[test]
fn forbidden_columns_and_broken_rows_stay_by_themselves() {
    fn check<L: Stored, A: Stored>() {
        for columns in [40, 300, 1500] {
            let mut problem = Problem::new::<L, A>((12, columns), 0.1, 1.0);
            let whole = problem.clone();
            let at = |row, column| row * columns + column;
            // Rows 1 and 5: forbidden without weight; most of a row, and where a thread's first column is.
            for column in (0..columns).filter(|j| *j != columns - 2) {
                problem.logits[at(1, column)] = f64::NEG_INFINITY;
                problem.weights[at(1, column)] = 0.0;
            }
            problem.logits[at(5, 0)] = f64::NEG_INFINITY;
            problem.weights[at(5, 0)] = 0.0;
            // Row 2: forbidden with weight. Rows 4, 6 and 7: no softmax. Row 9: no weight at all. Row 10: a weight that is no number.
            problem.logits[at(2, columns - 1)] = f64::NEG_INFINITY;
            problem.weights[at(2, columns - 1)] = 0.5;
            problem.logits[at(4, columns / 2)] = f64::NAN;
            problem.logits[at(6, 3)] = f64::INFINITY;
            problem.logits[at(7, 0)..at(8, 0)].fill(f64::NEG_INFINITY);
            problem.weights[at(9, 0)..at(10, 0)].fill(0.0);
            problem.weights[at(10, 7)] = f64::NAN;
            right::<L, A>(&problem, Layout::default());
            let kernels = alternatives::<L, A>(&problem, SMALL);
            for (mut one, mut other) in kernels.into_iter().zip(alternatives::<L, A>(&whole, SMALL))
            {
                let broken = one.run::<L, A>(&problem, Layout::default()).unwrap();
                let whole = other.run::<L, A>(&whole, Layout::default()).unwrap();
                assert!(broken.loss.is_nan());
                assert_eq!(broken.row_losses[2], f64::INFINITY);
                assert!(broken.gradient[at(2, 0)..at(3, 0)].iter().all(|g| g.is_finite()));
                for row in [4, 6, 7, 10] {
                    assert!(broken.row_losses[row].is_nan(), "{} row {row}", one.kernel);
                    let gradient = &broken.gradient[at(row, 0)..at(row + 1, 0)];
                    assert!(gradient.iter().all(|g| g.is_nan()), "{} row {row}", one.kernel);
                }
                assert_eq!(broken.row_losses[9], 0.0);
                for row in [0, 3, 8, 11] {
                    let range = at(row, 0)..at(row + 1, 0);
                    assert_eq!(broken.row_losses[row], whole.row_losses[row], "row {row}");
                    assert_eq!(broken.gradient[range.clone()], whole.gradient[range]);
                }
            }
        }
    }
    check::<f32, f32>();
    check::<bf16, bf16>();
    check::<f16, f32>();
}

#[test]
fn the_gradient_is_that_of_the_loss() {
    let (step, columns) = (1.0 / 16.0, 11);
    for temperature in [0.5, 1.0] {
        let problem = Problem::new::<f32, f32>((3, columns), temperature, 1.0);
        let plan = CrossEntropyPlan::new(
            problem.shape(),
            (Dtype::F32, Dtype::F32),
            temperature,
            problem.scale,
            SMALL,
        );
        let mut emulated = Emulated::new(plan.unwrap());
        let mut run =
            |problem: &Problem| emulated.run::<f32, f32>(problem, Layout::default()).unwrap();
        let gradient = run(&problem).gradient;
        let f64_gradient = problem.reference().gradient;
        for at in 0..3 * columns {
            let mut moved = |steps: f64| {
                let mut problem = problem.clone();
                problem.logits[at] += steps * step;
                (run(&problem).loss, problem.reference().loss)
            };
            let (far, near, back, far_back) = (moved(2.0), moved(1.0), moved(-1.0), moved(-2.0));
            let slope =
                |f2: f64, f1: f64, b1: f64, b2: f64| (8.0 * (f1 - b1) - (f2 - b2)) / (12.0 * step);
            let expected = slope(far.0, near.0, back.0, far_back.0);
            assert!((gradient[at] - expected).abs() < 1e-4, "{at}: {} {expected}", gradient[at]);
            let expected = slope(far.1, near.1, back.1, far_back.1);
            assert!((f64_gradient[at] - expected).abs() < 5e-5, "the definition itself, {at}");
        }
    }
}
