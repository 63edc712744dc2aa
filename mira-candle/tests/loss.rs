//! The swapped-prediction loss against its equation, finite differences, and the trainer's own.

use candle_core::{DType, Device, Tensor, Var};
use mira_candle::{Error, swapped_prediction_loss};
use mira_train::objective::{Reduction, swapped_prediction};

fn matrix<const B: usize>(rows: &[[f64; 2]; B]) -> Tensor {
    Tensor::new(rows, &Device::Cpu).expect("rows of one length")
}

fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_dtype(DType::F64).and_then(|t| t.to_scalar()).expect("a scalar")
}

/// `count` matrices of numbers in ±1 without a pattern.
fn patterns(count: usize, rows: usize, columns: usize) -> Vec<Tensor> {
    let number = |i: usize| (1.3 * ((i * i + 7 * i) % 1009) as f64).sin();
    let one = |m: usize| {
        let elements = (0..rows * columns).map(|i| number(i + 131 * m)).collect();
        Tensor::from_vec(elements, (rows, columns), &Device::Cpu).expect("as many")
    };
    (0..count).map(one).collect()
}

/// Rows on the simplex.
fn targets(count: usize, rows: usize, columns: usize) -> Vec<Tensor> {
    let softmax = |x: Tensor| -> candle_core::Result<Tensor> {
        let weights = (x * 2.0)?.exp()?;
        weights.broadcast_div(&weights.sum_keepdim(1)?)
    };
    patterns(count, rows, columns).into_iter().map(|x| softmax(x).expect("finite")).collect()
}

/// With logits 0 and τ log 3 the prediction is (1/4, 3/4): every term is a logarithm of a small number.
#[test]
fn a_case_by_hand() {
    let tau = 0.5;
    let x = tau * 3f64.ln();
    let views = [matrix(&[[0.0, x], [0.0, 0.0]]), matrix(&[[x, 0.0], [0.0, x]])];
    let targets = [matrix(&[[1.0, 0.0], [0.5, 0.5]]), matrix(&[[0.0, 1.0], [0.25, 0.75]])];
    let loss = swapped_prediction_loss(&views, &targets, tau).expect("two pairs");
    let (two, four, three_quarters) = (2f64.ln(), 4f64.ln(), (4f64 / 3.0).ln());
    // Target 0 on view 1: rows predicted (3/4, 1/4) and (1/4, 3/4).
    let first = 0.5 * (three_quarters + 0.5 * (four + three_quarters));
    // Target 1 on view 0: rows predicted (1/4, 3/4) and (1/2, 1/2).
    let second = 0.5 * (three_quarters + two);
    let distance = (scalar(&loss) - 0.5 * (first + second)).abs();
    assert!(distance < 1e-14, "{distance:e}");
    // One target leaves one pair: the view's own target supervises nothing.
    let loss = swapped_prediction_loss(&views, &targets[..1], tau).expect("one pair");
    assert!((scalar(&loss) - first).abs() < 1e-14);
}

/// The equation, element by element, for two global and three local views.
#[test]
fn many_crops_follow_the_equation() {
    let (rows, columns, tau) = (6, 4, 0.3);
    let (views, targets) = (patterns(5, rows, columns), targets(2, rows, columns));
    let table = |tensor: &Tensor| tensor.to_vec2::<f64>().expect("a matrix");
    let (mut sum, mut pairs) = (0.0, 0.0);
    for (t, target) in targets.iter().map(table).enumerate() {
        for (v, view) in views.iter().map(table).enumerate() {
            if t == v {
                continue;
            }
            pairs += 1.0;
            for (scores, weights) in view.iter().zip(&target) {
                let log_sum = scores.iter().map(|s| (s / tau).exp()).sum::<f64>().ln();
                for (score, weight) in scores.iter().zip(weights) {
                    sum -= weight * (score / tau - log_sum) / rows as f64;
                }
            }
        }
    }
    let loss = scalar(&swapped_prediction_loss(&views, &targets, tau).expect("8 pairs"));
    assert!((loss - sum / pairs).abs() < 1e-13, "{loss} and {}", sum / pairs);
}

