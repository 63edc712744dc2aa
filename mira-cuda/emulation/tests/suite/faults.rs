//! Launches and kernels that must end in an error, and in the right one.

use std::thread;

use mira_cuda_emulation::{Error, Guarded, Overrun, Stats, WaitKind, launch};

use crate::SEEDS;

fn run<T: Copy>(
    name: &str,
    blocks: u32,
    threads: u32,
    params: &T,
    seed: u64,
) -> Result<Stats, Error> {
    // SAFETY: kernels of this file have no pointers but to a counter that outlives the launch.
    unsafe { launch(name, (blocks, 1), threads, 256, params, seed) }
}

#[test]
fn launches_are_checked() {
    let unknown = run("sample_barrier", 1, 1, &1_u32, 0).unwrap_err();
    let text = unknown.to_string();
    assert!(text.contains("`sample_barrier`") && text.contains("sample_barriers, "), "{text}");
    let size = run("sample_barriers", 1, 1, &1_u64, 0).unwrap_err();
    assert!(matches!(size, Error::ParamsSize { expected: 4, got: 8, .. }), "{size}");
    for threads in [0, 1025] {
        let many = run("sample_barriers", 1, threads, &1_u32, 0).unwrap_err();
        assert!(matches!(many, Error::Threads { limit: 1024, .. }), "{many}");
    }
    let empty = run("sample_barriers", 0, 32, &1_u32, 0).unwrap_err();
    assert!(matches!(empty, Error::EmptyGrid { .. }), "{empty}");
    // SAFETY: the kernel has no pointers.
    let shared = unsafe { launch("sample_barriers", (1, 1), 32, 1 << 20, &1_u32, 0) };
    assert!(matches!(shared, Err(Error::SharedBytes { got: 1_048_576, .. })));
}

#[test]
fn divergent_barriers_are_found() {
    for seed in SEEDS {
        let early = run("fault_early_return", 2, 96, &5_u32, seed).unwrap_err();
        let Error::Divergent { waits, .. } = &early else { panic!("{early}") };
        assert_eq!((waits.threads(WaitKind::Barrier), waits.ended), (91, 5), "{early}");
        assert!(early.to_string().contains("faults.cu:"), "{early}");

        let two = run("fault_two_barriers", 1, 64, &5_u32, seed).unwrap_err();
        let Error::Divergent { waits, .. } = &two else { panic!("{two}") };
        let mut threads: Vec<u32> = waits.places.iter().map(|w| w.threads).collect();
        threads.sort_unstable();
        assert_eq!(threads, [5, 59], "{two}");
    }
    run("fault_early_return", 2, 96, &0_u32, 0).unwrap();
    run("fault_two_barriers", 1, 64, &0_u32, 0).unwrap();
}

#[test]
fn divergent_warps_are_found() {
    for seed in SEEDS {
        let left = run("fault_lane_leaves", 1, 64, &7_u32, seed).unwrap_err();
        let Error::Divergent { waits, .. } = &left else { panic!("{left}") };
        assert_eq!((waits.threads(WaitKind::Warp), waits.ended), (62, 2), "{left}");

        let two = run("fault_two_shuffles", 1, 32, &7_u32, seed).unwrap_err();
        assert!(matches!(&two, Error::Divergent { waits, .. } if waits.places.len() == 2), "{two}");

        let outside = run("fault_outside_mask", 1, 32, &7_u32, seed).unwrap_err();
        assert!(matches!(outside, Error::OutsideMask { thread: 7, .. }), "{outside}");
    }
    run("fault_lane_leaves", 1, 64, &32_u32, 0).unwrap();
    run("fault_two_shuffles", 1, 32, &32_u32, 0).unwrap();
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Counter {
    counter: *mut u32,
    target: u32,
}

#[test]
fn waiting_for_ever_is_a_deadlock() {
    for (target, blocks, seed) in [(5, 4, 0), (5, 4, 1), (5, 5, 0)] {
        let mut counter = Guarded::from_slice(&[0_u32]);
        let params = Counter { counter: counter.as_mut_ptr(), target };
        let done = run("fault_waits_for_ever", blocks, 64, &params, seed);
        if blocks == target {
            done.unwrap();
            continue;
        }
        let error = done.unwrap_err();
        let Error::Deadlock { waits, .. } = &error else { panic!("{error}") };
        assert_eq!(waits.threads(WaitKind::Spin), 4, "{error}");
        assert_eq!(waits.threads(WaitKind::Barrier), 4 * 63, "{error}");
    }
}

#[test]
fn polling_without_waiting_is_found() {
    let mut counter = Guarded::from_slice(&[0_u32]);
    let params = Counter { counter: counter.as_mut_ptr(), target: 1 };
    let error = run("fault_polls", 1, 32, &params, 0).unwrap_err();
    assert!(matches!(error, Error::PollWithoutWait { .. }), "{error}");
}

#[test]
fn writes_beside_shared_memory_are_found() {
    for (offset, beside) in
        [(0, None), (63, None), (64, Some(true)), (-1, Some(false)), (127, Some(true))]
    {
        let done = run("fault_shared_write", 3, 32, &offset, 0);
        match (done, beside) {
            (Ok(_), None) => {}
            (Err(Error::SharedMemoryOverrun { behind, .. }), Some(expected)) => {
                assert_eq!(behind, expected);
            }
            (done, _) => panic!("offset {offset}: {done:?}"),
        }
    }
}

#[test]
fn a_stack_that_is_too_small_is_found() {
    // In a thread of its own, whose stacks are fresh: what lies below the one that overflows is free.
    let run = || run("fault_stack", 1, 1, &(66 * 1024_u32), 0).map_err(|e| e.to_string());
    let error = thread::spawn(run).join().unwrap().unwrap_err();
    assert!(error.contains("overflowed its stack of 65536 bytes"), "{error}");
}

#[test]
fn an_error_leaves_nothing_behind() {
    for seed in SEEDS {
        run("fault_early_return", 3, 256, &100_u32, seed).unwrap_err();
        let stats = run("sample_barriers", 3, 256, &10_u32, seed).unwrap();
        assert_eq!((stats.threads, stats.barriers), (3 * 256, 30));
    }
}

#[test]
fn writes_beside_arrays_are_found() {
    let mut array = Guarded::from_slice(&[1.0_f32, 2.0, 3.0]);
    assert_eq!(array.check(), Ok(()));
    // SAFETY: the guards are part of the allocation.
    unsafe { array.as_mut_ptr().add(3).write(0.0) };
    let behind = Overrun { behind: true, distance: 0, len: 3 };
    assert_eq!(array.check(), Err(behind));
    let mut array = Guarded::<u8>::poisoned(0);
    // SAFETY: as above.
    unsafe { array.as_mut_ptr().sub(3).write(0) };
    let before = Overrun { behind: false, distance: 2, len: 0 };
    assert_eq!(array.check(), Err(before));
}
