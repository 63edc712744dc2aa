//! Where a pixel's inputs are, for every tap of a window.

use crate::nn::Geometry;

/// Most taps of a window: 11 × 11.
pub(super) const MAX_TAPS: usize = 128;

/// An output pixel: the input it is over, and which taps stay inside the image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pixel {
    /// Offset of the input pixel under the window's origin, in values; it may lie outside.
    base: isize,
    inside: [u64; 2],
}

/// The taps of a window over images of one shape.
#[derive(Clone, Debug)]
pub(super) struct Window<'a> {
    shape: Geometry,
    stride: usize,
    taps: &'a [(isize, isize)],
    /// How far each tap is from the origin, in values.
    offsets: Vec<isize>,
}

impl<'a> Window<'a> {
    pub(super) fn new(shape: Geometry, stride: usize, taps: &'a [(isize, isize)]) -> Self {
        assert!(taps.len() <= MAX_TAPS, "a window of {} taps", taps.len());
        let (width, channels) = (shape.width.cast_signed(), shape.channels.cast_signed());
        let offsets = taps.iter().map(|(dy, dx)| (dy * width + dx) * channels).collect();
        Self { shape, stride, taps, offsets }
    }

    /// Makes sure that what [`Self::under`] finds inside an image of outputs of this width has `depth` values in the source.
    pub(super) fn check(&self, depth: usize, out_width: usize, source_len: usize) {
        let Geometry { width, channels, .. } = self.shape;
        assert!(source_len >= self.shape.len(), "a source too short");
        // Rows of a window read at once: they start at the window's origin and may not leave the image.
        let reads_rows = self.taps.iter().all(|(_, dx)| *dx == 0)
            && (out_width - 1) * self.stride * channels + depth <= width * channels;
        assert!(depth <= channels || reads_rows, "a window that leaves its row");
    }

    /// The pixel in row `y` and column `x` of the output of image `image`.
    #[inline(always)]
    pub(super) fn pixel(&self, image: usize, y: usize, x: usize) -> Pixel {
        let Geometry { height, width, channels, .. } = self.shape;
        let (y, x) = (y * self.stride, x * self.stride);
        let base = (((image * height + y) * width + x) * channels).cast_signed();
        let mut inside = [0; 2];
        for (tap, (dy, dx)) in self.taps.iter().enumerate() {
            let (y, x) = (y.wrapping_add_signed(*dy), x.wrapping_add_signed(*dx));
            inside[tap / 64] |= u64::from(y < height && x < width) << (tap % 64);
        }
        Pixel { base, inside }
    }

    /// The input values of a pixel under a tap, or `zeros`.
    #[inline(always)]
    pub(super) fn under<T>(
        &self,
        pixel: Pixel,
        tap: usize,
        source: *const T,
        zeros: *const T,
    ) -> *const T {
        let is_inside = pixel.inside[tap / 64] >> (tap % 64) & 1 == 1;
        let pointer = source.wrapping_offset(pixel.base + self.offsets[tap]);
        if is_inside { pointer } else { zeros }
    }
}
