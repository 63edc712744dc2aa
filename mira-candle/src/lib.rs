//! candle tensors for mira: [`CandleAssigner`] turns a tensor of logits into pseudo-labels with a certificate, and
//! [`swapped_prediction_loss`] trains on them.
//!
//! For logits `S` (B × K) of a batch and the method's ε, the assignment is
//!
//! ```text
//! W_ij = e^{a_j + S_ij/ε} / Σ_l e^{a_l + S_il/ε}            (MIRA: ε = τ(1−β); a from the method's fixed point)
//! ```
//!
//! | tensor | shape | dtype |
//! |---|---|---|
//! | logits | B × K, any row stride | f32, f16, bf16, or f64 (CPU) |
//! | assignment | B × K, rows contiguous, each on the simplex | f32, or bf16 (CUDA); f64 for f64 logits |
//!
//! **No copies.** Tensors are lent to their device's backend where they lie, slices of larger tensors included, and the assignment is
//! written into its tensor's own memory. Only logits whose *columns* are not contiguous (a transposed tensor) are copied, once;
//! [`Workspace::copied_bytes`] says so. **No gradients.** Assignments are constants of the autograd graph, whatever the logits
//! depend on.
//!
//! | tensors on | computed by | |
//! |---|---|---|
//! | the CPU | [`mira_cpu`] | |
//! | a CUDA device | `mira_cuda`, feature `cuda` | one launch on candle's own stream, which nothing waits for until the report |
//! | a Metal device | nobody | an error that names the way round, `logits.to_device(&Device::Cpu)` |
//!
//! # Feature `cuda`
//! It turns on candle's own, which compiles candle's kernels: building needs CUDA's compiler `nvcc` (in the repository, `dev/cuda-toolchain` fetches
//! one), running a driver as new as that compiler (525 for CUDA 12.0, 580 for CUDA 13.0), cuBLAS and cuRAND. Without the feature CUDA tensors are refused with an error that names it. **The CUDA
//! path has been compiled and linked, and has not run on a device yet.**
//!
//! # Example
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use mira_candle::{CandleAssigner, swapped_prediction_loss};
//! use mira_core::{Assigner, Mira};
//!
//! # fn main() -> candle_core::Result<()> {
//! // Cosines of two views of 64 samples with 10 prototypes.
//! let views = [Var::rand(-1f32, 1., (64, 10), &Device::Cpu)?, Var::rand(-1f32, 1., (64, 10), &Device::Cpu)?];
//! let logits = views.each_ref().map(|view| view.as_tensor().clone());
//!
//! let assigner = CandleAssigner::new(Mira::default());
//! let (first, report) = assigner.assign(&logits[0])?;
//! let (second, _) = assigner.assign(&logits[1])?;
//! assert!(report.certificate.log_ratio_bound < 1e-5); // no |log w − log w*| is larger, but by what rounding may add
//!
//! let loss = swapped_prediction_loss(&logits, &[first, second], 0.1)?;
//! let gradients = loss.backward()?;
//! assert_eq!(gradients.get(&views[0]).expect("a leaf").dims(), [64, 10]);
//! # Ok(())
//! # }
//! ```
//! In a training loop, make the workspace and the output once and call [`assign_into`](mira_core::Assigner::assign_into).
//!
//! # Errors
//! [`Error`] says what was expected, what was got and what to do. It converts into [`candle_core::Error`], so `?` works in functions
//! that return [`candle_core::Result`].

mod assigner;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod error;
mod loss;
mod operation;
mod storage;
mod workspace;

pub use assigner::CandleAssigner;
/// Whose tensors logits and labels are.
pub use candle_core;
pub use error::Error;
pub use loss::swapped_prediction_loss;
pub use workspace::Workspace;
