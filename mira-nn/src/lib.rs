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
//!
//! ```
//! use mira_nn::cpu::{Executor, Statistics};
//! use mira_nn::{Convolution, GraphBuilder, Parameters, Pass};
//!
//! let mut parameters = Parameters::default();
//! let mut graph = GraphBuilder::new(&mut parameters, 2); // images
//! let images = graph.input(8, 8, 3)?;
//! let settings = Convolution { out_channels: 16, kernel: 3, stride: 1, padding: 1, bias: false };
//! let features = graph.convolution("conv1", images, settings)?;
//! let embeddings = graph.average_pool(features);
//! let graph = graph.finish(&[embeddings]);
//!
//! let values = parameters.initial_values(7);
//! let mut executor = Executor::<f32>::new(graph, &parameters, Pass::Training);
//! executor.input_mut().fill(0.5);
//! executor.forward(&values, Statistics::Batch);
//! let loss: f32 = executor.output(0).iter().sum();
//!
//! let mut gradients = vec![0.0; values.len()];
//! executor.backward(&values, &[1.0; 2 * 16], &mut gradients);
//! // The loss is linear in the weights.
//! let by_gradients: f32 = gradients.iter().zip(&values).map(|(g, w)| g * w).sum();
//! assert!((by_gradients - loss).abs() < 1e-4);
//! # Ok::<(), mira_nn::Error>(())
//! ```

mod arena;
pub mod cpu;
mod error;
mod graph;
mod parameters;
mod plan;
pub mod rng;

pub use error::Error;
pub use graph::{Convolution, Geometry, Graph, GraphBuilder, Node, NodeId, Normalisation, Op};
pub use parameters::{Buffer, Initialisation, Parameter, ParameterId, Parameters};
pub use plan::{Pass, Plan};
