//! What the CPU backend refuses.

/// Errors of `mira-cpu`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes, logits, collectives.
    #[error(transparent)]
    Core(#[from] mira_core::Error),
    /// Rows that are not contiguous.
    #[error(
        "{what} must have contiguous rows (column stride 1), got column stride {stride}; pass a standard-layout copy"
    )]
    ColumnStride {
        /// Which argument.
        what: &'static str,
        /// Its column stride, in elements.
        stride: isize,
    },
    /// A `k` for top-k that is 0 or above K.
    #[error("top-k needs k between 1 and {num_prototypes}, got {k}")]
    InvalidTopK {
        /// The k given.
        k: usize,
        /// Number of prototypes.
        num_prototypes: usize,
    },
}
