//! Tensors of every type and layout against the CPU backend on plain arrays, autograd, and what is refused.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use mira_candle::{CandleAssigner, Error, Workspace};
use mira_core::{Assigner, Mira, Shape, Sinkhorn, StopRule, ThreadCollective};
use mira_cpu::{CpuAssigner, Logit, Real};
use ndarray::Array2;

const BATCH: usize = 37;
const NUM_PROTOTYPES: usize = 21;

/// B × K numbers in ±1 without a pattern.
fn logits(dtype: DType) -> Tensor {
    let len = BATCH * NUM_PROTOTYPES;
    let numbers: Vec<f64> = (0..len).map(|i| (1.7 * (i * i % 997) as f64).sin()).collect();
    let tensor = Tensor::from_vec(numbers, (BATCH, NUM_PROTOTYPES), &Device::Cpu).expect("as many");
    tensor.to_dtype(dtype).expect("a float type")
}

fn shape() -> Shape {
    Shape::new(BATCH, NUM_PROTOTYPES).expect("not empty")
}

fn mira() -> Mira {
    Mira::default().with_stop(StopRule::Sweeps(6)).expect("valid")
}

/// The elements, widened exactly.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let wide = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1());
    wide.expect("a float tensor")
}

/// The assignment by the CPU backend of logits stored as `A`, which is exact.
fn by_cpu<A: Logit + Real + Into<f64>>(logits: &Tensor, stored: fn(f64) -> A) -> Vec<f64> {
    let elements = numbers(logits).into_iter().map(stored).collect();
    let array = Array2::from_shape_vec((BATCH, NUM_PROTOTYPES), elements).expect("as many");
    let assigner = CpuAssigner::<A, A>::new(mira());
    let (assignment, _) = assigner.assign(array.view()).expect("valid logits");
    assignment.iter().map(|w| (*w).into()).collect()
}

/// What [`CandleAssigner`] must return for `logits`, bit by bit.
fn expected(logits: &Tensor) -> Vec<f64> {
    #[allow(clippy::cast_possible_truncation)] // exact: the elements have been f32 or less
    let narrow = |x: f64| x as f32;
    match logits.dtype() {
        DType::F64 => by_cpu::<f64>(logits, |x| x),
        _ => by_cpu::<f32>(logits, narrow),
    }
}

#[test]
fn every_type_gives_the_bits_of_the_cpu_backend() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let logits = logits(dtype);
        let (assignment, report) = CandleAssigner::new(mira()).assign(&logits).expect("valid");
        assert_eq!(numbers(&assignment), expected(&logits), "{dtype:?}");
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        assert_eq!(assignment.dtype(), wide, "{dtype:?}");
        assert!(assignment.is_contiguous(), "{dtype:?}");
        assert_eq!(report.iterations, 6, "{dtype:?}");
    }
}

/// Larger than the matrix on every side, NaN around it; and the matrix within.
fn embedded(matrix: &Tensor) -> Tensor {
    let nan = |rows, columns| {
        let value = Tensor::full(f32::NAN, (rows, columns), &Device::Cpu).expect("memory");
        value.to_dtype(matrix.dtype()).expect("a float type")
    };
    let (rows, columns) = matrix.dims2().expect("a matrix");
    let wide = Tensor::cat(&[&nan(rows, 3), matrix, &nan(rows, 2)], 1).expect("equal rows");
    let wide = Tensor::cat(&[&nan(2, columns + 5), &wide, &nan(1, columns + 5)], 0);
    wide.and_then(|w| w.narrow(0, 2, rows)?.narrow(1, 3, columns)).expect("inside")
}

