//! Every operation against torchvision's transforms of floats; `dev/check_augmentations.py` makes the file.

use serde::Deserialize;

use super::colour::{self, Jitter, Part};
use super::{Augmenter, CropBox, Resampler, ViewParameters};
use crate::data::{Image, Interpolation};

#[derive(Deserialize)]
struct Golden {
    images: Vec<Picture>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Picture {
    width: usize,
    height: usize,
    pixels: String,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    image: usize,
    expected: String,
    #[serde(rename = "box")]
    crop: Option<[usize; 4]>,
    size: Option<usize>,
    interpolation: Option<String>,
    factor: Option<f32>,
    threshold: Option<u8>,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

impl Case {
    fn crop(&self) -> CropBox {
        let [left, top, width, height] = self.crop.unwrap();
        CropBox { left, top, width, height }
    }

    fn run(&self, image: &Image, augmenter: &mut Augmenter) -> Vec<u8> {
        let mut pixels = image.pixels.clone();
        let out = &mut pixels;
        match self.op.as_str() {
            "crop" => {
                let size = self.size.unwrap();
                let interpolation = match self.interpolation.as_deref() {
                    Some("bicubic") => Interpolation::Bicubic,
                    _ => Interpolation::Bilinear,
                };
                out.resize(size * size * 3, 0);
                let resampler: &mut Resampler = &mut augmenter.resampler;
                resampler.resize(image, self.crop(), interpolation, (size, size), out);
            }
            op @ ("brightness" | "contrast" | "saturation" | "hue" | "grayscale" | "solarize"
            | "blur") => {
                let Augmenter { planes, blur, .. } = augmenter;
                planes.reshape(image.width * image.height);
                planes.split(out.chunks_exact(image.width * 3), false);
                let part = |name| self.factor.filter(|_| op == name);
                let jitter = Jitter {
                    order: [Part::Hue, Part::Contrast, Part::Brightness, Part::Saturation],
                    brightness: part("brightness"),
                    contrast: part("contrast"),
                    saturation: part("saturation"),
                    hue: part("hue"),
                };
                match op {
                    "solarize" => colour::solarize(planes, self.threshold.unwrap()),
                    "blur" => blur.apply(planes, image.width, image.height, self.factor.unwrap()),
                    _ => colour::apply(planes, Some(&jitter), op == "grayscale"),
                }
                planes.join(out);
            }
            view => {
                let is_grey = view == "grey view";
                let jitter = Jitter {
                    order: [Part::Hue, Part::Contrast, Part::Brightness, Part::Saturation],
                    brightness: Some(0.75),
                    contrast: Some(1.25),
                    saturation: Some(1.125),
                    hue: Some(-0.08),
                };
                let parameters = ViewParameters {
                    crop: self.crop(),
                    jitter: (!is_grey).then_some(jitter),
                    grayscale: is_grey,
                    blur_sigma: (!is_grey).then_some(0.75),
                    solarize: is_grey.then_some(128),
                    flip: true,
                };
                let size = self.size.unwrap();
                out.resize(size * size * 3, 0);
                augmenter.apply(image, size, Interpolation::Bicubic, &parameters, out, |_| ());
            }
        }
        pixels
    }
}

/// No value is further from what torchvision computes than rounding to 8 bits takes it, and 0.04 levels more: what fixed point with 6 bits
/// after the point has cost on the way.
#[test]
fn operations_agree_with_torchvision() {
    let text = include_str!("../../../tests/golden/augment.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    let mut augmenter = Augmenter::default(); // one for all: what is left in its buffers must not matter
    let mut wrong = Vec::new();
    for (i, case) in golden.cases.iter().enumerate() {
        let Picture { width, height, pixels } = &golden.images[case.image];
        let image = Image { width: *width, height: *height, pixels: bytes(pixels) };
        let (got, expected) = (case.run(&image, &mut augmenter), bytes(&case.expected));
        let expected = expected.as_chunks().0.iter().map(|bytes| i16::from_le_bytes(*bytes));
        assert_eq!(got.len(), expected.len());
        let differences =
            got.iter().zip(expected).map(|(got, e)| (f64::from(*got) - f64::from(e) / 64.0).abs());
        let worst = differences.fold(0.0, f64::max);
        println!("case {i}, {} {:?}: {worst:.3} levels at most", case.op, case.factor);
        if worst > 0.54 {
            wrong.push((i, &case.op, case.factor, worst));
        }
    }
    assert!(golden.cases.len() > 40 && wrong.is_empty(), "{wrong:#?}");
}
