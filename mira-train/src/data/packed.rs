//! Sets of images of one size, held in memory as bytes one after the other.

use super::{Error, Image, Source};

/// The most bytes of pixels a set of this kind may have: 2 GiB.
pub(super) const MAX_BYTES: u64 = 1 << 31;

pub(super) struct Packed {
    pub(super) width: usize,
    pub(super) height: usize,
    /// 1 or 3, interleaved.
    pub(super) num_channels: usize,
    pub(super) pixels: Vec<u8>,
    /// As many as there are images, each below the number of classes.
    pub(super) labels: Vec<u32>,
    pub(super) class_names: Vec<String>,
    /// What the positions count in: "Fashion-MNIST (embedded)", a file.
    pub(super) origin: String,
}

impl Packed {
    fn image_bytes(&self) -> usize {
        self.width * self.height * self.num_channels
    }
}

/// Classes 0, 1, … named by their numbers.
pub(super) fn numbered(num_classes: usize) -> Vec<String> {
    (0..num_classes).map(|class| class.to_string()).collect()
}

impl Source for Packed {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn num_classes(&self) -> Option<usize> {
        Some(self.class_names.len())
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        let size = self.image_bytes();
        let bytes = index.checked_mul(size).and_then(|at| self.pixels.get(at..at + size));
        let Some(bytes) = bytes else {
            return Err(Error::image(self.name(index), "there are fewer images"));
        };
        into.reshape(self.width, self.height);
        if self.num_channels == 3 {
            into.pixels.copy_from_slice(bytes);
        } else {
            for (pixel, &grey) in into.pixels.as_chunks_mut::<3>().0.iter_mut().zip(bytes) {
                *pixel = [grey; 3];
            }
        }
        Ok(())
    }

    fn name(&self, index: usize) -> String {
        format!("image {index} of {}", self.origin)
    }

    fn num_bytes(&self, _: usize) -> Option<u64> {
        Some(self.image_bytes() as u64)
    }
}
