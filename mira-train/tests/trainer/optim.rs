//! Optimisers beside `PyTorch`'s (`dev/optimizer_golden.py`) and beside their equations in f64.

mod naive;

use mira_train::optim::{Error, Optimizer, Segment, ema};
use mira_train::recipe;
use naive::Naive;
use serde::Deserialize;

/// Settings of `[optimizer]` from JSON; learning rate and decay come with each step.
fn settings(mut json: serde_json::Value) -> recipe::Optimizer {
    json["base_lr"] = 1.0.into();
    json["weight_decay"] = 0.0.into();
    serde_json::from_value(json).unwrap()
}

fn kinds() -> Vec<recipe::Optimizer> {
    [
        serde_json::json!({"kind": "sgd"}),
        serde_json::json!({"kind": "sgd", "momentum": 0.7, "nesterov": true}),
        serde_json::json!({"kind": "lars"}),
        serde_json::json!({"kind": "adamw"}),
    ]
    .map(settings)
    .into()
}

#[derive(Deserialize)]
struct Golden {
    shapes: Vec<Vec<usize>>,
    frozen: Frozen,
    lr: Vec<f64>,
    weight_decay: Vec<f64>,
    start: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Frozen {
    segment: usize,
    steps: Vec<usize>,
}

#[derive(Deserialize)]
struct Run {
    name: String,
    settings: serde_json::Value,
    parameters_after: Vec<Vec<f32>>,
}

#[test]
fn pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/optimizers.json")).unwrap();
    let mut end = 0;
    let segments: Vec<Segment> = golden
        .shapes
        .iter()
        .map(|shape| {
            let start = end;
            end += shape.iter().product::<usize>();
            Segment { range: start..end, regularised: shape.len() > 1 }
        })
        .collect();
    assert_eq!(golden.runs.len(), 4);
    for run in golden.runs {
        let mut optimizer = Optimizer::new(&settings(run.settings), golden.start.len());
        let mut parameters = golden.start.clone();
        for (step, gradients) in golden.gradients.iter().enumerate() {
            let frozen = |i| i == golden.frozen.segment && golden.frozen.steps.contains(&step);
            let (lr, decay) = (golden.lr[step], golden.weight_decay[step]);
            optimizer.step(&mut parameters, gradients, &segments, &frozen, lr, decay);
            for (i, (got, want)) in parameters.iter().zip(&run.parameters_after[step]).enumerate() {
                // Twelve steps of a handful of f32 roundings each.
                assert!(
                    (got - want).abs() <= 2e-6 * (1.0 + want.abs()),
                    "{} step {step} [{i}]: {got} ≠ {want}",
                    run.name
                );
            }
        }
        assert_eq!(optimizer.num_steps(), 12);
    }
}

