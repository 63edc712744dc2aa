//! The information-maximisation methods against golden vectors in f64, closed forms and what theory says of them.

use candle_core::{DType, Device, Tensor, Var};
use mira_train::objective::imsvd::{self, imsvd};
use mira_train::objective::minc::{alpha_information, batch_moment, direction, lower_triangle};
use mira_train::objective::mio::{self, Bound, mio};
use mira_train::objective::spectral::{self, clip_rows, spectral};
use mira_train::objective::{METHODS, Ranks};
use mira_train::rng::{Purpose, Rng};
use serde_json::Value;

use super::mira::{close, numbers};
use super::support::{BATCH, DIM, Inputs, build, recipe, saved, take};

type Test = Result<(), Box<dyn std::error::Error>>;

fn golden(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/objectives");
    let text = std::fs::read_to_string(format!("{folder}/{name}.json")).expect("the file");
    serde_json::from_str(&text).expect("JSON")
}

fn matrix(value: &Value) -> Tensor {
    let rows = value.as_array().expect("rows").len();
    Tensor::from_vec(numbers(value), (rows, ()), &Device::Cpu).expect("a matrix")
}

fn var(value: &Value) -> Var {
    Var::from_tensor(&matrix(value)).expect("a variable")
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("numbers")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The loss and its gradients by both views are the golden ones.
#[track_caller]
fn agrees(what: &str, loss: &Tensor, views: [&Var; 2], expected: [&Value; 3]) {
    close(what, &flat(loss), &numbers(expected[0]), 1e-9);
    let store = loss.backward().expect("a gradient");
    for (view, expected) in views.into_iter().zip(&expected[1..]) {
        let gradient = store.get(view.as_tensor()).expect("the view's");
        close(what, &flat(gradient), &numbers(expected), 1e-9);
    }
}

fn cases(golden: &Value) -> impl Iterator<Item = &Value> {
    golden["cases"].as_array().expect("cases").iter()
}

fn single() -> Ranks {
    Ranks::default()
}

fn noise(rows: usize, columns: usize, seed: u64) -> Tensor {
    let mut rng = Rng::new(seed, Purpose::Eval, [0; 3]);
    let values: Vec<f64> = (0..rows * columns).map(|_| f64::from(rng.normal())).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).expect("a matrix")
}

fn scalar(tensor: &Tensor) -> f64 {
    flat(tensor)[0]
}

#[test]
fn mio_and_its_candidates() -> Test {
    let golden = golden("mio");
    let (z1, z2) = (var(&golden["z1"]), var(&golden["z2"]));
    let mut seen = 0;
    for case in cases(&golden) {
        let kind = case["kind"].as_str().expect("a name");
        let bound = serde_json::from_value::<Bound>(kind.into())?;
        let settings = mio::Settings {
            positive_temperature: number(&case["tau_p"]),
            negative_temperature: number(&case["tau_n"]),
            mse_weight: number(&case["lam"]),
            bound,
        };
        let loss = mio(&z1, &z2, &settings, &single())?;
        agrees(kind, &loss, [&z1, &z2], [&case["loss"], &case["grad_z1"], &case["grad_z2"]]);
        seen += 1;
    }
    assert_eq!(seen, 6);
    Ok(())
}

#[test]
fn mio_without_similarity_is_two_logs_of_two() -> Test {
    // All 2B embeddings at right angles.
    let eye = Tensor::eye(8, DType::F64, &Device::Cpu)?;
    let (z1, z2) = (eye.narrow(0, 0, 4)?, (eye.narrow(0, 4, 4)? * 3.0)?);
    let mut settings = mio::Settings {
        positive_temperature: 0.5,
        negative_temperature: 0.2,
        mse_weight: 0.0,
        bound: Bound::Bce,
    };
    assert!((scalar(&mio(&z1, &z2, &settings, &single())?) - 2.0 * 2f64.ln()).abs() < 1e-12);
    // Each bound lies above the one before.
    let (z1, z2) = (noise(6, 3, 1), noise(6, 3, 2));
    let mut losses = Vec::new();
    for bound in [Bound::LinSoftplus, Bound::LinJensen, Bound::LinExp] {
        settings.bound = bound;
        losses.push(scalar(&mio(&z1, &z2, &settings, &single())?));
    }
    assert!(losses[0] < losses[1] && losses[1] < losses[2], "{losses:?}");
    Ok(())
}

