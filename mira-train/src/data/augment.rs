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
use crate::rng::{Purpose, Rng};
use blur::Blur;
pub use colour::{Jitter, Part as JitterPart};
pub use parameters::ViewParameters;
use planes::Planes;
pub use resample::CropBox;
pub(super) use resample::Resampler;

/// Makes views; keeps its scratch memory from one to the next.
#[derive(Debug, Default)]
pub struct Augmenter {
    resampler: Resampler,
    planes: Planes,
    blur: Blur,
}

impl Augmenter {
    /// The random numbers of one view in a run: `view` counts the views of an image, of all kinds, from 0.
    pub fn rng(seed: u64, epoch: u32, index: u32, view: u32) -> Rng {
        Rng::new(seed, Purpose::Augment, [epoch, index, view])
    }

    /// Writes the view of `image` that `rng` picks, `size × size × 3` bytes, and says what was picked.
    ///
    /// `rng` is fresh, from [`Augmenter::rng`]. The draws come in a fixed order, each made
    /// whether or not it is used: jitter?, the order of its four parts, brightness, contrast, saturation, hue, greyscale?, blur?,
    /// σ, solarise?, flip?, and last the crop.
    ///
    /// # Panics
    /// If `view` has another length, or the image has no pixels.
    pub fn view(
        &mut self,
        image: &Image,
        spec: &ViewSpec,
        rng: &mut Rng,
        view: &mut [u8],
    ) -> ViewParameters {
        self.view_in_stages(image, spec, rng, view, |_| ())
    }

    /// The same, calling `done` after each stage, whether or not there was anything to do in it.
    pub(super) fn view_in_stages(
        &mut self,
        image: &Image,
        spec: &ViewSpec,
        rng: &mut Rng,
        view: &mut [u8],
        done: impl FnMut(Stage),
    ) -> ViewParameters {
        let parameters = ViewParameters::draw(spec, image.width, image.height, rng);
        self.apply(image, spec.size, spec.interpolation, &parameters, view, done);
        parameters
    }

    fn apply(
        &mut self,
        image: &Image,
        size: usize,
        interpolation: Interpolation,
        parameters: &ViewParameters,
        view: &mut [u8],
        mut done: impl FnMut(Stage),
    ) {
        assert_eq!(view.len(), size * size * 3, "a view of {size} × {size} RGB pixels");
        self.resampler.resize(image, parameters.crop, interpolation, (size, size), view);
        done(Stage::Resize);
        let ViewParameters { jitter, grayscale, blur_sigma, solarize, .. } = parameters;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a view is said to be made with makes the same view.
    #[test]
    fn a_view_says_what_was_done_to_it() {
        let mut image = Image::default();
        image.reshape(40, 30);
        image.pixels.iter_mut().zip(0_u32..).for_each(|(v, i)| *v = (i * i / 7) as u8);
        let spec = ViewSpec {
            size: 9,
            jitter: 0.5,
            brightness: 0.4,
            hue: 0.1,
            grayscale: 0.2,
            blur: 0.5,
            solarize: 0.5,
            ..ViewSpec::default()
        };
        let mut augmenter = Augmenter::default();
        let (mut view, mut again) = (vec![0; 9 * 9 * 3], vec![0; 9 * 9 * 3]);
        for index in 0..50 {
            let mut rng = Augmenter::rng(1, 0, index, 0);
            let parameters = augmenter.view(&image, &spec, &mut rng, &mut view);
            augmenter.apply(&image, spec.size, spec.interpolation, &parameters, &mut again, |_| ());
            assert!(view == again, "{parameters}");
        }
    }
}
