//! The CPU executor: NHWC on slices, threads by rayon, instruction sets chosen at run time. Results do not depend on the number
//! of threads: every sum has one order, fixed by shapes.

mod batch_norm;
mod convolution;
mod executor;
mod layer;
mod memory;
mod microkernel;
mod number;
mod packing;
mod pooling;
mod weight_gradient;
mod window;

pub use executor::{Executor, Statistics};
pub use number::Number;
