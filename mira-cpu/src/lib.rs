//! The CPU backend of mira: [`CpuAssigner`] over `ndarray` views.
//!
//! A pass over the kernel matrix is one row total (a dot product with the column weights) and one addition of the scaled row to
//! the column sums, for a few rows at a time while they are in cache; see `rows.rs`. The kernel is built in the output array and
//! becomes the assignment in place, so no B × K memory is needed beside it. Instruction sets are chosen at run time
//! ([`instruction_set`]), and results have the same bits on any number of threads.
//!
//! Threads are our own, kept for the next call; their number follows rayon. Inside a pool (`pool.install(|| …)`, [`rayon::scope`], parallel
//! iterators) it is the pool's size. Outside of any it is `RAYON_NUM_THREADS` or, without that, all cores: rayon's global pool is neither started nor
//! asked, so that what [`build_global`](rayon::ThreadPoolBuilder::build_global) was told counts inside `rayon::scope` only.
//! ```
//! use mira_core::{Assigner, Mira};
//! use mira_cpu::CpuAssigner;
//! let logits = ndarray::array![[0.9f32, 0.1, -0.3], [0.8, 0.2, 0.0], [0.1, 0.7, 0.2]];
//! let assigner = CpuAssigner::<f32>::new(Mira::default());
//! let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
//! let (assignment, _) = one.install(|| assigner.assign(logits.view()))?;
//! assert_eq!(assignment, assigner.assign(logits.view())?.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
/// Types of logits and labels.
pub use half;
pub use labels::{Usage, argmax, top_k, usage};
pub use mira_simd::instruction_set;
/// Whose arrays logits and labels are.
pub use ndarray;
pub use workspace::CpuWorkspace;
