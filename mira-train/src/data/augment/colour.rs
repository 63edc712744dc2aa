//! Colour operations: those of torchvision's float transforms, many in one pass over the image.

use mira_simd::{Isa, Kernel, dispatch};

use super::planes::{LEVEL, MAX, Planes};

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

/// Jitter and then, if asked for, greyscale.
pub(super) fn apply(planes: &mut Planes, jitter: Option<&Jitter>, grayscale: bool) {
    let mut steps = Steps::default();
    if let Some(jitter) = jitter {
        for part in jitter.order {
            match part {
                Part::Brightness => steps.push(jitter.brightness.map(Step::Brightness)),
                Part::Saturation => steps.push(jitter.saturation.map(Step::Saturation)),
                Part::Hue => steps.push(jitter.hue.map(|turns| Step::Hue { sixths: 6.0 * turns })),
                Part::Contrast => {
                    if let Some(factor) = jitter.contrast {
                        // The mean is that of what the parts before have made.
                        let mean = steps.run_for_mean(planes);
                        steps = Steps::default();
                        steps.push(Some(Step::Contrast { mean, factor }));
                    }
                }
            }
        }
    }
    steps.push(grayscale.then_some(Step::Grey));
    if steps.len > 0 {
        let [red, green, blue] = planes.channels();
        dispatch(Pass { steps: steps.as_slice(), red, green, blue, wants_mean: false });
    }
}

/// Inverts the values from `threshold` on.
pub(super) fn solarize(planes: &mut Planes, threshold: u8) {
    dispatch(Solarize { values: planes.values(), threshold: i16::from(threshold) * LEVEL });
}

/// What happens to a pixel.
#[derive(Clone, Copy, Debug)]
enum Step {
    Brightness(f32),
    Contrast { mean: f32, factor: f32 },
    Saturation(f32),
    Hue { sixths: f32 },
    Grey,
}

#[derive(Debug)]
struct Steps {
    steps: [Step; 5],
    len: usize,
}

impl Default for Steps {
    fn default() -> Self {
        Self { steps: [Step::Grey; 5], len: 0 }
    }
}

impl Steps {
    fn push(&mut self, step: Option<Step>) {
        if let Some(step) = step {
            self.steps[self.len] = step;
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[Step] {
        &self.steps[..self.len]
    }

    /// The mean grey afterwards.
    fn run_for_mean(&self, planes: &mut Planes) -> f32 {
        let [red, green, blue] = planes.channels();
        let num_pixels = red.len();
        let steps = self.as_slice();
        let sum = dispatch(Pass { steps, red, green, blue, wants_mean: true });
        (sum as f64 / num_pixels as f64) as f32
    }
}

/// Pixels that are worked on together: so many that the compiler makes vectors of a loop over them instead of unrolling it.
const BLOCK: usize = 256;

/// Of each channel; aligned, or half of all vectors would be in two cache lines.
#[repr(align(64))]
struct Block([[f32; BLOCK]; 3]);

/// All steps, block by block; returns the sum of all greys if that is wanted. It is one of integers, so their order does not matter.
struct Pass<'a> {
    steps: &'a [Step],
    red: &'a mut [i16],
    green: &'a mut [i16],
    blue: &'a mut [i16],
    wants_mean: bool,
}

impl Kernel for Pass<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<I: Isa>(self) -> u64 {
        // Sums of a block stay below 2³¹ for as many blocks.
        const RUN: usize = 1 << 16;
        let Self { steps, red, green, blue, wants_mean } = self;
        let (reds, red_rest) = red.as_chunks_mut::<BLOCK>();
        let (greens, green_rest) = green.as_chunks_mut::<BLOCK>();
        let (blues, blue_rest) = blue.as_chunks_mut::<BLOCK>();
        let (mut total, mut floats) = (0, Block([[0.0; BLOCK]; 3]));
        let runs = reds.chunks_mut(RUN).zip(greens.chunks_mut(RUN)).zip(blues.chunks_mut(RUN));
        for ((reds, greens), blues) in runs {
            let mut sums = [0; BLOCK];
            for ((red, green), blue) in reds.iter_mut().zip(greens).zip(blues) {
                work([red, green, blue], &mut floats, steps, wants_mean, &mut sums);
            }
            total += sums.iter().map(|sum| *sum as u64).sum::<u64>();
        }
        // What is left, with pixels beside it that do not count.
        let rests = [red_rest, green_rest, blue_rest];
        let len = rests[0].len();
        let mut block = [[0; BLOCK]; 3];
        for (values, rest) in block.iter_mut().zip(&rests) {
            values[..len].copy_from_slice(rest);
        }
        let mut sums = [0; BLOCK];
        work(block.each_mut(), &mut floats, steps, wants_mean, &mut sums);
        for (values, rest) in block.iter().zip(rests) {
            rest.copy_from_slice(&values[..len]);
        }
        total + sums[..len].iter().map(|sum| *sum as u64).sum::<u64>()
    }
}

