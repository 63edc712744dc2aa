//! Channels to pixels of three bytes.

use mira_simd::{MAX_LANES, Words};

/// Pixels of any vector of bytes, at most: rows of channels have place for whole vectors.
pub(super) const MOST: usize = 16 * MAX_LANES;

/// Rows of channels, or what can be made of them.
///
/// A trait and no closure, which the compiler might keep a function of its own, without the kernel's instructions.
pub(super) trait Channels<W> {
    /// Red, green and blue of as many pixels as a vector has bytes, from pixel `first` on.
    fn at(&self, first: usize) -> [W; 3];
}

/// Writes pixels.
#[inline(always)]
pub(super) fn write<W: Words>(pixels: &mut [[u8; 3]], channels: &impl Channels<W>) {
    for (i, pixels) in pixels.chunks_mut(2 * W::LEN).enumerate() {
        let channels = channels.at(2 * W::LEN * i);
        if pixels.len() == 2 * W::LEN {
            // SAFETY: there are so many.
            unsafe { W::store_pixels(channels, pixels.as_mut_ptr()) };
        } else {
            let mut whole = [[0; 3]; MOST];
            // SAFETY: no vector has more.
            unsafe { W::store_pixels(channels, whole.as_mut_ptr()) };
            pixels.copy_from_slice(&whole[..pixels.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use mira_simd::{Isa, Kernel, Portable, dispatch};

    use super::*;

    struct Rows<'a>(&'a [[u8; MOST]; 3]);

    impl<W: Words> Channels<W> for Rows<'_> {
        #[inline(always)]
        fn at(&self, first: usize) -> [W; 3] {
            // SAFETY: there are as many bytes as in the largest vector, also from where another one begins.
            self.0.each_ref().map(|row| unsafe { W::load_bytes(row[first..].as_ptr()) })
        }
    }

    struct Write<'a>(Rows<'a>, &'a mut [[u8; 3]]);

    impl Kernel for Write<'_> {
        type Output = ();

        #[inline(always)]
        fn run<I: Isa>(self) {
            write::<I::Words>(self.1, &self.0);
        }
    }

    /// Also of a part of a vector, and on a machine without.
    #[test]
    fn pixels_have_their_channels_in_turns() {
        let channels = [1_u8, 90, 180].map(|start| std::array::from_fn(|i| start + i as u8));
        for num_pixels in [0, 1, 15, 16, 17, 32, 40, 63, 64] {
            let expected: Vec<[u8; 3]> =
                (0..num_pixels).map(|i| channels.map(|channel: [u8; MOST]| channel[i])).collect();
            let mut got = vec![[0; 3]; num_pixels];
            dispatch(Write(Rows(&channels), &mut got));
            assert_eq!(got, expected);
            got.fill([0; 3]);
            Write(Rows(&channels), &mut got).run::<Portable>();
            assert_eq!(got, expected);
        }
    }
}
