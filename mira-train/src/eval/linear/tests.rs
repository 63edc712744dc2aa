//! Against plain loops in f64, by definition.

use super::*;

/// Deterministic numbers in [−1, 1).
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(state >> 48).unwrap()) / 32768.0 - 1.0
    }
}

/// Class `c` has its centre at `spread` along axis `c % dim`.
fn clusters(n: usize, dim: usize, num_classes: usize, spread: f32, seed: u64) -> Features {
    let mut random = noise(seed);
    let mut features = Features { dim, rows: vec![], labels: vec![], num_classes };
    for i in 0..n {
        let label = i % num_classes;
        for d in 0..dim {
            let centre = if d == label % dim { spread } else { 0.0 };
            features.rows.push(centre + random());
        }
        features.labels.push(u32::try_from(label).unwrap());
    }
    features
}

/// Loss and gradient (classes × (dim + 1), the bias last) by definition.
fn plain(features: &Features, w: &[f64]) -> (f64, Vec<f64>) {
    let (n, dim, num_classes) = (features.len(), features.dim, features.num_classes);
    let mut gradient = vec![0.0; w.len()];
    let mut loss = 0.0;
    for i in 0..n {
        let mut x: Vec<f64> =
            features.rows[i * dim..(i + 1) * dim].iter().map(|&x| f64::from(x)).collect();
        x.push(1.0);
        let logit = |c: usize| -> f64 { (0..=dim).map(|d| w[c * (dim + 1) + d] * x[d]).sum() };
        let z: f64 = (0..num_classes).map(|c| logit(c).exp()).sum();
        for c in 0..num_classes {
            let truth = f64::from(u8::from(c == features.labels[i] as usize));
            let p = logit(c).exp() / z;
            loss -= truth * p.ln() / n as f64;
            for d in 0..=dim {
                gradient[c * (dim + 1) + d] += (p - truth) * x[d] / n as f64;
            }
        }
    }
    (loss, gradient)
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    // More than one block of rows and of columns; the classes do not repeat with the blocks.
    let (n, dim, num_classes) = (150, 300, 3);
    let features = clusters(n, dim, num_classes, 0.5, 3);
    let x = features.matrix().mapv(f64::from);
    let mut random = noise(8);
    let mut parameters = Parameters::<f64>::zeros(num_classes, dim);
    parameters.weights.mapv_inplace(|_| 0.1 * f64::from(random()));
    parameters.bias.iter_mut().for_each(|b| *b = f64::from(random()));
    let mut gradient = Gradient::new(n, num_classes, dim);
    let loss = gradient.at(&parameters, &x.view(), &features.labels);
    let flat: Vec<f64> = (0..num_classes)
        .flat_map(|c| parameters.weights.row(c).to_vec().into_iter().chain([parameters.bias[c]]))
        .collect();
    assert!((loss - plain(&features, &flat).0).abs() < 1e-12);
    let mut scratch = Gradient::new(n, num_classes, dim);
    let mut loss_at = |p: &Parameters<f64>| scratch.at(p, &x.view(), &features.labels);
    let h = 1e-5;
    for (c, d) in [(0, 0), (1, 127), (2, 255), (2, 256), (1, 299), (0, 128)] {
        let (mut up, mut down) = (parameters.clone(), parameters.clone());
        up.weights[[c, d]] += h;
        down.weights[[c, d]] -= h;
        let expected = (loss_at(&up) - loss_at(&down)) / (2.0 * h);
        let got = gradient.weights[[c, d]];
        assert!((got - expected).abs() < 1e-9, "W[{c},{d}]: {got} {expected}");
    }
    for c in 0..num_classes {
        let (mut up, mut down) = (parameters.clone(), parameters.clone());
        up.bias[c] += h;
        down.bias[c] -= h;
        let expected = (loss_at(&up) - loss_at(&down)) / (2.0 * h);
        assert!((gradient.bias[c] - expected).abs() < 1e-9, "b[{c}]");
    }
}

