//! What a view is: a random crop of some size with random colours, and its ranges.

use serde::{Deserialize, Serialize};

use super::Error;

/// How pixels are resampled; both widen their kernel when shrinking (antialiasing), as Pillow does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Cubic convolution with a = −½.
    #[default]
    Bicubic,
    /// Linear between neighbours.
    Bilinear,
}

/// Random views of one kind: crop, colour jitter, greyscale, blur, solarisation and flip, in this order.
///
/// Probabilities are in [0, 1]. The default is a crop of 32 × 32 pixels with scale 0.08–1 and a flip in half of the cases.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSpec {
    /// For messages and logs: "global 1".
    pub name: String,
    /// Number of such views an image.
    pub count: usize,
    /// Width and height in pixels.
    pub size: usize,
    /// Area of the crop as a fraction of the image's, in (0, 1].
    pub scale: [f32; 2],
    /// Width by height of the crop, drawn log-uniformly; usually [3/4, 4/3].
    pub ratio: [f32; 2],
    /// How the crop is brought to size.
    pub interpolation: Interpolation,
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Probability of the colour jitter.
    pub jitter: f32,
    /// Brightness factor within 1 ± this, not below 0.
    pub brightness: f32,
    /// Contrast factor within 1 ± this, not below 0.
    pub contrast: f32,
    /// Saturation factor within 1 ± this, not below 0.
    pub saturation: f32,
    /// Hue shift within ± this, in turns, at most ½.
    pub hue: f32,
    /// Probability of losing all colour.
    pub grayscale: f32,
    /// Probability of the Gaussian blur.
    pub blur: f32,
    /// Standard deviation of the blur in pixels of the view.
    pub blur_sigma: [f32; 2],
    /// Probability of solarisation.
    pub solarize: f32,
    /// Values from this on are inverted.
    pub solarize_threshold: u8,
}

impl Default for ViewSpec {
    fn default() -> Self {
        Self {
            name: "view".into(),
            count: 1,
            size: 32,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            interpolation: Interpolation::Bicubic,
            flip: 0.5,
            jitter: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.0,
            grayscale: 0.0,
            blur: 0.0,
            blur_sigma: [0.1, 2.0],
            solarize: 0.0,
            solarize_threshold: 128,
        }
    }
}

/// The largest view.
const MAX_SIZE: usize = 4096;

impl ViewSpec {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first that is not.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |field: &str, got: &dyn std::fmt::Debug, expected: &str| {
            Err(Error::setting(
                format!("{field} of view '{}'", self.name),
                &format!("{got:?}"),
                expected,
            ))
        };
        if self.count == 0 {
            return refuse("count", &self.count, "at least 1; remove views that are not wanted");
        }
        if !(1..=MAX_SIZE).contains(&self.size) {
            return refuse("size", &self.size, "1 to 4096 pixels");
        }
        let [low, high] = self.scale;
        if !(low > 0.0 && low <= high && high <= 1.0) {
            return refuse("scale", &self.scale, "two fractions of the area, 0 < low ≤ high ≤ 1");
        }
        let [low, high] = self.ratio;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return refuse("ratio", &self.ratio, "two aspect ratios, 0 < low ≤ high");
        }
        let [low, high] = self.blur_sigma;
        if !(low > 0.0 && low <= high && high <= 100.0) {
            return refuse("blur sigma", &self.blur_sigma, "two widths, 0 < low ≤ high ≤ 100");
        }
        for (field, probability) in [
            ("flip", self.flip),
            ("jitter", self.jitter),
            ("grayscale", self.grayscale),
            ("blur", self.blur),
            ("solarize", self.solarize),
        ] {
            if !(0.0..=1.0).contains(&probability) {
                return refuse(field, &probability, "a probability, 0 to 1");
            }
        }
        for (field, strength) in [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ] {
            if !(0.0..=100.0).contains(&strength) {
                return refuse(field, &strength, "a strength, 0 to 100");
            }
        }
        if !(0.0..=0.5).contains(&self.hue) {
            return refuse("hue", &self.hue, "turns of the colour circle, 0 to 0.5");
        }
        Ok(())
    }
}