#[inline(always)]
fn work(
    values: [&mut [i16; BLOCK]; 3],
    block: &mut Block,
    steps: &[Step],
    wants_mean: bool,
    sums: &mut [i32; BLOCK],
) {
    for (floats, values) in block.0.iter_mut().zip(&values) {
        for (float, value) in floats.iter_mut().zip(values.iter()) {
            *float = f32::from(*value);
        }
    }
    for step in steps {
        match *step {
            Step::Brightness(factor) => towards_black(block, factor),
            Step::Contrast { mean, factor } => towards(block, mean, factor),
            Step::Saturation(factor) => towards_grey(block, factor),
            Step::Hue { sixths } => turn(block, sixths),
            Step::Grey => grey(block),
        }
    }
    if wants_mean {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += rounded(luma(block, i));
        }
    }
    if !steps.is_empty() {
        for (floats, values) in block.0.iter().zip(values) {
            for (value, float) in values.iter_mut().zip(floats) {
                *value = rounded(*float) as i16;
            }
        }
    }
}

/// To the nearest; halves go up.
#[inline(always)]
fn rounded(value: f32) -> i32 {
    // SAFETY: values are from 0 to 255 levels. `as`, which knows what to do with others, does not become vectors.
    unsafe { (value + 0.5).to_int_unchecked() }
}

#[inline(always)]
fn clipped(value: f32) -> f32 {
    let value = if value > 0.0 { value } else { 0.0 };
    if value < f32::from(MAX) { value } else { f32::from(MAX) }
}

/// ITU-R 601 luma, with torchvision's digits.
#[inline(always)]
fn luma(Block([red, green, blue]): &Block, i: usize) -> f32 {
    0.2989 * red[i] + 0.587 * green[i] + 0.114 * blue[i]
}

#[inline(always)]
fn towards_black(block: &mut Block, factor: f32) {
    for value in block.0.as_flattened_mut() {
        *value = clipped(factor * *value);
    }
}

#[inline(always)]
fn towards(block: &mut Block, mean: f32, factor: f32) {
    let rest = (1.0 - factor) * mean;
    for value in block.0.as_flattened_mut() {
        *value = clipped(factor * *value + rest);
    }
}

#[inline(always)]
fn towards_grey(block: &mut Block, factor: f32) {
    for i in 0..BLOCK {
        let rest = (1.0 - factor) * luma(block, i);
        let Block([red, green, blue]) = block;
        red[i] = clipped(factor * red[i] + rest);
        green[i] = clipped(factor * green[i] + rest);
        blue[i] = clipped(factor * blue[i] + rest);
    }
}

#[inline(always)]
fn grey(block: &mut Block) {
    for i in 0..BLOCK {
        let luma = luma(block, i);
        let Block([red, green, blue]) = block;
        (red[i], green[i], blue[i]) = (luma, luma, luma);
    }
}

/// Another hue of the same HSV saturation and value: largest and smallest channel stay what they are, and the position h on the colour
/// circle (in sixths, from red) tells how far each channel is between them: |h − 3| − 1, 2 − |h − 2| and 2 − |h − 4|, cut to [0, 1].
#[inline(always)]
fn turn(block: &mut Block, sixths: f32) {
    let Block([reds, greens, blues]) = block;
    for i in 0..BLOCK {
        let (red, green, blue) = (reds[i], greens[i], blues[i]);
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        let smaller = |a: f32, b: f32| if a < b { a } else { b };
        let (max, min) = (larger(larger(red, green), blue), smaller(smaller(red, green), blue));
        let chroma = max - min;
        let (is_red, is_green) = (red == max, green == max);
        let start = if is_green { 2.0 } else { 4.0 };
        let start = if is_red { 0.0 } else { start };
        let difference = if is_green { blue - red } else { red - green };
        let difference = if is_red { green - blue } else { difference };
        // Of grey it is 0 whatever it is divided by; other chromas are 1 or more, but for operations in between.
        let hue = start + sixths + difference / larger(chroma, 1e-3);
        let hue = if hue < 0.0 { hue + 6.0 } else { hue };
        let hue = if hue >= 6.0 { hue - 6.0 } else { hue };
        let between = |x: f32| min + chroma * smaller(larger(x, 0.0), 1.0);
        reds[i] = between((hue - 3.0).abs() - 1.0);
        greens[i] = between(2.0 - (hue - 2.0).abs());
        blues[i] = between(2.0 - (hue - 4.0).abs());
    }
}

struct Solarize<'a> {
    values: &'a mut [i16],
    threshold: i16,
}

impl Kernel for Solarize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for value in self.values {
            *value = if *value < self.threshold { *value } else { MAX - *value };
        }
    }
}
