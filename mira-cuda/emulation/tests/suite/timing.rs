//! The emulator must be fast enough to run kernels at sizes that matter. Limits are for slow and busy machines.

use std::thread;
use std::time::{Duration, Instant};

use mira_cuda_emulation::{Stats, launch};

/// Without a context switch of our own, `swapcontext` and its system calls.
const LIMIT: Duration = if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
    Duration::from_millis(200)
} else {
    Duration::from_secs(5)
};

fn timed(kernel: &str, threads: u32, number: u32) -> (Stats, Duration) {
    let start = Instant::now();
    // SAFETY: the kernel has no pointers.
    let stats = unsafe { launch(kernel, (1, 1), threads, 0, &number, 0) }.unwrap();
    let took = start.elapsed();
    #[allow(clippy::cast_precision_loss)]
    let each = took.as_secs_f64() * 1e9 / stats.switches as f64;
    println!("{kernel}: {threads} threads, {number} times: {took:?}, {each:.1} ns a switch");
    (stats, took)
}

#[test]
fn a_thousand_barriers_take_little_time() {
    let (stats, took) = timed("sample_barriers", 256, 1000);
    assert_eq!((stats.barriers, stats.switches), (1000, 256 * 1001));
    assert!(took < LIMIT, "{took:?}");
    timed("sample_barriers", 1024, 1000);
}

#[test]
fn a_thousand_shuffles_take_little_time() {
    let (stats, took) = timed("sample_shuffles", 256, 1000);
    assert_eq!(stats.exchanges, 8 * 1000);
    assert!(took < LIMIT, "{took:?}");
}

#[test]
fn launches_in_several_threads_do_not_meet() {
    let run = || {
        for _ in 0..50 {
            let (stats, _) = timed("sample_barriers", 64, 20);
            assert_eq!(stats.barriers, 20);
        }
    };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(run)).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
