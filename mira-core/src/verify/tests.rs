//! Forgeries, and verdicts whose truth is known.

use super::*;
use crate::{Mira, Shape, Sinkhorn, Softmax, StopRule};

/// Without preference the optimum is uniform, and its divergence from anything else is known.
#[test]
fn divergence_from_sinkhorns_optimum_counts_what_is_missing() {
    let (logits, shape) = ([0.0; 4], Shape::new(2, 2).unwrap());
    let method = Sinkhorn::new(0.1).unwrap().into();
    for missing in [0.5, 0.3, 1e-3, 1e-6, 1e-300, 0.0] {
        let given = [1.0 - missing, missing, missing, 1.0 - missing];
        let truth = -0.5 * (4.0 * missing * (1.0 - missing)).ln();
        let found = verify(
            Matrix::new(&logits, shape).unwrap(),
            Matrix::new(&given, shape).unwrap(),
            &method,
        );
        let bound = found.unwrap().certificate.label_kl_bound;
        assert!(bound >= truth - 1e-12, "{missing:e}: {bound} < {truth}");
        assert!(bound <= 1.001 * truth + 1e-6 || truth > 100.0, "{missing:e}: {bound}, {truth}");
    }
}

/// What was given has other column sums than a plan: its objective is farther from the optimum than that of the plan made of it.
#[test]
fn sinkhorns_gap_is_that_of_what_was_given() {
    let (logits, shape) = ([0.0; 4], Shape::new(2, 2).unwrap());
    let method = Sinkhorn::new(0.3).unwrap().into();
    for likely in [0.99f64, 0.7, 0.5] {
        let given = [likely, 1.0 - likely, likely, 1.0 - likely];
        let entropy = -(likely * likely.ln() + (1.0 - likely) * (1.0 - likely).ln());
        let truth = 0.3 * (2f64.ln() - entropy);
        let found = verify(
            Matrix::new(&logits, shape).unwrap(),
            Matrix::new(&given, shape).unwrap(),
            &method,
        );
        let gap = found.unwrap().certificate.duality_gap;
        assert!(gap >= truth - 1e-15 && gap <= truth + 0.01, "{likely}: {gap}, {truth}");
    }
}

/// Weights that a solver claims cannot make a forgery softmax's optimum.
#[test]
fn softmax_has_no_weights_to_be_judged_at() {
    let (logits, shape) = ([0.9, 0.1, -0.3, 0.8, 0.2, 0.0], Shape::new(2, 3).unwrap());
    let a = [5.0, 0.0, -5.0];
    let forged: Vec<f64> = logits
        .chunks(3)
        .flat_map(|row| {
            let w: Vec<f64> = row.iter().zip(&a).map(|(s, a)| (s / 0.5 + a).exp()).collect();
            let sum: f64 = w.iter().sum();
            w.into_iter().map(move |w| w / sum)
        })
        .collect();
    let (logits, forged) =
        (Matrix::new(&logits, shape).unwrap(), Matrix::new(&forged, shape).unwrap());
    for method in [Softmax::new(0.5).unwrap().into(), Mira::new(0.5, 0.0).unwrap().into()] {
        let found = verify_at(logits, forged, &method, &a).unwrap();
        assert_eq!(found.certificate, verify(logits, forged, &method).unwrap().certificate);
        assert!(found.certificate.log_ratio_bound > 9.0, "{found:?}");
    }
}

/// Any constant may be in the weights, however large: they are judged by their differences.
#[test]
fn a_constant_in_the_weights_hides_nothing() {
    let logits = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let (shape, uniform) = (Shape::new(3, 3).unwrap(), [1.0 / 3.0; 9]);
    let (logits, uniform) =
        (Matrix::new(&logits, shape).unwrap(), Matrix::new(&uniform, shape).unwrap());
    for method in [
        Mira::new(1.0, 0.5).unwrap().into(),
        Sinkhorn::new(0.5).unwrap().into(),
        Method::from(crate::Centered::new(0.5, 0.9).unwrap()),
    ] {
        let at = |a: f64| verify_at(logits, uniform, &method, &[a, a, a]).unwrap();
        let expected = at(0.0);
        assert!(expected.certificate.log_ratio_bound > 0.5, "{expected:?}");
        for constant in [1e3, -1e12, 1e17, 1e300] {
            assert_eq!(at(constant), expected, "{method:?}, {constant:e}");
        }
    }
}

/// What is forbidden in every row has any weight, which the others are not relative to.
#[test]
fn weights_of_what_is_forbidden_hide_nothing() {
    let never = f64::NEG_INFINITY;
    let logits = [1.0, 0.0, never, 0.0, 1.0, never];
    let (shape, uniform) = (Shape::new(2, 3).unwrap(), [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]);
    let (logits, uniform) =
        (Matrix::new(&logits, shape).unwrap(), Matrix::new(&uniform, shape).unwrap());
    let method = Mira::new(0.5, 0.5).unwrap().into();
    let at = |a: f64| verify_at(logits, uniform, &method, &[0.25, 0.0, a]).unwrap();
    assert!(at(0.0).certificate.log_ratio_bound > 1.0);
    for forbidden in [1e17, -1e300] {
        assert_eq!(at(forbidden), at(0.0), "{forbidden:e}");
    }
}

