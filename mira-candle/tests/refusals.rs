//! Bad input is a typed error that names the remedy, and the workspace can be used again.

use candle_core::{DType, Device, Tensor, Var};
use mira_candle::{CandleAssigner, Error, swapped_prediction_loss};
use mira_core::{Assigner, Error as CoreError, Mira, Shape};

fn zeros(shape: impl Into<candle_core::Shape>, dtype: DType) -> Tensor {
    Tensor::zeros(shape, dtype, &Device::Cpu).expect("memory")
}

/// Assigns into the workspace of a 4 × 3 problem in f32, which must refuse, and then works all the same.
fn refusal(logits: &Tensor, output: &Tensor) -> Error {
    let assigner = CandleAssigner::new(Mira::default());
    let mut workspace = assigner.workspace(Shape::new(4, 3).expect("not empty")).expect("memory");
    let error = assigner.assign_into(logits, output, &mut workspace).expect_err("refused");
    assert!(matches!(assigner.report(&workspace), Err(Error::Core(CoreError::NothingAssigned))));
    let output = zeros((4, 3), DType::F32);
    assigner.assign_into(&zeros((4, 3), DType::F32), &output, &mut workspace).expect("valid");
    let sum = output.sum_all().and_then(|s| s.to_scalar::<f32>()).expect("a scalar");
    assert!((sum - 4.0).abs() < 1e-5, "4 rows sum to {sum}");
    error
}

/// Whether the message names the remedy.
fn names(error: &Error, remedy: &str) {
    assert!(error.to_string().contains(remedy), "{remedy:?} is not in {error:?}");
}

#[test]
fn tensors_that_are_not_matrices() {
    let (logits, output) = (zeros((4, 3), DType::F32), zeros((4, 3), DType::F32));
    for dims in [vec![], vec![12], vec![2, 2, 3]] {
        let other = zeros(dims.as_slice(), DType::F32);
        let error = refusal(&other, &output);
        assert!(matches!(&error, Error::Rank { what: "logits", got } if *got == dims), "{error}");
        names(&error, "reshape");
        let error = refusal(&logits, &other);
        assert!(matches!(error, Error::Rank { what: "assignment", .. }), "{error}");
        assert!(CandleAssigner::new(Mira::default()).assign(&other).is_err());
    }
}

#[test]
fn shapes_that_are_empty_or_not_the_workspaces() {
    let good = || zeros((4, 3), DType::F32);
    for dims in [(0, 3), (4, 0), (0, 0)] {
        let empty = zeros(dims, DType::F32);
        for error in [refusal(&empty, &good()), refusal(&good(), &empty)] {
            assert!(matches!(error, Error::Core(CoreError::EmptyShape { .. })), "{error}");
        }
        let error = CandleAssigner::new(Mira::default()).assign(&empty).expect_err("empty");
        assert!(matches!(error, Error::Core(CoreError::EmptyShape { .. })), "{error}");
    }
    for dims in [(3, 4), (5, 3), (4, 2)] {
        let other = zeros(dims, DType::F32);
        let error = refusal(&other, &good());
        assert!(
            matches!(error, Error::Core(CoreError::ShapeMismatch { what: "logits", .. })),
            "{error}"
        );
        let error = refusal(&good(), &other);
        assert!(
            matches!(error, Error::Core(CoreError::ShapeMismatch { what: "assignment", .. })),
            "{error}"
        );
    }
}

#[test]
fn types_that_do_not_fit() {
    let (f32s, f64s) = (zeros((4, 3), DType::F32), zeros((4, 3), DType::F64));
    for dtype in [DType::U8, DType::U32, DType::I64] {
        let error = refusal(&zeros((4, 3), dtype), &f32s);
        assert!(matches!(error, Error::LogitsDType { got } if got == dtype), "{error}");
        names(&error, "to_dtype(DType::F32)");
        let assigner = CandleAssigner::new(Mira::default());
        let error = assigner.assign(&zeros((4, 3), dtype)).expect_err("integers");
        assert!(matches!(error, Error::LogitsDType { .. }), "{error}");
    }
    let error = refusal(&f64s, &f64s.copy().expect("memory"));
    assert!(
        matches!(error, Error::WorkspaceDType { expected: DType::F64, got: DType::F32, .. }),
        "{error}"
    );
    names(&error, "with_dtype(DType::F64)");
    for dtype in [DType::F64, DType::BF16, DType::U8] {
        let error = refusal(&f32s, &zeros((4, 3), dtype));
        assert!(
            matches!(error, Error::AssignmentDType { expected: DType::F32, got, .. } if got == dtype),
            "{error}"
        );
        names(&error, "Tensor::zeros(shape, DType::F32");
    }
    let error = CandleAssigner::new(Mira::default()).with_dtype(DType::BF16).expect_err("bf16");
    assert!(matches!(error, Error::ArithmeticDType { got: DType::BF16 }), "{error}");
}

