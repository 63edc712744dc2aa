//! How a problem is laid out over a device: which kernel, how many blocks, what stays in shared memory, where things lie in the
//! workspace. Arithmetic alone, so tests on machines without a GPU plan the same way.

use std::ffi::{c_int, c_ulonglong};

use mira_core::{
    Arithmetic, CollectiveError, Error, Method, Outcome, Report, Shape, StopRule, Target,
};

use self::layout::{ENTRIES, Layout, SHORT, TAGGED, WIDE};
use crate::params::{Control, KVector, NUM_SCALARS, NUM_TOLD, NUM_VECTORS, Params, Summary};

/// What a plan must know of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Blocks that can be on the device at once, one a multiprocessor.
    pub multiprocessors: u32,
    /// Bytes of shared memory that a block may ask for.
    pub shared_memory: u32,
    /// Threads of a block the kernels were compiled for.
    pub threads: u32,
}

/// Element types that the kernels read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE single precision.
    F32 = 0,
    /// IEEE half precision; logits only.
    F16 = 1,
    /// bfloat16.
    Bf16 = 2,
}

const NUM_KERNELS: usize = SHORT.len() + WIDE.len() + 1;
/// Each computes a whole assignment.
pub(crate) const ASSIGN: [&str; NUM_KERNELS] = [
    "assign_1",
    "assign_2",
    "assign_4",
    "assign_6",
    "assign_8",
    "assign_wide_6",
    "assign_wide_8",
    "assign_long",
];
/// What follows a run.
pub(crate) const AFTERWARDS: [&str; 2] = [CERTIFY, LOG_PARTITION];
/// Each makes one pass of one.
pub(crate) const OVER_RANKS: [&str; NUM_KERNELS] = [
    "over_ranks_1",
    "over_ranks_2",
    "over_ranks_4",
    "over_ranks_6",
    "over_ranks_8",
    "over_ranks_wide_6",
    "over_ranks_wide_8",
    "over_ranks_long",
];

/// Computes the certificate of a run that is over: launched with a plan's parameters on one block a problem, when a report is asked for.
pub const CERTIFY: &str = "certify";
/// Computes what MIRA's objective needs of the rows: launched with a plan's parameters on any number of blocks after the run.
pub const LOG_PARTITION: &str = "log_partition_of_rows";

/// One to begin with, one that writes, and that again in the log domain.
const MIN_PASSES: usize = 3;

/// Rows whose column sums are added up in f32.
const MAX_ROWS_PER_BLOCK: usize = 64;
pub(crate) const WARP: usize = 32;
/// Values exchanged at once in a reduction over a block, twice.
pub(crate) const EXCHANGE: usize = 2 * 16;
pub(crate) const ALIGNMENT: usize = 256;

/// A rank's place among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// From 0.
    pub rank: usize,
    /// Number of ranks.
    pub world_size: usize,
    /// Of the rank with the fewest; problems are dealt out alike everywhere.
    pub multiprocessors: u32,
    /// Passes at most for methods that stop at a tolerance: their number is not known when the launches are enqueued.
    pub max_passes: usize,
}

/// What ranks must have in common.
const TERMS: [&str; 12] = [
    "prototypes",
    "problems of a launch",
    "passes at most",
    "method",
    "stop rule",
    "sweeps at most",
    "tolerance",
    "ε",
    "relaxation",
    "β",
    "momentum",
    "warm start",
];

/// f64 that ranks tell each other before their first run.
pub(crate) const NUM_TERMS: usize = TERMS.len() + 1;

impl Ranks {
    /// What this rank says of itself; `multiprocessors` are its own.
    pub(crate) fn terms(
        &self,
        method: &Method,
        num_prototypes: usize,
        num_problems: usize,
        warm_start: bool,
    ) -> [f64; NUM_TERMS] {
        let params = method_params(method);
        [
            num_prototypes as f64,
            num_problems as f64,
            self.max_passes as f64,
            f64::from(params.method),
            f64::from(params.stop),
            f64::from(params.max_sweeps),
            params.tolerance,
            params.epsilon,
            params.rho,
            params.beta,
            params.momentum,
            f64::from(u8::from(warm_start)),
            f64::from(self.multiprocessors),
        ]
    }