#[test]
fn gradients_are_finite_differences() -> candle_core::Result<()> {
    const STEP: f64 = 1e-5;
    let (rows, columns, tau) = (3, 4, 0.4);
    let views: Vec<Var> =
        patterns(3, rows, columns).iter().map(Var::from_tensor).collect::<Result<_, _>>()?;
    let targets = targets(2, rows, columns);
    let loss_of = |views: &[Tensor]| swapped_prediction_loss(views, &targets, tau);
    let tensors: Vec<Tensor> = views.iter().map(|v| v.as_tensor().clone()).collect();
    let gradients = loss_of(&tensors)?.backward()?;
    for (v, view) in views.iter().enumerate() {
        let gradient = gradients.get(view).expect("every view is a prediction").to_vec2::<f64>()?;
        for i in 0..rows {
            for j in 0..columns {
                let moved = |step: f64| -> candle_core::Result<f64> {
                    let mut table = tensors[v].to_vec2::<f64>()?;
                    table[i][j] += step;
                    let mut views = tensors.clone();
                    views[v] = Tensor::new(table, &Device::Cpu)?;
                    Ok(scalar(&loss_of(&views)?))
                };
                let difference = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
                let distance = (gradient[i][j] - difference).abs();
                assert!(distance < 1e-8, "view {v}, element {i}, {j}: {distance:e}");
            }
        }
    }
    Ok(())
}

#[test]
fn targets_are_constants() -> candle_core::Result<()> {
    let views: Vec<Var> =
        patterns(2, 3, 4).iter().map(Var::from_tensor).collect::<Result<_, _>>()?;
    let tensors: Vec<Tensor> = views.iter().map(|v| v.as_tensor().clone()).collect();
    let target = Var::from_tensor(&targets(1, 3, 4)[0])?;
    let loss = swapped_prediction_loss(&tensors, &[target.as_tensor().clone()], 0.2)?;
    let gradients = loss.backward()?;
    assert!(gradients.get(&target).is_none(), "no gradient into a target");
    assert!(gradients.get(&views[0]).is_none(), "view 0 has no pair with its own target");
    assert!(gradients.get(&views[1]).is_some());
    Ok(())
}

/// bf16 holds 3 digits; a loss computed in it would not agree to 6.
#[test]
fn half_precision_is_widened_before_anything_is_computed() -> candle_core::Result<()> {
    for dtype in [DType::F16, DType::BF16] {
        let halves: Vec<Tensor> =
            patterns(2, 16, 8).iter().map(|x| x.to_dtype(dtype)).collect::<Result<_, _>>()?;
        let wide: Vec<Tensor> =
            halves.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<_, _>>()?;
        let (targets, leaf) = (targets(2, 16, 8), Var::from_tensor(&halves[0])?);
        let views = [leaf.as_tensor().clone(), halves[1].clone()];
        let loss = swapped_prediction_loss(&views, &targets, 0.1)?;
        assert_eq!(loss.dtype(), DType::F32);
        let expected = scalar(&swapped_prediction_loss(&wide, &targets, 0.1)?);
        assert!((scalar(&loss) - expected).abs() < 1e-5 * expected, "{dtype:?}: {loss}");
        let gradients = loss.backward()?;
        assert_eq!(gradients.get(&leaf).expect("a prediction").dtype(), dtype);
    }
    Ok(())
}

#[test]
fn large_scores_stay_finite() {
    let views = [matrix(&[[1e4, -1e4]]), matrix(&[[-1e4, 1e4]])];
    let target = matrix(&[[0.5, 0.5]]);
    let loss = swapped_prediction_loss(&views, &[target.clone(), target], 1.0).expect("a pair");
    assert_eq!(scalar(&loss), 1e4);
}

/// A forbidden prototype takes part in nothing: loss and gradient are those without it.
#[test]
fn forbidden_prototypes_cost_nothing() -> candle_core::Result<()> {
    let tensor = |rows: &[f32], columns| Tensor::from_slice(rows, (2, columns), &Device::Cpu);
    let never = f32::NEG_INFINITY;
    let loss_of = |columns, scores: &[f32], target: &[f32]| -> candle_core::Result<_> {
        let view = Var::from_tensor(&tensor(scores, columns)?)?;
        let target = tensor(target, columns)?;
        let views = [view.as_tensor().clone(), view.as_tensor().clone()];
        let loss = swapped_prediction_loss(&views, &[target.clone(), target], 0.1)?;
        let gradient = loss.backward()?.get(&view).expect("it is asked for").to_vec2::<f32>()?;
        Ok((scalar(&loss), gradient))
    };
    let (loss, gradient) =
        loss_of(3, &[0.3, never, -0.2, 0.1, never, 0.6], &[0.7, 0.0, 0.3, 0.2, 0.0, 0.8])?;
    let (without, of_others) = loss_of(2, &[0.3, -0.2, 0.1, 0.6], &[0.7, 0.3, 0.2, 0.8])?;
    assert_eq!(loss, without);
    for (row, others) in gradient.iter().zip(of_others) {
        assert_eq!([row[0], row[2]], others[..]);
        assert_eq!(row[1], 0.0);
    }
    Ok(())
}

