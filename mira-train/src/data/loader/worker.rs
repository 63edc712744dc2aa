//! What a data thread does: load images, make their views, and survive whatever happens on the way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use crate::data::{Augmenter, Error, Image, Source, ViewSpec, checked};

/// Part of a batch: a job on the way there, its result on the way back.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) number: u64,
    epoch: u32,
    /// Images drawn; on the way back, images used.
    pub(super) indices: Vec<u32>,
    pub(super) labels: Vec<Option<u32>>,
    /// One buffer a view.
    pub(super) crops: Vec<Vec<u8>>,
    /// Images that were replaced, and why.
    pub(super) bad: Vec<(u32, Error)>,
    /// What ended the work on this piece.
    pub(super) error: Option<Error>,
}

impl Piece {
    pub(super) fn begin(&mut self, number: u64, epoch: u32) {
        (self.number, self.epoch, self.error) = (number, epoch, None);
        self.indices.clear();
        self.labels.clear();
        self.bad.clear();
    }
}

#[derive(Clone)]
pub(super) struct Worker {
    pub(super) source: Arc<dyn Source>,
    pub(super) views: Arc<[ViewSpec]>,
    pub(super) seed: u64,
    pub(super) replace_bad: bool,
    pub(super) todo: Arc<Mutex<Receiver<Piece>>>,
    pub(super) finished: Sender<Piece>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Worker {
    /// Until the loader is dropped or has failed. Every job taken is answered, or the loader would wait for ever.
    pub(super) fn run(&self) {
        let (mut image, mut augmenter) = (Image::default(), Augmenter::default());
        loop {
            let job = self.todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut piece) = job else { return };
            let mut at = None;
            let result = catch_unwind(AssertUnwindSafe(|| {
                self.fill(&mut piece, &mut at, &mut image, &mut augmenter)
            }));
            piece.error = match result {
                Ok(result) => result.err(),
                Err(panic) => {
                    (image, augmenter) = Default::default();
                    Some(Error::Panicked {
                        name: self.name(at),
                        message: checked::message(&*panic),
                    })
                }
            };
            if self.finished.send(piece).is_err() {
                return;
            }
        }
    }

    /// `at` is the image in hand.
    fn fill(
        &self,
        piece: &mut Piece,
        at: &mut Option<usize>,
        image: &mut Image,
        augmenter: &mut Augmenter,
    ) -> Result<(), Error> {
        let num_images = piece.indices.len();
        piece.crops.resize_with(self.views.len(), Vec::new);
        for (crops, spec) in piece.crops.iter_mut().zip(&*self.views) {
            crops.resize(num_images * spec.size * spec.size * 3, 0);
        }
        for row in 0..num_images {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let drawn = piece.indices[row];
            let used = load(&*self.source, drawn, self.replace_bad, &mut piece.bad, at, image)?;
            piece.indices[row] = used;
            piece.labels.push(self.source.label(used as usize));
            for (number, (crops, spec)) in (0..).zip(piece.crops.iter_mut().zip(&*self.views)) {
                let size = spec.size * spec.size * 3;
                // Keyed by the image drawn: a replacement looks different from the same image in its own place.
                let mut rng = Augmenter::rng(self.seed, piece.epoch, drawn, number);
                augmenter.view(image, spec, &mut rng, &mut crops[row * size..(row + 1) * size]);
            }
        }
        Ok(())
    }

    fn name(&self, at: Option<usize>) -> String {
        at.map_or_else(|| "a batch".into(), |index| checked::name(&*self.source, index))
    }
}

/// Loads an image or, if it may be replaced, the next one that can be loaded; the index of what was loaded.
pub(super) fn load(
    source: &dyn Source,
    drawn: u32,
    replace_bad: bool,
    bad: &mut Vec<(u32, Error)>,
    at: &mut Option<usize>,
    image: &mut Image,
) -> Result<u32, Error> {
    let mut index = drawn;
    loop {
        *at = Some(index as usize);
        let Err(error) = checked::load(source, index as usize, image) else { return Ok(index) };
        let next = (index + 1) % source.len() as u32;
        // A damaged file that holds many images is no bad image: its other images are not to be trained on, either.
        let is_set_damaged = matches!(error, Error::Malformed { .. });
        if !replace_bad || is_set_damaged || next == drawn {
            return Err(error);
        }
        bad.push((index, error));
        index = next;
    }
}
