//! Networks as static plans: the heavy part of training, without an autograd tape.
//!
//! A [`Graph`] is built once for a batch size and an image size; shapes are checked while it is built. From it follow the order of
//! the backward pass and one arena for all activations and gradients ([`Plan`]), so bytes and FLOPs are known before anything
//! runs. An executor ([`cpu::Executor`]) runs the plan on slices. Model code never names a backend.
//!
//! Layouts: activations `[batch, height, width, channels]` (NHWC); convolution weights `[kh, kw, in, out]` (HWIO); a linear layer is a
//! 1×1 convolution of a 1×1 image, so its weight is `[in, out]`. All parameters of a model lie in one flat array ([`Parameters`]);
//! gradients, momentum and the teacher are arrays of the same layout.
//!
//! The seam to the objective is one pair of arrays: embeddings out, ∂L/∂embeddings in.

mod arena;
pub mod cpu;
mod error;
mod graph;
mod parameters;
mod plan;

pub use error::Error;
pub use graph::{Convolution, Geometry, Graph, GraphBuilder, Node, NodeId, Normalisation, Op};
pub use parameters::{Buffer, Initialisation, Parameter, ParameterId, Parameters};
pub use plan::{Pass, Plan};
