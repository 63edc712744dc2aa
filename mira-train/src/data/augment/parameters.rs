//! The random choices of one view.

use std::fmt;

use super::colour::{self, Jitter, Part};
use super::{CropBox, ViewSpec};
use crate::rng::Rng;

/// What happens to one view, in the order of the fields; `Display` says it in words.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewParameters {
    /// The part of the image that is brought to the view's size.
    pub crop: CropBox,
    /// Change of colours.
    pub jitter: Option<Jitter>,
    /// Whether all colour goes.
    pub grayscale: bool,
    /// Standard deviation of the blur in pixels of the view.
    pub blur_sigma: Option<f32>,
    /// Values from this on are inverted.
    pub solarize: Option<u8>,
    /// Whether the view is mirrored.
    pub flip: bool,
}

impl ViewParameters {
    /// What is done, in order, a few words each: "crop 204×168 at (31, 12)", "hue −0.031", "blur σ 1.24", "flip".
    pub fn operations(&self) -> Vec<String> {
        let CropBox { left, top, width, height } = self.crop;
        let mut operations = vec![format!("crop {width}×{height} at ({left}, {top})")];
        operations.extend(self.jitter.iter().flat_map(Jitter::operations));
        operations.extend(self.grayscale.then(|| "grey".into()));
        operations.extend(self.blur_sigma.map(|sigma| format!("blur σ {sigma:.2}")));
        operations.extend(self.solarize.map(|threshold| format!("solarise ≥ {threshold}")));
        operations.extend(self.flip.then(|| "flip".into()));
        operations
    }

    /// The order of the draws is part of the format of a run: a change of it changes every run.
    pub(super) fn draw(spec: &ViewSpec, width: usize, height: usize, rng: &mut Rng) -> Self {
        let has_jitter = rng.chance(spec.jitter);
        let jitter = Jitter::draw(spec, rng);
        let grayscale = rng.chance(spec.grayscale);
        let has_blur = rng.chance(spec.blur);
        let sigma = rng.range(spec.blur_sigma[0], spec.blur_sigma[1]);
        let solarize = rng.chance(spec.solarize);
        let flip = rng.chance(spec.flip);
        Self {
            crop: random_resized_crop(spec, width, height, rng),
            jitter: has_jitter.then_some(jitter),
            grayscale,
            blur_sigma: has_blur.then_some(sigma),
            solarize: solarize.then_some(spec.solarize_threshold),
            flip,
        }
    }
}

impl fmt::Display for ViewParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.operations().join(", "))
    }
}

impl Jitter {
    /// Those of its parts that do something, in order.
    fn operations(&self) -> impl Iterator<Item = String> {
        self.order.into_iter().filter_map(|part| {
            Some(match part {
                Part::Brightness => format!("brightness ×{:.2}", self.brightness?),
                Part::Contrast => format!("contrast ×{:.2}", self.contrast?),
                Part::Saturation => format!("saturation ×{:.2}", self.saturation?),
                Part::Hue => format!("hue {:+.3}", self.hue?).replace('-', "−"),
            })
        })
    }

    fn draw(spec: &ViewSpec, rng: &mut Rng) -> Self {
        let mut order = colour::PARTS;
        rng.shuffle(&mut order);
        let mut factor = |strength: f32| {
            let factor = rng.range((1.0 - strength).max(0.0), 1.0 + strength);
            (strength > 0.0).then_some(factor)
        };
        Self {
            order,
            brightness: factor(spec.brightness),
            contrast: factor(spec.contrast),
            saturation: factor(spec.saturation),
            hue: {
                let hue = rng.range(-spec.hue, spec.hue);
                (spec.hue > 0.0).then_some(hue)
            },
        }
    }
}

/// torchvision's `RandomResizedCrop.get_params`: ten attempts at an area and a log-uniform aspect ratio that fit, then the
/// largest central crop of an allowed ratio.
fn random_resized_crop(spec: &ViewSpec, width: usize, height: usize, rng: &mut Rng) -> CropBox {
    let (w, h) = (width as f64, height as f64);
    let [low, high] = spec.ratio.map(f64::from);
    let (log_low, log_high) = (low.ln(), high.ln());
    for _ in 0..10 {
        let area = w * h * f64::from(rng.range(spec.scale[0], spec.scale[1]));
        let ratio = (log_low + (log_high - log_low) * rng.uniform_f64()).exp();
        let crop_width = (area * ratio).sqrt().round_ties_even() as usize;
        let crop_height = (area / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
            let top = below(rng, height - crop_height + 1);
            let left = below(rng, width - crop_width + 1);
            return CropBox { left, top, width: crop_width, height: crop_height };
        }
    }
    let (crop_width, crop_height) = if w / h < low {
        (width, ((w / low).round_ties_even() as usize).clamp(1, height))
    } else if w / h > high {
        (((h * high).round_ties_even() as usize).clamp(1, width), height)
    } else {
        (width, height)
    };
    CropBox {
        left: (width - crop_width) / 2,
        top: (height - crop_height) / 2,
        width: crop_width,
        height: crop_height,
    }
}

