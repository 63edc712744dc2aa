//! The oracle where numbers end.

use mira_conformance::oracle::answer;
use mira_conformance::problem::shape;

/// A difference of logits beyond what f64 holds, in rows whose exponents are small.
#[test]
fn differences_that_overflow_are_not_infinite() {
    let logits = [1e308, -1e308, -1e308, 1e308];
    let method = mira_core::Mira::new(3e307, 2.0 / 3.0).expect("valid").into();
    let answer = answer(method, shape(2, 2), &logits);
    // Rows that mirror each other have no weights: ε = 1e307.
    let small = 1.0 / (1.0 + 20f64.exp());
    for (w, truth) in answer.assignment.iter().zip([1.0 - small, small, small, 1.0 - small]) {
        assert!((w - truth).abs() < 1e-12 * truth, "{answer:?}");
    }
}

/// What all logits of a row have in common says nothing, however much it is.
#[test]
fn common_offsets_of_rows_change_nothing() {
    let rows = [[0.0, 2.0], [4.0, 0.0], [0.0, 8.0], [2.0, 0.0]];
    let method = mira_core::Sinkhorn::new(1.0).expect("valid").into();
    let with = |offset: f64| {
        let of_rows = [1.0, 3.0, 2.0, 0.5].map(|share| share * offset);
        let logits: Vec<f64> =
            rows.iter().zip(of_rows).flat_map(|(row, offset)| row.map(|s| s + offset)).collect();
        answer(method, shape(4, 2), &logits)
    };
    let plain = with(0.0);
    assert_eq!(plain.report.status, mira_core::Status::Converged);
    // Powers of two, so that sums are exact.
    for exponent in [27, 40, 46] {
        let answer = with(2f64.powi(exponent));
        assert_eq!(answer.report.status, mira_core::Status::Converged, "2^{exponent}");
        for (w, expected) in answer.assignment.iter().zip(&plain.assignment) {
            assert!((w - expected).abs() < 1e-9, "2^{exponent}: {w}, {expected}");
        }
    }
}
