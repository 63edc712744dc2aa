//! Pixels between two operations: by channel, in 16 bits of which six are after the point.
//!
//! Neighbours in memory are the same thing of neighbouring pixels, so loops become vectors; and nothing is rounded to 8 bits before the
//! view is done, so that views are those of torchvision's transforms of floats, rounded once.

use mira_simd::{Isa, Kernel, Words, dispatch};

use crate::data::grow;
use crate::data::pixels::{self, Channels};

/// One level of 8 bits.
pub(super) const LEVEL: i16 = 64;

/// White.
pub(super) const MAX: i16 = 255 * LEVEL;

/// An RGB image, one channel after the other; keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Planes {
    /// And some values that are read but do not count.
    values: Vec<i16>,
    num_pixels: usize,
}

impl Planes {
    /// Makes place for an image; what is in it is not said.
    pub(super) fn reshape(&mut self, num_pixels: usize) {
        self.num_pixels = num_pixels;
        grow(&mut self.values, 3 * num_pixels + pixels::MOST);
    }

    /// Takes rows of pixels, three bytes each, mirrored or not.
    pub(super) fn split<'a>(&mut self, rows: impl Iterator<Item = &'a [u8]>, is_mirrored: bool) {
        let [red, green, blue] = self.channels();
        let mut first = 0;
        for row in rows {
            let pixels = row.as_chunks::<3>().0;
            let range = first..first + pixels.len();
            first = range.end;
            let to = [&mut *red, green, blue].map(|plane| &mut plane[range.clone()]);
            for (channel, to) in to.into_iter().enumerate() {
                let values = pixels.iter().map(|pixel| i16::from(pixel[channel]) * LEVEL);
                to.iter_mut().zip(values).for_each(|(to, value)| *to = value);
                if is_mirrored {
                    to.reverse();
                }
            }
        }
    }

    /// Writes three bytes a pixel, each rounded to the nearest.
    pub(super) fn join(&self, pixels: &mut [u8]) {
        let pixels = &mut pixels.as_chunks_mut().0[..self.num_pixels];
        dispatch(Join { pixels, planes: self });
    }

    /// Red, green, blue.
    pub(super) fn channels(&mut self) -> [&mut [i16]; 3] {
        let (red, rest) = self.values.split_at_mut(self.num_pixels);
        let (green, rest) = rest.split_at_mut(self.num_pixels);
        [red, green, &mut rest[..self.num_pixels]]
    }

    /// All values, whatever their channel.
    pub(super) fn values(&mut self) -> &mut [i16] {
        &mut self.values[..3 * self.num_pixels]
    }
}

struct Join<'a> {
    pixels: &'a mut [[u8; 3]],
    planes: &'a Planes,
}

impl Kernel for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        pixels::write::<I::Words>(self.pixels, self.planes);
    }
}

impl<W: Words> Channels<W> for Planes {
    #[inline(always)]
    fn at(&self, first: usize) -> [W; 3] {
        [
            self.bytes(first),
            self.bytes(self.num_pixels + first),
            self.bytes(2 * self.num_pixels + first),
        ]
    }
}

impl Planes {
    /// Values from `first` on, rounded to the nearest.
    #[inline(always)]
    fn bytes<W: Words>(&self, first: usize) -> W {
        assert!(first + 2 * W::LEN <= self.values.len(), "there are values that do not count");
        // SAFETY: as asserted.
        let (low, high) = unsafe {
            let from = self.values.as_ptr().add(first);
            (W::load(from), W::load(from.add(W::LEN)))
        };
        let half = W::splat(LEVEL / 2);
        let [low, high] = [low.add(half), high.add(half)];
        low.shift_right::<{ LEVEL.trailing_zeros() }>()
            .to_u8(high.shift_right::<{ LEVEL.trailing_zeros() }>())
    }
}
