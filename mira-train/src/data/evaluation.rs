//! Images without augmentation, once and in order: shorter side resized, centre cropped.

use std::num::NonZero;
use std::ops::Range;

use super::augment::{CropBox, Resampler};
use super::{Crops, Error, Image, Interpolation, MAX_PIXELS, Source};

/// How images are brought to one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationConfig {
    /// Width and height that come out; an image of just this size is left as it is.
    pub size: usize,
    /// What the shorter side is resized to before the crop, at least `size`; `None` for 8/7 of `size` (256 for 224).
    pub resize: Option<usize>,
    /// How it is resized; torchvision's default for evaluation is bilinear.
    pub interpolation: Interpolation,
    /// Images a batch.
    pub batch_size: usize,
    /// Threads that work on a batch; 0 for one a processor.
    pub num_threads: usize,
}

impl EvaluationConfig {
    /// Batches of 256 images of a size, bilinear, with every processor.
    pub const fn new(size: usize) -> Self {
        let interpolation = Interpolation::Bilinear;
        Self { size, resize: None, interpolation, batch_size: 256, num_threads: 0 }
    }
}

/// Consecutive images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluationBatch {
    /// Their indices in the source.
    pub indices: Range<usize>,
    /// Their classes.
    pub labels: Vec<Option<u32>>,
    /// Their pixels.
    pub images: Crops,
}

/// All images of a source in order; the last batch may be smaller.
pub struct EvaluationLoader<'a> {
    source: &'a dyn Source,
    config: EvaluationConfig,
    short_side: usize,
    next: usize,
    /// One a thread.
    scratch: Vec<Scratch>,
}

impl std::fmt::Debug for EvaluationLoader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvaluationLoader")
            .field("config", &self.config)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// The images of a source for evaluation: torchvision's `Resize` and `CenterCrop`.
///
/// # Errors
/// [`Error::Setting`] for a setting out of its range.
pub fn evaluation_images(
    source: &dyn Source,
    config: EvaluationConfig,
) -> Result<EvaluationLoader<'_>, Error> {
    if !(1..=4096).contains(&config.size) {
        return Err(Error::setting("image size", &config.size, "1 to 4096 pixels"));
    }
    if config.batch_size == 0 {
        return Err(Error::setting("batch size", &0, "at least 1"));
    }
    let short_side = config.resize.unwrap_or((config.size * 8 + 3) / 7);
    if !(config.size..=8192).contains(&short_side) {
        let expected = format!("{} to 8192 pixels, at least the crop's size", config.size);
        return Err(Error::setting("resized shorter side", &short_side, expected));
    }
    let num_threads = match config.num_threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        n => n.min(1024),
    };
    let scratch = (0..num_threads).map(|_| Scratch::default()).collect();
    Ok(EvaluationLoader { source, config, short_side, next: 0, scratch })
}

impl Iterator for EvaluationLoader<'_> {
    type Item = Result<EvaluationBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.next;
        let end = self.source.len().min(first.saturating_add(self.config.batch_size));
        if first >= end {
            return None;
        }
        self.next = end;
        let result = self.batch(first..end);
        if result.is_err() {
            self.next = self.source.len();
        }
        Some(result)
    }
}

