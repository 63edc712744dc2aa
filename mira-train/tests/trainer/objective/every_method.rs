//! What holds for every method, whatever its loss: a new entry of `METHODS` is tested, and named below only where its numbers are of another kind.

use candle_core::DType;
use mira_train::objective::{METHODS, Method, Ranks, State};

use super::support::{
    BATCH, Evaluated, Inputs, STEPS_PER_EPOCH, build, close, differences, evaluate, numbers,
    on_ranks, prepare, recipe, same, saved, take,
};

/// Methods whose targets are f32 in the loss: their losses are f32, too.
const F32_ONLY: &[&str] = &["mira"];
/// Methods that make targets of their global views inside the loss, without a gradient: the loss is to be differenced by other views only.
const TARGETS_IN_LOSS: &[&str] = &["swav"];
/// Methods whose assignments are f32: a batch spread over ranks adds it up in another order.
const F32_TARGETS: &[&str] = &["mira", "swav", "deepcluster-v2"];
/// Methods whose gradient is not that of their loss by design.
const OWN_GRADIENT: &[&str] = &["minc"];

fn is(list: &[&str], method: &Method) -> bool {
    list.contains(&method.name)
}

fn dtype(method: &Method) -> DType {
    if is(F32_ONLY, method) { DType::F32 } else { DType::F64 }
}

/// What rounding may do.
fn tolerance(method: &Method) -> f64 {
    if is(F32_TARGETS, method) { 2e-5 } else { 1e-9 }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let alone = Ranks::default();
    for method in METHODS.iter().filter(|method| !is(OWN_GRADIENT, method)) {
        let recipe = recipe(method, &[]);
        let inputs = Inputs::new(method, &recipe, 1);
        let mut objective = build(&recipe, &alone);
        let dtype = dtype(method);
        let (epsilon, tolerance) = if dtype == DType::F32 { (4e-3, 4e-3) } else { (1e-5, 1e-6) };
        let step = inputs.step(0, &alone);
        prepare(method, &mut *objective, &inputs, dtype, &step).expect(method.name);
        let got = evaluate(&mut *objective, &inputs, dtype, 0, &step).expect(method.name);
        let skip = if is(TARGETS_IN_LOSS, method) { 2 } else { 0 };
        let mut at: Vec<Vec<f64>> =
            inputs.views[skip..].iter().map(|view| view.values.clone()).collect();
        let mut gradients = got.views[skip..].to_vec();
        if skip == 0 {
            at.extend(inputs.own.values().map(|own| own.values.clone()));
            gradients.extend(got.own.into_values());
        }
        let expected = differences(&at, epsilon, |point| {
            let mut inputs = inputs.clone();
            let (views, own) = point.split_at(inputs.views.len() - skip);
            for (to, from) in inputs.views[skip..].iter_mut().zip(views) {
                to.values.clone_from(from);
            }
            for (to, from) in inputs.own.values_mut().zip(own) {
                to.values.clone_from(from);
            }
            evaluate(&mut *objective, &inputs, dtype, 0, &step).expect(method.name).loss
        });
        for (i, (got, expected)) in gradients.iter().zip(&expected).enumerate() {
            assert!(got.iter().any(|g| g.abs() > 1e-6), "{}: gradient {i} is 0", method.name);
            close(&format!("{}: gradient {i}", method.name), got, expected, tolerance);
        }
    }
}

/// Whether loss and gradients are finite; those of large values may overflow the type where the ones in f32 are beyond its range.
fn finite(what: &str, got: &Evaluated, in_f32: &Evaluated) {
    let may_overflow = what.ends_with("large values");
    assert!(got.loss.is_finite(), "{what}: loss {}", got.loss);
    let all = |of: &Evaluated| -> Vec<f64> {
        of.views.iter().chain(of.own.values()).flatten().copied().collect()
    };
    for (got, in_f32) in all(got).into_iter().zip(all(in_f32)) {
        assert!(in_f32.is_finite(), "{what}: a gradient is {in_f32} in f32");
        let is_beyond = may_overflow && in_f32.abs() > 6e4;
        assert!(got.is_finite() || is_beyond, "{what}: {got}, {in_f32} in f32");
    }
}

