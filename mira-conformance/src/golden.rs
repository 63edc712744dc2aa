//! Golden vectors: assignments computed in float64 by the published algorithms, 14 digits each.

use std::collections::HashMap;
use std::sync::LazyLock;

use mira_core::{Method, Mira, Sinkhorn, Softmax, StopRule};
use serde::Deserialize;

use crate::Backend;
use crate::definitions::{marginal, total_variation};
use crate::oracle;
use crate::problem::shape;

#[derive(Deserialize)]
struct Golden {
    inputs: HashMap<String, Input>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Input {
    batch: usize,
    prototypes: usize,
    logits: Vec<f64>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    method: String,
    input: String,
    temperature: Option<f64>,
    beta: Option<f64>,
    epsilon: Option<f64>,
    iterations: Option<Iterations>,
    assignment: Vec<f64>,
    marginal: Vec<f64>,
    objective: Option<f64>,
    duality_gap: Option<f64>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Iterations {
    Fixed(usize),
    Until(String),
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../golden/assignments.json")).expect("valid golden vectors")
});

impl Case {
    fn method(&self, tight: f64) -> Method {
        let stop = || match &self.iterations {
            Some(Iterations::Fixed(n)) => StopRule::Sweeps(*n),
            Some(Iterations::Until(word)) if word == "converged" => {
                StopRule::Tolerance { tolerance: Some(tight), max_sweeps: 5000 }
            }
            _ => panic!("{}: how many iterations?", self.name),
        };
        let number = |field: Option<f64>| field.expect("the method's parameter");
        match self.method.as_str() {
            "mira" => Mira::new(number(self.temperature), number(self.beta))
                .and_then(|m| m.with_stop(stop()))
                .map(Method::from),
            "sinkhorn" => Sinkhorn::new(number(self.epsilon))
                .and_then(|m| m.with_stop(stop()))
                .map(Method::from),
            "softmax" => Softmax::new(number(self.temperature)).map(Method::from),
            other => panic!("{}: unknown method {other}", self.name),
        }
        .expect("golden parameters are valid")
    }
}

/// MIRA: 291 assignments.
pub fn mira<B: Backend>() {
    check::<B>("mira", 291);
}

/// Sinkhorn–Knopp: 91 assignments.
pub fn sinkhorn<B: Backend>() {
    check::<B>("sinkhorn", 91);
}

/// Softmax: 20 assignments.
pub fn softmax<B: Backend>() {
    check::<B>("softmax", 20);
}

fn check<B: Backend>(method: &str, num_cases: usize) {
    let cases = || GOLDEN.cases.iter().filter(|case| case.method == method);
    assert_eq!(cases().count(), num_cases, "golden cases of {method}");
    for case in cases() {
        check_case::<B>(case);
    }
}

fn check_case<B: Backend>(case: &Case) {
    let input = &GOLDEN.inputs[&case.input];
    let (shape, k) = (shape(input.batch, input.prototypes), input.prototypes);
    let context = format!("{} on {}", case.name, B::NAME);
    let method = case.method(B::tight(case.beta.unwrap_or(0.0)));
    let logits: Vec<f64> = input.logits.iter().map(|s| B::stored(*s)).collect();
    let lost = logits.iter().zip(&input.logits).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    let answer = B::assign(method, shape, &logits).unwrap_or_else(|e| panic!("{context}: {e:?}"));

    // What storing the logits in fewer bits has moved by more than the tolerance is another problem than the golden one.
    let is_golden = lost / method.scaling().epsilon < B::TOLERANCE_TV;
    let (expected, marginal_expected) = if is_golden {
        (case.assignment.clone(), case.marginal.clone())
    } else {
        let stop_tight = case.method(1e-12);
        let w = oracle::answer(stop_tight, shape, &logits).assignment;
        let m = marginal(&w, k);
        (w, m)
    };
    let tv = total_variation(&answer.assignment, &expected, k);
    assert!(tv <= B::TOLERANCE_TV, "{context}: total variation {tv:e}");
    let tv = total_variation(&marginal(&answer.assignment, k), &marginal_expected, k);
    assert!(tv <= B::TOLERANCE_TV, "{context}: marginal's total variation {tv:e}");

    if let Some(Iterations::Fixed(n)) = case.iterations {
        assert_eq!(answer.report.iterations, n, "{context}");
    }
    if !is_golden {
        return;
    }
    if let (Some(ours), Some(golden)) = (answer.report.objective, case.objective) {
        let scale = 1.0
            + logits.iter().fold(0.0f64, |m, s| m.max(s.abs())) / case.temperature.unwrap_or(1.0);
        let tolerance = B::TOLERANCE_TV * scale;
        assert!((ours - golden).abs() <= tolerance, "{context}: objective {ours}, golden {golden}");
    }
    if let Some(golden) = case.duality_gap {
        let ours = answer.report.certificate.duality_gap;
        // A gap is a squared distance: rounding the marginal by δ moves √gap by about δ. The golden one is a difference of two
        // objectives, which leaves it their rounding.
        let scale = 1.0 + case.objective.unwrap_or(0.0).abs();
        let golden = golden.max(0.0);
        let distance = (ours.sqrt() - golden.sqrt()).abs();
        assert!(
            distance <= B::TOLERANCE_TV || (ours - golden).abs() <= 8.0 * f64::EPSILON * scale,
            "{context}: duality gap {ours:e}, golden {golden:e}"
        );
    }
}
