/// Errors of objectives.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shape that does not fit, or a failure inside candle.
    #[error("the objective failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The assignment failed.
    #[error("the assignment of targets failed: {0}")]
    Assignment(#[from] mira_cpu::Error),
    /// Nothing to learn from.
    #[error("got no view; an objective needs at least two")]
    NoViews,
}
