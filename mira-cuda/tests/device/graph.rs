//! Stream capture.

use mira_core::{Assigner, Method, Mira, Sinkhorn};
use mira_cuda::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use mira_cuda::{CudaAssigner, device};

use crate::{batch, on_device, shape};

/// What is enqueued can be captured and replayed: the same bits from other logits in the same place.
#[test]
fn an_assignment_in_a_graph() {
    // Of its own, for the other tests' events are tracked.
    let context = device(0).expect("a device");
    // SAFETY: this context's memory is used on one stream alone.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    for method in [Method::from(Mira::default()), Sinkhorn::swav().into()] {
        let assigner = CudaAssigner::<f32>::new(method, &stream).expect("the kernels load");
        let mut workspace = assigner.workspace(shape()).expect("memory");
        let mut logits = on_device(&stream, 1);
        let mut assignment = assigner.output(shape()).expect("memory");
        stream.synchronize().expect("a device");
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.begin_capture(mode).expect("a stream");
        assigner
            .assign_into(logits.rows(), assignment.rows_mut(), &mut workspace)
            .expect("enqueued");
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).expect("nothing that cannot be captured");
        let graph = graph.expect("a graph that is not empty");
        for number in [1, 2] {
            stream.memcpy_htod(&batch(number), &mut logits.elements).expect("as large");
            graph.launch().expect("a graph");
            let replayed = assignment.to_host().expect("memory");
            let report = assigner.report(&workspace).expect("valid logits");
            let (direct, expected) = assigner.assign(logits.rows()).expect("valid logits");
            assert_eq!(replayed, direct.to_host().expect("memory"), "{method:?}");
            assert_eq!(report, expected, "{method:?}");
        }
    }
}
