//! Pixels by channel, as the colour operations and the blur want them: neighbours in memory are then the same thing of neighbouring
//! pixels, and a loop over them becomes vectors.

use mira_simd::{Isa, Kernel, dispatch};

/// An RGB image, one channel after the other; keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Planes {
    values: Vec<u8>,
}

impl Planes {
    /// Takes the pixels of an image, three bytes each.
    pub(super) fn split(&mut self, pixels: &[u8]) {
        self.values.resize(pixels.len(), 0);
        let [red, green, blue] = self.channels();
        dispatch(Split { pixels: pixels.as_chunks().0, red, green, blue });
    }

    /// Writes them back.
    pub(super) fn join(&mut self, pixels: &mut [u8]) {
        let [red, green, blue] = self.channels();
        dispatch(Join { pixels: pixels.as_chunks_mut().0, red, green, blue });
    }

    /// Red, green, blue.
    pub(super) fn channels(&mut self) -> [&mut [u8]; 3] {
        let third = self.values.len() / 3;
        let (red, rest) = self.values.split_at_mut(third);
        let (green, blue) = rest.split_at_mut(third);
        [red, green, blue]
    }

    /// All values, whatever their channel.
    pub(super) fn values(&mut self) -> &mut [u8] {
        &mut self.values
    }
}

struct Split<'a> {
    pixels: &'a [[u8; 3]],
    red: &'a mut [u8],
    green: &'a mut [u8],
    blue: &'a mut [u8],
}

impl Kernel for Split<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let planes = self.red.iter_mut().zip(self.green).zip(self.blue);
        for (&[r, g, b], ((red, green), blue)) in self.pixels.iter().zip(planes) {
            (*red, *green, *blue) = (r, g, b);
        }
    }
}

struct Join<'a> {
    pixels: &'a mut [[u8; 3]],
    red: &'a [u8],
    green: &'a [u8],
    blue: &'a [u8],
}

impl Kernel for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let planes = self.red.iter().zip(self.green).zip(self.blue);
        for (pixel, ((&red, &green), &blue)) in self.pixels.iter_mut().zip(planes) {
            *pixel = [red, green, blue];
        }
    }
}