    /// Compares what all ranks say; `multiprocessors` become those of the rank with the fewest.
    ///
    /// # Errors
    /// [`CollectiveError::Mismatch`] naming the first rank and term that differ from rank 0's.
    pub(crate) fn agree(self, terms: &[f64]) -> Result<Self, CollectiveError> {
        let (terms, _) = terms.as_chunks::<NUM_TERMS>();
        let mut multiprocessors = self.multiprocessors;
        for (rank, other) in terms.iter().enumerate() {
            let pairs = terms[0].iter().zip(other).zip(TERMS);
            for ((expected, got), what) in pairs {
                if expected.to_bits() != got.to_bits() {
                    let call = |value| format!("an assignment with {what} {value}");
                    let (expected, got) = (call(expected), call(got));
                    return Err(CollectiveError::Mismatch { rank, expected, got });
                }
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a u32
            let theirs = other[TERMS.len()] as u32;
            multiprocessors = multiprocessors.min(theirs);
        }
        Ok(Self { multiprocessors, ..self })
    }
}

/// A launch for problems of one shape and method.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Blocks for each problem.
    pub blocks: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: usize,
    /// Bytes of workspace for each problem; must be zero before the first launch.
    pub workspace_bytes: usize,
    /// Everything of the parameters but addresses and row strides.
    pub params: Params,
    method: Method,
    shape: Shape,
}

impl Plan {
    /// Plans `num_problems` problems of `shape` that one launch computes.
    ///
    /// # Errors
    /// [`Error::ShapeTooLarge`] for more rows or columns than 2³⁰, or columns than shared memory has place for (millions).
    pub fn new(
        method: Method,
        shape: Shape,
        dtypes: (Dtype, Dtype),
        num_problems: usize,
        hardware: Hardware,
    ) -> Result<Self, Error> {
        Self::over_ranks(method, shape, dtypes, num_problems, hardware, None)
    }

    /// The same for a rank's rows of a batch that is spread over several: a launch for each pass, and after each an exchange of
    /// [`contribution_len`](Self::contribution_len) numbers between the ranks.
    ///
    /// # Errors
    /// [`Error::ShapeTooLarge`].
    pub fn over_ranks(
        method: Method,
        shape: Shape,
        (logits, assignment): (Dtype, Dtype),
        num_problems: usize,
        hardware: Hardware,
        ranks: Option<Ranks>,
    ) -> Result<Self, Error> {
        let (batch, columns) = (shape.batch(), shape.num_prototypes());
        let too_large = || Error::ShapeTooLarge { batch, num_prototypes: columns };
        let int = |x: usize| c_int::try_from(x).map_err(|_| too_large());
        // Row indices and offsets of columns, with what is added to them, are 32-bit in the kernels.
        int(batch.saturating_mul(2))?;
        int(columns.saturating_mul(2))?;

        let layout = Layout::new(shape, num_problems, hardware, ranks);
        if layout.shared_bytes > hardware.shared_memory as usize {
            return Err(too_large()); // millions of columns
        }
        let Layout { blocks, slice, row_length, rows_per_block, wide, .. } = layout;
        let row_blocks = batch.div_ceil(rows_per_block);
        let kernels = if ranks.is_some() { OVER_RANKS } else { ASSIGN };

        // What the kernels keep for themselves comes first: the barrier's counter and the tags they have used.
        let mut end = ALIGNMENT;
        let mut part = |bytes: usize| {
            let at = end;
            end = (at + bytes).next_multiple_of(ALIGNMENT);
            at as c_ulonglong
        };
        let params = Params {
            at_vectors: part(NUM_VECTORS * row_length * 8),
            at_weights: part(row_length * layout.word),
            at_partials: part(row_blocks * row_length * layout.word),
            at_row_shift: part(batch * 4),
            at_row_factor: part((batch * 4).max(row_blocks * layout.word)),
            at_row_log: part(batch * 16),
            at_scalars: part(2 * blocks * NUM_SCALARS * 2 * TAGGED),
            at_control: part(size_of::<Control>()),
            at_summary: part(size_of::<Summary>()),
            at_entries: part(wide.teams * wide.segments * ENTRIES),
            at_chip: int(layout.at_chip)?,
            batch: int(batch)?,
            columns: int(columns)?,
            padded_columns: int(row_length)?,
            rows_per_block: int(rows_per_block)?,
            row_blocks: int(row_blocks)?,
            rows_on_chip: int(layout.rows_on_chip)?,
            slice: int(slice)?,
            column_blocks: int(columns.div_ceil(slice))?,
            inverse_columns: (columns as f64).recip(),
            log_columns: (columns as f64).ln(),
            inverse_batch: (batch as f64).recip(),
            parts_log2: layout.parts_log2.cast_signed(),
            at_history: int(layout.at_history)?,
            logits_dtype: logits as c_int,
            assignment_dtype: assignment as c_int,
            rank: int(ranks.map_or(0, |r| r.rank))?,
            ranks: int(ranks.map_or(0, |r| r.world_size))?,
            segments: int(wide.segments)?,
            segment_columns: int(wide.segment_columns)?,
            teams: int(wide.teams)?,
            depth: int(wide.depth)?,
            contribution_length: int(if ranks.is_some() { columns + NUM_TOLD } else { 0 })?,
            max_passes: match ranks {
                Some(ranks) => int(max_passes(&method, ranks.max_passes))?,
                None => c_int::MAX,
            },
            ..method_params(&method)
        };
        Ok(Self {
            kernel: kernels[layout.kernel],
            blocks: u32::try_from(blocks).map_err(|_| too_large())?,
            shared_bytes: layout.shared_bytes,
            workspace_bytes: end,
            params: Params { workspace_stride: end as c_ulonglong, ..params },
            method,
            shape,
        })
    }

