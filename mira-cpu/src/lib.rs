//! The CPU backend of mira: [`CpuAssigner`] over `ndarray` views.

mod assigner;
mod element;
mod error;
mod exp;
mod log_domain;
mod parallel;
mod rows;
mod simd;
mod sweep;
mod vector;
mod workspace;

pub use assigner::CpuAssigner;
pub use element::{Logit, Real};
pub use error::Error;
pub use simd::instruction_set;
pub use workspace::CpuWorkspace;
