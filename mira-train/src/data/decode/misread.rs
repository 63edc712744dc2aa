//! JPEG files that zune-jpeg 0.5.15 decodes to another picture, without an error.

use super::colours::Colours;

const ONE_SCAN_A_CHANNEL: &str = "a JPEG with one scan a channel, which the decoder reads wrongly; convert it (jpegtran does without loss)";
const FEWER_COLUMNS: &str = "a JPEG whose first channel has fewer columns than another, which the decoder reads wrongly; convert it";
const COLOURS: &str = "a JPEG whose markers contradict each other on how its colours are coded, which the decoder reads wrongly; convert it";

/// What a frame's segment says.
struct Frame<'a> {
    is_sequential: bool,
    /// Name, sampling (columns and rows, four bits each) and quantisation of each.
    channels: &'a [[u8; 3]],
}

/// What is unusual about a file in that way, if something is. Looks at what stands before the first scan.
pub(super) fn problem(file: &[u8]) -> Option<&'static str> {
    let mut rest = file.get(2..)?;
    let mut colours = Colours::default();
    let mut frame = None;
    loop {
        // Whatever is between markers is passed over, as decoders do.
        let at =
            rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF))?;
        let (marker, after) = (rest[at + 1], &rest[at + 2..]);
        if matches!(marker, 0x01 | 0xD0..=0xD8) {
            // Those have no length.
            rest = after;
            continue;
        }
        let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
        let segment = after.get(2..length)?;
        rest = &after[length..];
        match marker {
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let channels = segment.get(6..)?.as_chunks().0;
                frame = Some(Frame { is_sequential: marker <= 0xC1, channels });
            }
            0xDA => return frame?.problem(colours, usize::from(*segment.first()?)),
            _ => colours.see(marker, segment),
        }
    }
}

impl Frame<'_> {
    fn problem(&self, colours: Colours, num_in_scan: usize) -> Option<&'static str> {
        let columns = |sampling: u8| sampling >> 4;
        let [_, first, _] = *self.channels.first()?;
        let mut samplings = self.channels.iter().map(|channel| channel[1]);
        // Progressive files have many scans, and any sampling, and are decoded as they should be.
        if self.is_sequential {
            // zune-image issue 422.
            let is_sampled = samplings.clone().any(|sampling| sampling != 0x11);
            if is_sampled && num_in_scan < self.channels.len() {
                return Some(ONE_SCAN_A_CHANNEL);
            }
            if samplings.any(|sampling| columns(sampling) > columns(first)) {
                return Some(FEWER_COLUMNS);
            }
        }
        let names: Vec<u8> = self.channels.iter().map(|channel| channel[0]).collect();
        colours.are_misread(&names).then_some(COLOURS)
    }
}
