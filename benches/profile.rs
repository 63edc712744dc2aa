//! Where an assignment's time goes on this machine, against what its memory can deliver: `cargo bench --bench profile`.
//!
//! For each shape: the time of the kernel's build with one sweep and write (softmax), and of one further sweep (the slope between 10 and
//! 40 sweeps of Sinkhorn–Knopp, of which none is left out), per element and as bandwidth over the kernel's bytes; beside them the bandwidth at which the same number of
//! threads can merely read an array of that size. A sweep reads the kernel twice: once from memory or L3, once more from L2.

use std::time::Instant;

use mira::cpu::{CpuAssigner, instruction_set};
use mira::{Assigner, Method, Shape, Sinkhorn, Softmax, StopRule};
use ndarray::Array2;

const SHAPES: [(usize, usize); 10] = [
    (512, 300),
    (512, 3000),
    (1024, 3000),
    (2048, 3000),
    (4096, 3000),
    (8192, 3000),
    (512, 8192),
    (512, 32_768),
    (512, 65_536),
    (512, 131_072),
];
const REPEATS: usize = 9;

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Median seconds of an assignment.
fn assign(method: impl Into<Method>, logits: &Array2<f32>) -> f64 {
    let assigner = CpuAssigner::<f32>::new(method);
    let shape = Shape::new(logits.nrows(), logits.ncols()).expect("not empty");
    let mut workspace = assigner.workspace(shape).expect("memory");
    let mut output = assigner.output(shape).expect("memory");
    let mut run = || {
        let start = Instant::now();
        assigner
            .assign_into(logits.view(), output.view_mut(), &mut workspace)
            .expect("finite logits");
        start.elapsed().as_secs_f64()
    };
    run();
    median((0..REPEATS).map(|_| run()).collect())
}

fn sweeps(n: usize) -> Sinkhorn {
    Sinkhorn::new(0.075).and_then(|m| m.with_stop(StopRule::Sweeps(n))).expect("valid")
}

/// Median seconds to sum an array with `num_threads` threads, each many times over to leave starting them out.
fn read(values: &[f32], num_threads: usize) -> f64 {
    const PASSES: usize = 8;
    let sum = |part: &[f32]| {
        let mut lanes = [0.0f32; 64];
        for chunk in part.as_chunks::<64>().0 {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += x;
            }
        }
        lanes.iter().sum::<f32>()
    };
    let turn = || {
        let start = Instant::now();
        let total: f32 = std::thread::scope(|scope| {
            let parts: Vec<_> = values
                .chunks(values.len().div_ceil(num_threads))
                .map(|part| {
                    scope.spawn(move || {
                        (0..PASSES).map(|_| sum(std::hint::black_box(part))).sum::<f32>()
                    })
                })
                .collect();
            parts.into_iter().map(|part| part.join().expect("no panic")).sum()
        });
        std::hint::black_box(total);
        start.elapsed().as_secs_f64() / PASSES as f64
    };
    turn();
    median((0..REPEATS).map(|_| turn()).collect())
}

fn main() {
    let num_threads: usize = std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    println!("{num_threads} threads, {}", instruction_set());
    println!(
        "{:>12}{:>9}{:>12}{:>12}{:>12}{:>14}{:>12}",
        "shape", "MB", "softmax ms", "sweep ms", "ns/element", "sweep GB/s", "read GB/s"
    );
    for (batch, num_prototypes) in SHAPES {
        let logits = Array2::from_shape_fn((batch, num_prototypes), |(i, j)| {
            (((i * 7919 + j * 104_729) % 1000) as f32 / 1000.0 - 0.5) * 0.5
        });
        let bytes = 4.0 * logits.len() as f64;
        let softmax = assign(Softmax::new(0.225).expect("positive"), &logits);
        let sweep = (assign(sweeps(40), &logits) - assign(sweeps(10), &logits)) / 30.0;
        let reading = read(logits.as_slice().expect("standard layout"), num_threads);
        println!(
            "{:>12}{:>9.1}{:>12.2}{:>12.3}{:>12.4}{:>14.1}{:>12.1}",
            format!("{batch}x{num_prototypes}"),
            bytes / 1e6,
            softmax * 1e3,
            sweep * 1e3,
            sweep * 1e9 / logits.len() as f64,
            bytes / sweep / 1e9,
            bytes / reading / 1e9
        );
    }
}
