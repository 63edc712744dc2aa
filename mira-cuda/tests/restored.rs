//! A warm start restored: what `CudaWorkspace::set_log_weights` leaves in a workspace, given to the emulated kernels.

use mira_core::{Method, Mira, Shape, Sinkhorn, StopRule};
use mira_cuda::params::{Control, KVector, Summary};
use mira_cuda::plan::{Dtype, Hardware, Plan};
use mira_cuda_emulation::{Guarded, launch};

const HARDWARE: Hardware = Hardware { multiprocessors: 3, shared_memory: 12 << 10, threads: 64 };
const BATCH: usize = 33;
const COLUMNS: usize = 70;

/// Some prototypes are popular, so that weights are far from equal.
fn logits() -> Vec<f32> {
    let number = |i: usize| {
        let popularity = (i % COLUMNS) as f32 / COLUMNS as f32;
        (1.7 * (i * i % 997) as f32).sin() + popularity
    };
    (0..BATCH * COLUMNS).map(number).collect()
}

/// Labels, log weights and sweeps from `weights`, or cold.
fn run(method: Method, weights: Option<&[f64]>) -> (Vec<f32>, Vec<f64>, usize) {
    let shape = Shape::new(BATCH, COLUMNS).unwrap();
    let plan = Plan::new(method, shape, (Dtype::F32, Dtype::F32), 1, HARDWARE).unwrap();
    let at = plan.at(KVector::LogWeights);
    let mut memory = vec![0u8; plan.workspace_bytes];
    for (to, from) in memory[at..].chunks_exact_mut(8).zip(weights.unwrap_or_default()) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    let mut workspace = Guarded::from_slice(&memory);
    let (logits, mut assignment) =
        (Guarded::from_slice(&logits()), Guarded::<f32>::poisoned(shape.len()));
    let mut params = plan.params;
    params.logits[0] = logits.as_ptr().addr() as u64;
    params.assignment[0] = assignment.as_mut_ptr().addr() as u64;
    params.workspace = workspace.as_mut_ptr().addr() as u64;
    params.logits_stride = COLUMNS.try_into().unwrap();
    params.assignment_stride = COLUMNS.try_into().unwrap();
    params.warm = i32::from(weights.is_some());
    let grid = (plan.blocks, 1);
    // SAFETY: the pointers are those of arrays of the plan's sizes, which nothing else uses meanwhile.
    unsafe { launch(plan.kernel, grid, HARDWARE.threads, plan.shared_bytes, &params, 1) }.unwrap();
    let memory = workspace.as_slice();
    let found = memory[at..at + 8 * COLUMNS].as_chunks().0;
    let found: Vec<f64> = found.iter().map(|b| f64::from_ne_bytes(*b)).collect();
    // SAFETY: plain numbers, written there by the kernel; read unaligned.
    let control =
        unsafe { memory[plan.at_control()..].as_ptr().cast::<Control>().read_unaligned() };
    let report = plan.report(&control, Summary::default(), false).unwrap();
    (assignment.as_slice().to_vec(), found, report.iterations)
}

#[test]
fn restored_log_weights_start_warm() {
    let stop = StopRule::default();
    let methods: [Method; 2] = [
        Mira::new(0.1, 0.9).unwrap().with_stop(stop).unwrap().into(),
        Sinkhorn::new(0.3).unwrap().with_stop(stop).unwrap().into(),
    ];
    for method in methods {
        let (cold, weights, from_nothing) = run(method, None);
        // As they are restored, around 0.
        let low = weights.iter().copied().fold(f64::INFINITY, f64::min);
        let high = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = weights.iter().map(|a| a - 0.5 * (low + high)).collect();
        let (warm, _, from_weights) = run(method, Some(&weights));
        let context = format!("{method:?}: {from_nothing} sweeps cold, {from_weights} warm");
        assert!(from_weights <= 1 && from_nothing > 2, "{context}");
        let distance = cold.iter().zip(&warm).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(distance < 1e-5, "{context}: {distance:e}");
    }
}
