//! The subcommands of `mira-train data` that read images, as a user meets them, on small sets made here.

mod hash;
mod info;
mod preview;
mod support;
