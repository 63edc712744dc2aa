//! `mira-train data fetch` against a hub of our own on 127.0.0.1, which fails in all the ways that servers and networks fail.
#![cfg(feature = "fetch")]

mod access;
mod command_line;
mod faults;
mod hostile;
mod layout;
mod resume;
mod server;
mod support;
