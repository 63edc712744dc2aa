//! From samples to rows of pixels: colours brought to full resolution as libjpeg's triangle filter does it, and made RGB; to the bit.

use mira_simd::Words;

use super::header::{Header, Sampling};
use crate::data::grow;
use crate::data::pixels::{self, Channels};

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
            plane.stride = (8 * num_units * columns).next_multiple_of(pixels::MOST);
            grow(&mut plane.samples, (plane.num_rows + 1) * plane.stride);
        }
        let len = 2 * (8 * num_units).next_multiple_of(pixels::MOST);
        self.upsampled.iter_mut().for_each(|row| grow(row, len));
        grow(&mut self.sums, 8 * num_units + 2);
    }

    /// Where a block's samples go, and how far its rows are apart; columns and rows count blocks in the row of units.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        (channel, column, row): (usize, usize, usize),
    ) -> (&mut [u8], usize) {
        let plane = &mut self.channels[channel];
        (&mut plane.samples[(8 * row + 1) * plane.stride + 8 * column..], plane.stride)
    }

    /// Writes the pixel rows that can be made now that the samples of row `unit_row` of units are there, of `num_unit_rows`.
    #[inline(always)]
    pub(super) fn write<W: Words>(
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
        if matches!(sampling, Sampling::HalfRows | Sampling::Quarter) {
            start -= usize::from(unit_row > 0);
            end -= usize::from(unit_row + 1 < num_unit_rows);
        }
        for y in start..end.min(height) {
            let row = y + 1 - top;
            let out = pixels[3 * width * y..][..3 * width].as_chunks_mut::<3>().0;
            let [luma, blue, red] = &self.channels;
            match sampling {
                Sampling::Grey => {
                    pixels::write::<W>(out, &Grey(luma.row(row)));
                    continue;
                }
                Sampling::Whole => {
                    let colours =
                        Colours { luma: luma.row(row), blue: blue.row(row), red: red.row(row) };
                    pixels::write::<W>(out, &colours);
                    continue;
                }
                Sampling::HalfColumns => {
                    for (plane, upsampled) in [blue, red].into_iter().zip(&mut self.upsampled) {
                        let samples = plane.row(row).iter().map(|v| u16::from(*v));
                        set_sums(&mut self.sums, samples, width.div_ceil(2));
                        upsample::<1, 2, 2>(&self.sums, width.div_ceil(2), upsampled);
                    }
                }
                Sampling::HalfRows => {
                    let rounding = 1 + y as u16 % 2;
                    for (plane, upsampled) in [blue, red].into_iter().zip(&mut self.upsampled) {
                        let sums = between_rows(plane, y, height, top);
                        let samples = sums.map(|sum| ((sum + rounding) >> 2) as u8);
                        upsampled.iter_mut().zip(samples).for_each(|(to, sample)| *to = sample);
                    }
                }
                Sampling::Quarter => {
                    for (plane, upsampled) in [blue, red].into_iter().zip(&mut self.upsampled) {
                        let sums = between_rows(plane, y, height, top);
                        set_sums(&mut self.sums, sums, width.div_ceil(2));
                        upsample::<8, 7, 4>(&self.sums, width.div_ceil(2), upsampled);
                    }
                }
            }
            let [blue, red] = &self.upsampled;
            pixels::write::<W>(out, &Colours { luma: luma.row(row), blue, red });
        }
        for plane in &mut self.channels {
            let last = plane.num_rows * plane.stride;
            plane.samples.copy_within(last..last + plane.stride, 0);
        }
    }
}

/// Of colours with half the rows, for pixel row `y` of `height`: three times the nearer row and once the other one. `top` is the first pixel row of the row
/// of units.
#[inline(always)]
fn between_rows(
    plane: &Plane,
    y: usize,
    height: usize,
    top: usize,
) -> impl Iterator<Item = u16> + '_ {
    let near = y / 2;
    let last = height.div_ceil(2) - 1;
    let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(last) };
    let [near, far] = [near, far].map(|row| plane.row(row + 1 - top / 2));
    near.iter().zip(far).map(|(near, far)| 3 * u16::from(*near) + u16::from(*far))
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
        // Both together, so that the compiler makes vectors of it.
        let [left, right] = [(3 * sum + left + LEFT) >> SHIFT, (3 * sum + right + RIGHT) >> SHIFT];
        *pair = (left | right << 8).to_le_bytes();
    }
}

/// Bytes of a row with place for whole vectors, from pixel `first` on.
#[inline(always)]
fn load<W: Words>(row: &[u8], first: usize) -> W {
    assert!(first + 2 * W::LEN <= row.len(), "rows have place for whole vectors");
    // SAFETY: as asserted.
    unsafe { W::load_bytes(row.as_ptr().add(first)) }
}

/// A row of brightness alone.
struct Grey<'a>(&'a [u8]);

impl<W: Words> Channels<W> for Grey<'_> {
    #[inline(always)]
    fn at(&self, first: usize) -> [W; 3] {
        [load(self.0, first); 3]
    }
}

/// A row of brightness, blue and red differences, which become RGB (ITU-R BT.601, as JFIF has it), in 2⁻¹⁶ and then rounded to the nearest.
struct Colours<'a> {
    luma: &'a [u8],
    blue: &'a [u8],
    red: &'a [u8],
}

impl<W: Words> Channels<W> for Colours<'_> {
    #[inline(always)]
    fn at(&self, first: usize) -> [W; 3] {
        let (luma, blue, red): (W, W, W) =
            (load(self.luma, first), load(self.blue, first), load(self.red, first));
        let zero = W::splat(0);
        let low = to_rgb(luma.unpack_low_8(zero), blue.unpack_low_8(zero), red.unpack_low_8(zero));
        let high =
            to_rgb(luma.unpack_high_8(zero), blue.unpack_high_8(zero), red.unpack_high_8(zero));
        [low[0].pack_u8(high[0]), low[1].pack_u8(high[1]), low[2].pack_u8(high[2])]
    }
}

/// Factors beyond what 16 bits hold are whole ones and what is left.
#[inline(always)]
fn to_rgb<W: Words>(luma: W, blue: W, red: W) -> [W; 3] {
    // Differences are around 128.
    let (blue, red) = (blue.sub(W::splat(128)), red.sub(W::splat(128)));
    let (twice_blue, twice_red) = (blue.add(blue), red.add(red));
    // 1.402 = 91,881 · 2⁻¹⁶ and 1.772 = 116,130 · 2⁻¹⁶.
    let to_red = red.add(scaled(twice_red, (91_881 - (1 << 16)) as i16));
    let to_blue = twice_blue.add(scaled(twice_blue, (116_130 - (2 << 16)) as i16));
    // 0.34414 = 22,554 · 2⁻¹⁶ and 0.71414 = 46,802 · 2⁻¹⁶, rounded together.
    let factors = W::splat_32(i32::from(-22_554_i16) & 0xFFFF | ((1 << 16) - 46_802) << 16);
    let half = W::splat_32(1 << 15);
    let low = blue.unpack_low(red).dot_pairs(factors).add_32(half).shift_right_32::<16>();
    let high = blue.unpack_high(red).dot_pairs(factors).add_32(half).shift_right_32::<16>();
    [luma.add(to_red), luma.add(low.pack_32(high)).sub(red), luma.add(to_blue)]
}

/// Half of `twice` times `factor` · 2⁻¹⁶, rounded to the nearest: cut off one bit later, which rounds.
#[inline(always)]
fn scaled<W: Words>(twice: W, factor: i16) -> W {
    twice.mul_high(W::splat(factor)).add(W::splat(1)).shift_right::<1>()
}
