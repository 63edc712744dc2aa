//! A transposition through shared memory, and vector accesses.

use half::bf16;
use mira_cuda_emulation::{Error, Guarded, Overrun, launch};

use crate::{SEEDS, exact_values};

#[derive(Clone, Copy)]
#[repr(C)]
struct Transpose {
    input: *const bf16,
    output: *mut f32,
    rows: u32,
    columns: u32,
}

const TILE: u32 = 16;
const SHAPES: [(u32, u32); 5] = [(1, 1), (16, 16), (17, 33), (40, 7), (5, 64)];

/// Whether the output is the transposed input; an error if the kernel wrote beside it.
fn transposes(kernel: &str, (rows, columns): (u32, u32), seed: u64) -> Result<bool, Overrun> {
    let (r, c) = (rows as usize, columns as usize);
    let values: Vec<bf16> = exact_values(r * c).into_iter().map(bf16::from_f32).collect();
    let input = Guarded::from_slice(&values);
    let mut output = Guarded::<f32>::poisoned(r * c);
    let params = Transpose { input: input.as_ptr(), output: output.as_mut_ptr(), rows, columns };
    let grid = (columns.div_ceil(TILE), rows.div_ceil(TILE));
    let shared = (TILE * (TILE + 1) * 4) as usize;
    // SAFETY: the arrays have the sizes the kernel is told, and guards for one element too many.
    unsafe { launch(kernel, grid, TILE * TILE, shared, &params, seed) }.unwrap();
    output.check()?;
    let right = |(i, x): (usize, &f32)| *x == values[i % r * c + i / r].to_f32();
    Ok(output.as_slice().iter().enumerate().all(right))
}

#[test]
fn tiles_are_transposed() {
    for shape in SHAPES {
        for seed in SEEDS {
            assert_eq!(transposes("sample_transpose", shape, seed), Ok(true), "{shape:?}");
        }
    }
}

#[test]
fn a_missing_barrier_is_caught() {
    for shape in &SHAPES[1..] {
        let wrong =
            SEEDS.filter(|s| transposes("sample_transpose_no_barrier", *shape, *s) != Ok(true));
        assert!(wrong.count() > 0, "{shape:?}");
    }
}

#[test]
fn a_tail_one_too_long_is_caught() {
    // Where the rows fill their tiles, no thread is left to do wrong.
    for shape in SHAPES.into_iter().filter(|s| s.0 % TILE != 0) {
        let wrong =
            SEEDS.filter(|s| transposes("sample_transpose_tail_too_long", shape, *s) != Ok(true));
        assert!(wrong.count() > 0, "{shape:?}");
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Scale {
    input: *const bf16,
    output: *mut f32,
    quads: u32,
    shift: u32,
}

#[test]
fn vectors_move_and_must_be_aligned() {
    let values: Vec<bf16> = exact_values(404).into_iter().map(bf16::from_f32).collect();
    let input = Guarded::from_slice(&values);
    for shift in 0..5 {
        let mut output = Guarded::<f32>::poisoned(396);
        let params = Scale { input: input.as_ptr(), output: output.as_mut_ptr(), quads: 99, shift };
        // SAFETY: 4 + 4·99 elements are read at most, and 4·99 written.
        let done = unsafe { launch("sample_scale_quads", (1, 1), 128, 0, &params, 0) };
        output.check().unwrap();
        if shift.is_multiple_of(4) {
            done.unwrap();
            let expected = values[shift as usize..].iter().map(|x| 2.0 * x.to_f32());
            assert!(expected.take(396).eq(output.as_slice().iter().copied()));
        } else {
            assert!(matches!(done, Err(Error::Misaligned { bytes: 8, .. })), "{done:?}");
        }
    }
}
