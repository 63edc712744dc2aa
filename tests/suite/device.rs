//! `mira::cuda` on a real device, with feature `cuda`; fails where there is none, for then nothing was tested.

use std::sync::{Arc, LazyLock, OnceLock};

use half::{bf16, f16};
use mira::cuda::cudarc::driver::CudaStream;
use mira::cuda::{
    CudaAssigner, CudaWorkspace, DeviceMatrix, Error as CudaError, Logit, ThroughHost, device,
};
use mira_core::{Assigner, Collective, Method, Mira, Shape, SingleProcess};

use mira_conformance::problem::{shape, to_f32};
use mira_conformance::{Answer, Backend, Distributed, Failure, IN_F32, Limits};

static STREAM: LazyLock<Arc<CudaStream>> = LazyLock::new(|| {
    let context = device(0).unwrap_or_else(|e| panic!("feature `cuda` tests a device: {e}"));
    let stream = context.new_stream().expect("a stream");
    let ranks = Arc::new(ThroughHost(Arc::new(SingleProcess)));
    let assigner = CudaAssigner::new(Mira::default(), &stream).expect("the kernels load");
    let workspace = assigner.clone().with_collective(ranks).workspace(shape(2, 3));
    KERNELS.get_or_init(|| (assigner, workspace.expect("memory")));
    stream
});

/// Users of all kernels of assignments, which so stay loaded: the driver takes seconds to compile them, and tests of ranks have deadlines.
static KERNELS: OnceLock<(CudaAssigner, CudaWorkspace)> = OnceLock::new();

fn failure(error: CudaError) -> Failure {
    match error {
        CudaError::Core(error) => Failure::Core(error),
        other => Failure::Backend(other.to_string()),
    }
}

/// One batch after another with one workspace.
fn assign<L: Logit>(
    assigner: &CudaAssigner<L, f32>,
    stream: &Arc<CudaStream>,
    shape: Shape,
    batches: &[Vec<L>],
) -> Result<Vec<Result<Answer, Failure>>, CudaError> {
    let mut workspace = assigner.workspace(shape)?;
    let mut one = |logits: &Vec<L>| {
        let logits = DeviceMatrix::from_host(stream, shape, logits)?;
        let mut assignment = assigner.output(shape)?;
        assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)?;
        Ok(Answer {
            report: assigner.report(&workspace)?,
            assignment: assignment.to_host()?.iter().map(|w| f64::from(*w)).collect(),
            log_weights: assigner.log_weights(&workspace, 0)?,
        })
    };
    Ok(batches.iter().map(|logits| one(logits).map_err(failure)).collect())
}

macro_rules! device_backend {
    ($name:ident, $label:literal, $logits:ty, $store:expr) => {
        pub(crate) struct $name;

        impl Backend for $name {
            const NAME: &'static str = $label;
            const LIMITS: Limits = IN_F32;
            const STARTS_WARM: bool = true;

            fn prepare() {
                LazyLock::force(&STREAM);
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
                let assigner = CudaAssigner::<$logits, f32>::new(method, &STREAM)
                    .expect("the kernels load")
                    .with_warm_start(warm_start)
                    .with_objective(true);
                let batches: Vec<Vec<$logits>> = batches
                    .iter()
                    .map(|batch| batch.iter().map(|s| $store(*s)).collect())
                    .collect();
                assign(&assigner, &STREAM, shape, &batches).expect("memory")
            }
        }

        /// All ranks on one device, each with a stream of its own.
        impl Distributed for $name {
            fn assign_on_rank(
                method: Method,
                shape: Shape,
                logits: &[f64],
                collective: Arc<dyn Collective>,
            ) -> Result<Answer, Failure> {
                let stream = STREAM.context().new_stream().expect("a stream");
                let assigner = CudaAssigner::<$logits, f32>::new(method, &stream)
                    .map_err(failure)?
                    .with_collective(Arc::new(ThroughHost(collective)));
                let logits: Vec<$logits> = logits.iter().map(|s| $store(*s)).collect();
                let answers = assign(&assigner, &stream, shape, &[logits]).map_err(failure)?;
                answers.into_iter().next().expect("one batch")
            }
        }
    };
}

device_backend!(F32, "cuda device f32", f32, to_f32);
device_backend!(F16, "cuda device f16", f16, f16::from_f64);
device_backend!(Bf16, "cuda device bf16", bf16, bf16::from_f64);