#[test]
fn imsvd_loss_terms_and_gradients() -> Test {
    let golden = golden("imsvd");
    let (x1, x2) = (var(&golden["x1"]), var(&golden["x2"]));
    for case in cases(&golden) {
        let settings = imsvd::Settings {
            variables: 2,
            bins: 3,
            temperature: number(&case["t"]),
            invariance_weight: number(&case["c_ti"]),
            diagonal_weight: number(&case["c_dia"]),
            independence_weight: number(&case["c_off"]),
        };
        let terms = imsvd(&x1, &x2, &settings, &single())?;
        for (name, term) in
            [("ti", &terms.invariance), ("dia", &terms.diagonal), ("off", &terms.independence)]
        {
            close(name, &flat(term), &numbers(&case[name]), 1e-9);
        }
        let expected = [&case["loss"], &case["grad_x1"], &case["grad_x2"]];
        agrees("imsvd", &terms.loss, [&x1, &x2], expected);
    }
    Ok(())
}

#[test]
fn imsvd_of_the_best_the_uniform_and_the_collapsed_code() {
    let (variables, bins) = (2, 3);
    let settings = imsvd::Settings {
        variables,
        bins,
        temperature: 1.0,
        invariance_weight: 1.0,
        diagonal_weight: 1.0,
        independence_weight: 1.0,
    };
    let of = |logits: Vec<f64>| {
        let x = Tensor::from_vec(logits, ((), variables * bins), &Device::Cpu).expect("N × Kb");
        scalar(&imsvd(&x, &x, &settings, &single()).expect("it fits").loss)
    };
    let one_hot = |bin: usize| (0..bins).map(move |a| if a == bin { 60.0 } else { 0.0 });
    // Every combination of bins once: balanced, and independent between the variables.
    let best = (0..9).flat_map(|n| one_hot(n / 3).chain(one_hot(n % 3))).collect();
    let ln_b = 3f64.ln();
    assert!((of(best) + 3.0 * ln_b).abs() < 1e-5);
    assert!((of(vec![0.0; 6 * 4]) + (1.0 + 2.0 / 3.0) * ln_b).abs() < 1e-9);
    let collapsed = (0..4).flat_map(|_| one_hot(1).chain(one_hot(1))).collect();
    assert!(of(collapsed).abs() < 1e-5);
}

#[test]
fn spectral_loss_and_gradients() -> Test {
    let golden = golden("scl");
    let (z1, z2) = (var(&golden["z1"]), var(&golden["z2"]));
    for case in cases(&golden) {
        let settings = spectral::Settings {
            mu: number(&case["mu"]),
            clip: case["clip"].as_bool().expect("a flag"),
            exclude_diagonal: case["exclude_diag"].as_bool().expect("a flag"),
        };
        let loss = spectral(&z1, &z2, &settings, &single())?;
        let expected = [&case["loss"], &case["grad_z1"], &case["grad_z2"]];
        agrees("spectral", &loss, [&z1, &z2], expected);
    }
    Ok(())
}

#[test]
fn clipping_shortens_long_rows_only() -> Test {
    let z = Tensor::new(&[[3.0, 4.0], [0.6, 0.8], [0.0, 0.0], [1.0, 1.0]], &Device::Cpu)?;
    let clipped = flat(&clip_rows(&z, 4.0)?);
    close("rows", &clipped, &[1.2, 1.6, 0.6, 0.8, 0.0, 0.0, 1.0, 1.0], 1e-12);
    Ok(())
}