    /// f64 that a rank tells the others of each problem after a pass.
    #[allow(clippy::cast_sign_loss)] // a length
    pub const fn contribution_len(&self) -> usize {
        self.params.contribution_length as usize
    }

    /// Exchanges between the ranks of a run; there is one launch more. 0 when the whole batch is here.
    #[allow(clippy::cast_sign_loss)] // a number
    pub const fn num_exchanges(&self) -> usize {
        if self.params.ranks == 0 { 0 } else { self.params.max_passes as usize }
    }

    /// The method computed.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// Rows and columns.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Where a K-vector lies in a problem's workspace, in bytes.
    pub fn at(&self, vector: KVector) -> usize {
        usize_of(self.params.at_vectors) + vector as usize * 8 * self.row_length()
    }

    /// Where the [`Control`] lies in a problem's workspace, in bytes.
    pub fn at_control(&self) -> usize {
        usize_of(self.params.at_control)
    }

    /// Where the [`Summary`] lies in a problem's workspace once [`CERTIFY`] has run, in bytes; behind the [`Control`].
    pub fn at_summary(&self) -> usize {
        usize_of(self.params.at_summary)
    }

    /// Blocks a problem that keep a device busy with rows.
    pub(crate) fn row_blocks(&self, hardware: Hardware) -> u32 {
        let batch = u32::try_from(self.shape.batch()).unwrap_or(u32::MAX);
        batch.min(4 * hardware.multiprocessors)
    }

    /// Dynamic shared memory of [`CERTIFY`] and [`LOG_PARTITION`], in bytes.
    pub const fn certify_shared_bytes(hardware: Hardware) -> usize {
        8 * EXCHANGE * (hardware.threads as usize / WARP)
    }

    #[allow(clippy::cast_sign_loss)] // lengths
    const fn row_length(&self) -> usize {
        self.params.padded_columns as usize
    }