/// Deterministic numbers in (−1, 1).
fn numbers(n: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Segments of odd lengths, with a gap that belongs to none.
fn segments() -> Vec<Segment> {
    [(0..1001, true), (1001..1004, false), (1010..5013, true), (5013..5020, true)]
        .map(|(range, regularised)| Segment { range, regularised })
        .into()
}

const NUM_PARAMETERS: usize = 5020;

fn lr_and_decay(step: u64) -> (f64, f64) {
    (0.02 + 0.01 * step as f64, 0.1 / (1.0 + step as f64))
}

/// `steps` more steps.
fn train(optimizer: &mut Optimizer, parameters: &mut [f32], steps: std::ops::Range<u64>) {
    for step in steps {
        let gradients = numbers(NUM_PARAMETERS, 100 + step);
        let (lr, decay) = lr_and_decay(step);
        let frozen = |i| i == 3 && step < 2;
        optimizer.step(parameters, &gradients, &segments(), &frozen, lr, decay);
    }
}

#[test]
fn the_equations_in_f64() {
    for settings in kinds() {
        let mut optimizer = Optimizer::new(&settings, NUM_PARAMETERS);
        let start = numbers(NUM_PARAMETERS, 1);
        let mut parameters = start.clone();
        train(&mut optimizer, &mut parameters, 0..8);

        let mut naive = Naive::new(&settings, &start);
        for step in 0..8 {
            let gradients = numbers(NUM_PARAMETERS, 100 + step);
            let (lr, decay) = lr_and_decay(step);
            naive.step(&gradients, &segments(), &|i| i == 3 && step < 2, lr, decay);
        }
        for (i, (&got, want)) in parameters.iter().zip(&naive.parameters).enumerate() {
            let error = (f64::from(got) - want).abs();
            assert!(error <= 3e-6, "{:?} [{i}]: {got} ≠ {want}", settings.kind);
        }
        assert_eq!(parameters[1004..1010], start[1004..1010], "the gap moved");
    }
}

#[test]
fn frozen_segments_keep_parameters_and_state() {
    for settings in kinds() {
        let mut optimizer = Optimizer::new(&settings, NUM_PARAMETERS);
        let mut parameters = numbers(NUM_PARAMETERS, 1);
        train(&mut optimizer, &mut parameters, 0..3);
        let (before, state) = (parameters.clone(), saved(&optimizer));
        let gradients = numbers(NUM_PARAMETERS, 9);
        optimizer.step(&mut parameters, &gradients, &segments(), &|i| i == 2, 0.1, 0.1);
        assert_eq!(parameters[1010..5013], before[1010..5013]);
        assert_ne!(parameters[..1001], before[..1001]);
        for ((name, after), (_, before)) in saved(&optimizer).iter().zip(&state) {
            if name == "segment_steps" {
                assert_eq!(after, &[4.0, 4.0, 3.0, 2.0]);
            } else {
                assert_eq!(after[1010..5013], before[1010..5013], "{name}");
                assert_ne!(after[..1001], before[..1001], "{name}");
            }
        }
    }
}

fn saved(optimizer: &Optimizer) -> Vec<(String, Vec<f32>)> {
    optimizer.state().iter().map(|(name, v)| ((*name).to_owned(), v.to_vec())).collect()
}

#[test]
fn a_restored_run_is_the_uninterrupted_one() {
    for settings in kinds() {
        let mut optimizer = Optimizer::new(&settings, NUM_PARAMETERS);
        let mut uninterrupted = numbers(NUM_PARAMETERS, 1);
        train(&mut optimizer, &mut uninterrupted, 0..3);
        let (mut resumed, mut state) = (uninterrupted.clone(), saved(&optimizer));
        train(&mut optimizer, &mut uninterrupted, 3..7);

        state.reverse(); // order is not part of the format
        let mut restored = Optimizer::new(&settings, NUM_PARAMETERS);
        restored.restore(&state).unwrap();
        train(&mut restored, &mut resumed, 3..7);
        assert_eq!(bits(&resumed), bits(&uninterrupted), "{:?}", settings.kind);
        assert_eq!(saved(&restored), saved(&optimizer));
        assert_eq!(restored.num_steps(), 7);
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn one_thread_and_many_give_the_same_bits() {
    for settings in kinds() {
        let run = |num_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
            let mut parameters = numbers(NUM_PARAMETERS, 1);
            let mut optimizer = Optimizer::new(&settings, NUM_PARAMETERS);
            pool.install(|| train(&mut optimizer, &mut parameters, 0..5));
            bits(&parameters)
        };
        assert_eq!(run(1), run(4));
    }
}

#[test]
fn a_state_of_something_else_is_refused_and_changes_nothing() {
    let [sgd, _, _, adamw] = kinds().try_into().unwrap();
    let mut optimizer = Optimizer::new(&adamw, 4);
    let other = saved(&Optimizer::new(&sgd, 4));
    assert!(matches!(optimizer.restore(&other), Err(Error::Names { .. })));
    let longer = saved(&Optimizer::new(&adamw, 5));
    let error = optimizer.restore(&longer).unwrap_err();
    assert!(matches!(error, Error::Length { got: 5, expected: 4, .. }), "{error}");
    assert_eq!(saved(&optimizer), saved(&Optimizer::new(&adamw, 4)));
}

#[test]
fn the_teachers_average() {
    let student = numbers(200_003, 5);
    let start = numbers(200_003, 6);
    let mut teacher = start.clone();
    ema(&mut teacher, &student, 1.0);
    assert_eq!(bits(&teacher), bits(&start));
    for _ in 0..10 {
        ema(&mut teacher, &student, 0.9);
    }
    // A student that stands still: after n steps s + mⁿ(t₀ − s).
    for ((&t, &s), &t0) in teacher.iter().zip(&student).zip(&start) {
        let (s, t0) = (f64::from(s), f64::from(t0));
        let expected = s + 0.9_f64.powi(10) * (t0 - s);
        assert!((f64::from(t) - expected).abs() < 1e-6);
    }
    ema(&mut teacher, &student, 0.0);
    assert_eq!(bits(&teacher), bits(&student));
    ema(&mut teacher, &student, 0.37);
    assert_eq!(bits(&teacher), bits(&student));
}
