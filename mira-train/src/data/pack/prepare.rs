//! What becomes of one image when a set is packed: decoded, made smaller if asked for, encoded anew or kept as it is, with its checksum.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};
use twox_hash::XxHash3_64;

use super::index::Kind;
use crate::data::augment::{CropBox, Resampler};
use crate::data::{Error, Image, Interpolation, MAX_PIXELS, Source, decode};

/// How images are stored. Images are never enlarged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// The bytes of the source's own files; pixels, where it has none (CIFAR, IDX).
    #[default]
    Original,
    /// JPEG files (4:2:0) with at most this shorter side. A JPEG file that is small enough already is stored byte for byte.
    Jpeg {
        /// Pixels of the shorter side, 1 to 8192.
        short_side: usize,
        /// 1 to 100, on libjpeg's scale.
        quality: u8,
    },
    /// RGB bytes with at most this shorter side: large, and nothing is decoded when they are read.
    Raw {
        /// Pixels of the shorter side, 1 to 8192.
        short_side: usize,
    },
}

impl Pixels {
    pub(super) fn validate(self) -> Result<(), Error> {
        let (Self::Jpeg { short_side, .. } | Self::Raw { short_side }) = self else {
            return Ok(());
        };
        if !(1..=8192).contains(&short_side) {
            return Err(Error::setting("shorter side", &short_side, "1 to 8192 pixels"));
        }
        match self {
            Self::Jpeg { quality, .. } if !(1..=100).contains(&quality) => {
                Err(Error::setting("JPEG quality", &quality, "1 to 100"))
            }
            _ => Ok(()),
        }
    }
}

/// An image ready to be written.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) bytes: Vec<u8>,
    pub(super) checksum: u64,
    pub(super) kind: Kind,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// A thread's buffers.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    file: Vec<u8>,
    image: Image,
    resized: Image,
    resampler: Resampler,
}

impl Scratch {
    /// Reads, decodes and converts an image. All are decoded, also those stored as they are: a packed set has no image that cannot be.
    ///
    /// # Errors
    /// The image's; a decoder's panic, too.
    pub(super) fn prepare(
        &mut self,
        source: &dyn Source,
        index: usize,
        pixels: Pixels,
    ) -> Result<Blob, Error> {
        catch_unwind(AssertUnwindSafe(|| self.convert(source, index, pixels))).unwrap_or_else(
            |_| {
                *self = Self::default();
                Err(Error::image(source.name(index), "decoding it panicked; remove it"))
            },
        )
    }

    fn convert(
        &mut self,
        source: &dyn Source,
        index: usize,
        pixels: Pixels,
    ) -> Result<Blob, Error> {
        let bad = |problem: String| Error::image(source.name(index), problem);
        let has_file = source.encoded(index, &mut self.file)?;
        if has_file {
            decode::decode(&self.file, &mut self.image).map_err(bad)?;
        } else {
            source.load(index, &mut self.image)?;
        }
        let image = &self.image;
        let num_pixels = image.width.saturating_mul(image.height);
        if !(1..=MAX_PIXELS).contains(&num_pixels) || image.pixels.len() != num_pixels * 3 {
            return Err(bad(format!(
                "it has {} × {} pixels; remove it",
                image.width, image.height
            )));
        }
        let small = |short_side| image.width.min(image.height) <= short_side;
        let stays = has_file
            && match pixels {
                Pixels::Original => true,
                Pixels::Jpeg { short_side, .. } => {
                    self.file.starts_with(&[0xFF, 0xD8]) && small(short_side)
                }
                Pixels::Raw { .. } => false,
            };
        let stored = match pixels {
            Pixels::Jpeg { short_side, .. } | Pixels::Raw { short_side } if !small(short_side) => {
                self.resized.shrink(image, short_side, &mut self.resampler);
                &self.resized
            }
            _ => image,
        };
        let (bytes, kind) = match pixels {
            _ if stays => (self.file.clone(), Kind::File),
            Pixels::Jpeg { quality, .. } => (jpeg(stored, quality).map_err(bad)?, Kind::File),
            _ => (stored.pixels.clone(), Kind::Raw),
        };
        let (width, height) = (stored.width, stored.height);
        Ok(Blob { checksum: XxHash3_64::oneshot(&bytes), bytes, kind, width, height })
    }
}

impl Image {
    /// Becomes `image` with another shorter side.
    fn shrink(&mut self, image: &Self, short_side: usize, resampler: &mut Resampler) {
        let (width, height) = image.size_with_short_side(short_side);
        self.reshape(width, height);
        let whole = CropBox { left: 0, top: 0, width: image.width, height: image.height };
        resampler.resize(image, whole, Interpolation::Bicubic, (width, height), &mut self.pixels);
    }
}

/// A JPEG file, 4:2:0 with averaged chroma, as photographs usually are.
///
/// With the standard Huffman tables: with optimised ones the encoder writes a scan a component, and zune-jpeg 0.5.15 reads subsampled
/// colour of such files wrongly, without an error (zune-image issue 422).
fn jpeg(image: &Image, quality: u8) -> Result<Vec<u8>, String> {
    let side = |n: usize| {
        u16::try_from(n)
            .map_err(|_| format!("its side of {n} pixels is too long for JPEG; crop it"))
    };
    let (width, height) = (side(image.width)?, side(image.height)?);
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder
        .encode(&image.pixels, width, height, ColorType::Rgb)
        .map_err(|e| format!("it cannot be encoded as JPEG ({e}); remove it"))?;
    Ok(file)
}
