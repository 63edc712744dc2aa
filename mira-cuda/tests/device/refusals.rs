//! What goes wrong, and that the next batch does not suffer from it.

use mira_core::{Assigner, Error as CoreError, Mira, Shape};
use mira_cuda::{CudaAssigner, DeviceMatrix, Error};

use crate::shapes::hardware;
use crate::{batch, on_device, shape, stream};

#[test]
fn an_invalid_logit_is_told_by_the_report_and_spoils_one_batch_only() {
    let stream = stream();
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let mut workspace = assigner.workspace(shape()).expect("memory");
    let mut out = assigner.output(shape()).expect("memory");
    let error = assigner.report(&workspace).expect_err("nothing yet");
    assert!(matches!(error, Error::Core(CoreError::NothingAssigned)), "{error}");

    let mut spoiled = batch(1);
    spoiled[2 * crate::COLUMNS + 5] = f32::NAN;
    let spoiled = DeviceMatrix::from_host(&stream, shape(), &spoiled).expect("memory");
    assigner.assign_into(spoiled.rows(), out.rows_mut(), &mut workspace).expect("enqueued");
    let error = assigner.report(&workspace).expect_err("a NaN");
    let is_named =
        matches!(error, Error::Core(CoreError::NonFiniteLogit { row: 2, column: 5, .. }));
    assert!(is_named, "{error}");

    let whole = on_device(&stream, 1);
    assigner.assign_into(whole.rows(), out.rows_mut(), &mut workspace).expect("enqueued");
    let report = assigner.report(&workspace).expect("valid logits");
    assert!(report.certificate.log_ratio_bound < 1e-5, "{report:?}");
}

#[test]
fn more_memory_than_there_is_is_an_error_of_its_own() {
    let stream = stream();
    let shape = Shape::new(1 << 20, 1 << 26).expect("256 TiB");
    let error = DeviceMatrix::<f32>::zeros(&stream, shape).expect_err("no device has so much");
    assert!(matches!(error, Error::OutOfMemory), "{error}");
    let small = DeviceMatrix::<f32>::zeros(&stream, crate::shape()).expect("the device goes on");
    assert!(small.to_host().expect("memory").iter().all(|x| *x == 0.0));
}

#[test]
fn workspaces_of_another_shape_and_matrices_of_another_size_are_refused() {
    let stream = stream();
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let mut workspace = assigner.workspace(Shape::new(5, 7).unwrap()).expect("memory");
    let logits = on_device(&stream, 1);
    let mut out = assigner.output(shape()).expect("memory");
    let error = assigner.assign_into(logits.rows(), out.rows_mut(), &mut workspace);
    let error = error.expect_err("another shape");
    assert!(matches!(error, Error::Core(CoreError::ShapeMismatch { .. })), "{error}");
    let error = DeviceMatrix::from_host(&stream, shape(), &[1.0f32]).expect_err("one of many");
    assert!(matches!(error, Error::Layout { .. }), "{error}");
    let narrow = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let narrow = narrow.with_multiprocessors(1);
    let mut wide = assigner.workspace(shape()).expect("memory");
    let error = narrow.assign_into(logits.rows(), out.rows_mut(), &mut wide);
    let error = error.expect_err("a workspace for more multiprocessors");
    assert!(error.to_string().starts_with("multiprocessors of the workspace"), "{error}");
    let columns = hardware().shared_memory as usize / size_of::<f64>();
    let error = narrow.workspace(Shape::new(1, columns).unwrap()).expect_err("nothing beside them");
    assert!(matches!(error, Error::TooFewMultiprocessors { got: 1, .. }), "{error}");
    for problems in [0, 5] {
        let error = assigner.workspace_for(shape(), problems).expect_err("one to four");
        assert!(matches!(error, Error::Problems { .. }), "{error}");
    }
}