#[test]
fn half_precision_and_degenerate_batches_stay_finite() {
    type Change = fn(usize, &mut f64);
    let changes: [(&str, Change); 5] = [
        ("as drawn", |_, _| ()),
        ("a row of zeros", |i, x| *x = if i == 3 { 0.0 } else { *x }),
        ("all zeros", |_, x| *x = 0.0),
        ("equal rows", |_, x| *x = 0.25),
        ("large values", |_, x| *x *= 1e3),
    ];
    let alone = Ranks::default();
    for method in METHODS {
        let dtypes = [DType::F16, DType::BF16, DType::F32];
        for dtype in dtypes.into_iter().filter(|t| *t == DType::F32 || !is(F32_ONLY, method)) {
            for (what, change) in changes {
                let recipe = recipe(method, &[]);
                let mut inputs = Inputs::new(method, &recipe, 2);
                for values in inputs.views.iter_mut().chain(&mut inputs.teacher) {
                    let dim = values.shape[1];
                    values.values.iter_mut().enumerate().for_each(|(i, x)| change(i / dim, x));
                }
                let what = format!("{}, {dtype:?}, {what}", method.name);
                let mut objective = build(&recipe, &alone);
                let mut in_f32 = build(&recipe, &alone);
                // Some steps, so that the state has seen it, too.
                for number in 0..2 * STEPS_PER_EPOCH {
                    let step = inputs.step(number, &alone);
                    let got = take(method, &mut *objective, &inputs, dtype, &step).expect(&what);
                    let wide = take(method, &mut *in_f32, &inputs, DType::F32, &step);
                    finite(&what, &got, &wide.expect(&what));
                }
                for (name, values) in objective.state() {
                    assert!(values.iter().all(|x| x.is_finite()), "{what}: state {name}");
                }
            }
        }
    }
}

/// Each step's loss and gradients over a few steps, of inputs that differ.
fn run(method: &Method, ranks: &Ranks, rows: &[usize], num_steps: u64) -> Vec<Evaluated> {
    let recipe = recipe(method, &[]);
    let mut objective = build(&recipe, ranks);
    let step = |number: u64| {
        let inputs = Inputs::new(method, &recipe, 40 + number).rows(rows);
        let step = inputs.step(number, ranks);
        take(method, &mut *objective, &inputs, dtype(method), &step).expect(method.name)
    };
    (0..num_steps).map(step).collect()
}

#[test]
fn two_ranks_are_one_with_the_whole_batch() {
    let num_steps = 3 * STEPS_PER_EPOCH;
    for method in METHODS {
        let all: Vec<usize> = (0..BATCH).collect();
        let whole = run(method, &Ranks::default(), &all, num_steps);
        let parts = on_ranks(2, |rank, ranks| {
            let half = BATCH / 2;
            run(method, &ranks, &all[rank * half..(rank + 1) * half], num_steps)
        });
        for (number, whole) in whole.iter().enumerate() {
            let [first, second] = [&parts[0][number], &parts[1][number]];
            assert_eq!(first.loss, second.loss, "{}: not the same bits", method.name);
            let views = first.views.iter().zip(&second.views);
            let own = first.own.iter().map(|(name, gradient)| {
                let sum = gradient.iter().zip(&second.own[name]).map(|(a, b)| a + b);
                (name.clone(), sum.collect())
            });
            let joined = Evaluated {
                loss: first.loss,
                views: views.map(|(a, b)| [a.clone(), b.clone()].concat()).collect(),
                own: own.collect(),
            };
            let what = format!("{}, step {number}", method.name);
            same(&what, &joined, whole, tolerance(method));
        }
    }
}

#[test]
fn the_order_of_samples_does_not_matter() {
    let order = [5, 2, 7, 0, 1, 6, 3, 4];
    let all: Vec<usize> = (0..BATCH).collect();
    for method in METHODS {
        let ranks = Ranks::default();
        let num_steps = 2 * STEPS_PER_EPOCH;
        let (straight, shuffled) =
            (run(method, &ranks, &all, num_steps), run(method, &ranks, &order, num_steps));
        for (number, (straight, shuffled)) in straight.iter().zip(&shuffled).enumerate() {
            let mut expected = straight.clone();
            for gradient in &mut expected.views {
                let dim = gradient.len() / BATCH;
                let row = |i: &usize| gradient[i * dim..(i + 1) * dim].to_vec();
                *gradient = order.iter().flat_map(row).collect();
            }
            let what = format!("{}, step {number}", method.name);
            same(&what, shuffled, &expected, tolerance(method));
        }
    }
}

