//! Several things under way at once: what the host does with memory, kernels and streams before the device has got there.

use mira_core::{Assigner, Method, Mira, Report, Sinkhorn};
use mira_cuda::{CudaAssigner, DeviceMatrix};

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
