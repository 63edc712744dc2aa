//! Colour operations as Pillow does them on 8-bit RGB, rounding and truncating where it does.

use std::sync::LazyLock;

use mira_simd::{Isa, Kernel, dispatch};

use super::planes::Planes;

/// The parts of the jitter, in the order torchvision numbers them.
pub(super) const PARTS: [Part; 4] = [Part::Brightness, Part::Contrast, Part::Saturation, Part::Hue];

/// Pixels that are worked on together.
const BLOCK: usize = 32;

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
    pub(super) fn apply(&self, planes: &mut Planes) {
        for part in self.order {
            match part {
                Part::Brightness => self.brightness.into_iter().for_each(|f| brightness(planes, f)),
                Part::Contrast => self.contrast.into_iter().for_each(|f| contrast(planes, f)),
                Part::Saturation => self.saturation.into_iter().for_each(|f| saturation(planes, f)),
                Part::Hue => self.hue.into_iter().for_each(|f| hue(planes, f)),
            }
        }
    }
}

/// ITU-R 601 luma in 16-bit fixed point.
#[inline(always)]
const fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((r as u32 * 19595 + g as u32 * 38470 + b as u32 * 7471 + 0x8000) >> 16) as u8
}

/// `from + factor (to − from)`, truncated and clipped: Pillow's `Image.blend`.
#[inline(always)]
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let from = f32::from(from);
    let blended = from + factor * (f32::from(to) - from);
    truncated_f32(blended.clamp(0.0, 255.0))
}

/// See [`truncated`].
#[inline(always)]
fn truncated_f32(x: f32) -> u8 {
    // SAFETY: finite, and an `i32` once truncated.
    unsafe { x.to_int_unchecked::<i32>() as u8 }
}

/// Of a number from 0 up to 256. `as u8`, which also knows what to do with others, does not become vectors.
#[inline(always)]
fn truncated(x: f64) -> u8 {
    // SAFETY: finite, and an `i32` once truncated.
    unsafe { x.to_int_unchecked::<i32>() as u8 }
}

pub(super) fn brightness(planes: &mut Planes, factor: f32) {
    dispatch(BlendWithGrey { values: planes.values(), grey: 0, factor });
}

pub(super) fn contrast(planes: &mut Planes, factor: f32) {
    let [red, green, blue] = planes.channels();
    let num_pixels = red.len();
    let sum = dispatch(SumOfLuma { red, green, blue });
    let mean = sum as f64 / num_pixels as f64;
    dispatch(BlendWithGrey { values: planes.values(), grey: (mean + 0.5) as u8, factor });
}

pub(super) fn saturation(planes: &mut Planes, factor: f32) {
    let [red, green, blue] = planes.channels();
    dispatch(BlendWithLuma { red, green, blue, factor });
}

pub(super) fn grayscale(planes: &mut Planes) {
    let [red, green, blue] = planes.channels();
    dispatch(Grey { red, green, blue });
}

/// Inverts the values from `threshold` on.
pub(super) fn solarize(planes: &mut Planes, threshold: u8) {
    dispatch(Solarize { values: planes.values(), threshold });
}

/// Shifts the hue through 8-bit HSV by `turns`, cut to multiples of 1/255.
pub(super) fn hue(planes: &mut Planes, turns: f32) {
    let shift = (f64::from(turns) * 255.0) as i32 as u8; // two's complement: the circle has 256 steps
    let [red, green, blue] = planes.channels();
    dispatch(ShiftHue { red, green, blue, shift, sectors: &SECTORS });
}

struct BlendWithGrey<'a> {
    values: &'a mut [u8],
    grey: u8,
    factor: f32,
}

impl Kernel for BlendWithGrey<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for value in self.values {
            *value = blend(self.grey, *value, self.factor);
        }
    }
}

struct SumOfLuma<'a> {
    red: &'a [u8],
    green: &'a [u8],
    blue: &'a [u8],
}

