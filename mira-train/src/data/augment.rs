//! Augmented views: torchvision's transforms of floats, rounded to 8 bits once, when a view is done.
//!
//! Order: random resized crop, colour jitter, greyscale, blur, solarisation, flip. What is drawn is in `parameters`, what is done
//! with it in `resample`, `colour` and `blur`, on `planes` with six bits after the point. Sums are of integers and every machine rounds
//! floats alike, so views have the same bits everywhere; nothing allocates once the scratch has grown to the largest image.

mod blur;
mod colour;
mod lines;
mod parameters;
mod planes;
mod resample;
mod weights;

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
        let Self { resampler, planes, blur } = self;
        let ViewParameters { crop, jitter, grayscale, blur_sigma, solarize, flip } = parameters;
        // Mirrored at once: nothing after it looks to one side only.
        resampler.resize_planes(image, *crop, interpolation, (size, size), *flip, planes);
        done(Stage::Resize);
        colour::apply(planes, jitter.as_ref(), *grayscale);
        done(Stage::Colour);
        if let Some(sigma) = blur_sigma {
            blur.apply(planes, size, size, *sigma);
        }
        done(Stage::Blur);
        if let Some(threshold) = solarize {
            colour::solarize(planes, *threshold);
        }
        planes.join(view);
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

    /// A mirrored view is the mirror image of the view, whatever else is done to it, and also where nothing is resampled.
    #[test]
    fn mirroring_first_is_mirroring_last() {
        let mut image = Image::default();
        image.reshape(40, 30);
        image.pixels.iter_mut().zip(0_u32..).for_each(|(v, i)| *v = (i * i / 7) as u8);
        let spec =
            ViewSpec { jitter: 1.0, contrast: 0.4, hue: 0.1, blur: 0.7, ..ViewSpec::default() };
        let mut augmenter = Augmenter::default();
        let sizes = [(21, 9), (9, 9), (5, 18), (17, 17)].into_iter().cycle();
        for (index, (width, size)) in (0..40).zip(sizes) {
            let mut rng = Augmenter::rng(1, 0, index, 0);
            let mut parameters = ViewParameters::draw(&spec, image.width, image.height, &mut rng);
            parameters.crop = CropBox { left: 3, top: 2, width, height: width };
            let mut both = [vec![0; size * size * 3], vec![0; size * size * 3]];
            for (flip, view) in [false, true].into_iter().zip(&mut both) {
                parameters.flip = flip;
                augmenter.apply(&image, size, spec.interpolation, &parameters, view, |_| ());
            }
            let [view, mirrored] = &mut both;
            view.chunks_exact_mut(size * 3).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
            assert!(view == mirrored, "{parameters}");
        }
    }
}
