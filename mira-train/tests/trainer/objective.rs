//! Objectives: what holds for all of them, and each against golden vectors, closed forms and its definition.

#![allow(clippy::cast_possible_truncation)] // state is f32, counts are small

mod baselines;
mod every_method;
mod golden;
mod information;
mod mira;
mod support;