impl EvaluationLoader<'_> {
    fn batch(&mut self, indices: Range<usize>) -> Result<EvaluationBatch, Error> {
        let (source, config, short_side) = (self.source, &self.config, self.short_side);
        let image_bytes = config.size * config.size * 3;
        let mut pixels = vec![0; indices.len() * image_bytes];
        let share = indices.len().div_ceil(self.scratch.len());
        std::thread::scope(|scope| {
            let parts = pixels.chunks_mut(share * image_bytes).zip(&mut self.scratch);
            let threads: Vec<_> = (indices.start..)
                .step_by(share)
                .zip(parts)
                .map(|(first, (part, scratch))| {
                    scope.spawn(move || {
                        for (index, to) in (first..).zip(part.chunks_exact_mut(image_bytes)) {
                            scratch.load(source, index, config, short_side, to)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            // The first image's error, whichever thread came first.
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| {
                    let (name, message) = ("an evaluation image".into(), "see above".into());
                    Err(Error::Panicked { name, message })
                })
            })
        })?;
        let labels = indices.clone().map(|index| source.label(index)).collect();
        Ok(EvaluationBatch { indices, labels, images: Crops { size: config.size, pixels } })
    }
}

#[derive(Default)]
struct Scratch {
    image: Image,
    resized: Image,
    resampler: Resampler,
}

impl Scratch {
    fn load(
        &mut self,
        source: &dyn Source,
        index: usize,
        config: &EvaluationConfig,
        short_side: usize,
        to: &mut [u8],
    ) -> Result<(), Error> {
        source.load(index, &mut self.image)?;
        let (width, height, size) = (self.image.width, self.image.height, config.size);
        if (width, height) == (size, size) {
            to.copy_from_slice(&self.image.pixels);
            return Ok(());
        }
        if width == 0 || height == 0 {
            return Err(Error::image(source.name(index), "it has no pixels; remove it"));
        }
        let (new_width, new_height) = self.image.size_with_short_side(short_side);
        if new_width * new_height > MAX_PIXELS {
            let problem = format!(
                "its {width} × {height} pixels become {new_width} × {new_height}, more than {MAX_PIXELS}; remove it"
            );
            return Err(Error::image(source.name(index), problem));
        }
        self.resized.reshape(new_width, new_height);
        let whole = CropBox { left: 0, top: 0, width, height };
        let into = &mut self.resized.pixels;
        self.resampler.resize(
            &self.image,
            whole,
            config.interpolation,
            (new_width, new_height),
            into,
        );
        let centre = CropBox {
            left: centred(new_width, size),
            top: centred(new_height, size),
            width: size,
            height: size,
        };
        self.resampler.resize(&self.resized, centre, config.interpolation, (size, size), to);
        Ok(())
    }
}

/// The first of `size` positions in the middle of `available`; halves go to the even number, as in torchvision.
fn centred(available: usize, size: usize) -> usize {
    ((available - size) as f64 / 2.0).round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image `i` is `widths[i] × 8`: red is the column, green the row, blue the image.
    struct Ramps(Vec<usize>);

    impl Source for Ramps {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn num_classes(&self) -> Option<usize> {
            None
        }

        fn class_names(&self) -> &[String] {
            &[]
        }

        fn label(&self, index: usize) -> Option<u32> {
            Some(index as u32)
        }

        fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
            let width = self.0[index];
            if width == 13 {
                return Err(Error::image(self.name(index), "told to fail"));
            }
            into.reshape(width, 8);
            for (i, pixel) in into.pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                *pixel = [(i % width) as u8, (i / width) as u8, index as u8];
            }
            Ok(())
        }

        fn name(&self, index: usize) -> String {
            format!("ramp {index}")
        }
    }

    fn config(size: usize, resize: Option<usize>) -> EvaluationConfig {
        EvaluationConfig { resize, batch_size: 3, num_threads: 2, ..EvaluationConfig::new(size) }
    }

    #[test]
    fn images_of_the_size_come_as_they_are_in_order() {
        let source = Ramps(vec![8; 7]);
        for num_threads in [1, 2, 5] {
            let config = EvaluationConfig { num_threads, ..config(8, None) };
            let all: Vec<_> =
                evaluation_images(&source, config).unwrap().map(Result::unwrap).collect();
            assert_eq!(
                all.iter().map(|b| b.indices.clone()).collect::<Vec<_>>(),
                [0..3, 3..6, 6..7]
            );
            for batch in &all {
                let images = batch.images.pixels.chunks_exact(8 * 8 * 3);
                assert_eq!(images.len(), batch.indices.len());
                for (index, (got, &label)) in batch.indices.clone().zip(images.zip(&batch.labels)) {
                    let mut image = Image::default();
                    source.load(index, &mut image).unwrap();
                    assert_eq!((got, label), (&image.pixels[..], Some(index as u32)));
                }
            }
        }
    }

    /// With the shorter side as it is, only the centre is cut out; halves go to the even number: (17 − 6)/2 to 6, (15 − 6)/2 to 4.
    #[test]
    fn the_crop_is_central_as_in_torchvision() {
        for (width, left) in [(17, 6), (15, 4), (14, 4), (11, 2), (8, 1)] {
            let source = Ramps(vec![width]);
            let batch = evaluation_images(&source, config(6, Some(8))).unwrap().next().unwrap();
            assert_eq!(batch.unwrap().images.pixels[..3], [left, 1, 0], "width {width}");
        }
    }

    /// Halving a ramp gives its values at the centres of pairs: 2x + ½, wherever the kernel is not at the border.
    #[test]
    fn the_shorter_side_is_resized() {
        let source = Ramps(vec![16]);
        let batch =
            evaluation_images(&source, config(4, Some(4))).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.images.pixels.len(), 4 * 4 * 3);
        // Columns 2 to 5 of 8; row 1 of 4. Half a level is rounded either way.
        for x in 0..4_u8 {
            let [red, green, _] = batch.images.pixels.as_chunks::<3>().0[4 + usize::from(x)];
            assert!(
                red.abs_diff(2 * (x + 2)) <= 1 && (2..=3).contains(&green),
                "{x}: {red} {green}"
            );
        }
    }

    #[test]
    fn errors_name_the_image_and_end_the_iteration() {
        let source = Ramps(vec![8, 8, 8, 8, 13, 8, 8]);
        let mut loader = evaluation_images(&source, config(8, None)).unwrap();
        assert!(loader.next().unwrap().is_ok());
        assert!(loader.next().unwrap().unwrap_err().to_string().contains("ramp 4"));
        assert!(loader.next().is_none());

        let long = Ramps(vec![10_000_000]);
        let error =
            evaluation_images(&long, config(64, None)).unwrap().next().unwrap().unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");

        for bad in [
            config(0, None),
            config(9, Some(8)),
            EvaluationConfig { batch_size: 0, ..config(8, None) },
        ] {
            assert!(matches!(evaluation_images(&source, bad), Err(Error::Setting { .. })));
        }
    }
}