    /// What a finished launch has to say, with the summary that [`CERTIFY`] has made of it since; the objective of MIRA if it was
    /// `wanted` and [`LOG_PARTITION`] was launched before.
    ///
    /// # Errors
    /// [`Error::NothingAssigned`], [`Error::NonFiniteLogit`], [`Error::AllForbidden`], [`Error::PeerFailed`].
    pub fn report(
        &self,
        control: &Control,
        summary: Summary,
        wanted: bool,
    ) -> Result<Report, Error> {
        if control.done == 0 {
            return Err(Error::NothingAssigned);
        }
        if control.bad.is_finite() {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            // 4 × an index, + `enum Invalid`
            let code = control.bad as u64;
            let (index, columns) = (code / 4, self.shape.num_prototypes() as u64);
            let (row, column) = (usize_of(index / columns), usize_of(index % columns));
            return Err(match code % 4 {
                0 => Error::NonFiniteLogit { row, column, value: f64::NAN },
                1 => Error::NonFiniteLogit { row, column, value: f64::INFINITY },
                2 => Error::AllForbidden { row },
                _ => Error::PeerFailed,
            });
        }
        let count = |n: c_int| usize::try_from(n).unwrap_or(0);
        let outcome = Outcome {
            method: self.method,
            arithmetic: Arithmetic::F32,
            iterations: count(control.count),
            passes: count(control.passes),
            // The last decision is taken with two passes left, of which the log domain may need both.
            is_cut_short: control.passes >= self.params.max_passes - 1,
            mean_log_row: control.mean_log_row,
            mean_log_partition: wanted.then_some(summary.mean_log_partition),
            row_span: control.row_span,
            summary: summary.into(),
        };
        Ok(outcome.report())
    }
}

#[allow(clippy::cast_possible_truncation)] // sizes of things in memory
const fn usize_of(x: u64) -> usize {
    x as usize
}

/// Passes of a run over ranks, at most. In the log domain a pass may be made again.
fn max_passes(method: &Method, with_tolerance: usize) -> usize {
    let (first, again) = match method {
        Method::Softmax(_) => return 2,
        Method::Centered(_) => return 3, // with that over the logits
        Method::Mira(_) => (2, 1),       // u⁰, and the one that writes
        Method::Sinkhorn(_) => (1, 2),   // the one that writes
    };
    match method.stop() {
        StopRule::Sweeps(n) => n.saturating_add(first + again),
        _ => with_tolerance.max(MIN_PASSES),
    }
}

/// What the method alone decides.
fn method_params(method: &Method) -> Params {
    let scaling = method.scaling();
    let target = Target::new(method, Arithmetic::F32, 0.0);
    let scale = std::f64::consts::LOG2_E / scaling.epsilon;
    #[allow(clippy::cast_possible_truncation)] // in two parts, so that nothing is lost
    let high = scale as f32;
    #[allow(clippy::cast_possible_truncation)]
    let low = (scale - f64::from(high)) as f32;
    let saturated = |n: usize| c_int::try_from(n).unwrap_or(c_int::MAX / 2);
    let (code, beta, temperature, momentum) = match method {
        Method::Softmax(_) => (0, 0.0, 1.0, 0.0),
        Method::Mira(m) => (1, m.beta(), m.temperature(), 0.0),
        Method::Sinkhorn(_) => (2, 0.0, 1.0, 0.0),
        Method::Centered(m) => (3, 0.0, m.temperature(), m.momentum()),
    };
    Params {
        scale,
        scale_high: high,
        scale_low: low,
        inverse_scale: high.recip(),
        epsilon: scaling.epsilon,
        rho: scaling.relaxation,
        beta,
        temperature,
        momentum,
        amplification: (1.0 - beta).recip(),
        tolerance: target.tolerance_less_rounding(),
        unit_roundoff: Arithmetic::F32.unit_roundoff,
        noise: target.noise(),
        method: code,
        stop: match method.stop() {
            StopRule::Sweeps(_) => 0,
            StopRule::Tolerance { .. } => 1,
            StopRule::DualityGap { .. } => 2,
        },
        max_sweeps: saturated(target.max_sweeps),
        patience: saturated(target.patience()),
        ..Params::default()
    }
}

mod layout;
#[cfg(test)]
mod tests;
