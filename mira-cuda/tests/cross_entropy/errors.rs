//! What cannot be computed is refused, with the numbers that were expected.

use mira_core::Shape;
use mira_cuda::cross_entropy::{CrossEntropyBuffers, CrossEntropyError, CrossEntropyPlan, Matrix};
use mira_cuda::plan::Dtype;

use crate::launch::SMALL;

fn plan(
    dtypes: (Dtype, Dtype),
    temperature: f64,
    scale: f64,
) -> Result<CrossEntropyPlan, CrossEntropyError> {
    CrossEntropyPlan::new(Shape::new(4, 10).unwrap(), dtypes, temperature, scale, SMALL)
}

#[test]
fn scales_beyond_f32_are_refused() {
    let f32s = (Dtype::F32, Dtype::F32);
    let nan = f64::NAN;
    for (temperature, scale) in [
        (0.0, 1.0),
        (-0.1, 1.0),
        (nan, 1.0),
        (f64::INFINITY, 1.0),
        (1e-39, 1.0),
        (1e39, 1.0),
        (0.1, nan),
        (0.1, f64::INFINITY),
        (0.1, 1e38),
    ] {
        let error = plan(f32s, temperature, scale).unwrap_err();
        assert!(matches!(error, CrossEntropyError::Scale { .. }), "{temperature} {scale}: {error}");
    }
    plan(f32s, 1e-6, 1e-30).unwrap();
}

#[test]
fn assignments_in_f16_are_refused() {
    let error = plan((Dtype::F32, Dtype::F16), 0.1, 1.0).unwrap_err();
    assert_eq!(error, CrossEntropyError::AssignmentDtype);
}

#[test]
fn buffers_are_checked() {
    let plan = plan((Dtype::Bf16, Dtype::F32), 0.1, 1.0).unwrap();
    let matrix = |address| Matrix { address, stride: 10 };
    let right = CrossEntropyBuffers {
        logits: matrix(0x1002),
        assignment: matrix(0x2004),
        gradient: Some(matrix(0x3002)),
        row_losses: Some(0x4004),
        loss: 0x5008,
        workspace: 0x6008,
    };
    plan.params(&right).unwrap();
    plan.params(&CrossEntropyBuffers { gradient: None, row_losses: None, ..right }).unwrap();
    plan.params(&CrossEntropyBuffers { gradient: Some(right.logits), ..right }).unwrap();

    let short = |address| Matrix { address, stride: 9 };
    for buffers in [
        CrossEntropyBuffers { logits: short(0x1002), ..right },
        CrossEntropyBuffers { assignment: short(0x2004), ..right },
        CrossEntropyBuffers { gradient: Some(short(0x3002)), ..right },
    ] {
        let error = plan.params(&buffers).unwrap_err();
        assert!(matches!(error, CrossEntropyError::Stride { expected: 10, got: 9, .. }), "{error}");
    }
    for (buffers, array) in [
        (CrossEntropyBuffers { logits: matrix(0x1001), ..right }, "logits"),
        (CrossEntropyBuffers { logits: matrix(0), ..right }, "logits"),
        (CrossEntropyBuffers { assignment: matrix(0x2002), ..right }, "assignment"),
        (CrossEntropyBuffers { gradient: Some(matrix(0x3001)), ..right }, "gradient"),
        (CrossEntropyBuffers { row_losses: Some(0x4002), ..right }, "rows' losses"),
        (CrossEntropyBuffers { loss: 0x5004, ..right }, "loss"),
        (CrossEntropyBuffers { workspace: 0x6004, ..right }, "workspace"),
    ] {
        let error = plan.params(&buffers).unwrap_err();
        let CrossEntropyError::Address { what, .. } = error else { panic!("{error}") };
        assert_eq!(what, array);
    }
    let gradient = Some(Matrix { stride: 12, ..right.logits });
    let error = plan.params(&CrossEntropyBuffers { gradient, ..right }).unwrap_err();
    assert_eq!(error, CrossEntropyError::GradientStride { expected: 10, got: 12 });
}
