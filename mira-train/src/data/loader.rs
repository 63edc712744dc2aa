//! Batches of augmented views, made ahead of time by threads, the same ones for any number of threads.
//!
//! The consumer hands out pieces (a chunk of a batch each) and joins them as they come back, in their order, so nothing depends on
//! which worker was quicker. Buffers travel with the pieces and are used again.

mod examples;
mod order;
mod worker;

#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::pool::{Piece, Pool};
use super::quarantine::{Quarantine, Quarantined};
use super::{AlignedBytes, Error, Source, ViewSpec};
pub use examples::{Example, ExampleView, examples};
use order::Order;
use worker::Worker;

/// Images and their views.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// From 0.
    pub epoch: u32,
    /// From 0, below [`Loader::steps_per_epoch`].
    pub step_in_epoch: usize,
    /// Which images; another than drawn where an image could not be read.
    pub indices: Vec<u32>,
    /// Their classes.
    pub labels: Vec<Option<u32>>,
    /// One entry a view: the first kind's views, then the second's, …
    pub views: Vec<Crops>,
}

/// One view of each image of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crops {
    /// Width and height.
    pub size: usize,
    /// `batch × size × size × 3` bytes.
    pub pixels: AlignedBytes,
}

/// How batches are made.
///
/// A loader holds at most `prefetch` batches that are made or being made, one that is joined from them or has been given back by
/// [`Loader::recycle`], and the order of an epoch: [`memory`](Self::memory). Beside these each worker has one decoded image (at most
/// [`MAX_PIXELS`](crate::data::MAX_PIXELS)), what its augmentation needs, the largest JPEG file's coded bytes and a few rows of its pixels, and whatever
/// the source and other decoders take for a while. Once
/// every worker has seen its largest image, and as long as batches are given back and can be read, the loader allocates nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderConfig {
    /// Images a batch, of all ranks together; a multiple of `world_size`.
    pub batch_size: usize,
    /// Seed of the order of the images and of their views.
    pub seed: u64,
    /// Threads; 0 for one a processor.
    pub num_workers: usize,
    /// Batches made ahead of the one that is asked for, at least 1.
    pub prefetch: usize,
    /// Kinds of views.
    pub views: Vec<ViewSpec>,
    /// Fraction of the images that may be unreadable and are replaced by their neighbours; one may be with any fraction above 0, none
    /// with 0.
    pub max_bad_fraction: f64,
    /// How long [`Loader::next_batch`] waits for any one image to be read; for ever with `None`.
    pub read_timeout: Option<Duration>,
    /// Which of the ranks that share the batches this is, below `world_size`: it makes the `rank`-th part of each.
    pub rank: usize,
    /// Ranks that share the batches, at least 1. What a batch of all ranks holds, and in which order, does not depend on it.
    pub world_size: usize,
}

/// Batches of one image with one view, by every processor; the first unreadable image ends it, and one that cannot be read to its end is
/// waited for.
impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 1,
            seed: 0,
            num_workers: 0,
            prefetch: 4,
            views: vec![ViewSpec::default()],
            max_bad_fraction: 0.0,
            read_timeout: None,
            rank: 0,
            world_size: 1,
        }
    }
}

impl LoaderConfig {
    fn validate(&self, num_images: usize) -> Result<(), Error> {
        if self.batch_size == 0 {
            return Err(Error::setting("batch size", &0, "at least 1"));
        }
        if self.batch_size > num_images {
            return Err(Error::BatchTooLarge { batch_size: self.batch_size, num_images });
        }
        if self.world_size == 0 || !self.batch_size.is_multiple_of(self.world_size) {
            let expected = format!("a divisor of the batch size, {}", self.batch_size);
            return Err(Error::setting("world size", &self.world_size, expected));
        }
        if self.rank >= self.world_size {
            let expected = format!("less than the world size, {}", self.world_size);
            return Err(Error::setting("rank", &self.rank, expected));
        }
        if u32::try_from(num_images).is_err() {
            return Err(Error::setting("number of images", &num_images, "less than 2^32"));
        }
        if self.num_workers > 1024 {
            return Err(Error::setting("number of workers", &self.num_workers, "0 to 1024"));
        }
        if !(0.0..=1.0).contains(&self.max_bad_fraction) {
            return Err(Error::setting("max_bad_fraction", &self.max_bad_fraction, "0 to 1"));
        }
        if self.views.is_empty() {
            return Err(Error::setting("number of views", &0, "at least 1 kind of view"));
        }
        self.views.iter().try_for_each(ViewSpec::validate)
    }

