//! Ranks over a device: a world of one, for NCCL refuses two on one device. (Several, through the host's memory, are in the suite of `mira`.)

use std::sync::Arc;
use std::time::Duration;

use mira_core::{Assigner, Collective, Method, Mira, SingleProcess, Sinkhorn};
use mira_cuda::{CudaAssigner, DeviceCollective, Nccl, NcclId, ThroughHost};

use crate::{BATCH, on_device, stream};

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
