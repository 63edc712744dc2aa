//! What stands before the scan, of the files that this decoder takes.

use crate::data::decode::colours::Colours;

/// How much of the picture's resolution the colours have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    /// There are none.
    Grey,
    /// 4:4:4.
    Whole,
    /// 4:2:2: half the columns.
    HalfColumns,
    /// 4:4:0: half the rows.
    HalfRows,
    /// 4:2:0: half the columns and half the rows.
    Quarter,
}

impl Sampling {
    /// Blocks of brightness in a unit of the scan: columns, rows. Of colours there is one each.
    pub(super) const fn blocks(self) -> (usize, usize) {
        match self {
            Self::Grey | Self::Whole => (1, 1),
            Self::HalfColumns => (2, 1),
            Self::HalfRows => (1, 2),
            Self::Quarter => (2, 2),
        }
    }

    /// Of the file.
    pub(super) const fn num_channels(self) -> usize {
        if matches!(self, Self::Grey) { 1 } else { 3 }
    }
}

/// What a channel is coded with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Channel<'a> {
    /// Quantisation: 64 bytes in zigzag order.
    pub(super) steps: &'a [u8],
    /// Huffman codes of first coefficients: how many there are of 1 to 16 bits, then their symbols in order.
    pub(super) dc_codes: &'a [u8],
    /// Those of the others.
    pub(super) ac_codes: &'a [u8],
}

/// What is needed to decode a file.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) sampling: Sampling,
    /// As many as the sampling has.
    pub(super) channels: [Channel<'a>; 3],
    /// Units between two restart markers, 0 where there are none.
    pub(super) restart_interval: usize,
    /// The scan's entropy-coded bytes, and what follows them.
    pub(super) scan: &'a [u8],
}

/// Tables by their numbers in the file.
#[derive(Default)]
struct Tables<'a> {
    steps: [&'a [u8]; 4],
    dc_codes: [&'a [u8]; 4],
    ac_codes: [&'a [u8]; 4],
}

/// What a frame's segment says of a channel.
#[derive(Clone, Copy, Default)]
struct Component {
    name: u8,
    /// Columns and rows of blocks, four bits each.
    sampling: u8,
    steps: u8,
}

struct Frame {
    width: usize,
    height: usize,
    components: [Component; 3],
    sampling: Sampling,
}

impl<'a> Header<'a> {
    /// Of a file that begins with the marker of an image's start. `None` is for what is not one sequential scan with 8 bits, grey or YCbCr in
    /// 4:4:4, 4:2:2, 4:4:0 or 4:2:0, and for damage: another decoder knows what to say.
    pub(super) fn read(file: &'a [u8]) -> Option<Self> {
        let mut tables = Tables::default();
        let mut colours = Colours::default();
        let (mut frame, mut restart_interval) = (None, 0);
        let mut rest = file.get(2..)?;
        loop {
            let [0xFF, marker, after @ ..] = rest else { return None };
            // Fill bytes.
            if *marker == 0xFF {
                rest = &rest[1..];
                continue;
            }
            let length = number(after)?;
            let segment = after.get(2..length)?;
            rest = &after[length..];
            match marker {
                0xC0 | 0xC1 if frame.is_none() => frame = Some(Frame::read(segment)?),
                0xC4 => tables.read_codes(segment)?,
                0xDB => tables.read_steps(segment)?,
                0xDD => restart_interval = number(segment)?,
                0xDA => {
                    break Self::new(&frame?, colours, &tables, restart_interval, segment, rest);
                }
                // Application data, comments.
                0xE0..=0xEF | 0xFE => colours.see(*marker, segment),
                _ => return None,
            }
        }
    }

    fn new(
        frame: &Frame,
        colours: Colours,
        tables: &Tables<'a>,
        restart_interval: usize,
        segment: &[u8],
        scan: &'a [u8],
    ) -> Option<Self> {
        let num_channels = frame.sampling.num_channels();
        if num_channels == 3 && !colours.are_ycbcr(frame.components.map(|component| component.name))
        {
            return None;
        }
        let [count, in_scan @ ..] = segment else { return None };
        let (in_scan, selection) = in_scan.split_at_checked(2 * num_channels)?;
        // All coefficients, with all their bits.
        if usize::from(*count) != num_channels || selection != [0, 63, 0] {
            return None;
        }
        let mut channels = [Channel::default(); 3];
        let components = frame.components.iter().zip(in_scan.chunks_exact(2));
        for (channel, (component, in_scan)) in channels.iter_mut().zip(components) {
            let table = |tables: &[&'a [u8]; 4], number: u8| {
                tables.get(usize::from(number)).copied().filter(|table| !table.is_empty())
            };
            if in_scan[0] != component.name {
                return None;
            }
            *channel = Channel {
                steps: table(&tables.steps, component.steps)?,
                dc_codes: table(&tables.dc_codes, in_scan[1] >> 4)?,
                ac_codes: table(&tables.ac_codes, in_scan[1] & 15)?,
            };
        }
        let &Frame { width, height, sampling, .. } = frame;
        Some(Self { width, height, sampling, channels, restart_interval, scan })
    }
}

impl Frame {
    fn read(segment: &[u8]) -> Option<Self> {
        let [8, size @ ..] = segment else { return None };
        let (height, width) = (number(size)?, number(&size[2..])?);
        let (count, channels) = size[4..].split_first()?;
        let mut components = [Component::default(); 3];
        let is_complete = channels.len() == 3 * usize::from(*count);
        if !is_complete || !matches!(count, 1 | 3) || width == 0 || height == 0 {
            return None;
        }
        for (component, channel) in components.iter_mut().zip(channels.chunks_exact(3)) {
            *component = Component { name: channel[0], sampling: channel[1], steps: channel[2] };
        }
        let sampling = match (count, components.map(|component| component.sampling)) {
            // A single channel's blocks follow each other whatever its sampling is said to be.
            (1, _) => Sampling::Grey,
            (_, [0x11, 0x11, 0x11]) => Sampling::Whole,
            (_, [0x12, 0x11, 0x11]) => Sampling::HalfRows,
            // Of so few columns libjpeg repeats colours.
            _ if width <= 4 => return None,
            (_, [0x21, 0x11, 0x11]) => Sampling::HalfColumns,
            (_, [0x22, 0x11, 0x11]) => Sampling::Quarter,
            _ => return None,
        };
        Some(Self { width, height, components, sampling })
    }
}

impl<'a> Tables<'a> {
    fn read_steps(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&number, rest)) = segment.split_first() {
            let steps;
            (steps, segment) = rest.split_at_checked(64)?;
            // Steps of 16 bits have a number beyond the four there are.
            *self.steps.get_mut(usize::from(number))? = steps;
        }
        Some(())
    }

    fn read_codes(&mut self, mut segment: &'a [u8]) -> Option<()> {
        while let Some((&number, rest)) = segment.split_first() {
            let num_codes: usize = rest.get(..16)?.iter().map(|count| usize::from(*count)).sum();
            let codes;
            (codes, segment) = rest.split_at_checked(16 + num_codes)?;
            let tables = match number >> 4 {
                0 => &mut self.dc_codes,
                1 => &mut self.ac_codes,
                _ => return None,
            };
            *tables.get_mut(usize::from(number & 15))? = codes;
        }
        Some(())
    }
}

/// Two bytes, the high one first.
fn number(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
}
