//! `mira-train data info` and `mira-train data preview`, as a user meets them, on small sets made here.

mod info;
mod preview;
mod support;
