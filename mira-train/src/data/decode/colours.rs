//! How the colours of a JPEG file are coded, by its markers and the names of its channels.

/// The markers that say something of it, up to the first scan.
#[derive(Clone, Copy, Default)]
pub(super) struct Colours {
    is_jfif: bool,
    adobe_transform: Option<u8>,
}

impl Colours {
    /// Takes a segment of application data. Those too short are somebody else's, as for libjpeg.
    pub(super) fn see(&mut self, marker: u8, segment: &[u8]) {
        match (marker, segment) {
            (0xE0, [b'J', b'F', b'I', b'F', 0, rest @ ..]) => self.is_jfif |= rest.len() >= 9,
            (0xEE, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                self.adobe_transform = Some(*transform);
            }
            _ => {}
        }
    }

    /// Of three channels with these names, as libjpeg concludes it; otherwise they are RGB.
    pub(super) fn are_ycbcr(self, names: [u8; 3]) -> bool {
        match (self.is_jfif, self.adobe_transform) {
            (true, _) => true,
            (false, Some(transform)) => transform != 0,
            (false, None) => names != *b"RGB",
        }
    }

    /// Whether zune-jpeg concludes another thing.
    pub(super) fn are_misread(self, names: &[u8]) -> bool {
        match *names {
            [a, b, c] => {
                let names = [a, b, c];
                self.are_ycbcr(names) != (names != *b"RGB" && self.adobe_transform != Some(0))
            }
            // CMYK for it, YCCK for libjpeg.
            [_, _, _, _] => self.adobe_transform == Some(1),
            _ => false,
        }
    }
}
