//! mira
pub use mira_core::*;
#[cfg(feature = "cpu")]
pub use mira_cpu as cpu;
