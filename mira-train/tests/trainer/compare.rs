//! `mira-train compare` as a user meets it: the binary, in a folder of its own.

mod going_on;
mod refusals;
mod results;

use super::run::support;