#[test]
fn minc_moment_loss_and_gradients() -> Test {
    let golden = golden("minc");
    let (z1, z2) = (var(&golden["z1"]), var(&golden["z2"]));
    let (t1, t2) = (matrix(&golden["t1"]), matrix(&golden["t2"]));
    for case in cases(&golden) {
        let name = case["name"].as_str().expect("a name");
        let batch = batch_moment(&t1, &t2, &single())?;
        close(name, &flat(&batch), &numbers(&case["Lam_batch"]), 1e-12);
        let moment = match &case["Lam_prev"] {
            Value::Null => batch,
            before => {
                let rho = number(&case["rho"]);
                ((matrix(before) * rho)? + (batch * (1.0 - rho))?)?
            }
        };
        close(name, &flat(&moment), &numbers(&case["Lam"]), 1e-12);
        let gha = case["gha"].as_bool().expect("a flag");
        let m = if gha { lower_triangle(&moment)? } else { moment };
        close(name, &flat(&m), &numbers(&case["M"]), 1e-12);
        let loss = (direction(&z1, &t2, &m, &single())? + direction(&z2, &t1, &m, &single())?)?;
        let expected = [&case["loss"], &case["grad_z1"], &case["grad_z2"]];
        agrees(name, &loss, [&z1, &z2], expected);
        if gha && case["Lam_prev"].is_null() {
            // What differentiating the quadratic form would give is another gradient.
            let trap = numbers(&golden["naive_quadratic_trap_grad_z1"]);
            let store = loss.backward()?;
            let ours = flat(store.get(z1.as_tensor()).expect("a gradient"));
            assert!(ours.iter().zip(&trap).any(|(a, b)| (a - b).abs() > 0.01));
        }
    }
    Ok(())
}

/// ρ = 0, no GHA, the student as its own target, and the *other* view's moment: the spectral loss over all B² pairs.
#[test]
fn minc_without_memory_has_the_spectral_losss_gradient() -> Test {
    let (z1, z2) = (Var::from_tensor(&noise(7, 3, 3))?, Var::from_tensor(&noise(7, 3, 4))?);
    let moment = |z: &Tensor| batch_moment(z, z, &single());
    let loss = (direction(&z1, &z2, &moment(&z2)?, &single())?
        + direction(&z2, &z1, &moment(&z1)?, &single())?)?;
    let settings = spectral::Settings { mu: 1.0, clip: false, exclude_diagonal: false };
    let expected = spectral(&z1, &z2, &settings, &single())?;
    let (ours, theirs) = (loss.backward()?, expected.backward()?);
    for z in [&z1, &z2] {
        let of = |store: &candle_core::backprop::GradStore| {
            flat(store.get(z.as_tensor()).expect("a gradient"))
        };
        close("gradient", &of(&ours), &of(&theirs), 1e-12);
    }
    Ok(())
}

#[test]
fn alpha_information_of_all_orders() -> Test {
    let golden = golden("alpha_mi");
    let (z1, z2) = (var(&golden["z1"]), var(&golden["z2"]));
    for case in cases(&golden) {
        let loss = alpha_information(&z1, &z2, number(&case["alpha"]), &single())?;
        let expected = [&case["loss"], &case["grad_z1"], &case["grad_z2"]];
        agrees("alpha", &loss, [&z1, &z2], expected);
    }
    // Of second order it is the spectral loss, halved and moved.
    let settings = spectral::Settings { mu: 1.0, clip: false, exclude_diagonal: false };
    let twice = 2.0 * scalar(&alpha_information(&z1, &z2, 2.0, &single())?);
    assert!((twice - 1.0 - scalar(&spectral(&z1, &z2, &settings, &single())?)).abs() < 1e-9);
    Ok(())
}

