//! Why training cannot begin, go on or end.

use std::path::PathBuf;

use crate::run_folder::{EXIT_INTERRUPTED, Signal};

/// Errors of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network that cannot be built.
    #[error("the network does not fit the images: {0}")]
    Network(#[from] crate::nn::Error),
    /// Images.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// Loss or assignment.
    #[error(transparent)]
    Objective(#[from] crate::objective::Error),
    /// Evaluation.
    #[error("the evaluation failed: {0}")]
    Evaluation(#[from] crate::eval::Error),
    /// The run's folder.
    #[error(transparent)]
    Folder(#[from] crate::run_folder::Error),
    /// Files for people to look at.
    #[error(transparent)]
    Pages(#[from] crate::pages::Error),
    /// Weights.
    #[error(transparent)]
    Weights(#[from] crate::weights::Error),
    /// A method's parameter out of its range.
    #[error(transparent)]
    Method(#[from] mira_core::Error),
    /// The recipe in the run's folder.
    #[error(transparent)]
    Recipe(Box<crate::recipe::Error>),
    /// A checkpoint of another run.
    #[error("the checkpoint does not fit the recipe: {0}; resume with the recipe it was made with")]
    Checkpoint(String),
    /// A run that goes on with other images.
    #[error(
        "the training images are not those that the run was begun with: {differences}; give it the same ones with --data, or start a new run in another folder"
    )]
    OtherData {
        /// What differs, with both values.
        differences: String,
    },
    /// Asked to stop before there was anything to save.
    #[error("stopped by {signal} while the run was set up; nothing was written")]
    Stopped {
        /// By what.
        signal: Signal,
    },
    /// Too many steps in a row without a finite loss, gradient and batch norms, or such steps at a run's end.
    #[error(
        "{} had a loss, a gradient or statistics of a batch norm that are not finite, the last at step {step}; nothing of that was applied. {}; \
         start another run with a lower optimizer.base_lr (now {base_lr:?}) or a longer schedule.warmup_epochs",
        if *count == 1 { "a step".into() } else { format!("{count} steps in a row") },
        last_checkpoint(checkpoint.as_ref())
    )]
    Diverged {
        /// How many.
        count: usize,
        /// The last of them.
        step: u64,
        /// The recipe's.
        base_lr: f64,
        /// The newest checkpoint from which a step was made; `None` where there is none.
        checkpoint: Option<PathBuf>,
    },
}

impl Error {
    /// The process's exit code: 2 for what the caller can put right, 1 for failures inside.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Folder(error) => error.exit_code(),
            Self::Stopped { .. } => EXIT_INTERRUPTED,
            Self::Pages(crate::pages::Error::SheetTooLarge { .. }) => 2,
            Self::Objective(_) | Self::Diverged { .. } | Self::Pages(_) => 1,
            _ => 2,
        }
    }
}

fn last_checkpoint(path: Option<&PathBuf>) -> String {
    path.map_or_else(
        || "There is no checkpoint yet from which a step could be made".into(),
        |path| format!("The last good checkpoint is {}", path.display()),
    )
}