#[test]
fn any_layout_gives_the_same_bits_and_only_strided_columns_are_copied() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let plain = logits(dtype);
        let transposed = plain.t().and_then(|t| t.contiguous()?.t()).expect("a matrix");
        let interleaved = Tensor::stack(&[&plain, &plain.zeros_like().expect("memory")], 1);
        let interleaved = interleaved.and_then(|pairs| pairs.narrow(1, 0, 1)?.squeeze(1));
        let bytes = BATCH * NUM_PROTOTYPES * dtype.size_in_bytes();
        let cases = [
            ("plain", plain.clone(), 0),
            ("rows apart", interleaved.expect("two of each row"), 0),
            ("transposed", transposed, bytes),
            (
                "transposed and embedded",
                embedded(&plain.t().expect("a matrix")).t().expect("a matrix"),
                bytes,
            ),
            ("embedded", embedded(&plain), 0),
        ];
        let arithmetic = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let assigner = CandleAssigner::new(mira()).with_dtype(arithmetic).expect("one of the two");
        // One workspace for all, so that a count is seen to start anew.
        let mut workspace = assigner.workspace(shape()).expect("memory");
        for (layout, tensor, copied) in cases {
            let output = assigner.output(shape()).expect("memory");
            assigner.assign_into(&tensor, &output, &mut workspace).expect("valid logits");
            assert_eq!(numbers(&output), expected(&plain), "{layout} {dtype:?}");
            assert_eq!(workspace.copied_bytes(), copied, "{layout} {dtype:?}");
        }
    }
}

#[test]
fn one_row_or_column_and_repeated_rows_need_no_copy() {
    let all = logits(DType::F32);
    let assign = |tensor: &Tensor| {
        let assigner = CandleAssigner::new(mira());
        let shape = CandleAssigner::shape(&tensor).expect("a matrix");
        let (mut workspace, output) =
            (assigner.workspace(shape).expect("memory"), assigner.output(shape).expect("memory"));
        assigner.assign_into(tensor, &output, &mut workspace).expect("valid logits");
        assert_eq!(workspace.copied_bytes(), 0, "{:?}", tensor.layout());
        numbers(&output)
    };
    let column = all.narrow(1, 4, 1).expect("inside");
    assert!(assign(&column).iter().all(|w| (w - 1.0).abs() < 1e-6));
    let row = all.narrow(0, 5, 1).expect("inside");
    let repeated = row.broadcast_as((BATCH, NUM_PROTOTYPES)).expect("one row");
    assert_eq!(repeated.stride(), [0, 1]);
    let (one, many) = (assign(&row), assign(&repeated));
    assert_eq!(many, assign(&repeated.contiguous().expect("memory")));
    let distance = one.iter().zip(&many).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(distance < 1e-6, "identical rows are assigned alike: {distance:e}");
}

#[test]
fn the_output_is_written_in_place_and_nothing_beside_it() {
    let logits = logits(DType::F32);
    let wide = Tensor::full(-1f32, (BATCH + 4, NUM_PROTOTYPES + 6), &Device::Cpu).expect("memory");
    let inside = wide.narrow(0, 3, BATCH).and_then(|w| w.narrow(1, 2, NUM_PROTOTYPES));
    let inside = inside.expect("inside");
    let assigner = CandleAssigner::new(mira());
    let mut workspace = assigner.workspace(shape()).expect("memory");
    assigner.assign_into(&logits, &inside, &mut workspace).expect("valid logits");
    assert_eq!(numbers(&inside), expected(&logits));
    let untouched = numbers(&wide).iter().filter(|w| **w == -1.0).count();
    assert_eq!(untouched, wide.elem_count() - inside.elem_count());
}

#[test]
fn no_gradient_flows_through_an_assignment() -> candle_core::Result<()> {
    let leaf = Var::from_tensor(&logits(DType::F64))?;
    let scores = (leaf.as_tensor() * 0.5)?;
    let (assignment, _) = CandleAssigner::new(mira()).assign(&scores)?;
    assert!(!assignment.track_op());
    // d/dS Σ W·S is W, if W is a constant, times the 0.5 above.
    let gradients = (&assignment * &scores)?.sum_all()?.backward()?;
    let gradient = gradients.get(&leaf).expect("the leaf takes part");
    let expected: Vec<f64> = numbers(&assignment).iter().map(|w| 0.5 * w).collect();
    assert_eq!(numbers(gradient), expected);
    // A loss of the assignment alone has no gradient.
    let gradients = assignment.sqr()?.sum_all()?.backward()?;
    assert!(gradients.get(&leaf).is_none());
    Ok(())
}

