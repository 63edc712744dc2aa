//! Vectors of one instruction set each, chosen once at run time: what mira's CPU kernels are written over.
//!
//! A [`Kernel`] is written once, generic over an [`Isa`], and [`dispatch`] runs the copy compiled for this machine, so a plain
//! `cargo build` is as fast as one for the native processor.
//!
//! ```
//! use mira_simd::{Isa, Kernel, Vector, dispatch};
//!
//! struct Sum<'a>(&'a [f32]);
//! impl Kernel for Sum<'_> {
//!     type Output = f64;
//!     #[inline(always)]
//!     fn run<I: Isa>(self) -> f64 {
//!         let vectors = self.0.chunks_exact(I::F32::LEN);
//!         let rest: f32 = vectors.remainder().iter().sum();
//!         // SAFETY: every chunk has LEN elements.
//!         let sum = vectors.fold(I::F32::splat(0.0), |sum, chunk| sum.add(unsafe { I::F32::load(chunk.as_ptr()) }));
//!         sum.sum() + f64::from(rest)
//!     }
//! }
//! assert_eq!(dispatch(Sum(&[1.0; 37])), 37.0);
//! ```

mod array;
mod isa;
mod scalar;
mod vector;
mod words;

pub use isa::{
    Isa, Kernel, LANES, LEVEL, Level, Portable, dispatch, instruction_set, padded, prefetch,
    prefetch_write,
};
pub use scalar::Scalar;
pub use vector::{Lanes, Vector};
pub use words::{Lane, MAX_LANES, PIXEL_BYTES, Words};
