//! Runs the CUDA kernels of `mira-cuda` on the CPU, so that tests on machines without a GPU compare them with the reference.
//!
//! `build.rs` compiles each `.cu` file with the host's C++ compiler. [`launch`] then runs one by name: every CUDA thread is a fibre of
//! the calling OS thread, barriers and warp shuffles switch between them, and the seed decides who runs first after each. Therefore
//!
//! - a missing `__syncthreads` shows in the results for some seeds: run kernels with several;
//! - the same seed gives the same run, bit by bit;
//! - shared memory starts as NaN, and what lies around it is watched; [`Guarded`] does the same for global memory;
//! - what would hang a GPU is an [`Error`] that says who waits where.
//!
//! What it cannot show: missing `__threadfence` (memory is sequentially consistent here), races between two statements of which one
//! order is never drawn, what CUDA's compiler makes of the kernels, the device's own rounding of `exp` and `log`: `mira-ptx` shows those. Occupancy and
//! speed neither does.
//!
//! Launches in several OS threads at once do not know of each other.

mod error;
mod ffi;
mod guarded;

pub use error::{Error, Wait, WaitKind, Waits};
pub use guarded::{Element, Guarded, Overrun};

use std::ptr;

/// What a launch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// CUDA threads that ran.
    pub threads: u64,
    /// `__syncthreads` of whole blocks.
    pub barriers: u64,
    /// Warp shuffles and `__syncwarp` of whole masks.
    pub exchanges: u64,
    /// Calls of `spin_wait`.
    pub spins: u64,
    /// How often a thread went on.
    pub switches: u64,
    /// CUDA threads alive at once: more than a block's where blocks wait for each other.
    pub most_fibres: u64,
}

/// Runs the kernel `name` over `grid` blocks of `block_threads` threads, each block with `shared_bytes` of dynamic shared memory.
///
/// `params` is the struct that the kernel takes, `#[repr(C)]` and field by field the same as in the `.cu` file; only its size is checked.
/// Blocks run one after another in an order drawn from `seed`, except that another takes over where one waits for others with `spin_wait` and,
/// at times, where one has told others something (atomics, `store_relaxed`): its other threads may not have come that far.
///
/// # Errors
/// See [`Error`]. After an error, memory is as the kernel left it.
///
/// # Safety
/// The kernel reads and writes through the pointers in `params`: they must be valid for whatever it does with them, and nothing else may
/// use that memory meanwhile.
pub unsafe fn launch<T: Copy>(
    name: &str,
    grid: (u32, u32),
    block_threads: u32,
    shared_bytes: usize,
    params: &T,
    seed: u64,
) -> Result<Stats, Error> {
    let request = ffi::Request {
        name: name.as_ptr(),
        name_bytes: name.len() as u64,
        params: ptr::from_ref(params).cast(),
        params_bytes: size_of::<T>() as u64,
        grid: [grid.0, grid.1],
        block_threads,
        shared_bytes: shared_bytes as u64,
        seed,
    };
    let mut stats = ffi::Stats::default();
    let mut failure = ffi::Failure::default();
    // SAFETY: all three are valid for the call and laid out as in scheduler.h; the caller answers for the kernel's pointers.
    unsafe { ffi::mira_emulation_launch(&raw const request, &raw mut stats, &raw mut failure) };
    if let Some(error) = Error::from_failure(name, &failure) {
        return Err(error);
    }
    Ok(Stats {
        threads: stats.threads,
        barriers: stats.barriers,
        exchanges: stats.exchanges,
        spins: stats.spins,
        switches: stats.switches,
        most_fibres: stats.most_fibres,
    })
}

/// The names of all kernels there are, sorted.
pub fn kernels() -> Vec<String> {
    let mut names: Vec<String> = (0..)
        // SAFETY: any index is allowed; a pointer that is not null is a string literal.
        .map_while(|i| unsafe { ffi::text(ffi::mira_emulation_kernel(i)) })
        .collect();
    names.sort();
    names
}