#[test]
fn a_tracked_output_is_refused() {
    let assigner = CandleAssigner::new(mira());
    let mut workspace = assigner.workspace(shape()).expect("memory");
    let variable = Var::zeros((BATCH, NUM_PROTOTYPES), DType::F32, &Device::Cpu).expect("memory");
    let descendant = variable.affine(2.0, 0.0).expect("memory");
    for output in [variable.as_tensor(), &descendant] {
        let error = assigner.assign_into(&logits(DType::F32), output, &mut workspace);
        assert!(matches!(error, Err(Error::TrackedAssignment)), "{error:?}");
    }
    // The remedy works: the variable's own memory is written.
    assigner
        .assign_into(&logits(DType::F32), &variable.detach(), &mut workspace)
        .expect("detached");
    assert_eq!(numbers(variable.as_tensor()), expected(&logits(DType::F32)));
}

#[test]
fn options_reach_the_backend() {
    let logits = logits(DType::F32);
    let method = Mira::default();
    let plain = CandleAssigner::new(method);
    assert_eq!(plain.method(), &method.into());
    assert!(plain.assign(&logits).expect("valid").1.objective.is_none());
    let (_, report) = plain.clone().with_objective(true).assign(&logits).expect("valid");
    assert!(report.objective.is_some());

    let warm = plain.clone().with_warm_start(true);
    let (mut workspace, output) =
        (warm.workspace(shape()).expect("memory"), warm.output(shape()).expect("memory"));
    let sweeps = |workspace: &mut Workspace| {
        warm.assign_into(&logits, &output, workspace).expect("valid");
        warm.report(workspace).expect("assigned").iterations
    };
    assert!(!workspace.has_warm_start());
    let (cold, again) = (sweeps(&mut workspace), sweeps(&mut workspace));
    assert!(workspace.has_warm_start());
    assert!(again < cold, "{again} sweeps from the optimum, {cold} from nothing");
    // The same start, restored.
    let weights = workspace.log_weights().expect("on the CPU");
    let mut restored = warm.workspace(shape()).expect("memory");
    restored.set_log_weights(&weights).expect("K finite values");
    assert!(restored.has_warm_start());
    assert_eq!(sweeps(&mut restored), again);
    assert!(restored.set_log_weights(&[0.0]).is_err());
    restored.set_center(&[0.5; NUM_PROTOTYPES]).expect("K finite values");
    assert_eq!(restored.center().expect("on the CPU"), [0.5; NUM_PROTOTYPES]);
}

#[test]
fn the_device_is_the_cpu_unless_said() {
    let plain = CandleAssigner::new(mira());
    let said = plain.clone().with_device(&Device::Cpu).expect("has a backend");
    for assigner in [plain, said] {
        assert!(assigner.workspace(shape()).expect("memory").device().is_cpu());
        assert!(assigner.output(shape()).expect("memory").device().is_cpu());
    }
}

#[test]
fn two_ranks_are_one_batch() {
    let logits = logits(DType::F32);
    let halves = [logits.narrow(0, 0, 20), logits.narrow(0, 20, BATCH - 20)];
    let method = Sinkhorn::new(0.1).expect("valid");
    let (whole, report) = CandleAssigner::new(method).assign(&logits).expect("valid");
    let ranks = ThreadCollective::world(2).into_iter().zip(halves);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = ranks
            .map(|(rank, rows)| {
                let assigner = CandleAssigner::new(method).with_collective(Arc::new(rank));
                scope.spawn(move || assigner.assign(&rows.expect("inside")).expect("valid"))
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect()
    });
    let together = [numbers(&parts[0].0), numbers(&parts[1].0)].concat();
    let distance =
        numbers(&whole).iter().zip(&together).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(distance < 1e-5, "{distance:e}");
    assert!((parts[0].1.marginal_entropy - report.marginal_entropy).abs() < 1e-5);
}
