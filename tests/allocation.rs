//! The second assignment with a workspace allocates nothing, on any thread.

#![allow(unsafe_code)] // a global allocator cannot be had without

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mira_core::{
    Arithmetic, Centered, Collective, FixedPoint, Method, Mira, SingleProcess, Sinkhorn, Softmax,
    StopRule, ThreadCollective,
};

#[path = "suite/rows.rs"]
mod rows;

/// Counts what all threads ask for while `COUNTING`.
struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static REQUESTS: AtomicUsize = AtomicUsize::new(0);

fn count() {
    if COUNTING.load(Ordering::Relaxed) {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: forwards to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests for memory during `work`, by all threads.
fn requests(work: impl FnOnce()) -> usize {
    let before = REQUESTS.load(Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    work();
    COUNTING.store(false, Ordering::SeqCst);
    REQUESTS.load(Ordering::SeqCst) - before
}

fn methods() -> [Method; 8] {
    let gap = StopRule::DualityGap { tolerance: 1e-6, max_sweeps: 40 };
    [
        Mira::default().into(),
        Mira::published().into(),
        Mira::new(0.05, 0.9).and_then(|m| m.with_stop(gap)).expect("valid").into(),
        Sinkhorn::swav().into(),
        Sinkhorn::new(0.05).expect("valid").into(),
        Sinkhorn::new(0.1).and_then(|m| m.with_stop(gap)).expect("valid").into(),
        Softmax::new(0.1).expect("valid").into(),
        Centered::dino().into(),
    ]
}

const BATCH: usize = 96;
const NUM_PROTOTYPES: usize = 40;

/// Different enough from each other that a warm start has work left.
fn logits(step: f64) -> Vec<f64> {
    (0..BATCH * NUM_PROTOTYPES).map(|n| (step * n as f64).sin()).collect()
}

/// Without a harness: nothing else runs in this process meanwhile.
fn main() {
    assert!(requests(|| drop(std::hint::black_box(vec![1u8; 100]))) > 0, "the counter is blind");
    let elsewhere = requests(|| {
        std::thread::spawn(|| drop(std::hint::black_box(vec![1u8; 100]))).join().expect("no panic");
    });
    assert!(elsewhere > 1, "the counter does not see other threads");

    for method in methods() {
        driver(method);
        ranks(method);
        #[cfg(feature = "cpu")]
        cpu(method);
    }
    #[cfg(feature = "cpu")]
    {
        // Several threads to an assignment also where there is one core.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("threads");
        pool.broadcast(|_| ()); // all have started, so what that allocates is not counted below
        pool.install(|| methods().into_iter().for_each(cpu));
        let labels = ndarray::Array2::<f32>::from_elem((1000, 4), 0.25);
        mira::cpu::usage(labels.view()).expect("an assignment");
        // Outside of it, neither has started rayon's global pool: it can still be set up.
        rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("not started before");
    }
    #[cfg(feature = "cuda")]
    methods().into_iter().for_each(cuda);
    println!("the second assignment allocates nothing: ok");
}

fn run(
    state: &mut FixedPoint,
    method: Method,
    logits: &[f64],
    out: &mut [f64],
    collective: &dyn Collective,
) {
    let mut rows = rows::Rows { logits, assignment: out, num_prototypes: NUM_PROTOTYPES, method };
    state.run(&method, Arithmetic::F64, true, collective, &mut rows).expect("valid logits");
}

fn driver(method: Method) {
    let (first, second) = (logits(0.7), logits(1.3));
    let mut out = vec![0.0; first.len()];
    let mut state = FixedPoint::new(NUM_PROTOTYPES);
    run(&mut state, method, &first, &mut out, &SingleProcess);
    let count = requests(|| {
        run(&mut state, method, &second, &mut out, &SingleProcess);
        std::hint::black_box(state.report());
    });
    assert_eq!(count, 0, "driver: {method:?}");
}

/// Two ranks, counted from when both have made their first assignment until both have made their second.
fn ranks(method: Method) {
    let fence = Barrier::new(3);
    let count = std::thread::scope(|scope| {
        for rank in ThreadCollective::world(2) {
            let fence = &fence;
            scope.spawn(move || {
                let (first, second) = (logits(0.7), logits(1.3));
                let mut out = vec![0.0; first.len()];
                let mut state = FixedPoint::new(NUM_PROTOTYPES);
                let rank: Arc<dyn Collective> = Arc::new(rank);
                run(&mut state, method, &first, &mut out, &*rank);
                fence.wait();
                fence.wait();
                run(&mut state, method, &second, &mut out, &*rank);
                fence.wait();
                fence.wait();
            });
        }
        fence.wait();
        let count = requests(|| {
            fence.wait();
            fence.wait();
        });
        fence.wait();
        count
    });
    assert_eq!(count, 0, "two ranks: {method:?}");
}

#[cfg(feature = "cpu")]
fn cpu(method: Method) {
    use half::{bf16, f16};
    use mira::cpu::CpuAssigner;
    use mira_core::{Assigner, Shape};
    use ndarray::Array2;

    macro_rules! check {
        ($logits:ty, $element:ty, $from:expr) => {
            // Small enough for one thread, and large enough to be shared out.
            for batch in [BATCH, 24 * BATCH] {
                let shape = Shape::new(batch, NUM_PROTOTYPES).expect("not empty");
                let array = |step: f64| {
                    Array2::<$logits>::from_shape_fn((batch, NUM_PROTOTYPES), |(i, j)| {
                        $from((step * (i * NUM_PROTOTYPES + j) as f64).sin())
                    })
                };
                let (first, second) = (array(0.7), array(1.3));
                let mut out = Array2::<$element>::zeros((batch, NUM_PROTOTYPES));
                let assigner = CpuAssigner::<$logits, $element>::new(method)
                    .with_warm_start(true)
                    .with_objective(true);
                let mut workspace = assigner.workspace(shape).expect("memory");
                assigner
                    .assign_into(first.view(), out.view_mut(), &mut workspace)
                    .expect("valid logits");
                let count = requests(|| {
                    assigner
                        .assign_into(second.view(), out.view_mut(), &mut workspace)
                        .expect("valid logits");
                    std::hint::black_box(assigner.report(&workspace).expect("assigned"));
                });
                assert_eq!(
                    count,
                    0,
                    "{} → {}, {shape}: {method:?}",
                    stringify!($logits),
                    stringify!($element)
                );
            }
        };
    }
    #[allow(clippy::cast_possible_truncation)] // storing in fewer bits is what is meant
    let to_f32 = |x: f64| x as f32;
    check!(f64, f64, |x: f64| x);
    check!(f32, f32, to_f32);
    check!(f16, f32, f16::from_f64);
    check!(bf16, f32, bf16::from_f64);
}

/// Nor on the device. With feature `cuda`; fails where there is no device, for then nothing was tested.
#[cfg(feature = "cuda")]
fn cuda(method: Method) {
    use mira::cuda::{CudaAssigner, DeviceMatrix, device};
    use mira_core::{Assigner, Shape};

    let context = device(0).unwrap_or_else(|e| panic!("feature `cuda` tests a device: {e}"));
    let stream = context.new_stream().expect("a stream");
    let shape = Shape::new(BATCH, NUM_PROTOTYPES).expect("not empty");
    #[allow(clippy::cast_possible_truncation)] // storing in fewer bits is what is meant
    let [first, second] =
        [0.7, 1.3].map(|step| logits(step).iter().map(|x| *x as f32).collect::<Vec<_>>());
    let assigner =
        CudaAssigner::<f32>::new(method, &stream).expect("kernels").with_warm_start(true);
    let mut workspace = assigner.workspace(shape).expect("memory");
    let mut out = assigner.output(shape).expect("memory");
    let batches = [first, second].map(|batch| DeviceMatrix::from_host(&stream, shape, &batch));
    let batches = batches.map(|batch| batch.expect("memory"));
    let mut run = |batch: &DeviceMatrix<f32>| {
        assigner.assign_into(batch.rows(), out.rows_mut(), &mut workspace).expect("enqueued");
    };
    run(&batches[0]);
    stream.synchronize().expect("a device");
    let free = || context.mem_get_info().expect("a device").0;
    let before = free();
    let count = requests(|| run(&batches[1]));
    assert_eq!((count, free()), (0, before), "cuda: {method:?}");
}
