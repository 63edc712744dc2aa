//! The kernels of `mira-cuda`, planned as for a small device and run on the CPU.

mod ahead;
mod kernels;

use std::sync::Arc;

use half::{bf16, f16};
use mira_core::{
    Arithmetic, Centered, Collective, Method, Report, Shape, SingleProcess, Softmax, Status,
    StopRule, Summary, ThreadCollective,
};
use mira_cuda::params::{self, Control, KVector};
use mira_cuda::plan::{CERTIFY, Dtype, Hardware, LOG_PARTITION, Plan, Ranks};
use mira_cuda_emulation::{Element, Guarded, launch};

use mira_conformance::definitions::total_variation;
use mira_conformance::oracle;
use mira_conformance::problem::{Kind, Problem, shape, to_f32};
use mira_conformance::{Answer, Backend, Distributed, Failure, IN_F32, Limits};

/// Few blocks with little shared memory: some rows stay on chip, some do not, and blocks have several row blocks.
const SMALL: Hardware = Hardware { multiprocessors: 3, shared_memory: 12 << 10, threads: 64 };

/// One block with little more room than for the sums of its columns; many blocks that keep every row on chip.
const CRAMPED: Hardware = Hardware { multiprocessors: 1, shared_memory: 10 << 10, threads: 64 };
/// Teams of blocks that keep some rows and have several groups of others on the way.
const BETWEEN: Hardware = Hardware { multiprocessors: 4, shared_memory: 36 << 10, threads: 64 };
const ROOMY: Hardware = Hardware { multiprocessors: 9, shared_memory: 200 << 10, threads: 64 };

