//! What a launch is told: `params.cuh` field by field, and the addresses it is made from.

use std::ffi::{c_int, c_longlong, c_ulonglong};

/// `struct CrossEntropyParams`; made by [`CrossEntropyPlan::params`](super::CrossEntropyPlan::params).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CrossEntropyParams {
    pub(super) logits: c_ulonglong,
    pub(super) assignment: c_ulonglong,
    pub(super) gradient: c_ulonglong,
    pub(super) row_losses: c_ulonglong,
    pub(super) loss: c_ulonglong,
    pub(super) arrivals: c_ulonglong,
    pub(super) kept_losses: c_ulonglong,
    pub(super) logits_stride: c_longlong,
    pub(super) assignment_stride: c_longlong,
    pub(super) gradient_stride: c_longlong,
    pub(super) inverse_temperature: f64,
    pub(super) scale: f64,
    pub(super) exponent_scale: f32,
    pub(super) gradient_scale: f32,
    pub(super) batch: c_int,
    pub(super) columns: c_int,
    pub(super) logits_dtype: c_int,
    pub(super) assignment_dtype: c_int,
}

const _: () = assert!(size_of::<CrossEntropyParams>() == 120, "params.cuh says so");

/// A matrix in device memory, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Address of the first element.
    pub address: u64,
    /// Elements from row to row, at least the number of columns.
    pub stride: usize,
}

/// Where a launch reads and writes, in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropyBuffers {
    /// `S`, B × K.
    pub logits: Matrix,
    /// `w`, B × K.
    pub assignment: Matrix,
    /// `∂L/∂S`, B × K in the logits' type, if wanted. May be the logits themselves, which it then replaces; otherwise it may share no
    /// element with anything else.
    pub gradient: Option<Matrix>,
    /// Address of B f32 for the rows' `ℓ_i`, without the scale, if wanted.
    pub row_losses: Option<u64>,
    /// Address of an f64 for `L`.
    pub loss: u64,
    /// Address of the plan's `workspace_bytes`.
    pub workspace: u64,
}
