//! Numbers and memory at the edge of what there is.

use mira::cpu::{CpuAssigner, Error as CpuError};
use mira_core::{Assigner, Error, Mira, StopRule};
use ndarray::Array2;

use super::F64;
use mira_conformance::Backend;
use mira_conformance::oracle;
use mira_conformance::problem::shape;

/// A centre that is large against the temperature: weights of thousands, of which f64 rounds the thirteenth digit.
#[test]
fn the_centrings_labels_are_as_near_as_said() {
    for (size, temperature) in [(1.0, 0.04), (100.0, 0.04), (7.3, 0.07), (53.0, 0.3)] {
        let method = mira_core::Centered::new(temperature, 0.9).expect("valid");
        let assigner = CpuAssigner::<f64>::new(method);
        let mut workspace = assigner.workspace(shape(1, 2)).expect("memory");
        workspace.set_center(&[size, -size]).expect("a centre");
        // The first is larger by a little once the centre is taken from it.
        let logits = ndarray::array![[2.0 * size + 1.0, 0.0]];
        let mut assignment = Array2::zeros((1, 2));
        assigner.assign_into(logits.view(), assignment.view_mut(), &mut workspace).expect("valid");
        let d = (logits[[0, 0]] - size) - size;
        let truth = [
            -(-d / temperature).exp().ln_1p(),
            -(d / temperature) - (-d / temperature).exp().ln_1p(),
        ];
        let said = assigner.report(&workspace).expect("assigned").certificate;
        for (w, truth) in assignment.iter().zip(truth) {
            let (error, bound) =
                ((w.ln() - truth).abs(), said.log_ratio_bound + said.rounding_allowance);
            assert!(
                error <= bound + 4.0 * f64::EPSILON * truth.abs(),
                "{size}: {error:e} > {bound:e}"
            );
        }
    }
}

/// What the centres of all prototypes have in common costs no digits.
#[test]
fn a_common_centre_costs_nothing() {
    for (common, apart) in [(10.0, 0.04), (1e4, 0.05), (1e8, 0.0625)] {
        let method = mira_core::Centered::new(0.07, 0.9).expect("valid");
        let assigner = CpuAssigner::<f64>::new(method);
        let mut workspace = assigner.workspace(shape(1, 2)).expect("memory");
        let center = [common, common + apart];
        workspace.set_center(&center).expect("a centre");
        let logits = ndarray::array![[center[0], center[1]]];
        let mut assignment = Array2::zeros((1, 2));
        assigner.assign_into(logits.view(), assignment.view_mut(), &mut workspace).expect("valid");
        let said = assigner.report(&workspace).expect("assigned").certificate;
        let bound = said.log_ratio_bound + said.rounding_allowance;
        for w in &assignment {
            let error = (w.ln() - 0.5f64.ln()).abs();
            assert!(error <= bound && error < 1e-14, "{common}: {error:e} of {bound:e}");
        }
    }
}

/// Elements of 1e-297, of which underflow takes more than rounding does.
#[test]
fn what_underflow_takes_is_less_than_rounding() {
    let far = [682.1607, 705.2094, 705.3934, 705.3110, 705.2967, 705.3810, 705.3784, 705.2046];
    let logits: Vec<f64> = far.iter().flat_map(|far| [0.0, -far]).collect();
    let stop = StopRule::Tolerance { tolerance: Some(1e-12), max_sweeps: 1000 };
    let method = Mira::new(1.0, 0.005).and_then(|m| m.with_stop(stop)).expect("valid").into();
    let ours = F64::assign(method, shape(8, 2), &logits).expect("valid logits");
    let theirs = oracle::answer(method, shape(8, 2), &logits);
    let error = (ours.assignment[1].ln() - theirs.assignment[1].ln()).abs();
    let bound = |answer: &mira_conformance::Answer| {
        let certificate = answer.report.certificate;
        certificate.log_ratio_bound + certificate.rounding_allowance
    };
    assert!(error <= bound(&ours) + bound(&theirs), "{error:e} of {:e}", bound(&ours));
}

#[test]
fn a_centre_beyond_what_numbers_hold_is_refused() {
    let assigner = CpuAssigner::<f64>::new(mira_core::Centered::new(1e-9, 0.9).expect("valid"));
    let mut workspace = assigner.workspace(shape(2, 2)).expect("memory");
    workspace.set_center(&[1e300, 0.0]).expect("a number");
    let mut assignment = Array2::zeros((2, 2));
    let logits = ndarray::array![[0.5, 0.1], [0.2, 0.3]];
    let error = assigner
        .assign_into(logits.view(), assignment.view_mut(), &mut workspace)
        .expect_err("weights of 1e309");
    let is_it = matches!(
        error,
        CpuError::Core(Error::InvalidState { what: "center/temperature", index: 0, .. })
    );
    assert!(is_it, "{error}");
    // The workspace is as good as new.
    workspace.set_center(&[1.0, 0.0]).expect("a centre");
    assigner.assign_into(logits.view(), assignment.view_mut(), &mut workspace).expect("valid");
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    let huge = shape(1 << 40, 1 << 10);
    let assigner = CpuAssigner::<f32>::new(Mira::default());
    let errors = [assigner.workspace(huge).err(), assigner.output(huge).err()];
    for (error, name) in errors.into_iter().zip(["a workspace", "an assignment"]) {
        let is_it = matches!(
            &error,
            Some(CpuError::Core(Error::OutOfMemory { what, shape, .. })) if *what == name && *shape == huge
        );
        assert!(is_it, "{name}: {error:?}");
    }
}
