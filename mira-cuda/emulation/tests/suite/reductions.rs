//! Sums over a block and over a grid.

use mira_cuda_emulation::{Error, Guarded, Stats, launch};

use crate::{SEEDS, exact_values};

#[derive(Clone, Copy)]
#[repr(C)]
struct RowSums {
    input: *const f32,
    sums: *mut f32,
    columns: u32,
}

const BLOCKS: [u32; 8] = [1, 2, 31, 32, 33, 100, 256, 1023];

/// Whether the kernel gives the sums of three rows.
fn row_sums_are_right(kernel: &str, threads: u32, seed: u64) -> bool {
    let (rows, columns) = (3, 517);
    let values = exact_values(rows * columns);
    let input = Guarded::from_slice(&values);
    let mut sums = Guarded::<f32>::poisoned(rows);
    let params = RowSums { input: input.as_ptr(), sums: sums.as_mut_ptr(), columns: 517 };
    // SAFETY: the arrays have the sizes the kernel is told, and guards for one read too many.
    unsafe { launch(kernel, (3, 1), threads, threads as usize * 4, &params, seed) }.unwrap();
    sums.check().unwrap();
    let close = |(row, sum): (&[f32], &f32)| {
        let expected: f32 = row.iter().sum();
        (expected - sum).abs() <= 1e-4 * expected.abs()
    };
    values.chunks(columns).zip(sums.as_slice()).all(close)
}

#[test]
fn rows_are_summed_by_blocks_of_any_size() {
    for threads in BLOCKS {
        for seed in SEEDS {
            let right = row_sums_are_right("sample_row_sums", threads, seed);
            assert!(right, "{threads} threads, seed {seed}");
        }
    }
}

#[test]
fn a_missing_barrier_is_caught() {
    for kernel in ["sample_row_sums_no_barrier", "sample_row_sums_no_barrier_before_reuse"] {
        for threads in BLOCKS.into_iter().filter(|t| *t > 2) {
            let caught = SEEDS.filter(|s| !row_sums_are_right(kernel, threads, *s));
            assert!(caught.count() > 0, "{kernel} with {threads} threads");
        }
    }
}

#[test]
fn a_tail_one_too_long_is_caught() {
    let kernel = "sample_row_sums_tail_too_long";
    for threads in BLOCKS {
        assert!(
            SEEDS.into_iter().any(|s| !row_sums_are_right(kernel, threads, s)),
            "{threads} threads"
        );
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct GridSums {
    input: *const f32,
    partial: *mut f32,
    totals: *mut f32,
    arrived: *mut u32,
    length: u32,
    rounds: u32,
    skip_barrier: u32,
}

/// Sums over the grid in three rounds; whether all blocks had the right total each time.
fn grid_sums(blocks: u32, threads: u32, skip: bool, seed: u64) -> Result<(bool, Stats), Error> {
    let (length, rounds) = (10_001_u16, 3_u8);
    let values = exact_values(length.into());
    let input = Guarded::from_slice(&values);
    let mut partial = Guarded::<f32>::poisoned(blocks as usize);
    let mut totals = Guarded::<f32>::poisoned(usize::from(rounds) * blocks as usize);
    let mut arrived = Guarded::from_slice(&[0_u32]);
    let params = GridSums {
        input: input.as_ptr(),
        partial: partial.as_mut_ptr(),
        totals: totals.as_mut_ptr(),
        arrived: arrived.as_mut_ptr(),
        length: length.into(),
        rounds: rounds.into(),
        skip_barrier: skip.into(),
    };
    let shared = threads as usize * 4;
    // SAFETY: the arrays have the sizes the kernel is told.
    let stats = unsafe { launch("sample_grid_sums", (blocks, 1), threads, shared, &params, seed) }?;
    partial.check().unwrap();
    totals.check().unwrap();
    arrived.check().unwrap();
    let sum: f32 = values.iter().sum();
    let expected = (1..=rounds).flat_map(|r| vec![f32::from(r) * sum; blocks as usize]);
    Ok((expected.eq(totals.as_slice().iter().copied()), stats))
}

#[test]
fn blocks_wait_for_each_other() {
    for (blocks, threads) in [(1, 32), (2, 64), (7, 128), (33, 256)] {
        for seed in SEEDS {
            let (right, stats) = grid_sums(blocks, threads, false, seed).unwrap();
            assert!(right, "{blocks} blocks of {threads}, seed {seed}");
            assert_eq!(stats.threads, u64::from(blocks * threads));
            assert_eq!(stats.most_fibres, stats.threads, "all must be resident");
        }
    }
}

#[test]
fn a_missing_grid_barrier_is_caught() {
    let wrong = SEEDS.filter(|s| !grid_sums(7, 64, true, *s).unwrap().0);
    assert!(wrong.count() > 0);
}

#[derive(Clone, Copy)]
#[repr(C)]
struct MissingWords {
    words: *mut u64,
    asked: *mut u64,
    values: *mut u32,
}

/// One after another, each would take a way to memory and back.
#[test]
fn missing_words_are_looked_at_together() {
    for seed in SEEDS {
        let mut words = Guarded::from_slice(&[0_u64; 16]);
        let mut asked = Guarded::from_slice(&[0_u64]);
        let mut values = Guarded::<u32>::poisoned(16);
        let params = MissingWords {
            words: words.as_mut_ptr(),
            asked: asked.as_mut_ptr(),
            values: values.as_mut_ptr(),
        };
        // SAFETY: the arrays have the sizes the kernel takes.
        unsafe { launch("sample_missing_words", (2, 1), 1, 0, &params, seed) }.unwrap();
        assert!(values.as_slice().iter().copied().eq(100..116), "{:?}", values.as_slice());
    }
}
