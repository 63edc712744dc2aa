//! Colour operations as Pillow does them on 8-bit RGB, rounding and truncating where it does.

use std::sync::LazyLock;

use mira_simd::{Isa, Kernel, dispatch};

/// The parts of the jitter, in the order torchvision numbers them.
pub(super) const PARTS: [Part; 4] = [Part::Brightness, Part::Contrast, Part::Saturation, Part::Hue];

/// What a colour jitter consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Towards black, or away from it.
    Brightness,
    /// Towards the mean grey, or away from it.
    Contrast,
    /// Towards each pixel's own grey, or away from it.
    Saturation,
    /// Round the colour circle.
    Hue,
}

/// A colour jitter with its choices made; a part without a factor does nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Jitter {
    /// Which part comes first, second, …
    pub order: [Part; 4],
    /// Factor.
    pub brightness: Option<f32>,
    /// Factor.
    pub contrast: Option<f32>,
    /// Factor.
    pub saturation: Option<f32>,
    /// Shift in turns.
    pub hue: Option<f32>,
}

impl Jitter {
    pub(super) fn apply(&self, pixels: &mut [u8]) {
        for part in self.order {
            match part {
                Part::Brightness => self.brightness.into_iter().for_each(|f| brightness(pixels, f)),
                Part::Contrast => self.contrast.into_iter().for_each(|f| contrast(pixels, f)),
                Part::Saturation => self.saturation.into_iter().for_each(|f| saturation(pixels, f)),
                Part::Hue => self.hue.into_iter().for_each(|f| hue(pixels, f)),
            }
        }
    }
}

/// ITU-R 601 luma in 16-bit fixed point.
#[inline(always)]
const fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((r as u32 * 19595 + g as u32 * 38470 + b as u32 * 7471 + 0x8000) >> 16) as u8
}

/// `from + factor (to − from)`, truncated and clipped: Pillow's `Image.blend`.
#[inline(always)]
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let from = f32::from(from);
    (from + factor * (f32::from(to) - from)) as u8 // saturates
}

pub(super) fn brightness(pixels: &mut [u8], factor: f32) {
    blend_with_grey(pixels, 0, factor);
}

pub(super) fn contrast(pixels: &mut [u8], factor: f32) {
    let sum: u64 = pixels.as_chunks::<3>().0.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    let mean = sum as f64 / (pixels.len() / 3) as f64;
    blend_with_grey(pixels, (mean + 0.5) as u8, factor);
}

pub(super) fn saturation(pixels: &mut [u8], factor: f32) {
    dispatch(BlendWithLuma { pixels: pixels.as_chunks_mut().0, factor });
}

struct BlendWithLuma<'a> {
    pixels: &'a mut [[u8; 3]],
    factor: f32,
}

impl Kernel for BlendWithLuma<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for pixel in self.pixels {
            let grey = luma(*pixel);
            *pixel = pixel.map(|value| blend(grey, value, self.factor));
        }
    }
}

/// By a table: there are only 256 values.
fn blend_with_grey(pixels: &mut [u8], grey: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| blend(grey, value as u8, factor));
    for value in pixels {
        *value = table[usize::from(*value)];
    }
}

/// Shifts the hue through 8-bit HSV by `turns`, cut to multiples of 1/255.
pub(super) fn hue(pixels: &mut [u8], turns: f32) {
    let shift = (f64::from(turns) * 255.0) as i32 as u8; // two's complement: the circle has 256 steps
    dispatch(ShiftHue { pixels: pixels.as_chunks_mut().0, shift, sectors: &SECTORS });
}

struct ShiftHue<'a> {
    pixels: &'a mut [[u8; 3]],
    shift: u8,
    sectors: &'a [Sector; 256],
}

impl Kernel for ShiftHue<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for pixel in self.pixels {
            let [h, s, v] = rgb_to_hsv(*pixel);
            let sector = &self.sectors[usize::from(h.wrapping_add(self.shift))];
            *pixel = hsv_to_rgb(sector, s, v);
        }
    }
}

#[inline(always)]
fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return [0, 0, max];
    }
    let chroma = f32::from(max - min);
    let distance = |value: u8| f64::from(f32::from(max - value) / chroma);
    // In sixths of a turn, from red; each step rounded as in Pillow.
    let sixths = if r == max {
        distance(b) - distance(g)
    } else if g == max {
        2.0 + distance(r) - distance(b)
    } else {
        4.0 + distance(g) - distance(r)
    } as f32;
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let turns = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
    let saturation = chroma / f32::from(max);
    [(f64::from(turns) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max]
}

/// Where a hue lies on the colour circle.
#[derive(Clone, Copy)]
struct Sector {
    /// 0 to 5.
    number: u8,
    /// How far into it.
    fraction: f64,
}

/// Of each 8-bit hue.
static SECTORS: LazyLock<[Sector; 256]> = LazyLock::new(|| {
    std::array::from_fn(|hue| {
        let sixths = hue as f64 * 6.0 / 255.0;
        let fraction = f64::from((sixths - sixths.floor()) as f32);
        Sector { number: sixths as u8 % 6, fraction }
    })
});

#[inline(always)]
fn hsv_to_rgb(sector: &Sector, s: u8, v: u8) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let (value, saturation) = (f64::from(v), f64::from(f32::from(s) / 255.0));
    let level = |x: f64| (value * (1.0 - saturation * x) + 0.5) as u8;
    let (p, q, t) = (level(1.0), level(sector.fraction), level(1.0 - sector.fraction));
    match sector.number {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

pub(super) fn grayscale(pixels: &mut [u8]) {
    for pixel in pixels.as_chunks_mut::<3>().0 {
        *pixel = [luma(*pixel); 3];
    }
}

/// Inverts the values from `threshold` on.
pub(super) fn solarize(pixels: &mut [u8], threshold: u8) {
    for value in pixels {
        *value = if *value < threshold { *value } else { 255 - *value };
    }
}
