//! JPEG files of the usual kind: one sequential scan with Huffman codes and 8 bits, grey or YCbCr in 4:4:4, 4:2:2, 4:4:0 or 4:2:0.
//!
//! Most of the time that a view takes goes into decoding, so this decoder is ours: two coefficients are looked up at once, four blocks are transformed
//! together, a row of units stays in the cache from coefficients to pixels, and its memory is kept from file to file. Pixels are those of libjpeg-turbo's defaults, and so
//! of Pillow and torchvision, to the bit: accurate integer transform, triangle filter for colours.

mod bits;
mod header;
mod huffman;
mod rows;
mod transform;

use std::cell::RefCell;

use mira_simd::{Isa, Kernel, Words, dispatch};

use super::{Image, damaged, reshape};
use bits::{Bits, Blocks, Damage, Scan};
use header::{Channel, Header};
use huffman::Table;
use rows::Samples;
use transform::TOGETHER;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Decodes; `false` if the file is of another kind, which says nothing of whether it is one.
pub(super) fn decode(file: &[u8], max_pixels: usize, into: &mut Image) -> Result<bool, String> {
    let Some(header) = Header::read(file) else { return Ok(false) };
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.prepare(&header).is_none() {
            return Ok(false);
        }
        reshape(into, (header.width, header.height), max_pixels)?;
        let pixels = &mut into.pixels[..];
        let decoded = dispatch(Decode { header: &header, scratch, pixels });
        decoded.map(|()| true).map_err(|damage| match damage {
            Damage::Cut => damaged("JPEG", &"its scan ends early"),
            Damage::NoCode => damaged("JPEG", &"its scan has bits that are no code"),
        })
    })
}

/// Memory that is kept from one file to the next.
#[derive(Debug, Default)]
struct Scratch {
    scan: Scan,
    coders: [Coder; 3],
    samples: Samples,
}

/// What a channel is read with.
#[derive(Debug)]
struct Coder {
    /// Whose tables it has: its own, or those of a channel before it.
    tables: usize,
    dc: Table,
    ac: Table,
    /// Of quantisation, in rows.
    steps: [i16; 64],
}

impl Default for Coder {
    fn default() -> Self {
        Self { tables: 0, dc: Table::default(), ac: Table::default(), steps: [0; 64] }
    }
}

impl Scratch {
    /// `None` for what is not of our kind.
    fn prepare(&mut self, header: &Header<'_>) -> Option<()> {
        self.scan.read(header.scan)?;
        let [num_units, num_unit_rows] = num_units(header);
        let num_pieces = match header.restart_interval {
            0 => 1,
            interval => (num_units * num_unit_rows).div_ceil(interval),
        };
        // Fewer are damage, which shows when they are read.
        if self.scan.pieces().count() > num_pieces {
            return None;
        }
        let channels = &header.channels[..header.sampling.num_channels()];
        for (i, channel) in channels.iter().enumerate() {
            let codes = |channel: &Channel<'_>| {
                [channel.dc_codes, channel.ac_codes].map(<[u8]>::as_ptr_range)
            };
            let same = channels.iter().position(|other| codes(other) == codes(channel));
            let coder = &mut self.coders[i];
            coder.tables = same.unwrap_or(i);
            if coder.tables == i {
                coder.dc.set(channel.dc_codes, false)?;
                coder.ac.set(channel.ac_codes, true)?;
            }
            for (place, step) in channel.steps.iter().enumerate() {
                coder.steps[bits::row_and_column(place)] = i16::from(*step);
            }
        }
        self.samples.reshape(header);
        Some(())
    }
}

/// Units of a scan, in a row and in a column.
fn num_units(header: &Header<'_>) -> [usize; 2] {
    let (columns, rows) = header.sampling.blocks();
    [header.width.div_ceil(8 * columns), header.height.div_ceil(8 * rows)]
}

