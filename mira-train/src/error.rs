//! What can go wrong on the command line; each message is one sentence that names the remedy.

use std::io;
use std::path::PathBuf;

use crate::npy;
use crate::text::in_shell;

/// Errors of `mira-train`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A command line that does not parse.
    #[error("{0}")]
    Usage(String),
    /// A flag given to a method that would ignore it.
    #[error("--{flag} does not apply to {method}; {remedy}")]
    FlagDoesNotApply {
        /// The flag, without dashes.
        flag: &'static str,
        /// The method's name.
        method: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that is not a 2-D floating-point `.npy` array.
    #[error("{}: {problem}", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: npy::Problem,
    },
    /// Logits no method can assign.
    #[error("{}: {source}", path.display())]
    Logits {
        /// The file.
        path: PathBuf,
        /// What is wrong with them, and where.
        source: mira_core::Error,
    },
    /// Two of the input and the outputs are the same file.
    #[error("{first} and {second} are the same file, {}; give each its own path", path.display())]
    SameFile {
        /// One role.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// An output path at which no file can be made.
    #[error("cannot write {flag} to {}: {problem}", path.display())]
    Unwritable {
        /// The flag that names it.
        flag: &'static str,
        /// The path.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A recipe to be corrected.
    #[error(transparent)]
    Recipe(#[from] crate::recipe::Error),
    /// A device this build cannot use.
    #[error("--device {device}: mira-train computes on the CPU only, so far; leave --device out")]
    NoDevice {
        /// As asked for.
        device: String,
    },
    /// Recipes that differ in what is to be equal.
    #[error(
        "{first} and {second} cannot be compared, for they differ in {differences}; give both the same with --set KEY=VALUE, or leave one of them out"
    )]
    Incomparable {
        /// One recipe.
        first: String,
        /// The other.
        second: String,
        /// Keys with both values.
        differences: String,
    },
    /// A recipe that is named twice.
    #[error("{name} is given twice; leave one out, or give files of different names")]
    ComparedTwice {
        /// Its name.
        name: String,
    },
    /// A comparison goes on with other settings than it was begun with.
    #[error("{} was made with other settings: {differences}; give the same as before, or --out another folder", run.display())]
    OtherComparison {
        /// The run's folder.
        run: PathBuf,
        /// Keys with both values.
        differences: String,
    },
    /// A comparison in somebody's folder.
    #[error("{} is not empty (it has {found}) and holds no comparison; give --out a new or an empty folder", path.display())]
    NoComparison {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// A folder that holds no run.
    #[error("{} holds no run (it has no recipe.toml); give the folder of a run", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// More neighbours than there are images to choose from.
    #[error(
        "{k} neighbours are more than the {available} training images with a label; give -k from 1 to {available} (without it, the recipe's eval.knn_neighbours counts)"
    )]
    NumNeighbours {
        /// What was asked for.
        k: usize,
        /// The images there are.
        available: usize,
    },
    /// A linear probe that left the finite numbers.
    #[error(
        "the linear classifier's loss is {loss:?} in epoch {epoch} with --lr {lr:?}; lower --lr (without it, the recipe's eval.linear_lr counts)"
    )]
    ProbeDiverged {
        /// The learning rate asked for.
        lr: f64,
        /// The epoch, from 0.
        epoch: usize,
        /// The loss it had.
        loss: f64,
    },
    /// Labelled images that are all alike.
    #[error(
        "all training images are of one class, '{class}', expected at least 2; add class folders, raise data.max_train where it is set, or put the images into one folder \
         without classes to train without labels"
    )]
    SingleClass {
        /// The class.
        class: String,
    },
    /// A run whose images are not where its recipe says.
    #[error("{source}; the run was begun with data.path = {}: if the images lie elsewhere now, name the place with --data", path.display())]
    MovedData {
        /// The path in the recipe.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A run that does not fit the machine.
    #[error(
        "the run needs {needed_gib:.1} GiB of memory ({evaluation_gib:.1} GiB of it for evaluations), but {available_gib:.1} GiB are free; \
         lower train.batch_size, or raise train.accumulation_steps, which keeps the result of the assignment; evaluations take less with \
         fewer labelled training images (data.label_fraction)"
    )]
    TooLarge {
        /// What the plans take.
        needed_gib: f64,
        /// What of it evaluations take.
        evaluation_gib: f64,
        /// What the system offers.
        available_gib: f64,
    },
    /// A run that has nothing to load.
    #[error("{} has no checkpoint yet; wait for its first, or resume it with: mira-train run --resume --out {}", run.display(), in_shell(run.display()))]
    NoCheckpoint {
        /// The run's folder.
        run: PathBuf,
    },
    /// Weights alone do not say what network they are of.
    #[error("{} holds weights only; name the recipe of the network with --recipe", path.display())]
    RecipeNeeded {
        /// The file.
        path: PathBuf,
    },
    /// No labelled test images.
    #[error("nothing to evaluate on: {reason}; give labelled images with --data")]
    NothingToEvaluate {
        /// Why.
        reason: String,
    },
    /// Packing failed.
    #[error(transparent)]
    Pack(#[from] crate::data::PackError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] crate::train::Error),
    /// A download failed.
    #[cfg(feature = "fetch")]
    #[error(transparent)]
    Fetch(#[from] crate::fetch::Error),
    /// A subcommand that this build does not have.
    #[error("this build lacks {what}; build with the feature `{feature}`")]
    NotBuilt {
        /// The subcommand.
        what: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// A parameter out of its range, or a failure inside the core.
    #[error(transparent)]
    Core(#[from] mira_core::Error),
    /// A backend's own failure.
    #[error("the {backend} backend failed: {source}")]
    Backend {
        /// Its name.
        backend: &'static str,
        /// Its error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file that could be begun but not finished.
    #[error("writing {} failed: {source}", path.display())]
    WriteFailed {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// The process's exit code: 2 for what the caller can put right, 1 for failures inside.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Core(e) if is_about_parameters(e) => 2,
            Self::Core(_) | Self::Backend { .. } | Self::WriteFailed { .. } => 1,
            Self::Train(crate::train::Error::Pages(error)) => error.exit_code(),
            Self::Train(crate::train::Error::Weights(crate::weights::Error::Write(error))) => {
                error.exit_code()
            }
            Self::Train(error) => error.exit_code(),
            Self::Pack(error) => error.exit_code(),
            #[cfg(feature = "fetch")]
            Self::Fetch(error) => error.exit_code(),
            _ => 2,
        }
    }
}

fn is_about_parameters(error: &mira_core::Error) -> bool {
    use mira_core::Error as E;
    matches!(
        error,
        E::InvalidTemperature { .. }
            | E::InvalidBeta { .. }
            | E::InvalidEpsilon { .. }
            | E::InvalidTolerance { .. }
            | E::NoSweeps
            | E::ScaleOverflow { .. }
    )
}
