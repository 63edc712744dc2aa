//! Several things under way at once: what the host does with memory, kernels and streams before the device has got there.

use std::time::{Duration, Instant};

use mira_core::{Assigner, Method, Mira, Report, Shape, Sinkhorn};
use mira_cuda::cross_entropy::CrossEntropy;
use mira_cuda::cudarc::driver::DriverError;
use mira_cuda::cudarc::driver::result::stream::get_priority_range;
use mira_cuda::cudarc::driver::sys::{CUdevice_attribute as Attribute, CUresult};
use mira_cuda::{CudaAssigner, DeviceMatrix, Error, device};

use crate::{COLUMNS, on_device, shape, stream};

/// Each computed with nothing else under way.
fn expected(assigner: &CudaAssigner<f32>, number: usize) -> (Vec<f32>, Report) {
    let stream = stream();
    let logits = on_device(&stream, number);
    stream.synchronize().expect("a device");
    let (assignment, report) = assigner.assign(logits.rows()).expect("valid logits");
    (assignment.to_host().expect("memory"), report)
}

/// A workspace and its stream are used again and again before anything is waited for; logits and outputs go out of scope meanwhile.
#[test]
fn batches_follow_each_other_without_waiting() {
    let stream = stream();
    for method in [Method::from(Mira::default()), Sinkhorn::swav().into()] {
        let assigner = CudaAssigner::<f32>::new(method, &stream).expect("the kernels load");
        let mut workspace = assigner.workspace(shape()).expect("memory");
        let mut kept = vec![];
        for number in 0..4 {
            let logits = on_device(&stream, number);
            let mut assignment = assigner.output(shape()).expect("memory");
            let mut unread = assigner.output(shape()).expect("memory");
            for out in [&mut unread, &mut assignment] {
                assigner.assign_into(logits.rows(), out.rows_mut(), &mut workspace).unwrap();
            }
            kept.push(assignment);
        }
        let report = assigner.report(&workspace).expect("valid logits");
        for (number, assignment) in kept.iter().enumerate() {
            let (direct, its) = expected(&assigner, number);
            assert_eq!(assignment.to_host().unwrap(), direct, "{method:?}, batch {number}");
            if number + 1 == kept.len() {
                assert_eq!(report, its, "{method:?}");
            }
        }
    }
}

/// Logits made on one stream, assigned on another, read on a third, with nothing but the driver's events between them.
#[test]
fn streams_wait_for_each_other() {
    let (producer, consumer) = (stream(), stream());
    let reader = stream();
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &consumer).expect("the kernels load");
    let mut workspace = assigner.workspace(shape()).expect("memory");
    let mut assignment = DeviceMatrix::<f32>::zeros(&reader, shape()).expect("memory");
    let mut logits = on_device(&producer, 1);
    assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace).expect("enqueued");
    // Overwritten as soon as the launch has read them, not before.
    producer.memcpy_htod(&crate::batch(2), &mut logits.elements).expect("as large");
    let (first, _) = expected(&assigner, 1);
    assert_eq!(assignment.to_host().unwrap(), first);
    assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace).expect("enqueued");
    drop(logits);
    let (second, report) = expected(&assigner, 2);
    assert_eq!(assigner.report(&workspace).expect("valid logits"), report);
    assert_eq!(assignment.to_host().unwrap(), second);
}

/// Blocks of an assignment wait for each other, so all of them must be on the device at once: also where another assignment, of a stream that goes first, wants the
/// multiprocessors that smaller launches leave one by one. If each could take a part of the device, neither would ever end.
#[test]
fn streams_of_several_priorities_do_not_take_parts_of_the_device() {
    const ROUNDS: usize = 8; // enqueued before anything is waited for
    const AT_LEAST: Duration = Duration::from_millis(500);
    let (first, context) = (stream(), stream().context().clone());
    let multiprocessors = context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    let rows = usize::try_from(multiprocessors.expect("a device")).expect("positive").max(8);
    let shape = Shape::new(rows, COLUMNS).expect("not empty");
    let logits: Vec<f32> = (0..shape.len()).map(|i| (i as f32 * 0.37).sin()).collect();
    context.bind_to_thread().expect("a device");
    let (least, greatest) = get_priority_range().expect("a device");
    let streams: Vec<_> = [least, greatest, greatest]
        .map(|priority| context.new_stream_with_priority(priority).expect("a stream"))
        .into();
    let mut problems: Vec<_> = streams
        .iter()
        .map(|stream| {
            let assigner = CudaAssigner::<f32>::new(Mira::default(), stream).expect("they load");
            let workspace = assigner.workspace(shape).expect("memory");
            let logits = DeviceMatrix::from_host(stream, shape, &logits).expect("memory");
            (assigner.output(shape).expect("memory"), assigner, workspace, logits)
        })
        .collect();
    let others = DeviceMatrix::from_host(&first, shape, &logits).expect("memory");
    let labels = DeviceMatrix::<f32>::zeros(&first, shape).expect("memory");
    let mut small = CrossEntropy::<f32>::new(&first, shape, 0.1, 1.0).expect("the kernels load");
    let start = Instant::now();
    while start.elapsed() < AT_LEAST {
        for _ in 0..ROUNDS {
            for (out, assigner, workspace, logits) in &mut problems {
                small.launch(&others.rows(), &labels.rows(), None).expect("enqueued");
                assigner.assign_into(logits.rows(), out.rows_mut(), workspace).expect("enqueued");
            }
        }
        context.synchronize().expect("all of it ends");
    }
    let (alone, _) = problems[0].1.assign(problems[0].3.rows()).expect("valid logits");
    let alone = alone.to_host().expect("memory");
    for (out, ..) in &problems {
        assert_eq!(out.to_host().expect("memory"), alone, "the same batch, the same bits");
    }
}

