//! Images for training and evaluation: where they come from, the views made of them, and the threads that do so ahead of time.
//!
//! A [`Source`] holds images and labels and can be read from many threads. [`open`] finds out what a path holds. A [`Loader`]
//! turns a source into endless shuffled batches of augmented views ([`ViewSpec`]); an [`EvaluationLoader`] reads it once, in
//! order, without augmentation. The orientation in a JPEG file's EXIF data is not applied, as in torchvision. Every random number is keyed by (seed, epoch, index, view), so batches are the same for any
//! number of workers and when a run is resumed.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels and positions: values fit by construction, and casts from floats saturate as pixels are clipped"
)]

mod aligned;
mod augment;
mod bench;
mod bytes;
mod cache;
mod cache_file;
mod checked;
mod cifar;
pub(crate) mod classes;
mod decode;
mod embedded;
mod error;
mod evaluation;
mod exif;
#[cfg(test)]
mod fixtures;
mod folder;
pub(crate) mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hash;
mod idx;
mod loader;
mod open;
mod pack;
mod packed;
#[cfg(feature = "parquet")]
mod parquet;
mod pixels;
mod pool;
mod quarantine;
mod remote;
pub(crate) mod shards;
mod strings;
mod subset;
mod survey;
mod view;
mod webdataset;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use aligned::AlignedBytes;
use augment::Resampler;
pub use augment::{Augmenter, CropBox, Jitter, JitterPart, ViewParameters};
pub use bench::{StageTimes, measure_loader, measure_stages};
pub(crate) use checked::load_caught;
pub use decode::MAX_PIXELS;
pub use error::Error;
pub use evaluation::{EvaluationBatch, EvaluationConfig, EvaluationLoader, evaluation_images};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use folder::fuzzing as folder_fuzzing;
pub use loader::{Batch, Crops, Example, ExampleView, Loader, LoaderConfig, examples};
pub use open::{Format, open, recognise};
#[cfg(feature = "fetch")]
pub(crate) use open::{is_parquet, is_picture};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use pack::fuzzing as pack_fuzzing;
pub use pack::{
    Estimate, PackError, PackInput, PackOptions, PackProgress, PackReport, Pixels, SplitReport,
    estimate, pack,
};
pub use quarantine::Quarantined;
pub(crate) use quarantine::{DEFAULT_MAX_BAD_FRACTION, are_too_many};
pub(crate) use remote::is_url;
pub use subset::{Classes, Labels, Subset};
pub(crate) use subset::{labelled_indices, selected, share_of_classes};
pub use survey::{Corrupt, Sizes, Survey, survey};
pub use view::{Interpolation, ViewSpec};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use webdataset::fuzzing as webdataset_fuzzing;

/// An RGB image: rows of pixels, three bytes each; grey is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height × width × 3` bytes.
    pub pixels: Vec<u8>,
}

impl Image {
    /// Makes it `width × height`, keeping the allocation; what the pixels are afterwards is not said.
    pub fn reshape(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.pixels.resize(width * height * 3, 0);
    }

    /// Width and height of the image when its shorter side is `short_side`; the longer one is rounded down, as in torchvision.
    fn size_with_short_side(&self, short_side: usize) -> (usize, usize) {
        let (width, height) = (self.width, self.height);
        let long_side = short_side * width.max(height) / width.min(height).max(1);
        if width <= height { (short_side, long_side) } else { (long_side, short_side) }
    }

    /// The whole image, brought to another size.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize, interpolation: Interpolation) -> Self {
        let mut out = Self::default();
        out.reshape(width, height);
        let whole = CropBox { left: 0, top: 0, width: self.width, height: self.height };
        let size = (width, height);
        Resampler::default().resize(self, whole, interpolation, size, &mut out.pixels);
        out
    }
}

/// Makes a buffer at least so long; what it holds does not count, so it is not made shorter and filled again for other sizes.
fn grow<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

/// A finite set of images, read by index from any thread.
pub trait Source: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there are none; [`open`] refuses such sets.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of classes; `None` for a set without labels.
    fn num_classes(&self) -> Option<usize>;

    /// One name a class, in the order of the labels; empty without labels.
    fn class_names(&self) -> &[String];

    /// The class of an image, below [`num_classes`](Self::num_classes).
    fn label(&self, index: usize) -> Option<u32>;

    /// Reads an image into a buffer that is reused.
    ///
    /// # Errors
    /// [`Error`] naming the file or the position if the image cannot be read or decoded.
    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error>;

    /// Reads an image as it is stored, a JPEG, PNG or WebP file, into a buffer that is reused; `false`, and no bytes, where the source
    /// holds pixels and no files. The bytes may be damaged: that is found by [`load`](Self::load).
    ///
    /// # Errors
    /// [`Error`] naming the file or the position if it cannot be read.
    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        let _ = index;
        into.clear();
        Ok(false)
    }

    /// The image's file, or its position, for messages.
    fn name(&self, index: usize) -> String;

    /// The image's file within its set, such as `n01440764/n01440764_10026.JPEG`, by which lists name it; `None` where the source has no
    /// names of files.
    fn relative_path(&self, _index: usize) -> Option<Cow<'_, str>> {
        None
    }

    /// Bytes the image takes as it is stored, encoded or not; `None` where that is not known.
    fn num_bytes(&self, _index: usize) -> Option<u64> {
        None
    }
}

/// Part of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The images to train on.
    Train,
    /// The images to evaluate on.
    Test,
}

impl Split {
    /// `train` or `test`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}
