//! Why a loss or its targets cannot be computed.

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
    /// Ranks that do not go on together.
    #[error("the ranks of this batch disagree: {0}")]
    Ranks(#[from] mira_core::CollectiveError),
    /// Nothing to learn from.
    #[error("got no view; an objective needs at least two")]
    NoViews,
    /// A name that is no method.
    #[error("there is no objective `{0}`; `mira-train objectives` lists them")]
    Unknown(String),
    /// A parameter that the network was built without.
    #[error("the network has no parameter `{0}`; build network and objective from the same recipe")]
    NoParameter(String),
    /// Settings made by code that the method does not have.
    #[error("settings of the objective: {0}; validate the recipe to see which")]
    Settings(String),
    /// A checkpoint's state that is not this method's.
    #[error("state of the objective: {0}; resume with the recipe the run was started with")]
    State(String),
}

impl Error {
    /// Whether the network's output is to blame, which is not finite: then the step is as bad as one with a loss that is not.
    pub fn is_of_numbers(&self) -> bool {
        use mira_core::Error as Core;
        matches!(
            self,
            Self::Assignment(mira_cpu::Error::Core(
                Core::NonFiniteLogit { .. }
                    | Core::LogitOverflow { .. }
                    | Core::AllForbidden { .. }
            ))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_of_numbers() {
        use mira_core::Error as Core;
        let of = |error: Core| Error::from(mira_cpu::Error::from(error)).is_of_numbers();
        assert!(of(Core::AllForbidden { row: 3 }));
        assert!(!of(Core::ScaleOverflow { epsilon: 1e-310 }));
        assert!(!of(mira_core::CollectiveError::RankLeft { rank: 1 }.into()));
        assert!(!Error::NoViews.is_of_numbers());
    }
}
