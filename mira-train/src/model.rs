//! Networks: torchvision's ResNets and the projector, as graphs.

mod export;
mod network;
mod projector;
mod resnet;

pub use export::{load_weights, weights_of};
pub use network::{Network, PROTOTYPES};
pub use projector::Projector;
pub use resnet::{Block, ResNet, Stem};
