//! CUDA tensors on a device: without one these tests fail, for then nothing was tested. They **have not run on a device yet**, but for gradients they pass over
//! a stand-in for the driver (`dev/check_driver --candle`);
//! what the conformance suite checks (`cargo test --features candle-cuda --test suite candle_cuda_device`) is not repeated here.

use std::ffi::{CString, c_char};
use std::sync::{Arc, LazyLock};

use candle_core::cuda::CudaDType;
use candle_core::cuda::cudarc::driver::DevicePtr;
use candle_core::{DType, Device, Storage, Tensor, Var};
use mira_candle::{CandleAssigner, Error, Workspace};
use mira_core::{Assigner, Error as CoreError, Mira, Shape, StopRule, ThreadCollective};

const BATCH: usize = 37;
const NUM_PROTOTYPES: usize = 21;

static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    if let Err(error) = mira_cuda::device(0) {
        panic!("feature `cuda` tests a device: {error}");
    }
    Device::new_cuda(0).expect("cuBLAS and cuRAND")
});

fn shape() -> Shape {
    Shape::new(BATCH, NUM_PROTOTYPES).expect("not empty")
}

fn assigner() -> CandleAssigner {
    let mira = Mira::default().with_stop(StopRule::Sweeps(6)).expect("valid");
    CandleAssigner::new(mira).with_device(&DEVICE).expect("a CUDA device")
}

/// B × K numbers in ±1 without a pattern, on the CPU.
fn logits(dtype: DType) -> Tensor {
    let numbers: Vec<f64> =
        (0..shape().len()).map(|i| (1.7 * (i * i % 997) as f64).sin()).collect();
    let tensor = Tensor::from_vec(numbers, (BATCH, NUM_PROTOTYPES), &Device::Cpu).expect("as many");
    tensor.to_dtype(dtype).expect("a float type")
}

fn on_device(tensor: &Tensor) -> Tensor {
    tensor.to_device(&DEVICE).expect("device memory")
}

/// The elements on the host, widened exactly.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_device(&Device::Cpu).and_then(|t| t.to_dtype(DType::F64));
    tensor.and_then(|t| t.flatten_all()?.to_vec1()).expect("a float tensor")
}

/// What copies or allocates on a device; a launch does neither.
const COPIES: [&str; 7] = [
    "cuMemAllocAsync",
    "cuMemAlloc_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyHtoD_v2",
];

/// How often this thread called the driver for those in `run`, and for anything; `None` where nobody counts: only the stand-in does.
fn driver_calls(run: impl FnOnce()) -> Option<(u64, u64)> {
    type Calls = unsafe extern "C" fn(*const c_char) -> u64;
    let calls = |name: Option<&str>| -> Option<u64> {
        // SAFETY: it is loaded already, for a device was opened; the function, where there is one, is of this type.
        unsafe {
            let driver = libloading::Library::new("libcuda.so.1").ok()?;
            let calls = driver.get::<Calls>(b"stand_in_calls\0").ok()?;
            let name = name.map(|name| CString::new(name).expect("no zero inside"));
            Some(calls(name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr())))
        }
    };
    let count = || {
        let copies = COPIES.iter().map(|name| calls(Some(name))).sum::<Option<u64>>()?;
        Some((copies, calls(None)?))
    };
    let before = count();
    run();
    let (before, after) = (before?, count()?);
    Some((after.0 - before.0, after.1 - before.1))
}

/// Where a tensor's first element is.
fn address<T: CudaDType>(tensor: &Tensor) -> u64 {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { panic!("not on CUDA") };
    let elements = storage.as_cuda_slice::<T>().expect("of this type");
    let stream = storage.device.cuda_stream();
    let view = elements.slice(layout.start_offset()..);
    let (address, _guard) = view.device_ptr(&stream);
    address
}