/// A workspace in guarded memory, with what the next batch needs.
pub(crate) struct Emulated {
    plan: Plan,
    workspace: Guarded<u8>,
    collective: Arc<dyn Collective>,
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
        Self { plan, workspace, collective: Arc::new(SingleProcess), seed: 1, assigned: false }
    }

    /// As one rank of several, of different devices.
    fn on_rank(
        method: Method,
        shape: Shape,
        dtypes: (Dtype, Dtype),
        collective: Arc<dyn Collective>,
        max_passes: usize,
    ) -> Self {
        let (rank, world_size) = (collective.rank(), collective.world_size());
        let multiprocessors = SMALL.multiprocessors.min(ROOMY.multiprocessors);
        let ranks = Ranks { rank, world_size, multiprocessors, max_passes };
        let hardware = if rank == 1 { ROOMY } else { SMALL };
        let plan = Plan::over_ranks(method, shape, dtypes, 1, hardware, Some(ranks))
            .expect("a small problem");
        let workspace = Guarded::from_slice(&vec![0; plan.workspace_bytes]);
        Self { plan, workspace, collective, seed: 1, assigned: false }
    }

    /// Rows may be apart; the assignment's are as far apart as the logits'.
    pub(crate) fn assign<L: Element, A: Element + Into<f64>>(
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
        let length = self.plan.contribution_len();
        let mut mine = Guarded::<f64>::poisoned(length);
        let mut all = Guarded::<f64>::poisoned(self.collective.world_size() * length);
        params.contribution = mine.as_mut_ptr().addr() as u64;
        params.gathered = all.as_mut_ptr().addr() as u64;
        let (grid, shared) = ((self.plan.blocks, 1), self.plan.shared_bytes);
        for launched in 0..=self.plan.num_exchanges() {
            if launched > 0 {
                self.collective
                    .gather(mine.as_slice(), all.as_mut_slice())
                    .map_err(|e| Failure::Core(e.into()))?;
                params.resume = 1;
            }
            self.seed += 1;
            // SAFETY: the pointers are those of arrays of the plan's sizes, which nothing else uses meanwhile.
            unsafe { launch(self.plan.kernel, grid, SMALL.threads, shared, &params, self.seed) }
                .map_err(|e| Failure::Backend(e.to_string()))?;
        }
        for check in [self.workspace.check(), mine.check(), all.check()] {
            check.map_err(|e| Failure::Backend(e.to_string()))?;
        }
        assignment.check().map_err(|e| Failure::Backend(e.to_string()))?;
        let vector = |v| self.read::<f64>(self.plan.at(v), columns);
        let (log_weights, log_marginal) =
            (vector(KVector::LogWeights), vector(KVector::LogMarginal));
        let control = self.read::<Control>(self.plan.at_control(), 1)[0];
        let shared = Plan::certify_shared_bytes(SMALL);
        let ranks = self.plan.num_exchanges() > 0;
        let objective = matches!(self.plan.method(), Method::Mira(_)) && !ranks;
        if objective {
            params.objective = 1;
            // SAFETY: as above; it writes a number a row in the workspace.
            unsafe { launch(LOG_PARTITION, grid, SMALL.threads, shared, &params, self.seed) }
                .map_err(|e| Failure::Backend(e.to_string()))?;
        }
        // SAFETY: as above; it writes one struct in the workspace.
        unsafe { launch(CERTIFY, (1, 1), SMALL.threads, shared, &params, self.seed) }
            .map_err(|e| Failure::Backend(e.to_string()))?;
        self.workspace.check().map_err(|e| Failure::Backend(e.to_string()))?;
        let summary = self.read::<params::Summary>(self.plan.at_summary(), 1)[0];
        let report = self.plan.report(&control, summary, objective);
        if let Ok(report) = &report {
            let (method, span) = (self.plan.method(), control.row_span);
            let on_host =
                |arithmetic| Summary::new(method, arithmetic, span, &log_weights, &log_marginal);
            let allowance = on_host(Arithmetic::F64).certificate.rounding_allowance;
            assert_alike(&summary.into(), &on_host(Arithmetic::F32), allowance, report);
        }
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

/// The device's summary of a run is the host's of the same K-vectors but for the order of operations in f64, whose rounding has an
/// `allowance`.
fn assert_alike(device: &Summary, host: &Summary, allowance: f64, report: &Report) {
    let (d, h) = (&device.certificate, &host.certificate);
    // Divergences are squares of differences of logarithms.
    let unit = 2.0 * allowance;
    for (what, device, host, tolerance) in [
        ("gap", d.duality_gap.sqrt(), h.duality_gap.sqrt(), unit),
        ("label KL", d.label_kl_bound.sqrt(), h.label_kl_bound.sqrt(), unit),
        ("log ratio", d.log_ratio_bound, h.log_ratio_bound, unit),
        ("marginal error", d.marginal_error, h.marginal_error, unit),
        ("allowance", d.rounding_allowance, h.rounding_allowance, 0.0),
        ("entropy", device.marginal_entropy, host.marginal_entropy, unit),
        ("weight term", device.weight_term, host.weight_term, unit),
    ] {
        let close = device == host || (device - host).abs() <= tolerance + 1e-13 * host.abs();
        assert!(close, "{what}: {device:e} on the device, {host:e} on the host; {report:?}");
    }
}

/// A backend of logits `$logits` and assignments `$element`.
macro_rules! emulated_backend {
    ($name:ident, $label:literal, $logits:ty, $dtype:expr, $store:expr, $share:literal) => {
        pub(crate) struct $name;

        impl Backend for $name {
            const NAME: &'static str = $label;
            const LIMITS: Limits = IN_F32;
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

        impl Distributed for $name {
            fn assign_on_rank(
                method: Method,
                shape: Shape,
                logits: &[f64],
                collective: Arc<dyn Collective>,
            ) -> Result<Answer, Failure> {
                let mut emulated =
                    Emulated::on_rank(method, shape, ($dtype, Dtype::F32), collective, 40);
                let logits: Vec<$logits> = logits.iter().map(|s| $store(*s)).collect();
                let logits = Guarded::from_slice(&logits);
                let mut assignment = Guarded::<f32>::poisoned(shape.len());
                emulated.assign(&logits, &mut assignment, shape.num_prototypes(), false)
            }
        }
    };
}

emulated_backend!(F32, "cuda f32", f32, Dtype::F32, to_f32, 6);
emulated_backend!(F16, "cuda f16", f16, Dtype::F16, f16::from_f64, 24);
emulated_backend!(Bf16, "cuda bf16", bf16, Dtype::Bf16, bf16::from_f64, 24);