struct Decode<'a> {
    header: &'a Header<'a>,
    scratch: &'a mut Scratch,
    pixels: &'a mut [u8],
}

impl Kernel for Decode<'_> {
    type Output = Result<(), Damage>;

    #[inline(always)]
    fn run<I: Isa>(self) -> Self::Output {
        let Self { header, scratch: Scratch { scan, coders, samples }, pixels } = self;
        let [num_units, num_unit_rows] = num_units(header);
        let num_channels = header.sampling.num_channels();
        let mut pieces = scan.pieces();
        let mut piece = pieces.next().ok_or(Damage::Cut)?;
        let mut until_restart = header.restart_interval;
        let mut lasts = [0; 3];
        let mut waiting = [const { Waiting::NONE }; 3];
        for unit_row in 0..num_unit_rows {
            for unit in 0..num_units {
                if header.restart_interval > 0 {
                    if until_restart == 0 {
                        finish(&piece)?;
                        piece = pieces.next().ok_or(Damage::Cut)?;
                        lasts = [0; 3];
                        until_restart = header.restart_interval;
                    }
                    until_restart -= 1;
                }
                for channel in 0..num_channels {
                    let (columns, rows) =
                        if channel == 0 { header.sampling.blocks() } else { (1, 1) };
                    let coder = &coders[channel];
                    let tables = &coders[coder.tables];
                    for (row, column) in
                        (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
                    {
                        let waiting = &mut waiting[channel];
                        let is_flat = piece.block(
                            &tables.dc,
                            &tables.ac,
                            &mut lasts[channel],
                            &mut waiting.blocks,
                            waiting.num_blocks,
                        )?;
                        let place = (channel, unit * columns + column, row);
                        waiting.push::<I::Words>(is_flat, place, &coder.steps, samples);
                    }
                }
            }
            for (waiting, coder) in waiting.iter_mut().zip(&*coders) {
                waiting.transform::<I::Words>(&coder.steps, samples);
            }
            samples.write::<I::Words>(header, unit_row, num_unit_rows, pixels);
        }
        finish(&piece)
    }
}

/// Blocks of a channel whose transform waits until there are enough.
struct Waiting {
    blocks: Blocks,
    /// Channel, column and row in the row of units.
    places: [(usize, usize, usize); TOGETHER],
    num_blocks: usize,
}

impl Waiting {
    const NONE: Self = Self { blocks: Blocks::ZEROS, places: [(0, 0, 0); TOGETHER], num_blocks: 0 };

    /// Takes the block behind those that wait; flat ones need no transform.
    #[inline(always)]
    fn push<W: Words>(
        &mut self,
        is_flat: bool,
        place: (usize, usize, usize),
        steps: &[i16; 64],
        samples: &mut Samples,
    ) {
        if is_flat {
            let first = std::mem::take(self.blocks.first(self.num_blocks));
            let sample = transform::flat(first.wrapping_mul(steps[0]));
            let (to, stride) = samples.block(place);
            (0..8).for_each(|row| to[row * stride..][..8].fill(sample));
            return;
        }
        self.places[self.num_blocks] = place;
        self.num_blocks += 1;
        if self.num_blocks == TOGETHER {
            self.transform::<W>(steps, samples);
        }
    }

    #[inline(always)]
    fn transform<W: Words>(&mut self, steps: &[i16; 64], samples: &mut Samples) {
        let places = &self.places[..self.num_blocks];
        for (i, places) in places.chunks(W::LANES).enumerate() {
            let rows = transform::inverse::<W>(self.blocks.rows(), steps, i * W::LANES);
            for (lane, place) in places.iter().enumerate() {
                let (to, stride) = samples.block(*place);
                transform::write(rows, lane, to, stride);
            }
        }
        self.blocks.clear();
        self.num_blocks = 0;
    }
}

fn finish(piece: &Bits<'_>) -> Result<(), Damage> {
    if piece.is_beyond_the_end() { Err(Damage::Cut) } else { Ok(()) }
}
