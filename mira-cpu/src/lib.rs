//! The CPU backend of mira: [`CpuAssigner`] over `ndarray` views.
//!
//! A pass over the kernel matrix is one row total (a dot product with the column weights) and one addition of the scaled row to
//! the column sums, for a few rows at a time while they are in cache; see `rows.rs`. The kernel is built in the output array and
//! becomes the assignment in place, so no B × K memory is needed beside it. Instruction sets are chosen at run time
//! ([`instruction_set`]), threads are as many as rayon's current pool has (but our own, kept for the next call), and results have the same bits on any number of them.
//!
//! Hard labels and usage statistics: [`argmax`], [`top_k`], [`usage`].

mod assigner;
mod build;
mod compiled;
mod element;
mod error;
mod exp;
mod labels;
mod log_domain;
mod memory;
mod parallel;
mod rows;
mod sweep;
mod workspace;

pub use assigner::CpuAssigner;
pub use element::{Logit, Real};
pub use error::Error;
pub use labels::{Usage, argmax, top_k, usage};
pub use mira_simd::instruction_set;
pub use workspace::CpuWorkspace;
