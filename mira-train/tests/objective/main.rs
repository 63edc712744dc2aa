//! Objectives: what holds for all of them, and each against golden vectors, closed forms and its definition.

mod baselines;
mod every_method;
mod golden;
mod information;
mod mira;
mod support;
