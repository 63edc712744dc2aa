//! Ranks over a device: a world of one, for NCCL refuses two on one device. (Several, through the host's memory, are in the suite of `mira`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mira_core::{Assigner, Collective, Method, Mira, SingleProcess, Sinkhorn};
use mira_cuda::cudarc::driver::{CudaStream, CudaView, CudaViewMut};
use mira_cuda::{CudaAssigner, DeviceCollective, Error, Nccl, NcclId, ThroughHost};

use crate::{BATCH, on_device, shape, stream};

/// The passes of ranks, and their exchange, must not change the answer.
fn alone_and_in_world(collective: &Arc<dyn DeviceCollective>) {
    let stream = stream();
    for method in [Method::from(Mira::default()), Sinkhorn::swav().into()] {
        let alone = CudaAssigner::<f32>::new(method, &stream).expect("the kernels load");
        let in_world = alone.clone().with_collective(collective.clone());
        let [alone, in_world] = [alone, in_world].map(|assigner| {
            let logits = on_device(&stream, 1);
            let (assignment, report) = assigner.assign(logits.rows()).expect("valid logits");
            (assignment.to_host().expect("memory"), report)
        });
        let differences = alone.0.iter().zip(&in_world.0).map(|(a, b)| (a - b).abs());
        let tv = differences.sum::<f32>() / 2.0;
        assert!(tv < 1e-5 * BATCH as f32, "{method:?}: {tv:e}");
        assert_eq!(alone.1.status, in_world.1.status, "{method:?}");
    }
}

#[test]
fn one_rank_over_nccl() {
    let stream = stream();
    let id = NcclId::new().expect("libnccl.so.2, which this test needs");
    let ranks = Nccl::new(&stream, id, 0, 1, Duration::from_secs(30)).expect("a world of one");
    let mut values = [1.0, -2.0];
    ranks.sum(&mut values).expect("a world of one");
    ranks.max(&mut values).expect("a world of one");
    assert_eq!(values, [1.0, -2.0]);
    let ranks: Arc<dyn DeviceCollective> = Arc::new(ranks);
    alone_and_in_world(&ranks);
}

#[test]
fn one_rank_through_the_host() {
    let ranks: Arc<dyn DeviceCollective> = Arc::new(ThroughHost(Arc::new(SingleProcess)));
    alone_and_in_world(&ranks);
}

/// Counts who waits by it.
#[derive(Debug)]
struct Counting {
    ranks: ThroughHost,
    num_waits: AtomicUsize,
}

impl DeviceCollective for Counting {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn world_size(&self) -> usize {
        self.ranks.world_size()
    }

    fn gather(
        &self,
        stream: &Arc<CudaStream>,
        mine: &CudaView<'_, f64>,
        all: &mut CudaViewMut<'_, f64>,
    ) -> Result<(), Error> {
        self.ranks.gather(stream, mine, all)
    }

    fn wait(&self, stream: &Arc<CudaStream>) -> Result<(), Error> {
        self.num_waits.fetch_add(1, Ordering::Relaxed);
        self.ranks.wait(stream)
    }
}

/// Where a rank is gone, the stream alone would be waited for without end.
#[test]
fn whatever_waits_does_so_by_the_collective() {
    let stream = stream();
    let ranks = ThroughHost(Arc::new(SingleProcess));
    let counting = Arc::new(Counting { ranks, num_waits: AtomicUsize::new(0) });
    let waits = || counting.num_waits.swap(0, Ordering::Relaxed);
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream)
        .expect("the kernels load")
        .with_collective(counting.clone());
    let mut workspace = assigner.workspace(shape()).expect("memory");
    let logits = on_device(&stream, 1);
    let mut labels = assigner.output(shape()).expect("memory");
    assigner.assign_into(logits.rows(), labels.rows_mut(), &mut workspace).expect("enqueued");
    waits();
    assigner.report(&workspace).expect("valid logits");
    assert_eq!(waits(), 1, "report");
    let weights = workspace.log_weights(0).expect("a device");
    assert_eq!(waits(), 1, "log_weights");
    workspace.set_log_weights(0, &weights).expect("finite");
    assert_eq!(waits(), 1, "set_log_weights");
    drop(workspace);
    assert_eq!(waits(), 1, "drop");
}
