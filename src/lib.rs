//! mira computes pseudo-labels for self-supervised learning by online clustering, **with a proven certificate of how far from optimal
//! they are**.
//!
//! Given a batch of logits `S` (B samples × K prototypes), an [`Assigner`] returns an assignment `W` (B × K, every row a
//! probability distribution). The methods are data, the backends are types:
//!
//! | method | what it asks of the batch | reference |
//! |---|---|---|
//! | [`Mira`] | high mutual information between samples and prototypes, softly | Lee et al., `NeurIPS` 2022, Eq. 4–7 |
//! | [`Sinkhorn`] | equal usage of every prototype | Cuturi 2013; Caron et al. 2020 (`SwAV`) |
//! | [`Centered`] | a centred, sharpened softmax | Caron et al. 2021 (DINO) |
//! | [`Softmax`] | nothing | |
//!
//! | backend | type | feature |
//! |---|---|---|
//! | the f64 oracle | [`Reference`] | |
//! | CPU, SIMD and threads, `ndarray` views | [`cpu::CpuAssigner`] | `cpu` (default) |
//! | CUDA, device memory, one launch an assignment | `cuda::CudaAssigner` | `cuda` |
//! | either of the two over candle tensors, without copies | `candle::CandleAssigner` | `candle`; `candle-cuda` |
//!
//! # Example
//! ```
//! # #[cfg(feature = "cpu")] {
//! use mira::{Assigner, Mira, cpu::CpuAssigner};
//! use ndarray::Array2;
//!
//! let logits = Array2::from_shape_fn((256, 30), |(i, j)| ((i * j) as f32).sin()); // cosines, usually
//! let assigner = CpuAssigner::<f32>::new(Mira::default());
//! let (labels, report) = assigner.assign(logits.view())?;
//! assert_eq!(labels.dim(), (256, 30));
//! assert!(report.certificate.log_ratio_bound < 1e-5); // no |log w − log w*| is larger, but by what rounding may add
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! In a training loop, make a workspace once and call [`Assigner::assign_into`]: from the second call on it allocates nothing.
//!
//! # Features
//! `cpu` (default) brings the CPU backend, `cuda` the CUDA backend, `candle` candle tensors and the swapped-prediction loss (Rust 1.95),
//! `candle-cuda` both together (its build needs `nvcc`, for candle's own kernels), `serde` serialisation of methods and reports. Features only add.

pub use mira_core::*;

/// The CUDA backend over device memory.
#[cfg(feature = "cuda")]
pub use mira_cuda as cuda;

/// The multi-threaded SIMD backend over `ndarray` views.
#[cfg(feature = "cpu")]
pub use mira_cpu as cpu;

/// candle tensors, and the swapped-prediction loss.
#[cfg(feature = "candle")]
pub use mira_candle as candle;

#[cfg(doctest)]
#[cfg(feature = "cpu")]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
