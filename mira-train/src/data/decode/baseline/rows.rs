//! From samples to rows of pixels: colours brought to full resolution as libjpeg's triangle filter does it, and made RGB; to the bit.

use super::header::{Header, Sampling};
use crate::data::grow;

/// Pixels that are converted together.
const BLOCK: usize = 64;

/// The samples of a row of units, and of the last row before it.
#[derive(Debug, Default)]
pub(super) struct Samples {
    channels: [Plane; 3],
    /// For one row: colours at full resolution, with place for whole blocks.
    upsampled: [Vec<u8>; 2],
    /// For one row at half the columns: weighted sums of two rows, with a neighbour at each end.
    sums: Vec<u16>,
}

/// Rows of one channel; the first is of the row of units before.
#[derive(Debug, Default)]
struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// Without the first.
    num_rows: usize,
}

impl Plane {
    fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.stride..][..self.stride]
    }
}

impl Samples {
    /// Makes place for a picture's rows.
    pub(super) fn reshape(&mut self, header: &Header<'_>) {
        let (columns, rows) = header.sampling.blocks();
        let num_units = header.width.div_ceil(8 * columns);
        for (channel, plane) in self.channels.iter_mut().enumerate() {
            let (columns, rows) = if channel == 0 { (columns, rows) } else { (1, 1) };
            plane.num_rows = 8 * rows;
            plane.stride = (8 * num_units * columns).next_multiple_of(BLOCK);
            grow(&mut plane.samples, (plane.num_rows + 1) * plane.stride);
        }
        let len = 2 * (8 * num_units).next_multiple_of(BLOCK);
        self.upsampled.iter_mut().for_each(|row| grow(row, len));
        grow(&mut self.sums, 8 * num_units + 2);
    }

    /// Where a block's samples go, and how far its rows are apart; columns and rows count blocks in the row of units.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        channel: usize,
        column: usize,
        row: usize,
    ) -> (&mut [u8], usize) {
        let plane = &mut self.channels[channel];
        (&mut plane.samples[(8 * row + 1) * plane.stride + 8 * column..], plane.stride)
    }

    /// Writes the pixel rows that can be made now that the samples of row `unit_row` of units are there, of `num_unit_rows`.
    #[inline(always)]
    pub(super) fn write(
        &mut self,
        header: &Header<'_>,
        unit_row: usize,
        num_unit_rows: usize,
        pixels: &mut [u8],
    ) {
        let &Header { width, height, sampling, .. } = header;
        let num_rows = self.channels[0].num_rows;
        let top = unit_row * num_rows;
        let (mut start, mut end) = (top, top + num_rows);
        // Its last row has the first colours of the next one for neighbours.
        if sampling == Sampling::Quarter {
            start -= usize::from(unit_row > 0);
            end -= usize::from(unit_row + 1 < num_unit_rows);
        }
        for y in start..end.min(height) {
            let row = y + 1 - top;
            let out = pixels[3 * width * y..][..3 * width].as_chunks_mut::<3>().0;
            let [luma, blue, red] = &self.channels;
            match sampling {
                Sampling::Grey => {
                    out.iter_mut().zip(luma.row(row)).for_each(|(out, v)| *out = [*v; 3]);
                    continue;
                }
                Sampling::Whole => {
                    to_rgb([luma.row(row), blue.row(row), red.row(row)], out);
                    continue;
                }
                Sampling::HalfColumns => {
                    for (plane, upsampled) in [blue, red].into_iter().zip(&mut self.upsampled) {
                        let samples = plane.row(row).iter().map(|v| u16::from(*v));
                        set_sums(&mut self.sums, samples, width.div_ceil(2));
                        upsample::<1, 2, 2>(&self.sums, width.div_ceil(2), upsampled);
                    }
                }
                Sampling::Quarter => {
                    let near = y / 2;
                    let last = height.div_ceil(2) - 1;
                    let far =
                        if y % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(last) };
                    let [near, far] = [near, far].map(|row| row + 1 - top / 2);
                    for (plane, upsampled) in [blue, red].into_iter().zip(&mut self.upsampled) {
                        let rows = plane.row(near).iter().zip(plane.row(far));
                        let sums = rows.map(|(near, far)| 3 * u16::from(*near) + u16::from(*far));
                        set_sums(&mut self.sums, sums, width.div_ceil(2));
                        upsample::<8, 7, 4>(&self.sums, width.div_ceil(2), upsampled);
                    }
                }
            }
            let [blue, red] = &self.upsampled;
            to_rgb([luma.row(row), blue, red], out);
        }
        for plane in &mut self.channels {
            let last = plane.num_rows * plane.stride;
            plane.samples.copy_within(last..last + plane.stride, 0);
        }
    }
}

/// Puts `count` sums in order, with the first and the last once more at the ends.
#[inline(always)]
fn set_sums(to: &mut [u16], from: impl Iterator<Item = u16>, count: usize) {
    to[1..=count].iter_mut().zip(from).for_each(|(to, from)| *to = from);
    to[0] = to[1];
    to[count + 1] = to[count];
}

/// Twice as many columns: each of two has three quarters of the nearer sum and one of the other; `1 << SHIFT` is what weights add up to, and
/// halves are rounded down and up in turns.
#[inline(always)]
fn upsample<const LEFT: u16, const RIGHT: u16, const SHIFT: u32>(
    sums: &[u16],
    count: usize,
    to: &mut [u8],
) {
    let pairs = to.as_chunks_mut::<2>().0[..count].iter_mut();
    let sums = sums[..count].iter().zip(&sums[1..=count]).zip(&sums[2..count + 2]);
    for (pair, ((left, sum), right)) in pairs.zip(sums) {
        *pair =
            [((3 * sum + left + LEFT) >> SHIFT) as u8, ((3 * sum + right + RIGHT) >> SHIFT) as u8];
    }
}

/// Brightness, blue and red differences to RGB (ITU-R BT.601, as JFIF has it).
#[inline(always)]
fn to_rgb(channels: [&[u8]; 3], pixels: &mut [[u8; 3]]) {
    let mut blocks = pixels.chunks_mut(BLOCK).enumerate();
    for (i, pixels) in &mut blocks {
        let block = |channel: &[u8]| -> [u8; BLOCK] {
            channel[i * BLOCK..][..BLOCK].try_into().expect("rows have place for whole blocks")
        };
        let [luma, blue, red] = channels.map(block);
        let mut rgb = [[0; BLOCK]; 3];
        for x in 0..BLOCK {
            let (luma, blue, red) =
                (i32::from(luma[x]), i32::from(blue[x]) - 128, i32::from(red[x]) - 128);
            // In 2⁻¹⁶: 1.402, 0.34414 and 0.71414, 1.772.
            let differences = [91_881 * red, -22_554 * blue - 46_802 * red, 116_130 * blue];
            for (to, difference) in rgb.iter_mut().zip(differences) {
                to[x] = (luma + ((difference + (1 << 15)) >> 16)).clamp(0, 255) as u8;
            }
        }
        let [red, green, blue] = &rgb;
        for (x, pixel) in pixels.iter_mut().enumerate() {
            *pixel = [red[x], green[x], blue[x]];
        }
    }
}
