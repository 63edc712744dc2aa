//! `mira::cuda` on a real device, with feature `cuda`; fails where there is none, for then nothing was tested.

use std::sync::{Arc, LazyLock, OnceLock};

use half::bf16;
use mira::cuda::cudarc::driver::CudaStream;
use mira::cuda::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use mira::cuda::{
    CudaAssigner, CudaWorkspace, DeviceMatrix, Error as CudaError, Logit, Nccl, NcclId,
    ThroughHost, device,
};
use mira_core::{Assigner, Collective, Method, Mira, Shape, SingleProcess, Sinkhorn, StopRule};

use crate::support::{
    Answer, Backend, Distributed, Failure, IN_F32, Kind, Limits, Problem, shape, to_f32,
};

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

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Self {
        match error {
            CudaError::Core(error) => Self::Core(error),
            other => Self::Backend(other.to_string()),
        }
    }
}

/// One batch after another with one workspace.
fn assign<L: Logit>(
    assigner: &CudaAssigner<L, f32>,
    stream: &Arc<CudaStream>,
    shape: Shape,
    batches: &[Vec<L>],
) -> Result<Vec<Result<Answer, Failure>>, Failure> {
    let mut workspace = assigner.workspace(shape)?;
    let answers = batches.iter().map(|logits| {
        let logits = DeviceMatrix::from_host(stream, shape, logits)?;
        let mut assignment = assigner.output(shape)?;
        assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)?;
        Ok(Answer {
            report: assigner.report(&workspace)?,
            assignment: assignment.to_host()?.iter().map(|w| f64::from(*w)).collect(),
            log_weights: assigner.log_weights(&workspace, 0)?,
        })
    });
    Ok(answers.collect())
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
                let stream = STREAM.context().new_stream().map_err(CudaError::from)?;
                let assigner = CudaAssigner::<$logits, f32>::new(method, &stream)?
                    .with_collective(Arc::new(ThroughHost(collective)));
                let logits: Vec<$logits> = logits.iter().map(|s| $store(*s)).collect();
                let answers = assign(&assigner, &stream, shape, &[logits])?;
                answers.into_iter().next().expect("one batch")
            }
        }
    };
}

device_backend!(F32, "cuda device f32", f32, to_f32);
device_backend!(Bf16, "cuda device bf16", bf16, bf16::from_f64);

/// A world of one rank: NCCL refuses two on one device. The passes of ranks, and their exchange, must not change the answer.
#[test]
fn one_rank_over_nccl() {
    let problem = Problem::new(Kind::Clusters, shape(300, 1000), 0.1, 0.8, 5, F32::stored);
    let logits: Vec<f32> = problem.logits.iter().map(|s| to_f32(*s)).collect();
    let id = NcclId::new().expect("libnccl.so.2, which this test needs");
    let ranks = Nccl::new(&STREAM, id, 0, 1, std::time::Duration::from_secs(30));
    let ranks = Arc::new(ranks.expect("a world of one"));
    for method in [problem.mira(StopRule::default()), problem.sinkhorn(StopRule::Sweeps(3))] {
        let alone = CudaAssigner::<f32>::new(method, &STREAM).expect("the kernels load");
        let in_world = alone.clone().with_collective(ranks.clone());
        let [alone, in_world] = [alone, in_world].map(|assigner| {
            let answers = assign(&assigner, &STREAM, problem.shape, std::slice::from_ref(&logits));
            answers.expect("memory").remove(0).expect("valid logits")
        });
        let tv = crate::support::total_variation(&alone.assignment, &in_world.assignment, 1000);
        assert!(tv < 1e-5, "{method:?}: {tv:e}");
        assert_eq!(alone.report.status, in_world.report.status, "{method:?}");
    }
    let mut values = [1.0, -2.0];
    ranks.sum(&mut values).expect("a world of one");
    ranks.max(&mut values).expect("a world of one");
    assert_eq!(values, [1.0, -2.0]);
}

/// What is enqueued can be captured and replayed: the same bits from other logits in the same place.
#[test]
fn an_assignment_in_a_graph() {
    let context = device(0).expect("a device");
    // SAFETY: this context's memory is used on one stream alone.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let shape = shape(200, 500);
    let batch = |seed| -> Vec<f32> {
        let problem = Problem::new(Kind::Gaussian, shape, 0.1, 0.5, seed, F32::stored);
        problem.logits.iter().map(|s| to_f32(*s)).collect()
    };
    let (first, second) = (batch(1), batch(2));
    for method in [Method::from(Mira::default()), Sinkhorn::swav().into()] {
        let assigner = CudaAssigner::<f32>::new(method, &stream).expect("the kernels load");
        let mut workspace = assigner.workspace(shape).expect("memory");
        let mut logits = DeviceMatrix::from_host(&stream, shape, &first).expect("memory");
        let mut assignment = assigner.output(shape).expect("memory");
        stream.synchronize().expect("a device");
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.begin_capture(mode).expect("a stream");
        assigner
            .assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)
            .expect("enqueued");
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).expect("nothing that cannot be captured");
        let graph = graph.expect("a graph that is not empty");
        for batch in [&first, &second] {
            stream.memcpy_htod(batch, &mut logits.elements).expect("as large");
            graph.launch().expect("a graph");
            let replayed = assignment.to_host().expect("memory");
            let report = assigner.report(&workspace).expect("valid logits");
            let (direct, expected) = assigner.assign(logits.rows()).expect("valid logits");
            assert_eq!(replayed, direct.to_host().expect("memory"), "{method:?}");
            assert_eq!(report, expected, "{method:?}");
        }
    }
}
