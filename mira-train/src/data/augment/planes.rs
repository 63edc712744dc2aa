//! Pixels between two operations: by channel, in 16 bits of which six are after the point.
//!
//! Neighbours in memory are the same thing of neighbouring pixels, so loops become vectors; and nothing is rounded to 8 bits before the
//! view is done, so that views are those of torchvision's transforms of floats, rounded once.

use mira_simd::{Isa, Kernel, dispatch};

use super::lines::SLACK;
use crate::data::grow;

/// One level of 8 bits.
pub(super) const LEVEL: i16 = 64;

/// White.
pub(super) const MAX: i16 = 255 * LEVEL;

/// Pixels that are worked on together.
const BLOCK: usize = 256;

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
        grow(&mut self.values, 3 * num_pixels + SLACK);
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
    pub(super) fn join(&mut self, pixels: &mut [u8]) {
        let [red, green, blue] = self.channels();
        dispatch(Join { pixels: pixels.as_chunks_mut().0, red, green, blue });
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
    red: &'a [i16],
    green: &'a [i16],
    blue: &'a [i16],
}

#[inline(always)]
fn to_u8(value: i16) -> u8 {
    ((value + LEVEL / 2) >> LEVEL.trailing_zeros()) as u8
}

impl Kernel for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let (blocks, rest) = self.pixels.as_chunks_mut::<BLOCK>();
        let (reds, red_rest) = self.red.as_chunks::<BLOCK>();
        let (greens, green_rest) = self.green.as_chunks::<BLOCK>();
        let (blues, blue_rest) = self.blue.as_chunks::<BLOCK>();
        let mut bytes = [[0; BLOCK]; 3];
        for (((pixels, red), green), blue) in blocks.iter_mut().zip(reds).zip(greens).zip(blues) {
            for (bytes, values) in bytes.iter_mut().zip([red, green, blue]) {
                bytes.iter_mut().zip(values).for_each(|(byte, value)| *byte = to_u8(*value));
            }
            let [red, green, blue] = &bytes;
            for (i, pixel) in pixels.iter_mut().enumerate() {
                *pixel = [red[i], green[i], blue[i]];
            }
        }
        let planes = red_rest.iter().zip(green_rest).zip(blue_rest);
        for (pixel, ((&red, &green), &blue)) in rest.iter_mut().zip(planes) {
            *pixel = [red, green, blue].map(to_u8);
        }
    }
}