/// Over a table of states with a known joint distribution, features of their own for each: with GHA they become the eigenfunctions of the
/// normalised joint in the order of their eigenvalues, and the monitor the sum of these less one.
#[test]
fn minc_finds_the_ordered_eigenfunctions() -> Test {
    let golden = golden("minc_spectral");
    let joint = matrix(&golden["J"]);
    let n = joint.dim(0)?;
    // Rows are scaled by √(n q), so that means over rows are expectations: A = J/√(q qᵀ) takes the place of J.
    let roots = joint.sum(1)?.sqrt()?;
    let normalised =
        joint.broadcast_div(&roots.unsqueeze(1)?)?.broadcast_div(&roots.unsqueeze(0)?)?;
    let dim = usize::try_from(golden["d"].as_u64().expect("a number"))?;
    let mut z = (noise(n, dim, 5) * 0.1)?;
    let mut target = z.clone();
    let mut moment: Option<Tensor> = None;
    for _ in 0..4000 {
        let batch = batch_moment(&target, &target, &single())?;
        let followed = match moment.take() {
            None => batch,
            Some(before) => ((before * 0.8)? + (batch * 0.2)?)?,
        };
        let seen = normalised.matmul(&target)?;
        let leaf = Var::from_tensor(&z)?;
        let loss = direction(&leaf, &seen, &lower_triangle(&followed)?, &single())?;
        let store = loss.backward()?;
        let gradient = store.get(leaf.as_tensor()).expect("a gradient");
        // A step of 0.3 by each row's own gradient, of which the mean takes 1/n.
        z = (z - (gradient * (0.15 * n as f64))?)?.detach();
        target = ((target * 0.9)? + (&z * 0.1)?)?.detach();
        moment = Some(followed.detach());
    }
    let moment = flat(&moment.expect("there were steps"));
    let expected = numbers(&golden["expected_Lam_diag"]);
    for (at, value) in moment.iter().enumerate() {
        let (i, j) = (at / dim, at % dim);
        let expected = if i == j { expected[i] } else { 0.0 };
        assert!((value - expected).abs() < 1e-6, "Λ[{i},{j}] = {value}, expected {expected}");
    }
    // 2 E_p[φᵀφ′] − E[φᵀΛφ] − 1, E[φᵀΛφ] = Σ Λ².
    let agreement = scalar(&(&z * normalised.matmul(&z)?)?.sum_all()?) / n as f64;
    let monitor = 2.0 * agreement - moment.iter().map(|x| x * x).sum::<f64>() - 1.0;
    assert!((monitor - number(&golden["expected_monitor"])).abs() < 1e-6, "{monitor}");
    Ok(())
}

#[test]
fn mincs_moment_follows_the_targets_from_step_to_step() {
    let method = METHODS.iter().find(|method| method.name == "minc").expect("it is there");
    let recipe = recipe(method, &["objective.moment_decay=0.75"]);
    let ranks = single();
    let mut minc = build(&recipe, &ranks);
    let mut expected: Option<Vec<f64>> = None;
    for number in 0..3 {
        let inputs = Inputs::new(method, &recipe, 60 + number);
        take(method, &mut *minc, &inputs, DType::F64, &inputs.step(number, &ranks))
            .expect("a step");
        // 1/(2B) Σ t tᵀ over both views.
        let mut batch = vec![0.0; DIM * DIM];
        for row in inputs.teacher.iter().flat_map(|view| view.values.chunks_exact(DIM)) {
            for (at, sum) in batch.iter_mut().enumerate() {
                *sum += row[at / DIM] * row[at % DIM] / (2 * BATCH) as f64;
            }
        }
        let followed = match expected.take() {
            None => batch,
            Some(before) => before.iter().zip(&batch).map(|(a, b)| 0.75 * a + 0.25 * b).collect(),
        };
        let got: Vec<f64> = saved(&*minc)["moment"].iter().map(|x| f64::from(*x)).collect();
        close("moment", &got, &followed, 1e-6);
        expected = Some(followed);
    }
}