/// τ → 0: what is left of the cross-entropy is `Σ_j W_j (max S − S_j)/τ`, as long as f32 holds it.
#[test]
fn small_temperatures_and_large_scores_are_computed_or_refused() -> candle_core::Result<()> {
    let scores: Vec<f32> = (0..20u8).map(|i| f32::from(i).sin()).collect();
    let view = Tensor::from_slice(&scores, (4, 5), &Device::Cpu)?;
    let target = Tensor::full(0.2f32, (4, 5), &Device::Cpu)?;
    let distances = scores.chunks(5).map(|row| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter().map(|s| 0.2 * f64::from(largest - s)).sum::<f64>()
    });
    let distance = distances.sum::<f64>() / 4.0;
    let loss_at = |tau| {
        swapped_prediction_loss(&[view.clone(), view.clone()], std::slice::from_ref(&target), tau)
    };
    for tau in [1e-30, 1e-37, 1e-38] {
        let (loss, expected) = (scalar(&loss_at(tau)?), distance / tau);
        assert!((loss - expected).abs() < 1e-5 * expected, "{tau:e}: {loss:e}, not {expected:e}");
    }
    for tau in [1e-39, 1e-45] {
        let error = loss_at(tau).expect_err("1/τ is infinite in f32");
        assert!(
            matches!(error, Error::LossTemperature { got, dtype: DType::F32 } if got == tau),
            "{error}"
        );
        assert!(error.to_string().contains("to_dtype(DType::F64)"), "{error}");
    }

    // At τ = 0.1 the least likely logit is 2e39 below the likeliest, which f32 does not hold, and the target gives it nothing.
    let row = |values: [f32; 3]| Tensor::new(&[values], &Device::Cpu);
    let large = Var::from_tensor(&row([1e38, -1e38, 1e38])?)?;
    let views = [row([0.0; 3])?, large.as_tensor().clone()];
    for (target, tau, expected) in [
        ([1.0, 0.0, 0.0], 0.1, 2f64.ln()),
        ([0.5, 0.0, 0.5], 1e-38, 2f64.ln()),
        ([0.0, 1.0, 0.0], 10.0, 2e37),
        ([0.0, 1.0, 0.0], 0.1, f64::INFINITY),
    ] {
        let loss = swapped_prediction_loss(&views, &[row(target)?], tau)?;
        let right = scalar(&loss) == expected || (scalar(&loss) / expected - 1.0).abs() < 1e-6;
        assert!(right, "{target:?} at {tau:e}: {loss}, not {expected:e}");
        let gradients = loss.backward()?;
        let gradient = gradients.get(&large).expect("a prediction").to_vec2::<f32>()?;
        for ((got, weight), predicted) in gradient[0].iter().zip(target).zip([0.5, 0.0, 0.5]) {
            let expected = (predicted - f64::from(weight)) / tau;
            let distance = (f64::from(*got) - expected).abs();
            assert!(distance <= 1e-6 / tau, "{target:?} at {tau:e}: {gradient:?}");
        }
    }
    Ok(())
}

/// `mira_train::objective`, which starts from embeddings and prototypes, in value and gradient.
#[test]
fn agrees_with_the_trainer() -> candle_core::Result<()> {
    let (batch, dim, num_prototypes, tau) = (12, 8, 10, 0.1);
    let embeddings: Vec<Var> =
        patterns(4, batch, dim).iter().map(Var::from_tensor).collect::<Result<_, _>>()?;
    let prototypes = patterns(1, num_prototypes, dim).remove(0);
    let two: [Tensor; 2] = targets(2, batch, num_prototypes).try_into().expect("two");
    let views: Vec<Tensor> = embeddings.iter().map(|v| v.as_tensor().clone()).collect();
    let theirs = swapped_prediction(&views, &prototypes, &two, tau, Reduction::Mean)?;
    let lengths = prototypes.sqr()?.sum_keepdim(1)?.sqrt()?;
    let directions = prototypes.broadcast_div(&lengths)?.t()?;
    let logits: Vec<Tensor> =
        views.iter().map(|view| view.matmul(&directions)).collect::<Result<_, _>>()?;
    let ours = swapped_prediction_loss(&logits, &two, tau)?;
    assert!((scalar(&ours) - scalar(&theirs)).abs() < 1e-13 * scalar(&theirs), "{ours} {theirs}");
    let (ours, theirs) = (ours.backward()?, theirs.backward()?);
    for view in &embeddings {
        let of = |store: &candle_core::backprop::GradStore| store.get(view).expect("used").clone();
        let distance = scalar(&(of(&ours) - of(&theirs))?.abs()?.max_all()?);
        assert!(distance < 1e-13, "{distance:e}");
    }
    Ok(())
}