#[test]
fn steps_are_those_of_the_equations() {
    // One batch an epoch: shuffles change only rounding.
    let train = clusters(64, 5, 3, 0.7, 1);
    let settings = LinearSettings {
        epochs: 4,
        lr: 2.0,
        batch_size: 1000,
        momentum: 0.8,
        ..Default::default()
    };
    let result = probe(&train, &train, &settings).unwrap();
    let mut w = vec![0.0; 3 * 6];
    let mut v = w.clone();
    for t in 0..4 {
        let (loss, gradient) = plain(&train, &w);
        assert!((result.losses[t] - loss).abs() < 1e-6, "epoch {t}: {} {loss}", result.losses[t]);
        let lr = 2.0 * 64.0 / 256.0 * (1.0 + (std::f64::consts::PI * t as f64 / 4.0).cos()) / 2.0;
        for i in 0..w.len() {
            v[i] = 0.8 * v[i] + gradient[i];
            w[i] -= lr * v[i];
        }
    }
    assert!((result.losses[0] - 3.0_f64.ln()).abs() < 1e-6);
    for c in 0..3 {
        for d in 0..5 {
            assert!((f64::from(result.weights[c * 5 + d]) - w[c * 6 + d]).abs() < 1e-6);
        }
        assert!((f64::from(result.bias[c]) - w[c * 6 + 5]).abs() < 1e-6);
    }
}

#[test]
fn every_sample_counts_once_an_epoch_and_the_last_batch_is_what_remains() {
    // A rate too small to move anything: the first epoch's loss is log C, and the weights are −lr Σ_batches of mean gradients at 0.
    let train = clusters(10, 2, 2, 1.0, 5);
    let lr = 1e-6 * 256.0 / 4.0;
    let settings =
        LinearSettings { epochs: 1, lr, batch_size: 4, momentum: 0.0, ..Default::default() };
    let result = probe(&train, &train, &settings).unwrap();
    assert!((result.losses[0] - 2.0_f64.ln()).abs() < 1e-5);
    // The three batches of 4, 4, 2 have rates 1, 3/4, 1/4 (cosine at t/T = 0, 1/3, 2/3).
    let bias_per_sample = [1.0 / 4.0, 0.75 / 4.0, 0.25 / 2.0];
    let mut order: Vec<usize> = (0..10).collect();
    Rng::new(0, Purpose::Eval, [0, 0, 1]).shuffle(&mut order);
    let sign = |i: usize| if train.labels[i] == 0 { 1.0 } else { -1.0 };
    let expected: f64 = (0..10).map(|i| 0.5 * sign(order[i]) * bias_per_sample[i / 4]).sum();
    assert!(
        (f64::from(result.bias[0]) / 1e-6 - expected).abs() < 1e-4,
        "{:?} {expected}",
        result.bias
    );
}

#[test]
fn a_separable_problem_is_solved() {
    let (train, test) = (clusters(400, 8, 8, 3.0, 1), clusters(80, 8, 8, 3.0, 2));
    let settings = LinearSettings { epochs: 60, lr: 0.5, batch_size: 64, ..Default::default() };
    let result = probe(&train, &test, &settings).unwrap();
    assert_eq!((result.accuracy.top1, result.accuracy.top5), (1.0, 1.0));
    assert_eq!(result.accuracy.per_class, vec![Some(1.0); 8]);
    assert!(result.losses[59] < 0.1 * result.losses[0]);
}

#[test]
fn the_loss_approaches_the_optimum() {
    // Overlapping classes have a finite optimum; long plain gradient descent in f64 finds it.
    let train = clusters(90, 3, 3, 0.4, 11);
    let mut w = vec![0.0; 3 * 4];
    for _ in 0..20_000 {
        let (_, gradient) = plain(&train, &w);
        w.iter_mut().zip(gradient).for_each(|(w, g)| *w -= 1.0 * g);
    }
    let (optimum, gradient) = plain(&train, &w);
    assert!(gradient.iter().all(|g| g.abs() < 1e-9));
    assert!(optimum < 0.95 * 3.0_f64.ln());
    let settings = LinearSettings { epochs: 600, lr: 1.0, batch_size: 90, ..Default::default() };
    let result = probe(&train, &train, &settings).unwrap();
    let excess = result.losses[599] - optimum;
    assert!(excess > -1e-6 && excess < 1e-4, "{excess}");
    // In small batches as well, as the rate falls to 0.
    let settings = LinearSettings { batch_size: 16, ..settings };
    let result = probe(&train, &train, &settings).unwrap();
    let trained: Vec<f64> = (0..3)
        .flat_map(|c| (0..4).map(move |d| (c, d)))
        .map(|(c, d)| f64::from(if d < 3 { result.weights[c * 3 + d] } else { result.bias[c] }))
        .collect();
    let excess = plain(&train, &trained).0 - optimum;
    assert!(excess > -1e-6 && excess < 1e-3, "{excess}");
}

