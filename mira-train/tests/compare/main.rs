//! `mira-train compare` as a user meets it: the binary, in a folder of its own.

mod going_on;
mod refusals;
mod results;
#[allow(dead_code, reason = "shared with the tests of runs, which use more of it")]
#[path = "../run/support.rs"]
mod support;
