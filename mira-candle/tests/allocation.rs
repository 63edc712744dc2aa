//! The second assignment with a workspace allocates nothing that grows with the batch, on any thread.
//!
//! candle itself allocates a few dozen bytes to check an in-place operation's layouts; that is all there may be.

#![allow(unsafe_code)] // a global allocator cannot be had without

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle_core::{DType, Device, Tensor};
use mira_candle::CandleAssigner;
use mira_core::{Assigner, Method, Mira, Shape, Sinkhorn, Softmax};

/// Adds up what all threads ask for.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.fetch_add(size, Relaxed);
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

/// Far less than one row of the smallest problem below: 600 elements of 2 bytes.
const BOOKKEEPING: usize = 512;
const NUM_PROTOTYPES: usize = 600;

/// Bytes that the second of two assignments asks for, and those it says it copied.
fn second(
    assigner: &CandleAssigner,
    first: &Tensor,
    second: &Tensor,
    output: &Tensor,
) -> (usize, usize) {
    let shape = CandleAssigner::shape(&first).expect("a matrix");
    let mut workspace = assigner.workspace(shape).expect("memory");
    assigner.assign_into(first, output, &mut workspace).expect("valid logits");
    let before = BYTES.load(Relaxed);
    assigner.assign_into(second, output, &mut workspace).expect("valid logits");
    let bytes = BYTES.load(Relaxed) - before;
    (bytes, workspace.copied_bytes())
}

fn main() {
    let methods: [Method; 3] =
        [Mira::default().into(), Sinkhorn::swav().into(), Softmax::new(0.1).expect("valid").into()];
    // Several threads to an assignment also where there is one core.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("threads");
    pool.broadcast(|_| ()); // all have started, so what that allocates is not counted
    pool.install(|| {
        for method in methods {
            for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
                for batch in [16, 512] {
                    check(method, dtype, batch);
                }
            }
        }
    });
    println!("the second assignment allocates nothing that grows with the batch: ok");
}

fn check(method: Method, dtype: DType, batch: usize) {
    let arithmetic = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let assigner = CandleAssigner::new(method).with_dtype(arithmetic).expect("one of the two");
    let assigner = assigner.with_warm_start(true).with_objective(true);
    let random = |rows, columns| {
        let logits = Tensor::rand(-1f32, 1., (rows, columns), &Device::Cpu).expect("memory");
        logits.to_dtype(dtype).expect("a float type")
    };
    let matrix = || random(batch, NUM_PROTOTYPES);
    let slice = || {
        let wide = random(batch + 3, NUM_PROTOTYPES + 5);
        let rows = wide.narrow(0, 2, batch).expect("inside");
        rows.narrow(1, 4, NUM_PROTOTYPES).expect("inside")
    };
    let shape = Shape::new(batch, NUM_PROTOTYPES).expect("not empty");
    let output = assigner.output(shape).expect("memory");
    let wide = Tensor::zeros((2 * batch, NUM_PROTOTYPES + 7), arithmetic, &Device::Cpu);
    let wide = wide.and_then(|w| w.narrow(0, batch, batch)?.narrow(1, 3, NUM_PROTOTYPES));
    let outputs = [("whole", output), ("slice", wide.expect("inside"))];
    for (place, output) in &outputs {
        for (layout, logits) in [("whole", [matrix(), matrix()]), ("slice", [slice(), slice()])] {
            let (bytes, copied) = second(&assigner, &logits[0], &logits[1], output);
            let case = format!("{layout} {dtype:?} logits {shape}, {place} output, {method:?}");
            assert_eq!(copied, 0, "{case}");
            assert!(bytes <= BOOKKEEPING, "{case}: {bytes} bytes");
        }
    }
    // The counter sees a copy where there is one.
    let transposed = || random(NUM_PROTOTYPES, batch).t().expect("a matrix");
    let (bytes, copied) = second(&assigner, &transposed(), &transposed(), &outputs[0].1);
    let size = shape.len() * dtype.size_in_bytes();
    assert_eq!(copied, size, "transposed {dtype:?} logits {shape}");
    assert!((size..2 * size).contains(&bytes), "transposed: {bytes} bytes, one copy is {size}");
}
