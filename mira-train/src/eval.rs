//! What a representation is worth: weighted k-nearest neighbours and linear classification of frozen features.
//!
//! Everything here is a pure function of feature matrices and seeds: no images, no networks, no files. Results do not depend on the
//! number of threads, because work is cut into blocks of fixed size and sums are taken in a fixed order.

pub mod accuracy;
pub mod features;
pub mod knn;
pub mod linear;
mod spectrum;

pub use accuracy::Accuracy;
pub use features::Features;
pub(crate) use spectrum::SAMPLED_ROWS;
pub use spectrum::{alignment_and_uniformity, effective_rank};

/// What can be wrong with features or settings.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A set without samples.
    #[error(
        "expected at least one sample in the {set} set, got none; give the evaluation a {set} split with images"
    )]
    Empty {
        /// Which set.
        set: &'static str,
    },
    /// A matrix that is not samples × dimensions.
    #[error(
        "expected {rows}×{dim} = {expected} numbers in the {set} features, got {got}; give one row of {dim} numbers for each label",
        expected = rows.saturating_mul(*dim)
    )]
    Shape {
        /// Which set.
        set: &'static str,
        /// As many as there are labels.
        rows: usize,
        /// Dimensions of a feature.
        dim: usize,
        /// Numbers given.
        got: usize,
    },
    /// Features of no dimensions.
    #[error(
        "expected {set} features of at least one dimension, got 0; take them from a layer with outputs"
    )]
    NoDimensions {
        /// Which set.
        set: &'static str,
    },
    /// A label beyond the classes.
    #[error(
        "expected labels below num_classes = {num_classes}, got {label} at row {row} of the {set} set; set num_classes to the largest label + 1"
    )]
    Label {
        /// Which set.
        set: &'static str,
        /// The first such row.
        row: usize,
        /// Its label.
        label: u32,
        /// The number of classes.
        num_classes: usize,
    },
    /// NaN or infinite features.
    #[error(
        "expected finite features, got {value} at row {row}, column {column} of the {set} set; the network's weights have diverged, so evaluate an earlier checkpoint"
    )]
    NotFinite {
        /// Which set.
        set: &'static str,
        /// The first such row.
        row: usize,
        /// The first such column in it.
        column: usize,
        /// What stands there.
        value: f32,
    },
    /// Two sets of different encoders.
    #[error(
        "expected test features of dimension {train} as the training features have, got {test}; take both from the same layer"
    )]
    DimensionsDiffer {
        /// Dimensions of the training features.
        train: usize,
        /// Dimensions of the others.
        test: usize,
    },
    /// Two sets of different data.
    #[error(
        "expected {train} classes in the test set as in the training set, got {test}; take both from the same data set"
    )]
    ClassesDiffer {
        /// Classes of the training set.
        train: usize,
        /// Classes of the other.
        test: usize,
    },
    /// More neighbours than samples, or none.
    #[error(
        "expected between 1 and {available} neighbours (the labelled training images there are), got {k}; set eval.knn_neighbours accordingly (of `mira-train eval knn` --neighbours)"
    )]
    NumNeighbours {
        /// What was asked for.
        k: usize,
        /// The samples there are to choose from.
        available: usize,
    },
    /// A setting out of its range.
    #[error("expected {name} to be {expected}, got {got}; change it in the [eval] section")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// What was given.
        got: f64,
    },
    /// More features than memory can hold.
    #[error(
        "the {what} need {num_bytes} bytes of memory, which are not to be had; label fewer training images with data.label_fraction, or free some memory"
    )]
    Memory {
        /// What was to be held.
        what: &'static str,
        /// How much it takes.
        num_bytes: usize,
    },
    /// Asked to stop before the result was there.
    #[error("the evaluation was asked to stop; evaluate again for its result")]
    Stopped,
    /// A linear classifier that left the finite numbers.
    #[error(
        "expected a finite loss from the linear classifier, got {loss} in epoch {epoch} at learning rate {lr}; lower linear_lr or standardise the features"
    )]
    Diverged {
        /// The epoch, from 0.
        epoch: usize,
        /// The loss it had.
        loss: f64,
        /// The learning rate then.
        lr: f64,
    },
}

/// Whether an evaluation is to be given up; asked every now and then, from any thread.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// An evaluation that nobody stops.
pub const NEVER: Stop<'static> = &|| false;

/// An empty vector with room for so many numbers, or an error that names what they are.
pub(crate) fn room<T>(what: &'static str, len: Option<usize>) -> Result<Vec<T>, Error> {
    let num_bytes = len.and_then(|len| len.checked_mul(size_of::<T>())).unwrap_or(usize::MAX);
    let mut room = Vec::new();
    match len.map(|len| room.try_reserve_exact(len)) {
        Some(Ok(())) => Ok(room),
        _ => Err(Error::Memory { what, num_bytes }),
    }
}

/// Checks two sets that are to be used together.
fn check_pair(train: &Features, test: &Features) -> Result<(), Error> {
    train.check("train")?;
    test.check("test")?;
    if train.dim != test.dim {
        return Err(Error::DimensionsDiffer { train: train.dim, test: test.dim });
    }
    if train.num_classes != test.num_classes {
        return Err(Error::ClassesDiffer { train: train.num_classes, test: test.num_classes });
    }
    Ok(())
}
