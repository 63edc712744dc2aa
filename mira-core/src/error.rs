//! What can be wrong with a method, a shape, logits or an assignment. Not converging is a status, not an error.

use crate::{CollectiveError, Shape};

/// Errors of `mira-core`; every message carries what was expected, what was got, and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A temperature that is not a positive finite number.
    #[error(
        "temperature must be a positive finite number, got {got}; MIRA's paper uses 0.225, DINO's teacher 0.04"
    )]
    InvalidTemperature {
        /// The value given.
        got: f64,
    },
    /// β outside [0, 1).
    #[error(
        "beta must be in [0, 1), got {got}; MIRA's paper ends at 2/3, and the limit beta → 1 is Sinkhorn–Knopp, a method of its own"
    )]
    InvalidBeta {
        /// The value given.
        got: f64,
    },
    /// An entropic regularisation ε that is not a positive finite number.
    #[error("epsilon must be a positive finite number, got {got}; SwAV uses 0.05")]
    InvalidEpsilon {
        /// The value given.
        got: f64,
    },
    /// A centre momentum outside [0, 1).
    #[error("momentum of the centre must be in [0, 1), got {got}; DINO uses 0.9")]
    InvalidMomentum {
        /// The value given.
        got: f64,
    },
    /// A tolerance that is not a positive finite number.
    #[error(
        "tolerance must be a positive finite number, got {got}; leave it out for the default (1e-5 in f32, 1e-10 in f64)"
    )]
    InvalidTolerance {
        /// The value given.
        got: f64,
    },
    /// Sinkhorn–Knopp with no sweep at all.
    #[error("Sinkhorn–Knopp needs at least 1 sweep, got 0; SwAV uses 3 (use Softmax for none)")]
    NoSweeps,
    /// τ and β (or ε) so small that `1/(τ(1−β))` is not a finite f64.
    #[error(
        "the kernel's scale 1/{epsilon:e} is not finite; raise the temperature or epsilon, or lower beta"
    )]
    ScaleOverflow {
        /// The effective entropic ε, τ(1−β) or ε.
        epsilon: f64,
    },
    /// A batch or prototype count of 0.
    #[error(
        "a batch of {batch} rows × {num_prototypes} prototypes has nothing to assign; both must be at least 1"
    )]
    EmptyShape {
        /// Rows given.
        batch: usize,
        /// Columns given.
        num_prototypes: usize,
    },
    /// Memory that the system does not give.
    #[error(
        "{what} for {shape} takes {bytes} bytes of memory, which are not to be had; split the batch, or free some"
    )]
    OutOfMemory {
        /// What was to be made: a workspace, an assignment.
        what: &'static str,
        /// For which shape.
        shape: Shape,
        /// How much it takes.
        bytes: usize,
    },
    /// More elements than memory can address.
    #[error(
        "{batch} rows × {num_prototypes} prototypes is more than memory can address; split the batch"
    )]
    ShapeTooLarge {
        /// Rows given.
        batch: usize,
        /// Columns given.
        num_prototypes: usize,
    },
    /// An array of another shape than the one it must match.
    #[error(
        "{what} must be {expected}, got {got}; make the workspace and the output for the logits' shape"
    )]
    ShapeMismatch {
        /// Which argument.
        what: &'static str,
        /// The shape it must have.
        expected: Shape,
        /// The shape it has.
        got: Shape,
    },
    /// A slice too short or a stride too small for its shape.
    #[error(
        "{what} needs {expected} elements, got {got}; pass one for each row and column of the shape (or each prototype)"
    )]
    LengthMismatch {
        /// Which argument.
        what: &'static str,
        /// The elements needed.
        expected: usize,
        /// The elements given.
        got: usize,
    },
    /// A restored log weight or centre that no run can have left.
    #[error(
        "element {index} of the {what} is {value:e}; all must be numbers of at most 1e300 in magnitude (start anew if the checkpoint is damaged)"
    )]
    InvalidState {
        /// Which vector.
        what: &'static str,
        /// Which element, from 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// NaN or +∞ among the logits.
    #[error(
        "logit at row {row}, column {column} is {value}; logits must be finite (−inf marks a forbidden prototype)"
    )]
    NonFiniteLogit {
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// NaN or +∞.
        value: f64,
    },
    /// A finite logit that is not once it is divided by the temperature (or ε).
    #[error(
        "logit at row {row}, column {column} is {value:e}, which is too large to be divided by {epsilon:e}; scale the logits down or raise the temperature (or epsilon)"
    )]
    LogitOverflow {
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// The logit.
        value: f64,
        /// The kernel's ε: τ(1−β) for MIRA, τ for softmax.
        epsilon: f64,
    },
    /// A row whose every prototype is forbidden (−∞).
    #[error("row {row} has no finite logit; every sample needs at least one allowed prototype")]
    AllForbidden {
        /// Row, from 0.
        row: usize,
    },
    /// An assignment to verify that is not one.
    #[error(
        "row {row} is not an assignment: {problem}; rows must be non-negative and sum to 1 within 1e-3"
    )]
    NotAnAssignment {
        /// Row, from 0.
        row: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// DINO's centre is state of the solver; without it there is nothing to verify against.
    #[error(
        "a centred assignment can only be verified with the centre it was made with: call verify_at with the workspace's log weights (−c/τ of the centre c before \
         the batch, not after it)"
    )]
    NeedsLogWeights,
    /// A report was asked of a workspace that holds no assignment.
    #[error("this workspace holds no assignment to report on; call assign_into first")]
    NothingAssigned,
    /// The ranks of a collective disagree or one has gone.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// Another rank refused its part of the batch; its own error says why.
    #[error("another rank failed in this assignment; see its error")]
    PeerFailed,
}
