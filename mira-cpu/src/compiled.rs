//! The kernels, compiled in this crate once for each type of logits. Code that is generic is compiled by each crate that names its types, and
//! these, three times over for the instruction sets, would be most of what callers wait for.
//!
//! A pair is found in two steps: the arithmetic first, which knows its name, and then the logits.

use half::{bf16, f16};
use mira_core::Error;
use mira_simd::dispatch;

use crate::build::BuildBlock;
use crate::element::Logit;
use crate::exp::{Ln, Weights};
use crate::log_domain::{LogBlock, LogSums};
use crate::rows::{BlockStats, Reduce, SweepBlock};

/// Kernels in one arithmetic.
pub trait RealKernels: Sized {
    fn build<L: Logit>(block: BuildBlock<'_, L, Self>) -> Result<BlockStats, Error>;
    fn log_domain<L: Logit>(block: LogBlock<'_, L, Self>) -> Result<LogSums, Error>;
    fn sweep(block: SweepBlock<'_, Self>) -> BlockStats;
    fn reduce(reduce: Reduce<'_, Self>);
    fn weights(weights: Weights<'_, Self>);
}

/// Kernels over logits stored in one type.
pub trait LogitKernels: Sized {
    fn build_f32(block: BuildBlock<'_, Self, f32>) -> Result<BlockStats, Error>;
    fn build_f64(block: BuildBlock<'_, Self, f64>) -> Result<BlockStats, Error>;
    fn log_domain_f32(block: LogBlock<'_, Self, f32>) -> Result<LogSums, Error>;
    fn log_domain_f64(block: LogBlock<'_, Self, f64>) -> Result<LogSums, Error>;
}

macro_rules! in_arithmetic {
    ($real:ty, $build:ident, $log_domain:ident) => {
        impl RealKernels for $real {
            fn build<L: Logit>(block: BuildBlock<'_, L, Self>) -> Result<BlockStats, Error> {
                L::$build(block)
            }
            fn log_domain<L: Logit>(block: LogBlock<'_, L, Self>) -> Result<LogSums, Error> {
                L::$log_domain(block)
            }
            #[inline(never)]
            fn sweep(block: SweepBlock<'_, Self>) -> BlockStats {
                dispatch(block)
            }
            #[inline(never)]
            fn reduce(reduce: Reduce<'_, Self>) {
                dispatch(reduce);
            }
            #[inline(never)]
            fn weights(weights: Weights<'_, Self>) {
                dispatch(weights);
            }
        }
    };
}
in_arithmetic!(f32, build_f32, log_domain_f32);
in_arithmetic!(f64, build_f64, log_domain_f64);

// The arithmetic that holds the type is compiled here, the other by who wants it.
macro_rules! of_logits {
    ($logit:ty, $(#[$f32:meta])*, $(#[$f64:meta])*) => {
        impl LogitKernels for $logit {
            $(#[$f32])*
            fn build_f32(block: BuildBlock<'_, Self, f32>) -> Result<BlockStats, Error> {
                dispatch(block)
            }
            $(#[$f64])*
            fn build_f64(block: BuildBlock<'_, Self, f64>) -> Result<BlockStats, Error> {
                dispatch(block)
            }
            $(#[$f32])*
            fn log_domain_f32(block: LogBlock<'_, Self, f32>) -> Result<LogSums, Error> {
                dispatch(block)
            }
            $(#[$f64])*
            fn log_domain_f64(block: LogBlock<'_, Self, f64>) -> Result<LogSums, Error> {
                dispatch(block)
            }
        }
    };
}
of_logits!(f32, #[inline(never)], #[inline]);
of_logits!(f16, #[inline(never)], #[inline]);
of_logits!(bf16, #[inline(never)], #[inline]);
of_logits!(f64, #[inline], #[inline(never)]);

#[inline(never)]
pub(crate) fn ln(values: &mut [f64]) {
    dispatch(Ln(values));
}
