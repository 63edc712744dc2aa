//! Criterion: `assign/{method}/{B}x{K}/{backend}`, side by side in one run, with the bytes an assignment must move at least (logits
//! in, assignment out).
//!
//! `cargo bench --bench assign` runs everything; `-- 512x3000` a part of it. `MIRA_BENCH_REFERENCE_LIMIT` (default 2,000,000) is the most elements the
//! f64 oracle is timed on: it takes a second per million.

#![allow(missing_docs)] // criterion's macros

use candle_core::{Device, Tensor};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use mira::cpu::CpuAssigner;
use mira::{Assigner, Matrix, Method, Mira, Reference, Shape, Sinkhorn, Softmax};
use mira_candle::CandleAssigner;
use mira_cuda::{CudaAssigner, DeviceMatrix};
use ndarray::Array2;

const SHAPES: [(usize, usize); 4] = [(256, 300), (512, 3000), (4096, 3000), (512, 65_536)];

fn methods() -> [(&'static str, Method); 4] {
    [
        ("mira-30-sweeps", Mira::published().into()),
        ("mira-certified", Mira::default().into()),
        ("sinkhorn-3-sweeps", Sinkhorn::swav().into()),
        ("softmax", Softmax::new(0.225).expect("positive").into()),
    ]
}

/// 4 flops an element and pass, and about 20 for its exponential.
fn flops(passes: usize, len: usize) -> usize {
    len * (20 + 4 * passes)
}

/// Cosine-like logits: clustered rows, values mostly within ±0.4.
fn logits(batch: usize, num_prototypes: usize) -> Array2<f32> {
    let mut state = 1u64;
    let mut uniform = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let clusters = Array2::from_shape_fn((16, num_prototypes), |_| (uniform() + uniform()) * 0.4);
    Array2::from_shape_fn((batch, num_prototypes), |(i, j)| {
        clusters[[i * i % 16, j]] + uniform() * 0.2
    })
}

/// A CUDA device as candle opens it, or why there is none.
fn candle_cuda() -> Result<Device, String> {
    if cfg!(not(feature = "candle-cuda")) {
        return Err("built without feature `candle-cuda`".into());
    }
    mira_cuda::device(0).map_err(|error| error.to_string())?;
    Device::new_cuda(0).map_err(|error| error.to_string())
}

/// The same tensors on any device of candle's.
fn candle(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    device: &Device,
    logits: &Array2<f32>,
    method: Method,
) {
    let shape = Shape::new(logits.nrows(), logits.ncols()).expect("not empty");
    let values: Vec<f32> = logits.iter().copied().collect();
    let tensor = Tensor::from_vec(values, logits.dim(), device).expect("as many");
    let assigner = CandleAssigner::new(method).with_device(device).expect("one with a backend");
    let mut workspace = assigner.workspace(shape).expect("memory");
    let output = assigner.output(shape).expect("memory");
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter(|| {
            assigner.assign_into(&tensor, &output, &mut workspace).expect("valid logits");
            device.synchronize().expect("the device");
        });
    });
}

fn cuda(group: &mut BenchmarkGroup<'_, WallTime>, logits: &Array2<f32>, method: Method) {
    let shape = Shape::new(logits.nrows(), logits.ncols()).expect("not empty");
    let values: Vec<f32> = logits.iter().copied().collect();
    let Ok(context) = mira_cuda::device(0) else { return };
    let stream = context.default_stream();
    let cuda = CudaAssigner::<f32>::new(method, &stream).expect("the kernels load");
    let on_device = DeviceMatrix::from_host(&stream, shape, &values).expect("device memory");
    let mut workspace = cuda.workspace(shape).expect("device memory");
    let mut output = cuda.output(shape).expect("device memory");
    group.bench_function(BenchmarkId::from_parameter("cuda"), |bencher| {
        bencher.iter(|| {
            cuda.assign_into(on_device.rows(), output.rows_mut(), &mut workspace)
                .expect("a launch");
            stream.synchronize().expect("the device");
        });
    });
}

fn assign(criterion: &mut Criterion) {
    println!("backends: cpu, candle-cpu, reference");
    match mira_cuda::device(0) {
        Ok(_) => println!("  cuda: present"),
        Err(error) => println!("  cuda: absent, {error}"),
    }
    let candle_cuda = candle_cuda();
    match &candle_cuda {
        Ok(_) => println!("  candle-cuda: present"),
        Err(why) => println!("  candle-cuda: absent, {why}"),
    }
    let limit: usize = std::env::var("MIRA_BENCH_REFERENCE_LIMIT")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(2_000_000);
    for (batch, num_prototypes) in SHAPES {
        let shape = Shape::new(batch, num_prototypes).expect("not empty");
        let logits = logits(batch, num_prototypes);
        let wide: Vec<f64> = logits.iter().map(|s| f64::from(*s)).collect();
        for (name, method) in methods() {
            let mut group =
                criterion.benchmark_group(format!("assign/{name}/{shape}").replace('×', "x"));
            group.sample_size(10);
            group.throughput(Throughput::Bytes(8 * shape.len() as u64));
            let cpu = CpuAssigner::<f32>::new(method);
            let mut workspace = cpu.workspace(shape).expect("memory");
            let mut output = cpu.output(shape).expect("memory");
            group.bench_function(BenchmarkId::from_parameter("cpu"), |bencher| {
                bencher.iter(|| cpu.assign_into(logits.view(), output.view_mut(), &mut workspace));
            });
            if let Ok(report) = cpu.report(&workspace) {
                println!(
                    "  {} passes, {:.2} GFLOP",
                    report.passes,
                    flops(report.passes, shape.len()) as f64 / 1e9
                );
            }
            // The backends that are not everywhere, too.
            candle(&mut group, "candle-cpu", &Device::Cpu, &logits, method);
            cuda(&mut group, &logits, method);
            if let Ok(device) = &candle_cuda {
                candle(&mut group, "candle-cuda", device, &logits, method);
            }
            if shape.len() > limit {
                println!(
                    "  reference: left out, above MIRA_BENCH_REFERENCE_LIMIT = {limit} elements"
                );
                continue;
            }
            let oracle = Reference::<f64>::new(method);
            let mut workspace = oracle.workspace(shape).expect("memory");
            let mut output = oracle.output(shape).expect("memory");
            group.bench_function(BenchmarkId::from_parameter("reference"), |bencher| {
                let logits = Matrix::new(&wide, shape).expect("as many as the shape says");
                bencher.iter(|| oracle.assign_into(logits, &mut output, &mut workspace));
            });
        }
    }
}

criterion_group!(benches, assign);
criterion_main!(benches);
