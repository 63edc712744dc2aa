//! The orientation that a camera wrote into a JPEG file. It is not applied, as torchvision's loader does not; it is counted, so that
//! whoever has such images knows.

/// What is read of a file in search of it: it comes before the pixels.
const MAX_SEGMENTS: usize = 64;

/// The field `Orientation` of the first `Exif` segment, 1 for upright; `None` where there is none.
pub(super) fn orientation(file: &[u8]) -> Option<u16> {
    let mut rest = file.strip_prefix(b"\xff\xd8")?;
    for _ in 0..MAX_SEGMENTS {
        let [0xff, marker, high, low, ..] = *rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        match (marker, segment.strip_prefix(b"Exif\0\0")) {
            (0xe1, Some(tiff)) => return Tiff::new(tiff)?.orientation(),
            // Pixels from here on.
            (0xda, _) => return None,
            _ => rest = rest.get(2 + length..)?,
        }
    }
    None
}

/// A TIFF file, of which only the first directory is read.
struct Tiff<'a> {
    bytes: &'a [u8],
    is_little_endian: bool,
}

impl<'a> Tiff<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let is_little_endian = match bytes.get(..2)? {
            b"II" => true,
            b"MM" => false,
            _ => return None,
        };
        let tiff = Self { bytes, is_little_endian };
        (tiff.u16(2)? == 42).then_some(tiff)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_little_endian {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_little_endian {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    fn orientation(&self) -> Option<u16> {
        const ORIENTATION: u16 = 0x0112;
        const SHORT: u16 = 3;
        let directory = self.u32(4)? as usize;
        let count = usize::from(self.u16(directory)?);
        let entry = (0..count)
            .map(|i| directory + 2 + 12 * i)
            .take_while(|&at| at < self.bytes.len())
            .find(|&at| self.u16(at) == Some(ORIENTATION))?;
        let is_short = self.u16(entry + 2)? == SHORT;
        self.u16(entry + 8).filter(|value| is_short && (1..=8).contains(value))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A JPEG file with an orientation put behind its first marker, in either order of bytes.
    pub(in crate::data) fn turned(
        jpeg: &[u8],
        orientation: u16,
        is_little_endian: bool,
    ) -> Vec<u8> {
        let short = |n: u16| if is_little_endian { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: u32| if is_little_endian { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut exif = b"Exif\0\0".to_vec();
        exif.extend_from_slice(if is_little_endian { b"II" } else { b"MM" });
        exif.extend([&short(42)[..], &long(8), &short(2)].concat());
        // The image's width, of another type, comes before.
        exif.extend([&short(0x0100)[..], &short(4), &long(1), &long(6)].concat());
        exif.extend(
            [&short(0x0112)[..], &short(3), &long(1), &short(orientation), &short(0)].concat(),
        );
        exif.extend(long(0));
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        [&jpeg[..2], b"\xff\xe1", &length, &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn orientations_are_found_in_both_orders_of_bytes() {
        let plain = b"\xff\xd8\xff\xe0\0\x04ab\xff\xda\0\x02";
        assert_eq!(orientation(plain), None);
        for is_little_endian in [false, true] {
            for value in 1..=8 {
                assert_eq!(orientation(&turned(plain, value, is_little_endian)), Some(value));
            }
            assert_eq!(orientation(&turned(plain, 9, is_little_endian)), None);
        }
        // Behind the pixels' marker nothing is looked for.
        let late = turned(plain, 6, true);
        let late = [&b"\xff\xd8\xff\xda\0\x02"[..], &late[2..]].concat();
        assert_eq!(orientation(&late), None);
        for length in 0..50 {
            assert_eq!(orientation(&turned(plain, 6, true)[..length]), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..60_usize, value: u8) {
            let _ = orientation(&bytes);
            bytes.splice(..0, *b"\xff\xd8\xff\xe1\0\x60Exif\0\0II\x2a\0");
            let _ = orientation(&bytes);
            let mut file = turned(b"\xff\xd8\xff\xda\0\x02", 3, false);
            file[at % 50] = value;
            let _ = orientation(&file);
        }
    }
}
