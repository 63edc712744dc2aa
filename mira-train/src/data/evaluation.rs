//! Images without augmentation, once and in order: shorter side resized, centre cropped; those that cannot be read are left out.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use super::augment::{CropBox, Resampler};
use super::pool::{Desk, Piece, Pool, Work};
use super::quarantine::{Quarantine, Quarantined};
use super::{AlignedBytes, Crops, Error, Image, Interpolation, MAX_PIXELS, Source, checked};

#[cfg(test)]
mod tests;

/// How images are brought to one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluationConfig {
    /// Width and height that come out; an image of just this size is left as it is.
    pub size: usize,
    /// What the shorter side is resized to before the crop, at least `size`; `None` for 8/7 of `size` (256 for 224).
    pub resize: Option<usize>,
    /// How it is resized; torchvision's default for evaluation is bilinear.
    pub interpolation: Interpolation,
    /// Images a batch.
    pub batch_size: usize,
    /// Threads that work on a batch; 0 for one a processor.
    pub num_threads: usize,
    /// Fraction of the images that may be unreadable and are left out; one may be with any fraction above 0, none with 0.
    pub max_bad_fraction: f64,
    /// How long the next batch waits for any one image to be read; for ever with `None`.
    pub read_timeout: Option<Duration>,
}

impl EvaluationConfig {
    /// Batches of 256 images of a size, bilinear, with every processor; an image that cannot be read ends the iteration.
    pub const fn new(size: usize) -> Self {
        Self {
            size,
            resize: None,
            interpolation: Interpolation::Bilinear,
            batch_size: 256,
            num_threads: 0,
            max_bad_fraction: 0.0,
            read_timeout: None,
        }
    }

    fn short_side(&self) -> usize {
        self.resize.unwrap_or((self.size * 8 + 3) / 7)
    }

    fn validate(&self, num_images: usize) -> Result<(), Error> {
        if !(1..=4096).contains(&self.size) {
            return Err(Error::setting("image size", &self.size, "1 to 4096 pixels"));
        }
        if self.batch_size == 0 {
            return Err(Error::setting("batch size", &0, "at least 1"));
        }
        if !(self.size..=8192).contains(&self.short_side()) {
            let expected = format!("{} to 8192 pixels, at least the crop's size", self.size);
            return Err(Error::setting("resized shorter side", &self.short_side(), expected));
        }
        if u32::try_from(num_images).is_err() {
            return Err(Error::setting("number of images", &num_images, "less than 2^32"));
        }
        if !(0.0..=1.0).contains(&self.max_bad_fraction) {
            return Err(Error::setting("max_bad_fraction", &self.max_bad_fraction, "0 to 1"));
        }
        Ok(())
    }
}

/// Images in the order of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluationBatch {
    /// Their indices in the source, without those of images that cannot be read.
    pub indices: Vec<u32>,
    /// Their classes.
    pub labels: Vec<Option<u32>>,
    /// Their pixels.
    pub images: Crops,
}

/// All images of a source in order; a batch is smaller by the images of it that cannot be read, the last one may be smaller anyway, and
/// none is empty.
///
/// Nothing takes the place of an image that cannot be read: an accuracy would count that one twice.
pub struct EvaluationLoader {
    source: Arc<dyn Source>,
    config: EvaluationConfig,
    /// Images a piece.
    chunk: usize,
    /// The first image of the next batch, and of the next one to be handed out.
    next: usize,
    issued: usize,
    pool: Pool,
    spare_pieces: Vec<Piece>,
    quarantine: Quarantine,
}

impl std::fmt::Debug for EvaluationLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvaluationLoader")
            .field("config", &self.config)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// Batches made or being made at a time.
const AHEAD: usize = 2;

/// The images of a source for evaluation: torchvision's `Resize` and `CenterCrop`.
///
/// An item is an error where the source itself is damaged, reading an image does not end, or more images are unreadable than
/// `max_bad_fraction` allows; it is then the last.
///
/// # Errors
/// [`Error::Setting`] for a setting out of its range; [`Error::Thread`].
pub fn evaluation_images(
    source: &Arc<dyn Source>,
    config: EvaluationConfig,
) -> Result<EvaluationLoader, Error> {
    config.validate(source.len())?;
    let num_threads = match config.num_threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        n => n.min(1024),
    };
    let batch_size = config.batch_size.min(source.len().max(1));
    let chunk = batch_size.div_ceil(2 * num_threads).clamp(1, 64);
    let work = Evaluation { source: Arc::clone(source), config };
    let capacity = AHEAD * batch_size.div_ceil(chunk);
    let pool = Pool::start(&work, num_threads, capacity, config.read_timeout)?;
    Ok(EvaluationLoader {
        source: Arc::clone(source),
        config: EvaluationConfig { batch_size, ..config },
        chunk,
        next: 0,
        issued: 0,
        pool,
        spare_pieces: Vec::new(),
        quarantine: Quarantine::default(),
    })
}

impl Iterator for EvaluationLoader {
    type Item = Result<EvaluationBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.source.len() {
            self.issue();
            let result = self.batch();
            if result.is_err() {
                self.next = self.source.len();
                self.pool.stop();
            }
            if result.as_ref().map_or(true, |batch| !batch.indices.is_empty()) {
                return Some(result);
            }
        }
        None
    }
}

