//! CUDA backend.
pub mod cross_entropy;
#[doc(hidden)]
pub mod params;
#[doc(hidden)]
pub mod plan;