fn distance(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

/// The CPU's assignment of the same numbers.
fn expected(logits: &Tensor) -> Vec<f64> {
    let mira = Mira::default().with_stop(StopRule::Sweeps(6)).expect("valid");
    numbers(&CandleAssigner::new(mira).assign(logits).expect("valid logits").0)
}

#[test]
fn every_type_is_assigned_as_on_the_cpu() {
    let bf16 = Tensor::zeros((BATCH, NUM_PROTOTYPES), DType::BF16, &DEVICE).expect("device memory");
    let mut workspace = assigner().workspace(shape()).expect("device memory");
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let logits = logits(dtype);
        let (assignment, report) = assigner().assign(&on_device(&logits)).expect("valid logits");
        assert_eq!((assignment.dtype(), report.iterations), (DType::F32, 6), "{dtype:?}");
        assert!(assignment.device().same_device(&DEVICE), "{dtype:?}");
        let off = distance(&numbers(&assignment), &expected(&logits));
        assert!(off < 1e-5, "{dtype:?}: {off:e}");
        // One workspace serves every type of logits, and both of assignments.
        assigner().assign_into(&on_device(&logits), &bf16, &mut workspace).expect("valid logits");
        let off = distance(&numbers(&bf16), &expected(&logits));
        assert!(off < 4e-3, "{dtype:?}, rounded to bf16: {off:e}");
    }
}

#[test]
fn nothing_is_copied_but_strided_columns_and_overlapping_rows() {
    let plain = logits(DType::F32);
    let nan = |rows, columns| Tensor::full(f32::NAN, (rows, columns), &DEVICE).expect("memory");
    let device = on_device(&plain);
    let wide = Tensor::cat(&[&nan(BATCH, 3), &device, &nan(BATCH, 2)], 1).expect("equal rows");
    let wide = Tensor::cat(&[&nan(2, NUM_PROTOTYPES + 5), &wide], 0).expect("equal rows");
    let embedded = wide.narrow(0, 2, BATCH).and_then(|w| w.narrow(1, 3, NUM_PROTOTYPES));
    let transposed = device.t().and_then(|t| t.contiguous()?.t()).expect("a matrix");
    let bytes = 4 * shape().len();
    let mut workspace = assigner().workspace(shape()).expect("device memory");
    for (layout, tensor, copied) in [
        ("plain", device.clone(), 0),
        ("embedded", embedded.expect("inside"), 0),
        ("transposed", transposed, bytes),
        ("plain again", device, 0),
    ] {
        let output = assigner().output(shape()).expect("device memory");
        let (before, from) = (address::<f32>(&output), address::<f32>(&tensor));
        let assigner = assigner();
        let calls = driver_calls(|| {
            assigner.assign_into(&tensor, &output, &mut workspace).expect("valid logits");
        });
        assert_eq!(workspace.copied_bytes(), copied, "{layout}");
        if let Some((copies, all)) = calls {
            // Not only by its own count. candle's kernel makes the copy, into memory that is allocated once.
            assert!(copies == 0 || copied > 0, "{layout}: {copies} copies or allocations");
            assert!(all > 0, "{layout}: the launch");
        }
        assert_eq!((address::<f32>(&output), address::<f32>(&tensor)), (before, from), "{layout}");
        let off = distance(&numbers(&output), &expected(&plain));
        assert!(off < 1e-5, "{layout}: {off:e}");
    }
    let row = on_device(&plain).narrow(0, 5, 1).expect("inside");
    let repeated = row.broadcast_as((BATCH, NUM_PROTOTYPES)).expect("one row");
    let output = assigner().output(shape()).expect("device memory");
    assigner().assign_into(&repeated, &output, &mut workspace).expect("valid logits");
    assert_eq!(workspace.copied_bytes(), bytes);
}

