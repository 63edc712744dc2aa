//! A warm start restored into a workspace of `mira-cuda`: what `CudaWorkspace::set_log_weights` leaves there, given to the emulated kernels.

use mira_core::{Method, StopRule};
use mira_cuda::params::{Control, KVector};
use mira_cuda::plan::{Dtype, Hardware, Plan};
use mira_cuda_emulation::{Guarded, launch};

use crate::support::{Kind, Problem, shape, to_f32, total_variation};

const HARDWARE: Hardware = Hardware { multiprocessors: 3, shared_memory: 12 << 10, threads: 64 };

/// Labels and sweeps from `weights`, or cold.
fn run(problem: &Problem, method: Method, weights: Option<&[f64]>) -> (Vec<f64>, Vec<f64>, usize) {
    let columns = problem.num_prototypes();
    let plan = Plan::new(method, problem.shape, (Dtype::F32, Dtype::F32), 1, HARDWARE);
    let plan = plan.expect("a small problem");
    let at = plan.at(KVector::LogWeights);
    let mut memory = vec![0u8; plan.workspace_bytes];
    if let Some(weights) = weights {
        let bytes: Vec<u8> = weights.iter().flat_map(|a| a.to_ne_bytes()).collect();
        memory[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    let mut workspace = Guarded::from_slice(&memory);
    let logits: Vec<f32> = problem.logits.iter().map(|s| to_f32(*s)).collect();
    let logits = Guarded::from_slice(&logits);
    let mut assignment = Guarded::<f32>::poisoned(problem.shape.len());
    let mut params = plan.params;
    params.logits[0] = logits.as_ptr().addr() as u64;
    params.assignment[0] = assignment.as_mut_ptr().addr() as u64;
    params.workspace = workspace.as_mut_ptr().addr() as u64;
    params.logits_stride = columns.try_into().expect("small");
    params.assignment_stride = columns.try_into().expect("small");
    params.warm = i32::from(weights.is_some());
    let grid = (plan.blocks, 1);
    // SAFETY: the pointers are those of arrays of the plan's sizes, which nothing else uses meanwhile.
    unsafe { launch(plan.kernel, grid, HARDWARE.threads, plan.shared_bytes, &params, 1) }
        .expect("a correct kernel");
    let memory = workspace.as_slice();
    let found = memory[at..at + 8 * columns].as_chunks().0;
    let found: Vec<f64> = found.iter().map(|b| f64::from_ne_bytes(*b)).collect();
    // SAFETY: plain numbers, written there by the kernel; read unaligned.
    let control =
        unsafe { memory[plan.at_control()..].as_ptr().cast::<Control>().read_unaligned() };
    let report = plan.report(&control, &found, &found).expect("valid logits");
    let labels = assignment.as_slice().iter().map(|w| f64::from(*w)).collect();
    (labels, found, report.iterations)
}

#[test]
fn restored_log_weights_start_cuda_warm() {
    for kind in [Kind::Clusters, Kind::Gaussian] {
        let problem = Problem::new(kind, shape(33, 70), 0.1, 0.9, 4, |s| f64::from(to_f32(s)));
        for method in [problem.mira(StopRule::default()), problem.sinkhorn(StopRule::default())] {
            let (cold, weights, from_nothing) = run(&problem, method, None);
            // As they are restored, around 0.
            let low = weights.iter().copied().fold(f64::INFINITY, f64::min);
            let high = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = weights.iter().map(|a| a - 0.5 * (low + high)).collect();
            let (warm, _, from_weights) = run(&problem, method, Some(&weights));
            let context = format!("{method:?}: {from_nothing} sweeps cold, {from_weights} warm");
            assert!(from_weights <= 1 && from_nothing > 1, "{context}");
            let tv = total_variation(&warm, &cold, problem.num_prototypes());
            assert!(tv < 1e-5, "{context}: total variation {tv:e}");
        }
    }
}
