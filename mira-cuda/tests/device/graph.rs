//! Stream capture.

use mira_core::{Assigner, Method, Mira, Sinkhorn};
use mira_cuda::cross_entropy::CrossEntropy;
use mira_cuda::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use mira_cuda::{CudaAssigner, DeviceMatrix, Error, device};

use crate::hot_path::calls;
use crate::{BATCH, batch, on_device, shape};

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

/// Reports and copies wait for the device, which a captured stream cannot; they say so, and do not spoil the capture.
#[test]
fn a_report_during_a_capture_is_refused() {
    let context = device(0).expect("a device");
    // SAFETY: this context's memory is used on one stream alone.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let mut workspace = assigner.workspace(shape()).expect("memory");
    let mut logits = on_device(&stream, 1);
    let mut assignment = assigner.output(shape()).expect("memory");
    assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace).expect("enqueued");
    let before = assigner.report(&workspace).expect("valid logits");
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(mode).expect("a stream");
    let launched = calls(Some("cuLaunchKernel"));
    let told = assigner.report(&workspace).expect_err("nothing runs during a capture");
    let copied = assignment.to_host().expect_err("nothing runs during a capture");
    assert_eq!(calls(Some("cuLaunchKernel")), launched, "part of the graph");
    for error in [told, copied] {
        assert!(matches!(error, Error::Capture(_)), "{error}");
        assert!(error.to_string().contains("ask for reports and copies afterwards"), "{error}");
    }
    assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace).expect("enqueued");
    let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).expect("not spoiled").expect("an assignment");
    stream.memcpy_htod(&batch(2), &mut logits.elements).expect("as large");
    graph.launch().expect("a graph");
    assert_ne!(assigner.report(&workspace).expect("valid logits"), before);
}

/// A step of training: both views in one launch, warm, with the objective, and the loss against what comes of it; captured as strictly as it can be.
#[test]
fn a_step_in_a_graph() {
    let context = device(0).expect("a device");
    // SAFETY: this context's memory is used on one stream alone.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().expect("a stream");
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let assigner = assigner.with_warm_start(true).with_objective(true);
    let mut mean = CrossEntropy::<f32>::new(&stream, shape(), 0.1, 1.0 / BATCH as f64).unwrap();
    let mut views = [1, 2].map(|number| on_device(&stream, number));
    let mut run = |views: &[DeviceMatrix<f32>; 2], captures: bool| {
        let mut workspace = assigner.workspace_for(shape(), 2).expect("memory");
        let mut labels = [0, 1].map(|_| assigner.output(shape()).expect("memory"));
        let mut gradient = DeviceMatrix::zeros(&stream, shape()).expect("memory");
        let mut enqueue = |labels: &mut [DeviceMatrix<f32>; 2]| {
            let logits = views.each_ref().map(DeviceMatrix::rows);
            let mut out = labels.each_mut().map(DeviceMatrix::rows_mut);
            assigner.assign_all_into(&logits, &mut out, &mut workspace).expect("enqueued");
            let gradient = Some(&mut gradient.rows_mut());
            mean.launch(&views[0].rows(), &labels[1].rows(), gradient).expect("enqueued");
        };
        // Whether a start is warm is decided when it is captured.
        enqueue(&mut labels);
        stream.synchronize().expect("a device");
        if captures {
            let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
            stream.begin_capture(mode).expect("a stream");
            enqueue(&mut labels);
            let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
            let graph = stream.end_capture(flags).expect("nothing that cannot be captured");
            graph.expect("a graph that is not empty").launch().expect("a graph");
        } else {
            enqueue(&mut labels);
        }
        let labels = labels.map(|labels| labels.to_host().expect("memory"));
        let reports = assigner.reports(&workspace).expect("valid logits");
        let gradient = gradient.to_host().expect("memory");
        (labels, reports, gradient, mean.loss().expect("a device").to_bits())
    };
    for numbers in [[1, 2], [3, 4]] {
        for (view, number) in views.iter_mut().zip(numbers) {
            stream.memcpy_htod(&batch(number), &mut view.elements).expect("as large");
        }
        let [replayed, direct] = [true, false].map(|captures| run(&views, captures));
        assert_eq!(replayed, direct);
        assert!(direct.1.iter().all(|report| report.objective.is_some()), "{:?}", direct.1);
        assert!(direct.1.iter().all(|report| report.iterations == 0), "warm: {:?}", direct.1);
    }
}
