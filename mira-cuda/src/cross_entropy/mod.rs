//! Cross-entropy of the softmax of logits `S` against an assignment `w`, with its gradient, in one launch. `B × K` each:
//!
//! ```text
//! ℓ_i = −Σ_j w_ij log softmax(S_i / τ)_j          L = scale · Σ_i ℓ_i
//! ∂L/∂S_ij = (scale / τ) (m_i softmax(S_i / τ)_j − w_ij)      m_i = Σ_j w_ij
//! ```
//!
//! The floor is to read logits and assignment once and to write the gradient once. Rows of up to 8 columns a thread are on it; longer
//! ones are read twice. Beside them there are 8 bytes a row in the workspace, and 4 for each row's loss if wanted.
//!
//! - Rows are relative to their highest logit. Threads sum in f32, warps are joined in f64, the total is f64, and every sum has a fixed
//!   order: the same input gives the same bits.
//! - `S_ij = −∞` forbids a column. It counts nothing where `w_ij = 0`; elsewhere the loss is `+∞`, and the gradient still finite.
//! - A NaN, `+∞`, or a row of `−∞` alone makes this row's loss and gradient NaN, and therefore `L`, but no other row's.
//! - Nothing of it asks the host, so it can be captured in a graph. The weights are not checked to be positive.

mod launch;
mod params;
mod plan;

pub use launch::CrossEntropy;
pub use params::{CrossEntropyBuffers, CrossEntropyParams, Matrix};
pub use plan::CrossEntropyPlan;
pub(crate) use plan::KERNEL_NAMES;

/// Why a cross-entropy cannot be computed as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CrossEntropyError {
    /// A temperature, or a scale over it, that f32 cannot express.
    #[error(
        "temperature and scale must be finite, the temperature positive, and log2(e)/τ and scale/τ within f32; got τ = {temperature}, \
         scale = {scale}"
    )]
    Scale {
        /// The temperature given.
        temperature: f64,
        /// The scale given.
        scale: f64,
    },
    /// An assignment in a type that the kernels do not read.
    #[error("the assignment must be f32 or bf16, got f16; write it as one of them")]
    AssignmentDtype,
    /// More rows or columns than the kernels count.
    #[error(
        "{batch} rows × {num_prototypes} prototypes: each must stay below 2³¹ by a few thousand; split the batch"
    )]
    ShapeTooLarge {
        /// Rows given.
        batch: usize,
        /// Columns given.
        num_prototypes: usize,
    },
    /// Rows that overlap.
    #[error("rows of the {what} must be at least {expected} elements apart, got {got}")]
    Stride {
        /// Which matrix.
        what: &'static str,
        /// Columns.
        expected: usize,
        /// Elements from row to row given.
        got: usize,
    },
    /// An address that is no multiple of the element's size, or null.
    #[error("the address of the {what} must be a multiple of {expected} and not 0, got {got:#x}")]
    Address {
        /// Which array.
        what: &'static str,
        /// Bytes of an element.
        expected: u64,
        /// The address given.
        got: u64,
    },
    /// A gradient that replaces the logits, but other logits than its own.
    #[error(
        "a gradient that replaces the logits must have their stride, expected {expected}, got {got}; or write it elsewhere"
    )]
    GradientStride {
        /// The logits' stride.
        expected: usize,
        /// The gradient's.
        got: usize,
    },
}
