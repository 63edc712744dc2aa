//! `mira-train run` and its kin as a user meets them: the binary, in a folder of its own.

mod bad_images;
mod divergence;
mod evaluations;
mod events;
mod features;
mod lost_data;
mod networks;
mod objectives;
mod refusals;
mod results;
mod resume;
mod signs;
pub(super) mod support;
mod terminal;