impl Kernel for SumOfLuma<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<I: Isa>(self) -> u64 {
        // In 32 bits for as long as they cannot overflow.
        const RUN: usize = 1 << 16;
        let (reds, red_rest) = self.red.as_chunks::<BLOCK>();
        let (greens, green_rest) = self.green.as_chunks::<BLOCK>();
        let (blues, blue_rest) = self.blue.as_chunks::<BLOCK>();
        let mut total = 0;
        for ((reds, greens), blues) in
            reds.chunks(RUN).zip(greens.chunks(RUN)).zip(blues.chunks(RUN))
        {
            let mut sums = [0u32; BLOCK];
            for ((r, g), b) in reds.iter().zip(greens).zip(blues) {
                for i in 0..BLOCK {
                    sums[i] += u32::from(luma(r[i], g[i], b[i]));
                }
            }
            total += sums.iter().map(|sum| u64::from(*sum)).sum::<u64>();
        }
        for ((&r, &g), &b) in red_rest.iter().zip(green_rest).zip(blue_rest) {
            total += u64::from(luma(r, g, b));
        }
        total
    }
}

struct BlendWithLuma<'a> {
    red: &'a mut [u8],
    green: &'a mut [u8],
    blue: &'a mut [u8],
    factor: f32,
}

impl Kernel for BlendWithLuma<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for ((r, g), b) in self.red.iter_mut().zip(self.green).zip(self.blue) {
            let grey = luma(*r, *g, *b);
            *r = blend(grey, *r, self.factor);
            *g = blend(grey, *g, self.factor);
            *b = blend(grey, *b, self.factor);
        }
    }
}

struct Grey<'a> {
    red: &'a mut [u8],
    green: &'a mut [u8],
    blue: &'a mut [u8],
}

impl Kernel for Grey<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for ((r, g), b) in self.red.iter_mut().zip(self.green).zip(self.blue) {
            let grey = luma(*r, *g, *b);
            (*r, *g, *b) = (grey, grey, grey);
        }
    }
}

struct Solarize<'a> {
    values: &'a mut [u8],
    threshold: u8,
}

impl Kernel for Solarize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for value in self.values {
            *value = if *value < self.threshold { *value } else { 255 - *value };
        }
    }
}

struct ShiftHue<'a> {
    red: &'a mut [u8],
    green: &'a mut [u8],
    blue: &'a mut [u8],
    shift: u8,
    sectors: &'a [Sector; 256],
}

impl Kernel for ShiftHue<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { red, green, blue, shift, sectors } = self;
        let (reds, red_rest) = red.as_chunks_mut();
        let (greens, green_rest) = green.as_chunks_mut();
        let (blues, blue_rest) = blue.as_chunks_mut();
        for ((r, g), b) in reds.iter_mut().zip(greens).zip(blues) {
            shift_block(r, g, b, shift, sectors);
        }
        // What is left, with pixels beside it that do not matter.
        let rest = red_rest.len();
        let mut block = [[0; BLOCK]; 3];
        let rests = [red_rest, green_rest, blue_rest];
        for (values, rest) in block.iter_mut().zip(&rests) {
            values[..rest.len()].copy_from_slice(rest);
        }
        let [r, g, b] = &mut block;
        shift_block(r, g, b, shift, sectors);
        for (values, to) in block.iter().zip(rests) {
            to.copy_from_slice(&values[..rest]);
        }
    }
}

