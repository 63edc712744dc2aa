//! The emulator against kernels that are right, kernels with planted mistakes, and kernels that would hang.

mod conversions;
mod faults;
mod order;
mod reductions;
mod tiles;
mod timing;
mod warps;

/// Seeds under which right kernels must be right, and among which one must show a mistake.
const SEEDS: std::ops::Range<u64> = 0..8;

/// Numbers in [−1, 1) that are sums of few powers of two, so that sums of thousands are exact in any order.
fn exact_values(len: usize) -> Vec<f32> {
    let mut state = 12_345_u32;
    let draw = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        #[allow(clippy::cast_possible_truncation)] // ten bits
        let small = (state >> 22) as i16;
        f32::from(small - 512) / 512.0
    };
    (0..len).map(draw).collect()
}