/// The last who needs kernels goes before they have run.
#[test]
fn kernels_outlive_their_launches() {
    let stream = stream();
    let logits = on_device(&stream, 3);
    let mut assignment = DeviceMatrix::<f32>::zeros(&stream, shape()).expect("memory");
    {
        let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("they load");
        let mut workspace = assigner.workspace(shape()).expect("memory");
        assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace).unwrap();
    }
    let got = assignment.to_host().expect("a device");
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("they load again");
    assert_eq!(got, expected(&assigner, 3).0);
}

/// Weights read and restored between launches nobody waited for.
#[test]
fn weights_come_and_go_between_launches() {
    let stream = stream();
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let warm = assigner.clone().with_warm_start(true);
    let (logits, other) = (on_device(&stream, 1), on_device(&stream, 2));
    let mut out = assigner.output(shape()).expect("memory");
    let mut workspace = assigner.workspace(shape()).expect("memory");
    assigner.assign_into(logits.rows(), out.rows_mut(), &mut workspace).expect("enqueued");
    let weights = workspace.log_weights(0).expect("a device");
    let cold = assigner.report(&workspace).expect("valid logits");
    assert_eq!(weights.len(), COLUMNS);

    warm.assign_into(other.rows(), out.rows_mut(), &mut workspace).expect("enqueued");
    workspace.set_log_weights(0, &weights).expect("finite");
    warm.assign_into(logits.rows(), out.rows_mut(), &mut workspace).expect("enqueued");
    let report = warm.report(&workspace).expect("valid logits");
    assert!(report.iterations < cold.iterations, "{} of {}", report.iterations, cold.iterations);
}

/// One after the other, though nothing of cudarc's has the streams wait for each other.
#[test]
fn a_workspace_may_change_streams() {
    // Its own, of which events are disabled.
    let context = device(0).expect("a device");
    let [first, second] = [(); 2].map(|()| context.new_stream().expect("a stream"));
    let (one, two) = (on_device(&first, 1), on_device(&first, 2));
    let [mut for_one, mut for_two] =
        [(); 2].map(|()| DeviceMatrix::<f32>::zeros(&first, shape()).expect("memory"));
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &first).expect("the kernels load");
    let warm = assigner.clone().with_warm_start(true);
    let mut workspace = assigner.workspace(shape()).expect("memory");
    assigner.assign_into(one.rows(), for_one.rows_mut(), &mut workspace).expect("enqueued");
    warm.assign_into(two.rows(), for_two.rows_mut(), &mut workspace).expect("enqueued");
    let report = warm.report(&workspace).expect("valid logits");
    let weights = workspace.log_weights(0).expect("a device");
    let labels = for_two.to_host().expect("a device");

    // SAFETY: what is used on both streams below is waited for.
    unsafe { context.disable_event_tracking() };
    let there = CudaAssigner::<f32>::new(Mira::default(), &second).expect("the kernels load");
    let warm_there = there.clone().with_warm_start(true);
    let mut workspace = assigner.workspace(shape()).expect("memory");
    first.synchronize().expect("a device");
    for _ in 0..2 {
        assigner.assign_into(one.rows(), for_one.rows_mut(), &mut workspace).expect("enqueued");
        warm_there.assign_into(two.rows(), for_two.rows_mut(), &mut workspace).expect("enqueued");
        assert_eq!(workspace.log_weights(0).expect("a device"), weights);
    }
    workspace.set_log_weights(0, &weights).expect("finite");
    warm_there.assign_into(two.rows(), for_two.rows_mut(), &mut workspace).expect("enqueued");
    assigner.assign_into(one.rows(), for_one.rows_mut(), &mut workspace).expect("enqueued");
    warm_there.assign_into(two.rows(), for_two.rows_mut(), &mut workspace).expect("enqueued");
    assert_eq!(assigner.report(&workspace).expect("valid logits"), report);
    assert_eq!(for_two.to_host().expect("a device"), labels);
}

