//! mira