#[test]
fn standardised_features_of_any_scale_give_the_same() {
    let (train, test) = (clusters(200, 4, 4, 1.0, 1), clusters(100, 4, 4, 1.0, 2));
    let scaled = |features: &Features, scale: f32| {
        let rows = features.rows.iter().map(|x| x * scale + 16.0 * scale).collect();
        Features { rows, ..features.clone() }
    };
    let settings = LinearSettings { epochs: 20, standardise: true, ..Default::default() };
    let plain = probe(&train, &test, &settings).unwrap();
    let small = probe(&scaled(&train, 1e-4), &scaled(&test, 1e-4), &settings).unwrap();
    for (a, b) in plain.losses.iter().zip(&small.losses) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    assert!((plain.accuracy.top1 - small.accuracy.top1).abs() <= 0.01);
}

#[test]
fn test_features_are_standardised_by_the_training_set() {
    // By its own statistics a single sample would be 0.
    let train = clusters(100, 2, 2, 4.0, 1);
    let settings = LinearSettings { lr: 1.0, standardise: true, ..Default::default() };
    for (row, label) in [([4.0, 0.0], 0), ([0.0, 4.0], 1)] {
        let test = Features { dim: 2, rows: row.to_vec(), labels: vec![label], num_classes: 2 };
        assert_eq!(probe(&train, &test, &settings).unwrap().accuracy.predictions, [label]);
    }
}

#[test]
fn results_depend_on_the_seed_and_not_on_the_threads() {
    let train = clusters(300, 40, 3, 0.5, 1);
    let settings = LinearSettings { epochs: 3, batch_size: 150, ..Default::default() };
    let with = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            probe(&train, &train, &LinearSettings { seed, ..settings.clone() }).unwrap()
        })
    };
    assert_eq!(with(1, 0), with(5, 0));
    assert_ne!(with(1, 0).weights, with(1, 1).weights);
}

#[test]
fn divergence_and_bad_settings_are_errors() {
    let train = clusters(60, 3, 3, 1.0, 1);
    let good = LinearSettings { epochs: 3, ..Default::default() };
    let probe = |settings| probe(&train, &train, &settings);
    let refused = probe(LinearSettings { lr: 1e41, ..good.clone() }).unwrap_err();
    assert!(matches!(refused, Error::Diverged { epoch: 0, .. }), "{refused}");
    assert!(refused.to_string().contains("lower linear_lr"));
    for bad in [
        LinearSettings { lr: f64::NAN, ..good.clone() },
        LinearSettings { lr: 0.0, ..good.clone() },
        LinearSettings { lr: f64::INFINITY, ..good.clone() },
        LinearSettings { epochs: 0, ..good.clone() },
        LinearSettings { batch_size: 0, ..good.clone() },
        LinearSettings { momentum: 1.0, ..good.clone() },
        LinearSettings { momentum: -0.1, ..good.clone() },
    ] {
        assert!(matches!(probe(bad.clone()), Err(Error::Setting { .. })), "{bad:?}");
    }
    let mut huge = train.clone();
    huge.rows.iter_mut().for_each(|x| *x *= 1e38);
    let diverged = super::probe(&huge, &huge, &good);
    assert!(matches!(diverged, Err(Error::Diverged { .. })));
    let one = Features { num_classes: 1, labels: vec![0; 60], ..train.clone() };
    assert_eq!(super::probe(&one, &one, &good).unwrap().accuracy.top1, 1.0);
}
