//! Augmentations, each applied in the order of the fields below, the flip last.

use serde::{Deserialize, Serialize};

use super::documented::documented;
use crate::data::Interpolation;

documented! {
    /// One of `[[views]]`: `count` random crops of a kind.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct View {
        /// Name in reports.
        pub name: String,
        /// Crops of this kind, ≥ 1.
        pub count: usize,
        /// Side in pixels, ≥ 8.
        pub size: usize,
        /// Share of the image's area a crop covers, `[low, high]` in (0, 1].
        pub scale: [f32; 2],
        /// Width over height of a crop, `[low, high]` > 0 (3/4, 4/3).
        pub ratio: [f32; 2],
        /// Interpolation of a crop: `bicubic`, or `bilinear` as torchvision's default.
        pub interpolation: Interpolation,
        /// Probability of a horizontal flip (0.5).
        pub flip: f32,
        /// Probability of turning grey (0 where absent; 0.2 in the paper).
        pub grayscale: f32,
        /// Change of colours (probability 0 where absent).
        pub jitter: Jitter,
        /// Gaussian blur (probability 0 where absent).
        pub blur: Blur,
        /// Inversion of bright pixels (probability 0 where absent).
        pub solarize: Solarize,
    }
}

documented! {
    /// Brightness, contrast, saturation and hue in random order, each by a uniform factor.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Jitter {
        /// Probability of a change of colours; to be given where anything of this table is.
        pub probability: f32,
        /// Factor in 1 ± this, at least 0 (0.4).
        pub brightness: f32,
        /// Factor in 1 ± this, at least 0 (0.4).
        pub contrast: f32,
        /// Factor in 1 ± this, at least 0 (0.2).
        pub saturation: f32,
        /// Shift in ± this, in turns of the colour wheel, at most 0.5 (0.1).
        pub hue: f32,
    }
}

documented! {
    /// Gaussian blur.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Blur {
        /// Probability of a blur; to be given where anything of this table is.
        pub probability: f32,
        /// Standard deviation in pixels, uniform in `[low, high]` > 0 (0.1, 2).
        pub sigma: [f32; 2],
    }
}

documented! {
    /// Inversion of the values from a threshold on.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Solarize {
        /// Probability of an inversion of bright pixels; to be given where anything of this table is.
        pub probability: f32,
        /// Smallest value that is inverted, of 0–255 (128).
        pub threshold: u8,
    }
}