#[test]
fn parts_of_a_batch_add_up_to_the_whole() {
    let alone = Ranks::default();
    let mut num_methods = 0;
    for method in METHODS.iter().filter(|method| !method.needs.couples_samples) {
        let recipe = recipe(method, &[]);
        let inputs = Inputs::new(method, &recipe, 3);
        let mut objective = build(&recipe, &alone);
        let dtype = dtype(method);
        let step = inputs.step(1, &alone);
        prepare(method, &mut *objective, &inputs, dtype, &step).expect(method.name);
        let whole = evaluate(&mut *objective, &inputs, dtype, 0, &step).expect(method.name);
        let half = BATCH / 2;
        let mut part = |start: usize| {
            let rows: Vec<usize> = (start..start + half).collect();
            let mut part = inputs.rows(&rows);
            part.indices.clone_from(&inputs.indices);
            evaluate(&mut *objective, &part, dtype, start, &step).expect(method.name)
        };
        let (first, second) = (part(0), part(half));
        let mean = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect();
        let own = first.own.iter().map(|(name, a)| (name.clone(), mean(a, &second.own[name])));
        let views = first.views.iter().zip(&second.views);
        let halved = |(a, b): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> {
            a.iter().chain(b).map(|g| g / 2.0).collect()
        };
        let joined = Evaluated {
            loss: f64::midpoint(first.loss, second.loss),
            views: views.map(halved).collect(),
            own: own.collect(),
        };
        same(method.name, &joined, &whole, if dtype == DType::F32 { 1e-5 } else { 1e-12 });
        num_methods += 1;
    }
    assert!(num_methods > 0, "no method without coupled samples");
}

#[test]
fn a_resumed_method_goes_on_as_if_nothing_had_happened() {
    let alone = Ranks::default();
    for method in METHODS {
        let recipe = recipe(method, &[]);
        let dtype = dtype(method);
        let mut straight = build(&recipe, &alone);
        // Interrupted after every number of steps, within epochs and between them.
        for number in 0..4 * STEPS_PER_EPOCH {
            let inputs = Inputs::new(method, &recipe, 70 + number);
            let step = inputs.step(number, &alone);
            let before = saved(&*straight);
            let mut resumed = build(&recipe, &alone);
            resumed.restore(before.clone()).expect(method.name);
            assert_eq!(saved(&*resumed), before, "{}", method.name);
            // A step that was skipped leaves no trace.
            let other = Inputs::new(method, &recipe, 90 + number);
            let skipped = other.step(number, &alone);
            prepare(method, &mut *resumed, &other, dtype, &skipped).expect(method.name);
            evaluate(&mut *resumed, &other, dtype, 0, &skipped).expect(method.name);
            assert_eq!(saved(&*resumed), before, "{}: state changed in a loss", method.name);
            let expected = take(method, &mut *straight, &inputs, dtype, &step).expect(method.name);
            let got = take(method, &mut *resumed, &inputs, dtype, &step).expect(method.name);
            assert_eq!(got, expected, "{}, step {number}", method.name);
            assert_eq!(saved(&*resumed), saved(&*straight), "{}", method.name);
        }
    }
}

#[test]
fn state_of_something_else_is_refused() {
    let alone = Ranks::default();
    for method in METHODS {
        let recipe = recipe(method, &[]);
        let mut objective = build(&recipe, &alone);
        for number in 0..3 * STEPS_PER_EPOCH {
            let inputs = Inputs::new(method, &recipe, number);
            let step = inputs.step(number, &alone);
            take(method, &mut *objective, &inputs, dtype(method), &step).expect(method.name);
        }
        let state = saved(&*objective);
        let refused = |what: &str, state: State| {
            let restored = build(&recipe, &alone).restore(state);
            assert!(restored.is_err(), "{}: took {what}", method.name);
        };
        let mut foreign = state.clone();
        foreign.insert("nonsense".into(), numbers(1, 4).iter().map(|x| *x as f32).collect());
        refused("a name that it does not have", foreign);
        if !state.is_empty() {
            let mut short = state.clone();
            for values in short.values_mut() {
                values.pop();
            }
            refused("state that ends early", short);
        }
        for name in state.keys() {
            let mut missing = state.clone();
            missing.remove(name);
            refused(&format!("state without {name}"), missing);
            let mut long = state.clone();
            long.get_mut(name).expect("present").push(0.5);
            refused(&format!("a longer {name}"), long);
        }
    }
}
