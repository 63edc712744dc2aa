//! Augmented views, with the operations of torchvision on Pillow images: 8 bits between any two operations.
//!
//! Order: random resized crop, colour jitter, greyscale, blur, solarisation, flip. What is drawn is in `parameters`, what is done
//! with it in `resample`, `colour` and `blur`; nothing allocates once the scratch has grown to the largest image.

mod blur;
mod colour;
mod parameters;
mod planes;
mod resample;

#[cfg(test)]
mod golden;

use super::{Image, Interpolation, ViewSpec};
use crate::rng::Rng;
use blur::Blur;
use parameters::Parameters;
use planes::Planes;
pub(super) use resample::{CropBox, Resampler};

/// Makes views; keeps its scratch memory from one to the next.
#[derive(Debug, Default)]
pub struct Augmenter {
    resampler: Resampler,
    planes: Planes,
    blur: Blur,
}

impl Augmenter {
    /// Writes the view of `image` that `rng` picks: `size × size × 3` bytes.
    ///
    /// `rng` is fresh: `Rng::new(seed, Purpose::Augment, [epoch, index, view])`. The draws come in a fixed order, each made
    /// whether or not it is used: jitter?, the order of its four parts, brightness, contrast, saturation, hue, greyscale?, blur?,
    /// σ, solarise?, flip?, and last the crop.
    ///
    /// # Panics
    /// If `view` has another length, or the image has no pixels.
    pub fn view(&mut self, image: &Image, spec: &ViewSpec, rng: &mut Rng, view: &mut [u8]) {
        self.view_in_stages(image, spec, rng, view, |_| ());
    }

    /// The same, calling `done` after each stage, whether or not there was anything to do in it.
    pub(super) fn view_in_stages(
        &mut self,
        image: &Image,
        spec: &ViewSpec,
        rng: &mut Rng,
        view: &mut [u8],
        done: impl FnMut(Stage),
    ) {
        let parameters = Parameters::draw(spec, image.width, image.height, rng);
        self.apply(image, spec.size, spec.interpolation, &parameters, view, done);
    }

    fn apply(
        &mut self,
        image: &Image,
        size: usize,
        interpolation: Interpolation,
        parameters: &Parameters,
        view: &mut [u8],
        mut done: impl FnMut(Stage),
    ) {
        assert_eq!(view.len(), size * size * 3, "a view of {size} × {size} RGB pixels");
        self.resampler.resize(image, parameters.crop, interpolation, (size, size), view);
        done(Stage::Resize);
        let Parameters { jitter, grayscale, blur_sigma, solarize, .. } = parameters;
        let planes = &mut self.planes;
        let is_split = jitter.is_some() || *grayscale || blur_sigma.is_some() || solarize.is_some();
        if is_split {
            planes.split(view);
        }
        if let Some(jitter) = jitter {
            jitter.apply(planes);
        }
        if *grayscale {
            colour::grayscale(planes);
        }
        done(Stage::Colour);
        if let Some(sigma) = blur_sigma {
            self.blur.apply(planes, size, size, *sigma);
        }
        done(Stage::Blur);
        if let Some(threshold) = solarize {
            colour::solarize(planes, *threshold);
        }
        if is_split {
            planes.join(view);
        }
        if parameters.flip {
            flip(view, size);
        }
        done(Stage::Rest);
    }
}

/// Parts of the work on a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Crop and resampling.
    Resize,
    /// Colour jitter and greyscale.
    Colour,
    /// Gaussian blur.
    Blur,
    /// Solarisation and flip.
    Rest,
}

/// Mirrors each row.
fn flip(view: &mut [u8], width: usize) {
    for row in view.chunks_exact_mut(width * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}
