//! What is called of the driver where it matters. Only the stand-in counts; on a device the answers are compared, no more.

use std::ffi::{CString, c_char};

use mira_core::{Assigner, Mira, Sinkhorn};
use mira_cuda::cross_entropy::CrossEntropy;
use mira_cuda::{CudaAssigner, DeviceMatrix};

use crate::{BATCH, on_device, shape, stream};

/// What enqueues: nothing else may be called where nobody is to be waited for and nothing allocated.
const ENQUEUES: [&str; 6] = [
    "cuCtxGetCurrent",
    "cuEventRecord",
    "cuLaunchCooperativeKernel",
    "cuLaunchKernel",
    "cuMemsetD8Async",
    "cuStreamWaitEvent",
];

/// Calls of the driver by this thread, of one function or of all; `None` where nobody counts them.
pub(crate) fn calls(name: Option<&str>) -> Option<u64> {
    type Calls = unsafe extern "C" fn(*const c_char) -> u64;
    // SAFETY: it is loaded already, for a device was opened; the function, where there is one, is of this type.
    unsafe {
        let driver = libloading::Library::new("libcuda.so.1").ok()?;
        let calls = driver.get::<Calls>(b"stand_in_calls\0").ok()?;
        let name = name.map(|name| CString::new(name).expect("no zero inside"));
        Some(calls(name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr())))
    }
}

/// How often each of `ENQUEUES` was called in `run`, and anything else.
fn counted(run: impl FnOnce()) -> Option<([u64; ENQUEUES.len()], u64)> {
    let count = || Some((ENQUEUES.map(|name| calls(Some(name)).unwrap_or(0)), calls(None)?));
    let before = count();
    run();
    let (before, after) = (before?, count()?);
    let mut each = [0; ENQUEUES.len()];
    for ((each, after), before) in each.iter_mut().zip(after.0).zip(before.0) {
        *each = after - before;
    }
    Some((each, after.1 - before.1 - each.iter().sum::<u64>()))
}

#[test]
fn an_assignment_is_a_launch_and_waits_for_nothing() {
    let stream = stream();
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let mut workspace = assigner.workspace(shape()).expect("memory");
    let (first, second) = (on_device(&stream, 1), on_device(&stream, 2));
    let mut assignment = assigner.output(shape()).expect("memory");
    assigner.assign_into(first.rows(), assignment.rows_mut(), &mut workspace).expect("enqueued");
    let counts = counted(|| {
        let out = assignment.rows_mut();
        assigner.assign_into(second.rows(), out, &mut workspace).expect("enqueued");
    });
    let name = stream.context().name().expect("a device");
    assert_eq!(counts.is_some(), name.starts_with("stand-in"), "who counts calls on {name}");
    if let Some(([.., cooperative, launches, fills, _], others)) = counts {
        assert_eq!((cooperative, launches, fills, others), (1, 0, 0, 0));
    }
    let (expected, _) = assigner.assign(second.rows()).expect("valid logits");
    assert_eq!(assignment.to_host().unwrap(), expected.to_host().unwrap());
}

/// Both views.
#[test]
fn two_problems_share_a_launch() {
    let stream = stream();
    let assigner = CudaAssigner::<f32>::new(Sinkhorn::swav(), &stream).expect("the kernels load");
    let mut workspace = assigner.workspace_for(shape(), 2).expect("memory");
    let views = [on_device(&stream, 3), on_device(&stream, 4)];
    let mut assignments = [0, 1].map(|_| DeviceMatrix::<f32>::zeros(&stream, shape()).unwrap());
    let counts = counted(|| {
        let logits = views.each_ref().map(DeviceMatrix::rows);
        let mut out = assignments.each_mut().map(DeviceMatrix::rows_mut);
        assigner.assign_all_into(&logits, &mut out, &mut workspace).expect("enqueued");
    });
    if let Some(([.., cooperative, launches, fills, _], others)) = counts {
        assert_eq!((cooperative, launches, fills, others), (1, 0, 0, 0));
    }
    let reports = assigner.reports(&workspace).expect("valid logits");
    for ((view, assignment), report) in views.iter().zip(&assignments).zip(reports) {
        let (alone, its) = assigner.assign(view.rows()).expect("valid logits");
        let [both, alone] = [assignment, &alone].map(|w| w.to_host().unwrap());
        let tv: f32 = both.iter().zip(&alone).map(|(a, b)| (a - b).abs()).sum::<f32>() / 2.0;
        assert!(tv < 1e-5 * BATCH as f32, "{tv:e}"); // other blocks, other sums
        assert_eq!(report.status, its.status);
    }
}

#[test]
fn a_cross_entropy_is_a_launch_and_waits_for_nothing() {
    let stream = stream();
    let (logits, labels) = (on_device(&stream, 5), on_device(&stream, 6));
    let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream).expect("the kernels load");
    let (labels, _) = assigner.assign(labels.rows()).expect("valid logits");
    let mut gradient = DeviceMatrix::zeros(&stream, shape()).expect("memory");
    let mut mean = CrossEntropy::<f32>::new(&stream, shape(), 0.1, 1.0 / BATCH as f64).unwrap();
    let mut losses = [0, 1].map(|_| {
        let counts = counted(|| {
            let gradient = Some(&mut gradient.rows_mut());
            mean.launch(&logits.rows(), &labels.rows(), gradient).expect("enqueued");
        });
        if let Some(([.., cooperative, launches, fills, _], others)) = counts {
            assert_eq!((cooperative, launches, fills, others), (0, 1, 0, 0));
        }
        mean.loss().expect("a device")
    });
    assert_eq!(losses[0].to_bits(), losses[1].to_bits(), "what a launch leaves serves the next");
    losses.sort_by(f64::total_cmp);
    assert!(losses[0] > 0.0 && losses[1].is_finite(), "{losses:?}");
}
