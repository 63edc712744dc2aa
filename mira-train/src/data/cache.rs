//! Small images are decoded once and then kept.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::forward::forward;
use super::{Error, Image, Source};

/// The most bytes of decoded pixels kept: 512 MiB.
const MAX_TOTAL: u64 = 512 << 20;

/// Images of more pixels than 96 × 96 are decoded each time: sets of such would not fit anyway.
const MAX_IMAGE: usize = 96 * 96 * 3;

/// A source that keeps the small images it has decoded, up to 512 MiB; what fails to load fails again.
pub(super) struct Cached<S> {
    source: S,
    images: Vec<OnceLock<Image>>,
    total: AtomicU64,
}

impl<S: Source> Cached<S> {
    pub(super) fn new(source: S) -> Self {
        let images = (0..source.len()).map(|_| OnceLock::new()).collect();
        Self { source, images, total: AtomicU64::new(0) }
    }
}

impl<S: Source> Source for Cached<S> {
    forward!(len num_classes class_names label encoded name relative_path num_bytes);

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        let slot = self.images.get(index);
        if let Some(image) = slot.and_then(OnceLock::get) {
            into.reshape(image.width, image.height);
            into.pixels.copy_from_slice(&image.pixels);
            return Ok(());
        }
        self.source.load(index, into)?;
        let bytes = into.pixels.len();
        if let Some(slot) = slot
            && bytes <= MAX_IMAGE
            && self.total.fetch_add(bytes as u64, Ordering::Relaxed) < MAX_TOTAL
        {
            // Two workers may both have decoded it; the images are equal.
            let _ = slot.set(into.clone());
        }
        Ok(())
    }
}