    /// Images of a batch that this rank makes.
    pub const fn local_batch_size(&self) -> usize {
        self.batch_size / self.world_size
    }

    /// Bytes of pixels, indices and labels that a loader on a set of `num_images` holds at most: `(prefetch + 1) · batch size / world size`
    /// images with their views, rounded up to whole pieces, and four bytes for each image of the set.
    pub fn memory(&self, num_images: usize) -> u64 {
        let row = self.view_specs().map(|spec| spec.size.saturating_pow(2).saturating_mul(3));
        let row = row.fold(size_of::<(u32, Option<u32>)>(), usize::saturating_add) as u64;
        let in_pieces = (self.num_pieces() * self.chunk()) as u64;
        row.saturating_mul(in_pieces + self.local_batch_size() as u64)
            .saturating_add(4 * num_images as u64)
    }

    fn num_threads(&self) -> usize {
        match self.num_workers {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            n => n,
        }
    }

    /// Images a piece: few enough to spread a batch over the workers, enough to make handing them out cheap.
    fn chunk(&self) -> usize {
        self.local_batch_size().div_ceil(2 * self.num_threads()).clamp(1, 64)
    }

    /// Pieces of the batches ahead.
    fn num_pieces(&self) -> usize {
        self.prefetch.max(1) * self.local_batch_size().div_ceil(self.chunk())
    }

    /// The spec of every view, in the order of [`Batch::views`].
    fn view_specs(&self) -> impl Iterator<Item = &ViewSpec> {
        self.views.iter().flat_map(|spec| std::iter::repeat_n(spec, spec.count))
    }
}

/// Endless shuffled batches of augmented views.
///
/// Every epoch has an order of its own; images that fill no whole batch are left out of it. Batches depend on the seed and the step
/// alone: not on the number of workers, and not on where a run was resumed.
///
/// Of several ranks each makes a part of every batch: the batches of rank 0, 1, … one after the other are the batch that a single rank
/// would make. Each counts the unreadable images that it meets itself, and ends when these alone are too many of the whole set.
pub struct Loader {
    config: LoaderConfig,
    order: Order,
    num_images: usize,
    /// Images a job.
    chunk: usize,
    /// Steps before which jobs have been handed out.
    issued: u64,
    next_step: u64,
    pool: Pool,
    spare_pieces: Vec<Piece>,
    spare_batches: Vec<Batch>,
    quarantine: Quarantine,
    source: Arc<dyn Source>,
    has_failed: bool,
}

impl Loader {
    /// Starts the workers on the batch of a global step: 0, or where a run is resumed.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`]; [`Error::Setting`] for a setting out of its range; [`Error::Thread`].
    pub fn new(
        source: Arc<dyn Source>,
        config: LoaderConfig,
        first_step: u64,
    ) -> Result<Self, Error> {
        let num_images = source.len();
        config.validate(num_images)?;
        let (chunk, capacity) = (config.chunk(), config.num_pieces());
        let views: Arc<[ViewSpec]> = config.view_specs().cloned().collect();
        let (seed, replace_bad) = (config.seed, config.max_bad_fraction > 0.0);
        let worker = Worker { source: Arc::clone(&source), views, seed, replace_bad };
        let mut loader = Self {
            order: Order::new(config.seed, num_images),
            num_images,
            chunk,
            issued: first_step,
            next_step: first_step,
            pool: Pool::start(&worker, config.num_threads(), capacity, config.read_timeout)?,
            spare_pieces: Vec::with_capacity(capacity),
            spare_batches: Vec::with_capacity(1),
            quarantine: Quarantine::default(),
            source,
            has_failed: false,
            config,
        };
        loader.issue();
        Ok(loader)
    }

