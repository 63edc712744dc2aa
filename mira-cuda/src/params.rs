//! What a launch is told and what it leaves: `assign/params.cuh` field by field.

use std::ffi::{c_int, c_longlong, c_uint, c_ulonglong};

use mira_core::Certificate;

/// Problems of one launch at most.
pub const MAX_PROBLEMS: usize = 4;
/// Threads of a block on the device; the kernels are compiled for it.
pub const THREADS: u32 = 512;
/// Differences that the acceleration keeps.
const DEPTH: usize = 5;

/// K-vectors of f64 in the workspace, in this order.
#[derive(Clone, Copy, Debug)]
pub enum KVector {
    /// Natural-log column weights.
    LogWeights = 0,
    /// Logarithm of the marginal.
    LogMarginal = 1,
    /// DINO's centre.
    Center = 2,
}

/// K-vectors in all.
pub(crate) const NUM_VECTORS: usize = 3 + NUM_HISTORY;
/// K-vectors that are needed in one run alone.
pub(crate) const NUM_HISTORY: usize = 5 + 2 * DEPTH;
/// f64 that a rank tells the others before its K column sums.
pub(crate) const NUM_TOLD: usize = 8;
/// f64 that blocks tell each other, each.
pub(crate) const NUM_SCALARS: usize = 20 + 2 * DEPTH;

/// `struct AssignParams`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Params {
    /// Addresses of the problems' logits.
    pub logits: [c_ulonglong; MAX_PROBLEMS],
    /// Addresses of the problems' assignments.
    pub assignment: [c_ulonglong; MAX_PROBLEMS],
    /// Address of the first problem's workspace.
    pub workspace: c_ulonglong,
    /// Bytes from one problem's workspace to the next.
    pub workspace_stride: c_ulonglong,
    /// Address of what this rank tells the others, of all problems.
    pub contribution: c_ulonglong,
    /// Address of what all ranks told.
    pub gathered: c_ulonglong,
    pub(crate) at_vectors: c_ulonglong,
    pub(crate) at_weights: c_ulonglong,
    pub(crate) at_partials: c_ulonglong,
    pub(crate) at_row_shift: c_ulonglong,
    pub(crate) at_row_factor: c_ulonglong,
    pub(crate) at_row_log: c_ulonglong,
    pub(crate) at_scalars: c_ulonglong,
    pub(crate) at_control: c_ulonglong,
    pub(crate) at_summary: c_ulonglong,
    pub(crate) at_entries: c_ulonglong,
    /// Elements from row to row of the logits.
    pub logits_stride: c_longlong,
    /// Elements from row to row of the assignment.
    pub assignment_stride: c_longlong,
    pub(crate) scale: f64,
    pub(crate) epsilon: f64,
    pub(crate) rho: f64,
    pub(crate) beta: f64,
    pub(crate) momentum: f64,
    pub(crate) inverse_columns: f64,
    pub(crate) log_columns: f64,
    pub(crate) inverse_batch: f64,
    pub(crate) amplification: f64,
    pub(crate) temperature: f64,
    pub(crate) tolerance: f64,
    pub(crate) unit_roundoff: f64,
    pub(crate) noise: f64,
    pub(crate) scale_high: f32,
    pub(crate) scale_low: f32,
    pub(crate) inverse_scale: f32,
    pub(crate) at_chip: c_int,
    pub(crate) batch: c_int,
    pub(crate) columns: c_int,
    pub(crate) padded_columns: c_int,
    pub(crate) rows_per_block: c_int,
    pub(crate) row_blocks: c_int,
    pub(crate) rows_on_chip: c_int,
    pub(crate) slice: c_int,
    pub(crate) column_blocks: c_int,
    pub(crate) parts_log2: c_int,
    pub(crate) at_history: c_int,
    pub(crate) logits_dtype: c_int,
    pub(crate) assignment_dtype: c_int,
    pub(crate) method: c_int,
    pub(crate) stop: c_int,
    pub(crate) max_sweeps: c_int,
    pub(crate) patience: c_int,
    pub(crate) max_passes: c_int,
    /// 1 to start from the log weights of the last run.
    pub warm: c_int,
    pub(crate) ranks: c_int,
    pub(crate) rank: c_int,
    pub(crate) contribution_length: c_int,
    pub(crate) segments: c_int,
    pub(crate) segment_columns: c_int,
    pub(crate) teams: c_int,
    pub(crate) depth: c_int,
    /// 1 after an exchange between the ranks: the run goes on.
    pub resume: c_int,
    /// 1 for a certificate after [`LOG_PARTITION`](crate::plan::LOG_PARTITION).
    pub objective: c_int,
}

/// `struct Control`, as the last block-wide decision left it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Control {
    pub(crate) bad: f64,
    pub(crate) mean_log_row: f64,
    /// As [`mira_core::Outcome::row_span`].
    pub row_span: f64,
    middle: f64,
    drift: f64,
    last_span: f64,
    best: f64,
    last_distance: f64,
    milestone: f64,
    lately: f64,
    best_middle: f64,
    previous_middle: f64,
    inverse_mass: f64,
    batch: f64,
    inverse_batch: f64,
    lowest_element: f64,
    largest_argument: f64,
    delta_sum: [f64; DEPTH],
    delta_middle: [f64; DEPTH],
    gram: [[f64; DEPTH]; DEPTH],
    theta: [f64; DEPTH],
    pub(crate) count: c_int,
    pub(crate) passes: c_int,
    pass: c_int,
    domain: c_int,
    action: c_int,
    built: c_int,
    pub(crate) done: c_int,
    last: c_int,
    since_milestone: c_int,
    since_lately: c_int,
    flat: c_int,
    filled: c_int,
    next: c_int,
    primed: c_int,
    ahead: c_int,
    /// Sweeps before the last judgement that nobody has judged.
    pub unjudged: c_int,
    told: c_uint,
    tag: c_uint,
}

/// `struct Summary`, as the kernel `certify` leaves it: [`mira_core::Summary`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Summary {
    duality_gap: f64,
    label_kl_bound: f64,
    log_ratio_bound: f64,
    marginal_error: f64,
    rounding_allowance: f64,
    marginal_entropy: f64,
    weight_term: f64,
    largest_exponent: f64,
    /// As [`mira_core::Outcome::mean_log_partition`], if that was asked for.
    pub(crate) mean_log_partition: f64,
}

impl From<Summary> for mira_core::Summary {
    fn from(summary: Summary) -> Self {
        let Summary {
            duality_gap,
            label_kl_bound,
            log_ratio_bound,
            marginal_error,
            rounding_allowance,
            marginal_entropy,
            weight_term,
            largest_exponent,
            mean_log_partition: _,
        } = summary;
        let certificate = Certificate {
            duality_gap,
            label_kl_bound,
            log_ratio_bound,
            marginal_error,
            rounding_allowance,
        };
        Self { certificate, marginal_entropy, weight_term, largest_exponent }
    }
}