impl EvaluationLoader {
    /// Images found unreadable, and left out, since this was last called.
    pub fn take_quarantined(&mut self) -> Vec<Quarantined> {
        self.quarantine.take_news()
    }

    /// The end of the batch that begins with an image.
    fn end_of_batch(&self, first: usize) -> usize {
        self.source.len().min(first + self.config.batch_size)
    }

    /// The number of the first piece of the batch that begins with an image.
    fn first_piece(&self, first: usize) -> u64 {
        let pieces_per_batch = self.config.batch_size.div_ceil(self.chunk);
        (first / self.config.batch_size * pieces_per_batch) as u64
    }

    fn issue(&mut self) {
        while self.issued < self.source.len().min(self.next + AHEAD * self.config.batch_size) {
            let (first, end) = (self.issued, self.end_of_batch(self.issued));
            for (number, from) in (self.first_piece(first)..).zip((first..end).step_by(self.chunk))
            {
                let mut piece = self.spare_pieces.pop().unwrap_or_default();
                piece.begin(number, 0);
                piece.indices.extend(from as u32..end.min(from + self.chunk) as u32);
                self.pool.send(piece);
            }
            self.issued = end;
        }
    }

    fn batch(&mut self) -> Result<EvaluationBatch, Error> {
        let (size, num_images) = (self.config.size, self.end_of_batch(self.next) - self.next);
        let mut batch = EvaluationBatch {
            indices: Vec::with_capacity(num_images),
            labels: Vec::with_capacity(num_images),
            images: Crops {
                size,
                pixels: AlignedBytes::with_capacity(num_images * size * size * 3),
            },
        };
        let first = self.first_piece(self.next);
        let end = first + num_images.div_ceil(self.chunk) as u64;
        for number in first..end {
            let mut piece = self.pool.wait_for(number, end)?;
            batch.indices.append(&mut piece.indices);
            batch.labels.append(&mut piece.labels);
            batch.images.pixels.extend_from_slice(&piece.crops[0]);
            for (index, error) in piece.bad.drain(..) {
                let max_bad_fraction = self.config.max_bad_fraction;
                self.quarantine.add(&*self.source, (index, &error), max_bad_fraction)?;
            }
            self.spare_pieces.push(piece);
        }
        self.next += num_images;
        Ok(batch)
    }
}

/// What is done with a piece: its images are loaded, and those that cannot be are left out.
#[derive(Clone)]
struct Evaluation {
    source: Arc<dyn Source>,
    config: EvaluationConfig,
}

#[derive(Default)]
struct Scratch {
    image: Image,
    resized: Image,
    resampler: Resampler,
}

impl Work for Evaluation {
    type Scratch = Scratch;

    fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    fn fill(&self, piece: &mut Piece, desk: &Desk<'_>, scratch: &mut Scratch) -> Result<(), Error> {
        let image_bytes = self.config.size * self.config.size * 3;
        piece.crops.resize_with(1, Vec::new);
        let crops = &mut piece.crops[0];
        crops.resize(piece.indices.len() * image_bytes, 0);
        let mut num_kept = 0;
        for row in 0..piece.indices.len() {
            let index = piece.indices[row];
            desk.take(index)?;
            let to = &mut crops[num_kept * image_bytes..][..image_bytes];
            match scratch.load(&*self.source, index as usize, &self.config, to) {
                Ok(()) => {
                    piece.indices[num_kept] = index;
                    piece.labels.push(self.source.label(index as usize));
                    num_kept += 1;
                }
                Err(error) if self.config.max_bad_fraction > 0.0 && error.is_of_one_image() => {
                    piece.bad.push((index, error));
                }
                Err(error) => return Err(error),
            }
        }
        piece.indices.truncate(num_kept);
        crops.truncate(num_kept * image_bytes);
        Ok(())
    }
}

impl Scratch {
    fn load(
        &mut self,
        source: &dyn Source,
        index: usize,
        config: &EvaluationConfig,
        to: &mut [u8],
    ) -> Result<(), Error> {
        checked::load(source, index, &mut self.image)?;
        let (width, height, size) = (self.image.width, self.image.height, config.size);
        if (width, height) == (size, size) {
            to.copy_from_slice(&self.image.pixels);
            return Ok(());
        }
        let (new_width, new_height) = self.image.size_with_short_side(config.short_side());
        if new_width * new_height > MAX_PIXELS {
            let problem = format!(
                "its {width} × {height} pixels become {new_width} × {new_height}, more than {MAX_PIXELS}; remove it"
            );
            return Err(Error::image(source.name(index), problem));
        }
        self.resized.reshape(new_width, new_height);
        let whole = CropBox { left: 0, top: 0, width, height };
        let into = &mut self.resized.pixels;
        self.resampler.resize(
            &self.image,
            whole,
            config.interpolation,
            (new_width, new_height),
            into,
        );
        let centre = CropBox {
            left: centred(new_width, size),
            top: centred(new_height, size),
            width: size,
            height: size,
        };
        self.resampler.resize(&self.resized, centre, config.interpolation, (size, size), to);
        Ok(())
    }
}

/// The first of `size` positions in the middle of `available`; halves go to the even number, as in torchvision.
fn centred(available: usize, size: usize) -> usize {
    ((available - size) as f64 / 2.0).round_ties_even() as usize
}