    /// Whole batches in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.num_images / self.config.batch_size
    }

    /// Distinct images found unreadable, and replaced, in the batches so far.
    pub fn quarantined(&self) -> usize {
        self.quarantine.len()
    }

    /// Images found unreadable since this was last called.
    pub fn take_quarantined(&mut self) -> Vec<Quarantined> {
        self.quarantine.take_news()
    }

    /// Counts images as unreadable that an earlier part of the run has found so.
    pub fn remember_quarantined(&mut self, indices: impl IntoIterator<Item = u32>) {
        let num_images = self.num_images;
        self.quarantine
            .remember(indices.into_iter().filter(|index| (*index as usize) < num_images));
    }

    /// The next batch, epoch after epoch without end.
    ///
    /// # Errors
    /// The error of an image of this batch, by name; [`Error::TooManyBad`]; [`Error::Panicked`]; [`Error::Stuck`]. After an error,
    /// [`Error::Stopped`].
    pub fn next_batch(&mut self) -> Result<Batch, Error> {
        if self.has_failed {
            return Err(Error::Stopped);
        }
        self.issue();
        let batch = self.assemble();
        if batch.is_ok() {
            self.next_step += 1;
            self.issue();
        } else {
            self.has_failed = true;
            self.pool.stop();
        }
        batch
    }

    /// Takes back a batch whose buffers the next ones may use.
    pub fn recycle(&mut self, batch: Batch) {
        if self.spare_batches.is_empty() {
            self.spare_batches.push(batch);
        }
    }

    fn chunks_per_batch(&self) -> u64 {
        self.config.local_batch_size().div_ceil(self.chunk) as u64
    }

    /// Epoch and step in it.
    fn position(&self, step: u64) -> (u32, usize) {
        let steps = self.steps_per_epoch() as u64;
        (u32::try_from(step / steps).unwrap_or(u32::MAX), (step % steps) as usize)
    }

    /// The number of the first piece of a step.
    fn first_piece(&self, step: u64) -> u64 {
        step * self.chunks_per_batch()
    }

    /// Rows of this rank's batch that a piece of it fills.
    fn rows(&self, piece: u64) -> Range<usize> {
        let first = (piece % self.chunks_per_batch()) as usize * self.chunk;
        first..(first + self.chunk).min(self.config.local_batch_size())
    }

    /// Hands out jobs up to `prefetch` batches ahead.
    fn issue(&mut self) {
        let end = self.next_step + self.config.prefetch.max(1) as u64;
        while self.issued < end {
            let (epoch, step_in_epoch) = self.position(self.issued);
            for number in self.first_piece(self.issued)..self.first_piece(self.issued + 1) {
                let rows = self.rows(number);
                let spare = self.spare_pieces.pop();
                let mut piece = spare.unwrap_or_else(|| self.new_piece());
                piece.begin(number, epoch);
                let first = step_in_epoch * self.config.batch_size
                    + self.config.rank * self.config.local_batch_size();
                let images = &self.order.of(epoch)[first + rows.start..first + rows.end];
                piece.indices.extend_from_slice(images);
                self.pool.send(piece);
            }
            self.issued += 1;
        }
    }

    /// With room for as many images as any piece has.
    fn new_piece(&self) -> Piece {
        let room = |spec: &ViewSpec| Vec::with_capacity(self.chunk * spec.size * spec.size * 3);
        Piece {
            indices: Vec::with_capacity(self.chunk),
            labels: Vec::with_capacity(self.chunk),
            crops: self.config.view_specs().map(room).collect(),
            ..Piece::default()
        }
    }

    fn assemble(&mut self) -> Result<Batch, Error> {
        let mut batch = self.spare_batches.pop().unwrap_or_default();
        (batch.epoch, batch.step_in_epoch) = self.position(self.next_step);
        batch.indices.clear();
        batch.labels.clear();
        // All at once: growing by and by would end with up to twice as much.
        let batch_size = self.config.local_batch_size();
        batch.indices.reserve_exact(batch_size);
        batch.labels.reserve_exact(batch_size);
        batch.views.resize_with(self.config.view_specs().count(), Crops::default);
        for (view, spec) in batch.views.iter_mut().zip(self.config.view_specs()) {
            view.size = spec.size;
            view.pixels.clear();
            view.pixels.reserve(batch_size * spec.size * spec.size * 3);
        }
        let end = self.first_piece(self.next_step + 1);
        for number in self.first_piece(self.next_step)..end {
            let mut piece = self.pool.wait_for(number, end)?;
            batch.indices.append(&mut piece.indices);
            batch.labels.append(&mut piece.labels);
            for (view, crops) in batch.views.iter_mut().zip(&piece.crops) {
                view.pixels.extend_from_slice(crops);
            }
            for (index, error) in piece.bad.drain(..) {
                let max_bad_fraction = self.config.max_bad_fraction;
                self.quarantine.add(&*self.source, (index, &error), max_bad_fraction)?;
            }
            self.spare_pieces.push(piece);
        }
        Ok(batch)
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("config", &self.config)
            .field("next_step", &self.next_step)
            .finish_non_exhaustive()
    }
}
