//! Unusual JPEG files through libjpeg-turbo, where the feature `turbojpeg` has built it.

use std::cell::RefCell;

use turbojpeg::{Colorspace, Decompressor, PixelFormat};

use super::{Image, reshape};

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor>> = const { RefCell::new(None) };
}

/// Scans of a progressive file, at most; as in the other decoder.
const MAX_SCANS: u32 = 100;

/// Whether it has been decoded. What the library has an objection to, and what it does not convert to RGB, is left to the other decoder,
/// so that both builds read the same files and refuse the others with the same words.
pub(super) fn jpeg(bytes: &[u8], max_pixels: usize, into: &mut Image) -> bool {
    DECOMPRESSOR
        .with_borrow_mut(|decompressor| decode(decompressor, bytes, max_pixels, into).is_some())
}

fn decode(
    decompressor: &mut Option<Decompressor>,
    bytes: &[u8],
    max_pixels: usize,
    into: &mut Image,
) -> Option<()> {
    let decompressor = match decompressor {
        Some(decompressor) => decompressor,
        none => {
            let mut new = Decompressor::new().ok()?;
            new.set_scan_limit(MAX_SCANS).ok()?;
            none.insert(new)
        }
    };
    let header = decompressor.read_header(bytes).ok()?;
    if header.is_lossless || matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK) {
        return None;
    }
    let (width, height) = (header.width, header.height);
    reshape(into, (width, height), max_pixels).ok()?;
    let pixels = &mut into.pixels[..];
    let format = PixelFormat::RGB;
    let out = turbojpeg::Image { pixels, width, pitch: 3 * width, height, format };
    // A warning is an error here, so a picture with a grey rest does not come out.
    decompressor.decompress(bytes, out).ok()
}
