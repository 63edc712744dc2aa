//! The kernels of `mira-cuda`, planned as for a small device and run on the CPU.

use half::{bf16, f16};
use mira_core::{Method, Shape, StopRule};
use mira_cuda::params::{Control, KVector};
use mira_cuda::plan::{Dtype, Hardware, Plan};
use mira_cuda_emulation::{Element, Guarded, launch};

use crate::support::{Answer, Backend, Failure};

/// Few blocks with little shared memory: some rows stay on chip, some do not, and blocks have several row blocks.
const SMALL: Hardware = Hardware { multiprocessors: 3, shared_memory: 12 << 10, threads: 64 };

/// A workspace in guarded memory, with what the next batch needs.
pub(crate) struct Emulated {
    plan: Plan,
    workspace: Guarded<u8>,
    seed: u64,
    assigned: bool,
}

impl Emulated {
    pub(crate) fn new(
        method: Method,
        shape: Shape,
        dtypes: (Dtype, Dtype),
        hardware: Hardware,
    ) -> Self {
        let plan = Plan::new(method, shape, dtypes, 1, hardware).expect("a small problem");
        let workspace = Guarded::from_slice(&vec![0; plan.workspace_bytes]);
        Self { plan, workspace, seed: 1, assigned: false }
    }

    /// Rows may be apart; the assignment's are as far apart as the logits'.
    pub(crate) fn assign<L: Element + Into<f64>, A: Element + Into<f64>>(
        &mut self,
        logits: &Guarded<L>,
        assignment: &mut Guarded<A>,
        stride: usize,
        warm_start: bool,
    ) -> Result<Answer, Failure> {
        let (rows, columns) = (self.plan.shape().batch(), self.plan.shape().num_prototypes());
        let sweeps = matches!(self.plan.method().stop(), StopRule::Sweeps(_));
        let mut params = self.plan.params;
        params.logits[0] = logits.as_ptr().addr() as u64;
        params.assignment[0] = assignment.as_mut_ptr().addr() as u64;
        params.workspace = self.workspace.as_mut_ptr().addr() as u64;
        params.logits_stride = stride.try_into().expect("small");
        params.assignment_stride = stride.try_into().expect("small");
        params.warm = i32::from(warm_start && self.assigned && !sweeps);
        self.workspace.as_mut_slice()[..4].fill(0);
        self.seed += 1;
        let (grid, shared) = ((self.plan.blocks, 1), self.plan.shared_bytes);
        // SAFETY: the pointers are those of arrays of the plan's sizes, which nothing else uses meanwhile.
        unsafe { launch(self.plan.kernel, grid, SMALL.threads, shared, &params, self.seed) }
            .map_err(|e| Failure::Backend(e.to_string()))?;
        self.workspace.check().map_err(|e| Failure::Backend(e.to_string()))?;
        assignment.check().map_err(|e| Failure::Backend(e.to_string()))?;
        let vector = |v| self.read::<f64>(self.plan.at(v), columns);
        let (log_weights, log_marginal) =
            (vector(KVector::LogWeights), vector(KVector::LogMarginal));
        let control = self.read::<Control>(self.plan.at_control(), 1)[0];
        let logit = |row: usize, column: usize| logits.as_slice()[row * stride + column].into();
        let report = self.plan.report(&control, &log_weights, &log_marginal, logit);
        self.assigned = report.is_ok();
        let written = assignment.as_slice();
        Ok(Answer {
            assignment: (0..rows)
                .flat_map(|i| written[i * stride..][..columns].iter().map(|w| (*w).into()))
                .collect(),
            report: report.map_err(Failure::Core)?,
            log_weights,
        })
    }

    fn read<T: Copy>(&self, at: usize, len: usize) -> Vec<T> {
        let bytes = &self.workspace.as_slice()[at..at + len * size_of::<T>()];
        // SAFETY: plain numbers, written there by the kernel; read unaligned.
        (0..len).map(|i| unsafe { bytes.as_ptr().cast::<T>().add(i).read_unaligned() }).collect()
    }
}

/// A backend of logits `$logits` and assignments `$element`.
macro_rules! emulated_backend {
    ($name:ident, $label:literal, $logits:ty, $dtype:expr, $store:expr, $share:literal) => {
        pub(crate) struct $name;

        impl Backend for $name {
            const NAME: &'static str = $label;
            const UNIT_ROUNDOFF: f64 = f32::EPSILON as f64 / 2.0;
            const TOLERANCE_TV: f64 = 1e-5;
            const SMALLEST_NORMAL: f64 = f32::MIN_POSITIVE as f64;
            const STARTS_WARM: bool = true;

            fn cases(cases: u32) -> u32 {
                (cases / $share).max(4)
            }

            fn stored(logit: f64) -> f64 {
                f64::from($store(logit))
            }

            fn stream(
                method: Method,
                shape: Shape,
                warm_start: bool,
                batches: &[&[f64]],
            ) -> Vec<Result<Answer, Failure>> {
                let mut emulated = Emulated::new(method, shape, ($dtype, Dtype::F32), SMALL);
                batches
                    .iter()
                    .map(|batch| {
                        let logits: Vec<$logits> = batch.iter().map(|s| $store(*s)).collect();
                        let logits = Guarded::from_slice(&logits);
                        let mut assignment = Guarded::<f32>::poisoned(shape.len());
                        let stride = shape.num_prototypes();
                        emulated.assign(&logits, &mut assignment, stride, warm_start)
                    })
                    .collect()
            }
        }
    };
}

#[allow(clippy::cast_possible_truncation)] // storing in fewer bits is what is meant
fn to_f32(logit: f64) -> f32 {
    logit as f32
}

emulated_backend!(F32, "cuda f32", f32, Dtype::F32, to_f32, 6);
emulated_backend!(F16, "cuda f16", f16, Dtype::F16, f16::from_f64, 24);
emulated_backend!(Bf16, "cuda bf16", bf16, Dtype::Bf16, bf16::from_f64, 24);
