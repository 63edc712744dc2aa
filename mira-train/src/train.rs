//! Pre-training: what a step does, what a run keeps, and what is said while it goes.
//!
//! Data flows one way: recipe → data → views → student/teacher → assigner → loss → gradients → optimizer → EMA → metrics/checkpoint.

mod cost;
mod encode;
mod error;
mod evaluation;
mod identity;
mod images;
mod monitor;
mod pace;
mod progress;
mod session;
mod sources;
mod state;
mod step;
mod summary;

pub use cost::{NumImages, cost};
pub use encode::{Encoded, ImageOf, each_representation, encode, pixels, pixels_side};
pub use error::Error;
pub use evaluation::{
    EvaluatedSet, Evaluation, LeftOut, Representations, evaluation_config, image_size,
};
pub(crate) use identity::other_images;
pub use images::Normaliser;
pub use monitor::{Evidence, Monitor, Sign};
pub use pace::pace;
pub use progress::{Progress, hours, hours_of};
pub(crate) use session::frozen_for_ever;
pub use session::{Ending, Session, Start};
pub use sources::{
    Sources, check_images, loader, loader_config, num_classes_used, open_split, view_specs,
};
pub use state::{Networks, State, Which};
pub use step::{Outcome, StepReport, Trainer};
pub use summary::{write_encoder, write_report};
