//! CUDA backend.
#[doc(hidden)]
pub mod params;
#[doc(hidden)]
pub mod plan;
