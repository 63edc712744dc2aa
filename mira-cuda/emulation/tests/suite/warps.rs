//! Warp shuffles.

use mira_cuda_emulation::{Guarded, launch};

use crate::{SEEDS, exact_values};

#[derive(Clone, Copy)]
#[repr(C)]
struct Warps {
    input: *const f32,
    sums: *mut f32,
    doubles: *mut f64,
    shifted: *mut i32,
    broadcast: *mut u32,
}

#[test]
fn lanes_exchange_values() {
    let (blocks, threads) = (3_u32, 96_u32);
    let len = (blocks * threads) as usize;
    let values = exact_values(len);
    let input = Guarded::from_slice(&values);
    for seed in SEEDS {
        let mut sums = Guarded::<f32>::poisoned(len);
        let mut doubles = Guarded::<f64>::poisoned(len);
        let mut shifted = Guarded::<i32>::poisoned(len);
        let mut broadcast = Guarded::<u32>::poisoned(len);
        let params = Warps {
            input: input.as_ptr(),
            sums: sums.as_mut_ptr(),
            doubles: doubles.as_mut_ptr(),
            shifted: shifted.as_mut_ptr(),
            broadcast: broadcast.as_mut_ptr(),
        };
        // SAFETY: one element of each array for each thread.
        let stats = unsafe { launch("sample_warps", (blocks, 1), threads, 0, &params, seed) };
        assert_eq!(stats.unwrap().exchanges, 9 * (2 * 5 + 2), "9 warps");
        for i in 0..len {
            let warp = &values[i / 32 * 32..][..32];
            let (thread, lane) = (i % 96, i % 32);
            assert_eq!(sums.as_slice()[i], warp.iter().sum::<f32>());
            let precise: f64 = warp.iter().copied().map(f64::from).sum();
            assert_eq!(doubles.as_slice()[i], precise);
            let from = if lane < 30 { thread + 2 } else { thread };
            assert_eq!(shifted.as_slice()[i], i32::try_from(from).unwrap());
            let third = u32::try_from(thread / 32 * 32 + 3).unwrap();
            assert_eq!(broadcast.as_slice()[i], third);
        }
    }
}

/// What lanes that do not exist bring is a NaN, so a sum over a warp that is not full shows the mistake.
#[test]
fn lanes_that_do_not_exist_bring_nan() {
    let values = exact_values(40);
    let input = Guarded::from_slice(&values);
    let mut sums = Guarded::<f32>::poisoned(40);
    let mut doubles = Guarded::<f64>::poisoned(40);
    let mut shifted = Guarded::<i32>::poisoned(40);
    let mut broadcast = Guarded::<u32>::poisoned(40);
    let params = Warps {
        input: input.as_ptr(),
        sums: sums.as_mut_ptr(),
        doubles: doubles.as_mut_ptr(),
        shifted: shifted.as_mut_ptr(),
        broadcast: broadcast.as_mut_ptr(),
    };
    // SAFETY: one element of each array for each thread.
    unsafe { launch("sample_warps", (1, 1), 40, 0, &params, 0) }.unwrap();
    let nan: Vec<bool> = sums.as_slice().iter().map(|x| x.is_nan()).collect();
    assert_eq!(nan, [[false; 32].as_slice(), &[true; 8]].concat());
}

#[derive(Clone, Copy)]
#[repr(C)]
struct HalfWarps {
    input: *const f32,
    sums: *mut f32,
}

#[test]
fn masks_divide_a_warp() {
    let values = exact_values(64);
    let input = Guarded::from_slice(&values);
    for seed in SEEDS {
        let mut sums = Guarded::<f32>::poisoned(64);
        let params = HalfWarps { input: input.as_ptr(), sums: sums.as_mut_ptr() };
        // SAFETY: one element of each array for each thread.
        unsafe { launch("sample_half_warps", (1, 1), 64, 0, &params, seed) }.unwrap();
        for (i, found) in sums.as_slice().iter().enumerate() {
            let half = &values[i / 16 * 16..][..16];
            let expected = if i % 32 < 16 {
                half.iter().sum()
            } else {
                half.iter().copied().fold(f32::MIN, f32::max)
            };
            assert_eq!(*found, expected, "thread {i}");
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Exchange {
    buffer: *mut u32,
    output: *mut u32,
    synchronised: u32,
}

/// What each lane found in its neighbour's place.
fn exchanged(synchronised: bool, seed: u64) -> Vec<u32> {
    let mut buffer = Guarded::<u32>::poisoned(32);
    let mut output = Guarded::<u32>::poisoned(32);
    let params = Exchange {
        buffer: buffer.as_mut_ptr(),
        output: output.as_mut_ptr(),
        synchronised: synchronised.into(),
    };
    let kernel = "sample_exchange_through_memory";
    // SAFETY: one element of each array for each of 32 threads.
    unsafe { launch(kernel, (1, 1), 32, 0, &params, seed) }.unwrap();
    output.as_slice().to_vec()
}

#[test]
fn lanes_run_in_any_order_between_synchronisations() {
    let expected: Vec<u32> = (0..32_u32).map(|i| ((i + 1) % 32).pow(2) + 1).collect();
    for seed in SEEDS {
        assert_eq!(exchanged(true, seed), expected);
        assert_ne!(exchanged(false, seed), expected, "a missing __syncwarp must show");
    }
}