/// Elements are judged as they are: a row that sums to more than 1 is off by that, too.
#[test]
fn what_rows_lack_of_one_counts() {
    let (logits, shape) = ([0.9, 0.1, -0.3, 0.8, 0.2, 0.0], Shape::new(2, 3).unwrap());
    let logits = Matrix::new(&logits, shape).unwrap();
    for method in [
        Softmax::new(0.5).unwrap().into(),
        Mira::new(0.5, 0.5).unwrap().into(),
        Method::from(Sinkhorn::new(0.5).unwrap()),
    ] {
        let oracle = crate::Reference::<f64>::new(method);
        let (exact, _) = crate::Assigner::assign(&oracle, logits).unwrap();
        for factor in [1.0009f64, 0.9991] {
            let scaled: Vec<f64> = exact.iter().map(|w| factor * w).collect();
            let found = verify(logits, Matrix::new(&scaled, shape).unwrap(), &method).unwrap();
            let (bound, truth) = (found.certificate.log_ratio_bound, factor.ln().abs());
            assert!(bound >= truth - 1e-14, "{method:?}: {bound:e} < {truth:e}");
        }
    }
}

/// MIRA's objective is a difference of numbers as large as S/τ. With temperatures towards 0 labels are hard, and it goes to
/// `−β H(w̄) − (1−β) · 0 + …`: here, of two rows with a favourite each, −β log 2.
#[test]
fn the_objective_keeps_its_digits_at_any_temperature() {
    let (logits, shape) = ([0.9, 0.1, -0.8, 0.7], Shape::new(2, 2).unwrap());
    let (logits, hard) = (Matrix::new(&logits, shape).unwrap(), [1.0, 0.0, 0.0, 1.0]);
    let hard = Matrix::new(&hard, shape).unwrap();
    for temperature in [1e-3, 1e-12, 1e-20, 1e-30] {
        let method = Mira::new(temperature, 0.5).unwrap().into();
        let objective = verify(logits, hard, &method).unwrap().objective.unwrap();
        assert!((objective + 0.5 * 2f64.ln()).abs() < 1e-12, "{temperature:e}: {objective}");
    }
}

/// Half precision holds no label below 6e-8, but those above 1e-4 as well as any other: two rows exchanged are no answer.
#[test]
fn half_precision_hides_no_forgery() {
    let (k, shape) = (100, Shape::new(2, 100).unwrap());
    let half = |row: usize, j: usize| if (j < k / 2) == (row == 0) { 0.5 } else { 0.0 };
    let logits: Vec<f64> = (0..2 * k).map(|i| half(i / k, i % k)).collect();
    let given = Matrix::new(&logits, shape).unwrap();
    for method in [
        Sinkhorn::new(1.0).unwrap().into(),
        Softmax::new(1.0).unwrap().into(),
        Method::from(Mira::new(1.0, 0.5).unwrap()),
    ] {
        let (right, _) = crate::Assigner::assign(&crate::Reference::new(method), given).unwrap();
        let stored = |w: &[f64]| w.iter().map(|w| half::f16::from_f64(*w)).collect::<Vec<_>>();
        let swapped = [&right[k..], &right[..k]].concat();
        let truth: f64 =
            right.iter().zip(&swapped).map(|(w, s)| w * (w / s).ln()).sum::<f64>() / 2.0;
        let judged = |w: &[f64]| {
            let w = stored(w);
            verify(given, Matrix::new(&w, shape).unwrap(), &method).unwrap().certificate
        };
        let (forged, honest) = (judged(&swapped), judged(&right));
        assert!(forged.label_kl_bound >= 0.999 * truth, "{method:?}: {forged:?}, truth {truth}");
        assert!(forged.log_ratio_bound > 0.4, "{method:?}: {forged:?}");
        assert!(honest.log_ratio_bound < 1e-2 && honest.label_kl_bound < 1e-3, "{honest:?}");
    }
}

/// Labels of a few sweeps are judged about as well as after as many sweeps of the verifier as there may be: their divergence from the optimum's is bounded
/// within a few per cent.
#[test]
fn sinkhorns_dual_point_is_found_as_well_as_is_needed() {
    let (batch, k) = (24, 10);
    let shape = Shape::new(batch, k).unwrap();
    let logits: Vec<f64> = (0..batch * k).map(|i| (1.7 * i as f64).sin()).collect();
    let given = Matrix::new(&logits, shape).unwrap();
    let labels = |stop| {
        let method = Sinkhorn::new(0.2).unwrap().with_stop(stop).unwrap();
        crate::Assigner::assign(&crate::Reference::new(method), given).unwrap().0
    };
    let optimum = labels(StopRule::Tolerance { tolerance: Some(1e-14), max_sweeps: 5000 });
    for sweeps in [1, 3, 8] {
        let w = labels(StopRule::Sweeps(sweeps));
        let truth = optimum.iter().zip(&w).map(|(o, w)| o * (o / w).ln()).sum::<f64>() / 24.0;
        let method = Sinkhorn::new(0.2).unwrap().into();
        let found = verify(given, Matrix::new(&w, shape).unwrap(), &method).unwrap();
        let bound = found.certificate.label_kl_bound;
        assert!(bound >= truth * (1.0 - 1e-9), "{sweeps}: {bound:e} < {truth:e}");
        assert!(bound <= 1.1 * truth, "{sweeps}: {bound:e} for {truth:e}");
    }
}