/// Two streams read the logits and a third overwrites them: cudarc knows the last reader only, so the third is told of the first.
#[test]
fn a_writer_waits_for_readers_it_joins() {
    let (producer, consumer, other) = (stream(), stream(), stream());
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &consumer).expect("the kernels load");
    let mut workspace = assigner.workspace(shape()).expect("memory");
    let mut assignment = assigner.output(shape()).expect("memory");
    let mut logits = on_device(&producer, 1);
    let labels = on_device(&producer, 2);
    let mut loss = CrossEntropy::<f32>::new(&other, shape(), 0.1, 1.0).expect("the kernels load");
    assigner.assign_into(logits.rows(), assignment.rows_mut(), &mut workspace).expect("enqueued");
    loss.launch(&logits.rows(), &labels.rows(), None).expect("enqueued");
    producer.join(&consumer).expect("a device");
    producer.memcpy_htod(&crate::batch(3), &mut logits.elements).expect("as large");
    producer.synchronize().expect("a device");
    assert_eq!(assignment.to_host().unwrap(), expected(&assigner, 1).0);
}

/// An operation is the last to know its stream, which is the last of its context but the default one, with work still to do on memory of others:
/// without streams, cudarc has nobody wait for it any more.
#[test]
fn a_stream_is_not_forgotten_before_its_work_is_done() {
    for of_loss in [false, true] {
        let context = device(0).expect("a device"); // with a count of streams of its own
        let first = context.default_stream();
        // The last user of kernels waits for the device.
        let kept = CudaAssigner::<f32>::new(Mira::default(), &first).expect("the kernels load");
        let mut loss = CrossEntropy::<f32>::new(&first, shape(), 0.1, 1.0).expect("they load");
        let (mut logits, labels) = (on_device(&first, 1), on_device(&first, 2));
        let [mut out, mut expected] = [5, 5].map(|number| on_device(&first, number));
        let mut workspace = kept.workspace(shape()).expect("memory");
        if of_loss {
            let to = &mut expected.rows_mut();
            loss.launch(&logits.rows(), &labels.rows(), Some(to)).expect("enqueued");
        } else {
            kept.assign_into(logits.rows(), expected.rows_mut(), &mut workspace).expect("enqueued");
        }
        first.synchronize().expect("a device");
        {
            let stream = context.new_stream().expect("a stream");
            if of_loss {
                let mut loss = CrossEntropy::new(&stream, shape(), 0.1, 1.0).expect("they load");
                let to = &mut out.rows_mut();
                loss.launch(&logits.rows(), &labels.rows(), Some(to)).expect("enqueued");
            } else {
                let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("loaded");
                let mut workspace = assigner.workspace(shape()).expect("memory");
                assigner.assign_into(logits.rows(), out.rows_mut(), &mut workspace).expect("valid");
            }
        }
        first.memcpy_htod(&crate::batch(3), &mut logits.elements).expect("as large");
        context.synchronize().expect("a device");
        assert_eq!(out.to_host().unwrap(), expected.to_host().unwrap(), "loss: {of_loss}");
    }
}

/// Memory of the default stream, which goes on a thread that has no context.
#[test]
fn memory_goes_back_from_any_thread() {
    let context = device(0).expect("a device");
    let stream = context.default_stream();
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let matrix = on_device(&stream, 1);
    let workspace = assigner.workspace(shape()).expect("memory");
    let loss = CrossEntropy::<f32>::new(&stream, shape(), 0.1, 1.0).expect("the kernels load");
    let elsewhere = |what: Box<dyn Send>| std::thread::spawn(move || drop(what)).join().unwrap();
    for (name, what) in [
        ("matrix", Box::new(matrix) as Box<dyn Send>),
        ("workspace", Box::new(workspace)),
        ("cross-entropy", Box::new(loss)),
    ] {
        elsewhere(what);
        assert_eq!(context.check_err(), Ok(()), "{name}");
    }
}

/// A launch that fails leaves the workspace to the batch before; its error is not lost by whatever is dropped in between.
#[test]
fn a_launch_that_fails_changes_nothing() {
    let context = device(0).expect("a device");
    let stream = context.new_stream().expect("a stream");
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let other = CudaAssigner::<f32>::new(Sinkhorn::swav(), &stream).expect("the kernels load");
    let mut workspace = assigner.workspace(shape()).expect("memory");
    assert!(!workspace.has_warm_start());
    let mut out = assigner.output(shape()).expect("memory");
    let spare = (other.workspace(shape()).expect("memory"), on_device(&stream, 2));
    let logits = on_device(&stream, 1);
    let fails = CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    for is_first in [true, false] {
        if !is_first {
            assigner.assign_into(logits.rows(), out.rows_mut(), &mut workspace).expect("enqueued");
        }
        let before = assigner.report(&workspace);
        assert_eq!(before.is_err(), is_first, "{before:?}");
        context.record_err(Err::<(), _>(DriverError(fails)));
        let error = other.assign_into(logits.rows(), out.rows_mut(), &mut workspace).unwrap_err();
        assert!(matches!(error, Error::Driver(DriverError(e)) if e == fails), "{error}");
        assert_eq!(workspace.has_warm_start(), !is_first);
        if !is_first {
            assert_eq!(assigner.report(&workspace).unwrap(), before.unwrap());
        }
    }
    context.record_err(Err::<(), _>(DriverError(fails)));
    drop(spare);
    assert_eq!(context.check_err(), Err(DriverError(fails)), "it was lost");
}
