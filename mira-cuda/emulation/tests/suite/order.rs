//! The order in which threads run, and what memory holds before they do.

use mira_cuda_emulation::{Guarded, kernels, launch};

use crate::SEEDS;

#[derive(Clone, Copy)]
#[repr(C)]
struct Order {
    counters: *mut u32,
    order: *mut u32,
}

/// The numbers of a block's threads as they ran before a barrier and after it.
fn order(threads: u32, seed: u64) -> [Vec<u32>; 2] {
    let mut counters = Guarded::from_slice(&[0_u32; 2]);
    let mut order = Guarded::<u32>::poisoned(2 * threads as usize);
    let params = Order { counters: counters.as_mut_ptr(), order: order.as_mut_ptr() };
    // SAFETY: the array has two elements for each thread.
    unsafe { launch("sample_order", (1, 1), threads, 0, &params, seed) }.unwrap();
    let (before, after) = order.as_slice().split_at(threads as usize);
    [before.to_vec(), after.to_vec()]
}

#[test]
fn the_seed_decides_who_runs_first() {
    let mut seen = Vec::new();
    for seed in SEEDS {
        let orders = order(100, seed);
        assert_eq!(orders, order(100, seed), "the same seed, the same run");
        for numbers in orders {
            assert!(!numbers.is_sorted());
            assert!(!seen.contains(&numbers), "every phase of every seed is different");
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..100), "each thread runs once");
            seen.push(numbers);
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Uninitialised {
    output: *mut f32,
}

#[test]
fn shared_memory_starts_as_nan() {
    for _ in 0..2 {
        let mut output = Guarded::from_slice(&[0.0_f32; 64]);
        let params = Uninitialised { output: output.as_mut_ptr() };
        // SAFETY: one element for each thread.
        unsafe { launch("fault_uninitialised", (1, 1), 64, 256, &params, 0) }.unwrap();
        for (i, x) in output.as_slice().iter().enumerate() {
            assert!(if i % 2 == 0 { *x == 1.0 } else { x.is_nan() }, "{i}: {x}");
        }
    }
}

#[test]
fn kernels_are_found_by_name() {
    let names = kernels();
    assert!(names.is_sorted() && names.contains(&"sample_order".to_owned()), "{names:?}");
    let mut unique = names.clone();
    unique.dedup();
    assert_eq!(unique, names, "names of kernels are shared by all files");
}
