//! Instruction sets, chosen once at run time.
//!
//! Kernels are written once, over the vectors of an [`Isa`], and compiled for each instruction set by inlining them into an entry
//! point with the right target features. All sets use vectors of the same number of elements (several registers where
//! registers are shorter), so every sum has one order and all sets with fused multiply-add give the same bits.

use std::sync::LazyLock;

use crate::vector::{self, Vector};
use crate::words::{self, Words};

/// Elements in a vector of f32; f64 has half as many.
pub const LANES: usize = 16;

/// Rounds a column count up to whole vectors.
pub const fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}

/// An instruction set: its vectors, and what a kernel may rely on.
pub trait Isa: 'static {
    /// Fused multiply-add is an instruction, not a library call.
    const FMA: bool;
    /// Vectors that fit into the registers.
    const REGISTERS: usize;
    /// [`LANES`] of f32.
    type F32: Vector<Scalar = f32>;
    /// `LANES/2` of f64.
    type F64: Vector<Scalar = f64>;
    /// 16-bit integers: as many as a register holds.
    type Words: Words;
}

#[cfg(target_arch = "x86_64")]
#[derive(Debug)]
pub(crate) struct Avx512;
#[cfg(target_arch = "x86_64")]
impl Isa for Avx512 {
    const FMA: bool = true;
    const REGISTERS: usize = 32;
    type F32 = vector::x86::Avx512F32;
    type F64 = vector::x86::Avx512F64;
    type Words = words::x86::Avx512Words;
}

#[cfg(target_arch = "x86_64")]
#[derive(Debug)]
pub(crate) struct Avx2;
#[cfg(target_arch = "x86_64")]
impl Isa for Avx2 {
    const FMA: bool = true;
    const REGISTERS: usize = 8;
    type F32 = vector::x86::Avx2F32;
    type F64 = vector::x86::Avx2F64;
    type Words = words::x86::Avx2Words;
}

/// Anything else, in plain Rust that LLVM may vectorise for the baseline; aarch64's baseline has fused multiply-add. Runs on every machine, so that
/// tests can hold the others against it.
#[derive(Debug)]
pub struct Portable;
impl Isa for Portable {
    const FMA: bool = cfg!(target_arch = "aarch64");
    const REGISTERS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };
    type F32 = vector::Lanes<f32, 16>;
    type F64 = vector::Lanes<f64, 8>;
    type Words = words::Lane;
}

/// Code to be compiled for every instruction set; `run` must be `#[inline(always)]`.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// The code.
    fn run<I: Isa>(self) -> Self::Output;
}

/// Instruction sets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// 512-bit registers: F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit registers, with fused multiply-add; and shifts by any register (BMI2), for reading bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the baseline of the architecture has.
    Portable,
}

/// The best level of this machine; `MIRA_SIMD=portable|avx2|avx512` lowers it, for tests and comparisons.
pub static LEVEL: LazyLock<Level> = LazyLock::new(|| {
    let wish = std::env::var("MIRA_SIMD").unwrap_or_default();
    #[cfg(target_arch = "x86_64")]
    {
        // The machines with AVX2 have BMI too; a hypervisor may hide anything.
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx512 && wish != "avx2" && wish != "portable" {
            return Level::Avx512;
        }
        if avx2 && wish != "portable" {
            return Level::Avx2;
        }
    }
    let _ = wish;
    Level::Portable
});

/// The name of the instruction set in use: `avx512`, `avx2` or `portable`.
pub fn instruction_set() -> &'static str {
    match *LEVEL {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => "avx512",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => "avx2",
        Level::Portable => "portable",
    }
}

/// Asks for the cache line at `address`, which need not be valid. Hardware prefetchers stop at page boundaries, which rows of a few
/// thousand elements cross all the time.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing; SSE is part of the baseline.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The same for a line about to be written.
#[inline(always)]
pub fn prefetch_write<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, and where its write form is unknown it is a no-op.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Runs a kernel in the code compiled for this machine.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match *LEVEL {
        // SAFETY: `LEVEL` names only sets that were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(kernel) },
        Level::Portable => kernel.run::<Portable>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a kernel returns at each level that this machine has, if its best one is used.
    pub(crate) fn on_all_levels<K: Kernel + Clone>(kernel: &K) -> Vec<(Level, K::Output)> {
        let mut all = vec![(Level::Portable, kernel.clone().run::<Portable>())];
        #[cfg(target_arch = "x86_64")]
        {
            if *LEVEL != Level::Portable {
                // SAFETY: the best level has AVX2.
                all.push((Level::Avx2, unsafe { avx2(kernel.clone()) }));
            }
            if *LEVEL == Level::Avx512 {
                // SAFETY: this is the best level.
                all.push((Level::Avx512, unsafe { avx512(kernel.clone()) }));
            }
        }
        all
    }
}