#[test]
fn outputs_that_cannot_be_written_in_place() {
    let logits = zeros((4, 3), DType::F32);
    let transposed = zeros((3, 4), DType::F32).t().expect("a matrix");
    let repeated_row = zeros((1, 3), DType::F32).broadcast_as((4, 3)).expect("one row");
    for output in [transposed, repeated_row] {
        let error = refusal(&logits, &output);
        assert!(
            matches!(&error, Error::Layout { what: "assignment", strides } if strides == output.stride()),
            "{error}"
        );
        names(&error, "contiguous");
    }
    let error = refusal(&logits, &logits);
    assert!(matches!(error, Error::SharedMemory), "{error}");
    let both = zeros((8, 3), DType::F32);
    let half = |start| both.narrow(0, start, 4).expect("inside");
    assert!(matches!(refusal(&half(0), &half(4)), Error::SharedMemory));
    let variable = Var::zeros((4, 3), DType::F32, &Device::Cpu).expect("memory");
    names(&refusal(&logits, variable.as_tensor()), "assignment.detach()");
}

#[test]
fn invalid_logits_are_named() {
    let mut values = [0f32; 12];
    values[7] = f32::NAN;
    let logits = Tensor::from_slice(&values, (4, 3), &Device::Cpu).expect("as many");
    let error = refusal(&logits, &zeros((4, 3), DType::F32));
    assert!(
        matches!(error, Error::Core(CoreError::NonFiniteLogit { row: 2, column: 1, .. })),
        "{error}"
    );
}

#[test]
fn errors_pass_through_candles_result() {
    let assigner = CandleAssigner::new(Mira::default());
    let refused =
        || -> candle_core::Result<Tensor> { Ok(assigner.assign(&zeros((4, 3), DType::U8))?.0) };
    let message = refused().expect_err("integers").to_string();
    assert!(message.contains("logits must be F32"), "{message}");
    // candle's own errors come back as they were, not wrapped once more.
    let original = || candle_core::Error::Msg("a failure inside candle".into());
    let back = candle_core::Error::from(Error::from(original()));
    assert!(matches!(back, candle_core::Error::Msg(_)), "{back}");
    assert_eq!(back.to_string(), original().to_string());
}

#[test]
fn losses_without_pairs_or_with_unequal_shapes() {
    let one = || zeros((4, 3), DType::F32);
    for (num_views, num_targets) in [(0, 0), (1, 1), (2, 0), (2, 3)] {
        let (views, targets) = (vec![one(); num_views], vec![one(); num_targets]);
        let error = swapped_prediction_loss(&views, &targets, 0.1).expect_err("no pair");
        assert!(
            matches!(error, Error::NoPairs { views, targets } if (views, targets) == (num_views, num_targets)),
            "{error}"
        );
    }
    let loss = |views: [Tensor; 2], target: Tensor, temperature| {
        swapped_prediction_loss(&views, &[target], temperature).expect_err("refused")
    };
    let error = loss([one(), zeros((4, 2), DType::F32)], one(), 0.1);
    assert!(matches!(error, Error::LossShape { what: "view", index: 1, .. }), "{error}");
    let error = loss([one(), one()], zeros((1, 3), DType::F32), 0.1);
    assert!(matches!(error, Error::LossShape { what: "target", index: 0, .. }), "{error}");
    let error = loss([zeros(3, DType::F32), zeros(3, DType::F32)], one(), 0.1);
    assert!(matches!(error, Error::Rank { .. }), "{error}");
    let error = loss([zeros((0, 3), DType::F32), zeros((0, 3), DType::F32)], one(), 0.1);
    assert!(matches!(error, Error::Core(CoreError::EmptyShape { .. })), "{error}");
    let error = loss([zeros((4, 3), DType::U8), zeros((4, 3), DType::U8)], one(), 0.1);
    assert!(matches!(error, Error::LogitsDType { got: DType::U8 }), "{error}");
    let error = loss([one(), zeros((4, 3), DType::F64)], one(), 0.1);
    let of_types =
        matches!(error, Error::LossDType { index: 1, expected: DType::F32, got: DType::F64 });
    assert!(of_types, "{error}");
    // Numbers of classes, as other losses take them.
    let error = loss([one(), one()], zeros((4, 3), DType::U32), 0.1);
    assert!(matches!(error, Error::TargetDType { index: 0, got: DType::U32 }), "{error}");
    for temperature in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = loss([one(), one()], one(), temperature);
        assert!(matches!(error, Error::Core(CoreError::InvalidTemperature { .. })), "{error}");
    }
}