#[test]
fn the_output_is_written_in_place_and_nothing_beside_it() {
    let wide = Tensor::full(-1f32, (BATCH + 4, NUM_PROTOTYPES + 6), &DEVICE).expect("memory");
    let inside = wide.narrow(0, 3, BATCH).and_then(|w| w.narrow(1, 2, NUM_PROTOTYPES));
    let inside = inside.expect("inside");
    let plain = logits(DType::F32);
    let mut workspace = assigner().workspace(shape()).expect("device memory");
    assigner().assign_into(&on_device(&plain), &inside, &mut workspace).expect("valid logits");
    assert!(distance(&numbers(&inside), &expected(&plain)) < 1e-5);
    let untouched = numbers(&wide).iter().filter(|w| **w == -1.0).count();
    assert_eq!(untouched, wide.elem_count() - inside.elem_count());
}

#[test]
fn no_gradient_flows_through_an_assignment() -> candle_core::Result<()> {
    let leaf = Var::from_tensor(&on_device(&logits(DType::F32)))?;
    let (assignment, _) = assigner().assign(&(leaf.as_tensor() * 0.5)?)?;
    assert!(!assignment.track_op());
    let gradients = (&assignment * leaf.as_tensor())?.sum_all()?.backward()?;
    assert_eq!(numbers(gradients.get(&leaf).expect("a leaf")), numbers(&assignment));
    assert!(assignment.sqr()?.sum_all()?.backward()?.get(&leaf).is_none());
    Ok(())
}

#[test]
fn state_is_restored() {
    let logits = on_device(&logits(DType::F32));
    let warm = CandleAssigner::new(Mira::default()).with_warm_start(true);
    let warm = warm.with_device(&DEVICE).expect("a CUDA device");
    let output = warm.output(shape()).expect("device memory");
    let sweeps = |workspace: &mut Workspace| {
        warm.assign_into(&logits, &output, workspace).expect("a launch");
        warm.report(workspace).expect("valid logits").iterations
    };
    let mut workspace = warm.workspace(shape()).expect("device memory");
    let (cold, again) = (sweeps(&mut workspace), sweeps(&mut workspace));
    assert!(again < cold, "{again} sweeps from the optimum, {cold} from nothing");
    let weights = workspace.log_weights().expect("fetched");
    let mut restored = warm.workspace(shape()).expect("device memory");
    restored.set_log_weights(&weights).expect("K finite values");
    assert!(matches!(warm.report(&restored), Err(Error::Core(CoreError::NothingAssigned))));
    assert_eq!(sweeps(&mut restored), again);
    assert!(restored.set_log_weights(&[0.0]).is_err());
    restored.set_center(&[0.5; NUM_PROTOTYPES]).expect("K finite values");
    assert_eq!(restored.center().expect("fetched"), [0.5; NUM_PROTOTYPES]);
}

#[test]
fn what_cannot_be_is_refused_and_the_workspace_works_on() {
    let (cpu, device) = (logits(DType::F32), on_device(&logits(DType::F32)));
    let mut workspace = assigner().workspace(shape()).expect("device memory");
    let output = assigner().output(shape()).expect("device memory");
    let error = assigner().assign_into(&cpu, &output, &mut workspace);
    assert!(matches!(error, Err(Error::DeviceMismatch { .. })), "{error:?}");
    let error = assigner().assign_into(&cpu, &cpu.copy().expect("memory"), &mut workspace);
    assert!(matches!(error, Err(Error::WorkspaceDevice { .. })), "{error:?}");
    let wide = on_device(&logits(DType::F64));
    let error = assigner().assign_into(&wide, &output, &mut workspace);
    assert!(matches!(error, Err(Error::CudaF64 { gpu_id: 0 })), "{error:?}");
    let error = assigner().assign(&wide);
    assert!(matches!(error, Err(Error::CudaF64 { gpu_id: 0 })), "{error:?}");
    let error = assigner().with_dtype(DType::F64).and_then(|wide| wide.workspace(shape()));
    assert!(matches!(error, Err(Error::CudaF64 { gpu_id: 0 })), "{error:?}");
    let ranks = assigner().with_collective(Arc::new(ThreadCollective::world(2).remove(0)));
    let error = ranks.assign_into(&device, &output, &mut workspace);
    assert!(matches!(error, Err(Error::CudaCollective { world_size: 2 })), "{error:?}");
    assert!(matches!(assigner().report(&workspace), Err(Error::Core(CoreError::NothingAssigned))));
    assigner().assign_into(&device, &output, &mut workspace).expect("a launch");
    assigner().report(&workspace).expect("valid logits");
}

