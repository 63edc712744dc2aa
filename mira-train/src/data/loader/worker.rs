//! What a data thread does: load images, make their views, and survive whatever happens on the way.

use std::sync::Arc;

use crate::data::pool::{Desk, Piece, Work};
use crate::data::{Augmenter, Error, Image, Source, ViewSpec, checked};

#[derive(Clone)]
pub(super) struct Worker {
    pub(super) source: Arc<dyn Source>,
    pub(super) views: Arc<[ViewSpec]>,
    pub(super) seed: u64,
    pub(super) replace_bad: bool,
}

impl Work for Worker {
    type Scratch = (Image, Augmenter);

    fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    fn fill(
        &self,
        piece: &mut Piece,
        desk: &Desk<'_>,
        (image, augmenter): &mut Self::Scratch,
    ) -> Result<(), Error> {
        let num_images = piece.indices.len();
        piece.crops.resize_with(self.views.len(), Vec::new);
        for (crops, spec) in piece.crops.iter_mut().zip(&*self.views) {
            crops.resize(num_images * spec.size * spec.size * 3, 0);
        }
        for row in 0..num_images {
            let drawn = piece.indices[row];
            let take = |index| desk.take(index);
            let used = load(&*self.source, drawn, self.replace_bad, &mut piece.bad, take, image)?;
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
}

/// Loads an image or, if it may be replaced, the next one that can be loaded; the index of what was loaded. `take` is told of each
/// before it is tried.
pub(super) fn load(
    source: &dyn Source,
    drawn: u32,
    replace_bad: bool,
    bad: &mut Vec<(u32, Error)>,
    mut take: impl FnMut(u32) -> Result<(), Error>,
    image: &mut Image,
) -> Result<u32, Error> {
    let mut index = drawn;
    loop {
        take(index)?;
        let Err(error) = checked::load(source, index as usize, image) else { return Ok(index) };
        let next = (index + 1) % source.len() as u32;
        if !replace_bad || !error.is_of_one_image() || next == drawn {
            return Err(error);
        }
        bad.push((index, error));
        index = next;
    }
}