fn below(rng: &mut Rng, n: usize) -> usize {
    rng.below(u32::try_from(n).unwrap_or(u32::MAX)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn rng(i: u32) -> Rng {
        Rng::new(1, Purpose::Augment, [0, i, 0])
    }

    fn spec() -> ViewSpec {
        ViewSpec { scale: [0.2, 0.6], ..ViewSpec::default() }
    }

    #[test]
    fn crops_have_the_areas_and_ratios_asked_for_and_reach_every_edge() {
        let (width, height) = (500, 400);
        let (mut areas, mut log_ratios) = (0.0, 0.0);
        let (mut left, mut top, mut right, mut bottom) = (false, false, false, false);
        let n = 4000;
        for i in 0..n {
            let crop = random_resized_crop(&spec(), width, height, &mut rng(i));
            let area = (crop.width * crop.height) as f64 / 200_000.0;
            let ratio = crop.width as f64 / crop.height as f64;
            assert!((0.195..0.605).contains(&area), "{crop:?}");
            assert!((0.74..1.35).contains(&ratio), "{crop:?}");
            assert!(crop.left + crop.width <= width && crop.top + crop.height <= height);
            areas += area;
            log_ratios += ratio.ln();
            left |= crop.left == 0;
            top |= crop.top == 0;
            right |= crop.left + crop.width == width;
            bottom |= crop.top + crop.height == height;
        }
        // Uniform means within five standard errors: 0.4 ± 5·0.1155/√n and 0 ± 5·0.166/√n.
        let n = f64::from(n);
        assert!((areas / n - 0.4).abs() < 5.0 * 0.1155 / n.sqrt(), "{}", areas / n);
        assert!((log_ratios / n).abs() < 5.0 * 0.1661 / n.sqrt(), "{}", log_ratios / n);
        assert!(left && top && right && bottom);
    }

    #[test]
    fn an_image_too_narrow_for_the_ratio_gives_the_central_crop() {
        let all = ViewSpec { scale: [1.0, 1.0], ..ViewSpec::default() };
        for (size, expected) in [
            ((100, 500), CropBox { left: 0, top: 183, width: 100, height: 133 }),
            ((500, 100), CropBox { left: 183, top: 0, width: 133, height: 100 }),
            ((1, 500), CropBox { left: 0, top: 249, width: 1, height: 1 }),
        ] {
            assert_eq!(random_resized_crop(&all, size.0, size.1, &mut rng(0)), expected);
        }
    }

    #[test]
    fn each_choice_is_made_as_often_as_its_probability_says() {
        let spec = ViewSpec {
            jitter: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.2,
            hue: 0.1,
            grayscale: 0.2,
            blur: 0.1,
            solarize: 0.3,
            flip: 0.5,
            ..spec()
        };
        let n = 4000;
        let all: Vec<_> =
            (0..n).map(|i| ViewParameters::draw(&spec, 32, 32, &mut rng(i))).collect();
        let check = |name: &str, p: f64, is: &dyn Fn(&ViewParameters) -> bool| {
            let share = all.iter().filter(|x| is(x)).count() as f64 / f64::from(n);
            let standard_error = (p * (1.0 - p) / f64::from(n)).sqrt();
            assert!((share - p).abs() < 5.0 * standard_error, "{name}: {share}, expected {p}");
        };
        check("jitter", 0.8, &|p| p.jitter.is_some());
        check("grayscale", 0.2, &|p| p.grayscale);
        check("blur", 0.1, &|p| p.blur_sigma.is_some());
        check("solarize", 0.3, &|p| p.solarize.is_some());
        check("flip", 0.5, &|p| p.flip);
        let jitter =
            |p: &ViewParameters, f: &dyn Fn(&Jitter) -> bool| p.jitter.as_ref().is_some_and(f);
        check("hue first", 0.2, &|p| jitter(p, &|j| j.order[0] == colour::PARTS[3]));
        check("brighter", 0.4, &|p| jitter(p, &|j| j.brightness > Some(1.0)));
        check("much brighter", 0.2, &|p| jitter(p, &|j| j.brightness > Some(1.2)));
        check("much less saturated", 0.2, &|p| jitter(p, &|j| j.saturation < Some(0.9)));
        check("hue above 0.05", 0.2, &|p| jitter(p, &|j| j.hue > Some(0.05)));
    }

    #[test]
    fn what_is_drawn_is_said_in_the_order_in_which_it_is_done() {
        let jitter = Jitter {
            order: [colour::PARTS[3], colour::PARTS[1], colour::PARTS[0], colour::PARTS[2]],
            brightness: Some(0.75),
            contrast: None,
            saturation: Some(1.125),
            hue: Some(-0.0312),
        };
        let all = ViewParameters {
            crop: CropBox { left: 31, top: 12, width: 204, height: 168 },
            jitter: Some(jitter),
            grayscale: true,
            blur_sigma: Some(1.236),
            solarize: Some(128),
            flip: true,
        };
        assert_eq!(
            all.to_string(),
            "crop 204×168 at (31, 12), hue −0.031, brightness ×0.75, saturation ×1.12, grey, \
             blur σ 1.24, solarise ≥ 128, flip"
        );
        let crop = ViewParameters {
            jitter: None,
            grayscale: false,
            blur_sigma: None,
            solarize: None,
            flip: false,
            ..all
        };
        assert_eq!(crop.operations(), ["crop 204×168 at (31, 12)"]);
    }

    #[test]
    fn switching_one_operation_off_leaves_the_others_as_they_were() {
        let on = ViewSpec { jitter: 1.0, brightness: 0.4, grayscale: 1.0, blur: 1.0, ..spec() };
        let off = ViewSpec { jitter: 0.0, blur: 0.0, ..on.clone() };
        for i in 0..50 {
            let on = ViewParameters::draw(&on, 40, 30, &mut rng(i));
            let off = ViewParameters::draw(&off, 40, 30, &mut rng(i));
            assert_eq!(off, ViewParameters { jitter: None, blur_sigma: None, ..on });
        }
    }
}