#[test]
fn invalid_logits_are_told_by_the_report() {
    let mut values = numbers(&logits(DType::F32));
    values[2 * NUM_PROTOTYPES + 1] = f64::NAN;
    let bad = Tensor::from_vec(values, (BATCH, NUM_PROTOTYPES), &Device::Cpu).expect("as many");
    let bad = on_device(&bad.to_dtype(DType::F32).expect("a float type"));
    let mut workspace = assigner().workspace(shape()).expect("device memory");
    let output = assigner().output(shape()).expect("device memory");
    assigner().assign_into(&bad, &output, &mut workspace).expect("enqueued");
    let error = assigner().report(&workspace).expect_err("NaN");
    assert!(
        matches!(error, Error::Core(CoreError::NonFiniteLogit { row: 2, column: 1, .. })),
        "{error}"
    );
}

/// Streams of two `Device`s of one GPU do not wait for each other.
#[test]
fn tensors_of_another_device_of_the_same_gpu_are_refused() {
    let other = Device::new_cuda(0).expect("cuBLAS and cuRAND");
    let device = on_device(&logits(DType::F32));
    let mut workspace = assigner().workspace(shape()).expect("device memory");
    let dims = (BATCH, NUM_PROTOTYPES);
    let [here, there] =
        [&*DEVICE, &other].map(|d| Tensor::zeros(dims, DType::F32, d).expect("device memory"));
    let error = assigner().assign_into(&device, &there, &mut workspace);
    assert!(matches!(error, Err(Error::SeparateDevices { what: "assignment", .. })), "{error:?}");
    let elsewhere = assigner().with_device(&other).expect("a CUDA device");
    let mut theirs = elsewhere.workspace(shape()).expect("device memory");
    let error = assigner().assign_into(&device, &here, &mut theirs);
    assert!(matches!(error, Err(Error::SeparateDevices { what: "workspace", .. })), "{error:?}");
    assigner().assign_into(&device, &here, &mut workspace).expect("a launch");
    assert!(distance(&numbers(&here), &expected(&logits(DType::F32))) < 1e-5);
}

/// Each thread has a stream of its own; what a workspace carries goes along.
#[test]
fn a_workspace_may_change_threads() {
    let warm = CandleAssigner::new(Mira::default()).with_warm_start(true);
    let warm = warm.with_device(&DEVICE).expect("a CUDA device");
    let logits = on_device(&logits(DType::F32));
    let outputs = [0, 1].map(|_| warm.output(shape()).expect("device memory"));
    // Tensors are candle's to hand over; the workspace is ours.
    DEVICE.synchronize().expect("a device");
    let mut workspace = warm.workspace(shape()).expect("device memory");
    warm.assign_into(&logits, &outputs[0], &mut workspace).expect("a launch");
    let (there, written) = std::thread::scope(|threads| {
        let (warm, logits, output) = (&warm, &logits, &outputs[1]);
        let thread = threads.spawn(move || {
            warm.assign_into(logits, output, &mut workspace).expect("a launch");
            let iterations = warm.report(&workspace).expect("valid logits").iterations;
            (iterations, numbers(output))
        });
        thread.join().expect("no panic")
    });
    let mut alone = warm.workspace(shape()).expect("device memory");
    let mut sweeps = || {
        warm.assign_into(&logits, &outputs[0], &mut alone).expect("a launch");
        warm.report(&alone).expect("valid logits").iterations
    };
    let (cold, again) = (sweeps(), sweeps());
    assert!(again < cold, "{again} sweeps from the optimum, {cold} from nothing");
    assert_eq!(there, again, "as in one thread");
    assert_eq!(written, numbers(&outputs[0]));
}