/// To HSV, shifted, and back; without a branch, and each step rounded as in Pillow.
#[inline(always)]
fn shift_block(
    r: &mut [u8; BLOCK],
    g: &mut [u8; BLOCK],
    b: &mut [u8; BLOCK],
    shift: u8,
    sectors: &[Sector; 256],
) {
    let mut value = [0; BLOCK];
    let (mut hue, mut saturation) = ([0; BLOCK], [0.0; BLOCK]);
    for i in 0..BLOCK {
        let (r, g, b) = (r[i], g[i], b[i]);
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        value[i] = max;
        let difference = max - min;
        // Of grey both are 0 whatever they are divided by.
        let chroma = f32::from(difference.max(1));
        let distance = |x: u8| f64::from(f32::from(max - x) / chroma);
        let (from_red, from_green, from_blue) = (distance(r), distance(g), distance(b));
        // In sixths of a turn, from red.
        let (red_first, green_first) = (r == max, g == max);
        let start = if red_first {
            0.0
        } else if green_first {
            2.0
        } else {
            4.0
        };
        let plus = if red_first {
            from_blue
        } else if green_first {
            from_red
        } else {
            from_green
        };
        let minus = if red_first {
            from_green
        } else if green_first {
            from_blue
        } else {
            from_red
        };
        let sixths = (start + plus - minus) as f32;
        let turns = f64::from(sixths) / 6.0 + 1.0;
        let turns = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
        hue[i] = truncated(f64::from(turns) * 255.0).wrapping_add(shift);
        let fraction = f32::from(difference) / f32::from(max.max(1));
        let in_8_bits = truncated(f64::from(fraction) * 255.0);
        saturation[i] = f64::from(f32::from(in_8_bits) / 255.0);
    }
    let (mut number, mut fraction) = ([0; BLOCK], [0.0; BLOCK]);
    for i in 0..BLOCK {
        let sector = &sectors[usize::from(hue[i])];
        (number[i], fraction[i]) = (sector.number, sector.fraction);
    }
    for i in 0..BLOCK {
        let level = |x: f64| truncated(f64::from(value[i]) * (1.0 - saturation[i] * x) + 0.5);
        let (p, q, t) = (level(1.0), level(fraction[i]), level(1.0 - fraction[i]));
        let (v, number) = (value[i], number[i]);
        let choose = |of: [u8; 6]| {
            let first = if number == 0 { of[0] } else { of[1] };
            let second = if number == 2 { of[2] } else { of[3] };
            let third = if number == 4 { of[4] } else { of[5] };
            if number < 2 {
                first
            } else if number < 4 {
                second
            } else {
                third
            }
        };
        r[i] = choose([v, q, p, p, t, v]);
        g[i] = choose([t, v, v, q, p, p]);
        b[i] = choose([p, p, t, v, v, q]);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Rng};

    /// Pillow's `rgb2hsv_row`, a pixel at a time.
    fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        if max == min {
            return [0, 0, max];
        }
        let chroma = f32::from(max - min);
        let distance = |value: u8| f64::from(f32::from(max - value) / chroma);
        let sixths = if r == max {
            distance(b) - distance(g)
        } else if g == max {
            2.0 + distance(r) - distance(b)
        } else {
            4.0 + distance(g) - distance(r)
        } as f32;
        let turns = (f64::from(sixths) / 6.0 + 1.0).fract() as f32;
        let saturation = chroma / f32::from(max);
        [(f64::from(turns) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max]
    }

    /// Pillow's `hsv2rgb`.
    fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
        if s == 0 {
            return [v; 3];
        }
        let sixths = f64::from(h) * 6.0 / 255.0;
        let fraction = f64::from((sixths - sixths.floor()) as f32);
        let saturation = f64::from(f32::from(s) / 255.0);
        let level = |x: f64| (f64::from(v) * (1.0 - saturation * x) + 0.5) as u8;
        let (p, q, t) = (level(1.0), level(fraction), level(1.0 - fraction));
        match sixths as u8 % 6 {
            0 => [v, t, p],
            1 => [q, v, p],
            2 => [p, v, t],
            3 => [p, q, v],
            4 => [t, p, v],
            _ => [v, p, q],
        }
    }

    /// Every kind of pixel: colours at random, greys, two channels alike, pure colours; and any number of them.
    #[test]
    fn hue_is_shifted_as_pixel_by_pixel() {
        let mut rng = Rng::new(5, Purpose::Augment, [0; 3]);
        let mut planes = Planes::default();
        for (turns, num_pixels) in [(0.0, 1), (0.1, 31), (-0.1, 33), (0.5, 40_000), (-0.013, 640)] {
            let mut value = || (rng.uniform_f64() * 256.0) as u8;
            let pixels: Vec<[u8; 3]> = (0..num_pixels)
                .map(|i| {
                    let [a, b, c] = [value(), value(), value()];
                    [[a, b, c], [a, a, a], [a, a, b], [a, b, b], [a, b, a], [a, 0, 0], [0, 255, c]]
                        [i % 7]
                })
                .collect();
            let shift = (turns * 255.0) as i32 as u8;
            let expected: Vec<[u8; 3]> = pixels
                .iter()
                .map(|pixel| {
                    let [h, s, v] = to_hsv(*pixel);
                    to_rgb([h.wrapping_add(shift), s, v])
                })
                .collect();
            let mut got = pixels.clone();
            planes.split(pixels.as_flattened());
            hue(&mut planes, turns);
            planes.join(got.as_flattened_mut());
            assert_eq!(got, expected, "{turns} turns, {num_pixels} pixels");
        }
    }
}
