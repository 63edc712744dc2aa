//! CUDA backend of mira: pseudo-label assignments of logits in device memory, each a single launch; and the cross-entropy against them.
//!
//! [`CudaAssigner`] implements [`mira_core::Assigner`] for MIRA, Sinkhorn–Knopp, DINO's centring and softmax. One cooperative kernel
//! computes a whole assignment: blocks keep as many rows of the kernel matrix in shared memory as fit, compute the others anew from the
//! logits in every pass, and between passes share out the K-vectors (marginal, log weights, Anderson acceleration, stop rule), for which
//! they wait for each other on the device. Rows of more than 4096 logits are shared by several blocks. The host launches and goes on; [`report`](mira_core::Assigner::report) has
//! the device compute the certificate in f64 and fetches that.
//!
//! Of a batch that is spread over ranks ([`with_collective`](CudaAssigner::with_collective), [`Nccl`]), each pass is a launch, and after
//! each the ranks gather one K-vector from every rank. How many launches are enqueued is decided beforehand, since nobody waits for the
//! device; those after the stop do nothing.
//!
//! **Nothing of this crate has run on a device yet.** Its kernels compile for `sm_80`, `sm_90a` and `sm_100`; the conformance suite passes under emulation of their
//! source, and over an interpreter of the PTX that the crate carries.
//!
//! Building needs no CUDA toolkit and no device; running needs an NVIDIA driver, 525 or later (that of CUDA 12.0), and a device of compute
//! capability 8.0 or later. (Totals and K-vectors are in f64, of which 8.0, 9.0 and 10.0 have many units; others, such as 8.6, 8.9 and 12.0, have few, and are expected
//! to be several times slower at it.) [`device`] says what is missing. [`cudarc`]'s bindings are for the version of CUDA that `CUDARC_CUDA_VERSION` names in the
//! build (as `12040`), or else that of the `nvcc` on the path, or else its newest; nothing here depends on which. Where cudarc does not know the version of
//! that `nvcc`, set the variable to `12000`.
//!
//! | file | |
//! |---|---|
//! | `assign/assign.cu`, `over_ranks.cu` | the kernels, all passes in one launch and a launch a pass; `rows.cuh`, `wide_rows.cuh`, `long_rows.cuh`, `log_rows.cuh` are their passes, `columns.cuh` and `control.cuh` what happens between |
//! | `assign/certificate.cu` | what a report asks of the device |
//! | [`cross_entropy`] | loss and gradient against an assignment, in one launch |
//! | `common/` | what both operations' kernels share |
//! | `diagnosis.rs`, `common/diagnosis.cuh` | what kernels tell of themselves that were compiled for it: where the time goes, and what is waited for in vain |
//! | `*.ptx.gz` | what the kernels compile to, made by `dev/check_kernels --update` |
//! | [`plan`], [`params`] | layout of a problem over a device; what a launch is told |
//!
//! The kernels' source also runs on the CPU, under `mira-cuda-emulation`; that is how the conformance suite covers them without a device. What they
//! compile to runs under `mira-ptx` (`emulation/ptx`), behind a `libcuda.so.1` (`emulation/driver`) on which the whole crate is tested (`dev/check_driver`).

mod assigner;
mod collective;
pub mod cross_entropy;
#[doc(hidden)]
pub mod diagnosis;
mod error;
mod kernels;
mod matrix;
mod nccl;
mod opening;
#[doc(hidden)]
pub mod params;
#[doc(hidden)]
pub mod plan;
mod state;

pub use assigner::{CudaAssigner, CudaWorkspace};
pub use collective::{DeviceCollective, ThroughHost};
pub use cudarc;
pub use error::Error;
#[doc(hidden)]
pub use kernels::{kernel_names, prepare};
pub use matrix::{DeviceMatrix, Logit, Probability, Rows, RowsMut};
pub use nccl::{Nccl, NcclId};
pub use opening::device;
