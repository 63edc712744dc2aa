//! JPEG, PNG and WebP files to RGB, recognised by their first bytes and not by their names.
//!
//! Most JPEG files are decoded by [`baseline`], to the same bits as by libjpeg-turbo; others (progressive, CMYK, unusual sampling) by zune-jpeg or,
//! with the feature `turbojpeg`, by libjpeg-turbo itself.
//!
//! Grey is replicated, CMYK converted, 16 bits cut to 8, transparency dropped (as Pillow's `convert("RGB")` does). An orientation
//! in EXIF is not applied, as in torchvision. Damaged files are errors, also where a picture with a grey rest could be made.

mod baseline;
mod colours;
mod misread;
#[cfg(feature = "turbojpeg")]
mod turbo;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use super::{Image, checked};

/// The most pixels an image may have, 2²⁶ (8192 × 8192): the size is read before memory is taken, so that a small file cannot claim
/// all of it.
pub const MAX_PIXELS: usize = 1 << 26;

/// For what a decoder needs beside the pixels.
const MAX_SCRATCH: usize = 512 << 20;

/// The end marker of a JPEG file is looked for in its last 64 KiB: cameras append things.
const TRAILER: usize = 1 << 16;

/// Decodes into a buffer that is reused; the error says what is wrong with the file.
pub(super) fn decode(bytes: &[u8], into: &mut Image) -> Result<(), String> {
    caught(into, |into| decode_within(bytes, MAX_PIXELS, into))
}

/// Decoders of others panic on some files. That is one image that cannot be decoded, like any other, and no reason to end.
fn caught(
    into: &mut Image,
    work: impl FnOnce(&mut Image) -> Result<(), String>,
) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| work(into))).unwrap_or_else(|panic| {
        *into = Image::default();
        Err(format!("decoding it panicked ({}); convert or remove it", checked::message(&*panic)))
    })
}

/// The same with another limit than [`MAX_PIXELS`], and panics as such.
pub(super) fn decode_within(
    bytes: &[u8],
    max_pixels: usize,
    into: &mut Image,
) -> Result<(), String> {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] => jpeg(bytes, max_pixels, into),
        [0x89, b'P', b'N', b'G', ..] => png(bytes, max_pixels, into),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            webp(bytes, max_pixels, into)
        }
        [] => Err("it is empty; remove it or fetch it again".into()),
        _ => Err("it is neither JPEG, PNG nor WebP; convert or remove it".into()),
    }
}

fn reshape(
    into: &mut Image,
    (width, height): (usize, usize),
    max_pixels: usize,
) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(0) => Err(format!("it has {width} × {height} pixels; remove it")),
        Some(num_pixels) if num_pixels <= max_pixels => {
            into.reshape(width, height);
            Ok(())
        }
        _ => Err(format!("it claims {width} × {height} pixels, more than {max_pixels}; shrink it")),
    }
}

fn damaged(kind: &str, error: &dyn std::fmt::Display) -> String {
    format!("damaged or unsupported {kind} ({error}); remove it or fetch it again")
}

fn jpeg(bytes: &[u8], max_pixels: usize, into: &mut Image) -> Result<(), String> {
    if baseline::decode(bytes, max_pixels, into)? {
        return Ok(());
    }
    #[cfg(feature = "turbojpeg")]
    if turbo::jpeg(bytes, max_pixels, into) {
        return Ok(());
    }
    if let Some(problem) = misread::problem(bytes) {
        return Err(problem.into());
    }
    let options = DecoderOptions::default()
        .set_max_width(1 << 16)
        .set_max_height(1 << 16)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| damaged("JPEG", &e))?;
    reshape(into, decoder.dimensions().unwrap_or_default(), max_pixels)?;
    if decoder.output_buffer_size() != Some(into.pixels.len()) {
        return Err(damaged("JPEG", &"its colours cannot be converted to RGB"));
    }
    // Where a damaged scan ends early, the decoder leaves rows as they are, without an error: they must not be those of another image.
    into.pixels.fill(0);
    decoder.decode_into(&mut into.pixels).map_err(|e| damaged("JPEG", &e))?;
    // The decoder does not notice that the last row of blocks is cut short.
    let end = bytes.len().saturating_sub(TRAILER);
    if !bytes[end..].windows(2).any(|marker| marker == [0xFF, 0xD9]) {
        return Err(damaged("JPEG", &"its end is missing"));
    }
    Ok(())
}

fn png(bytes: &[u8], max_pixels: usize, into: &mut Image) -> Result<(), String> {
    let fail = |e: png::DecodingError| damaged("PNG", &e);
    let mut decoder =
        png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: MAX_SCRATCH });
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(fail)?;
    reshape(into, (header.width as usize, header.height as usize), max_pixels)?;
    let mut reader = decoder.read_info().map_err(fail)?;
    // The decoder takes three bytes an entry for granted.
    if let Some(palette) = &reader.info().palette
        && (palette.len() > 3 * 256 || !palette.len().is_multiple_of(3))
    {
        let problem = format!("its palette has {} bytes, expected 3 a colour", palette.len());
        return Err(damaged("PNG", &problem));
    }
    let channels = reader.output_color_type().0.samples();
    if channels == 3 {
        return reader.next_frame(&mut into.pixels).map(|_| ()).map_err(fail);
    }
    let mut samples = vec![0; into.width * into.height * channels];
    reader.next_frame(&mut samples).map_err(fail)?;
    to_rgb(&samples, channels, into);
    Ok(())
}

fn webp(bytes: &[u8], max_pixels: usize, into: &mut Image) -> Result<(), String> {
    let fail = |e: image_webp::DecodingError| damaged("WebP", &e);
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(fail)?;
    decoder.set_memory_limit(MAX_SCRATCH);
    let (width, height) = decoder.dimensions();
    reshape(into, (width as usize, height as usize), max_pixels)?;
    if !decoder.has_alpha() {
        return decoder.read_image(&mut into.pixels).map_err(fail);
    }
    let mut samples = vec![0; into.width * into.height * 4];
    decoder.read_image(&mut samples).map_err(fail)?;
    to_rgb(&samples, 4, into);
    Ok(())
}

/// One to four samples a pixel: grey, grey and alpha, RGB, RGB and alpha.
fn to_rgb(samples: &[u8], channels: usize, into: &mut Image) {
    let pixels = into.pixels.as_chunks_mut::<3>().0;
    for (to, from) in pixels.iter_mut().zip(samples.chunks_exact(channels)) {
        *to = if channels < 3 { [from[0]; 3] } else { [from[0], from[1], from[2]] };
    }
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::SamplingFactor::{F_1_1 as WHOLE, F_2_2 as HALVED};
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
        refused: Vec<Refused>,
    }

    #[derive(Deserialize)]
    struct Refused {
        name: String,
        file: String,
        words: String,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        file: String,
        width: usize,
        height: usize,
        tolerance: u8,
        expected: String,
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    /// Made by `dev/make_image_fixtures.py`.
    fn all_golden() -> Golden {
        serde_json::from_str(include_str!("../../tests/golden/decode.json")).unwrap()
    }

    fn golden() -> Vec<Case> {
        all_golden().cases
    }

    #[test]
    fn every_kind_of_file_is_read_as_pillow_reads_it() {
        let mut image = Image::default();
        let mut wrong = Vec::new();
        for case in golden() {
            if let Err(error) = decode(&bytes(&case.file), &mut image) {
                wrong.push(format!("{}: {error}", case.name));
                continue;
            }
            let expected = bytes(&case.expected);
            assert_eq!((image.width, image.height), (case.width, case.height), "{}", case.name);
            assert_eq!(image.pixels.len(), expected.len(), "{}", case.name);
            let difference = image.pixels.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
            let worst = difference.max().unwrap();
            if worst > case.tolerance {
                wrong.push(format!("{}: differs by {worst}", case.name));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Cut anywhere, a file is an error or (when only its end marker is missing) the whole picture, never a half one.
    #[test]
    fn files_cut_short_are_refused() {
        let (mut image, mut whole) = (Image::default(), Image::default());
        for case in golden() {
            let file = bytes(&case.file);
            decode(&file, &mut whole).unwrap();
            for length in (0..file.len()).step_by(7) {
                let is_ok = decode(&file[..length], &mut image).is_ok();
                assert!(!is_ok || image == whole, "{} cut to {length} bytes", case.name);
            }
        }
    }

    /// A scan that ends early is no picture with a black rest, even where the file's end is as it should be.
    #[test]
    fn scans_that_end_early_are_refused() {
        let mut image = Image::default();
        let mut num_cut = 0;
        for case in golden().into_iter().filter(|case| case.name.starts_with("JPEG 4:")) {
            let file = bytes(&case.file);
            let is_scan = |marker: &[u8]| marker == [0xFF, 0xDA];
            let start = file.windows(2).position(is_scan).unwrap() + 14;
            for cut in start..file.len() - 10 {
                // Not between the two bytes that stand for one.
                let cut = if file[cut - 1] == 0xFF { cut - 1 } else { cut };
                let error = decode(&[&file[..cut], &[0xFF, 0xD9]].concat(), &mut image);
                if case.name.contains("progressive") || case.name.contains("3 x 5") {
                    continue;
                }
                let error = error.unwrap_err();
                assert!(error.contains("its scan"), "{} cut at {cut}: {error}", case.name);
                num_cut += 1;
            }
        }
        assert!(num_cut > 5000, "{num_cut}");
    }

    /// Once it has seen files as large, and whatever codes they have.
    #[test]
    fn our_decoder_takes_no_more_memory_when_warm() {
        let files: Vec<_> = golden().iter().map(|case| bytes(&case.file)).collect();
        let mut image = Image::default();
        let mut decode_all = || {
            let ours = |file: &&Vec<u8>| baseline::decode(file, MAX_PIXELS, &mut image) == Ok(true);
            files.iter().filter(ours).count()
        };
        let num_decoded = decode_all();
        let (again, peak) = crate::fuzzing::peak(decode_all);
        assert_eq!((again, peak), (num_decoded, 0));
        assert!(num_decoded > 10, "{num_decoded}");
    }

    /// Usual files are decoded here, not by the decoder for others.
    #[test]
    fn usual_files_are_decoded_by_our_own_decoder() {
        let mut image = Image::default();
        for case in golden().into_iter().filter(|case| case.name.starts_with("JPEG")) {
            let unusual = ["progressive", "CMYK", "3 x 5", "of RGB"];
            let is_usual = !unusual.iter().any(|word| case.name.contains(word));
            let ours = baseline::decode(&bytes(&case.file), MAX_PIXELS, &mut image);
            assert_eq!(ours, Ok(is_usual), "{}", case.name);
        }
    }

    #[test]
    fn what_another_decoder_reads_wrongly_or_panics_on_is_refused() {
        for Refused { name, file, words } in all_golden().refused {
            let mut image = Image { width: 1, height: 1, pixels: vec![7; 3] };
            let decoded = decode(&bytes(&file), &mut image);
            if cfg!(feature = "turbojpeg") {
                assert_eq!(decoded, Ok(()), "{name}");
            } else {
                let error = decoded.unwrap_err();
                assert!(error.contains(&words), "{name}: {error}");
            }
        }
    }

    #[test]
    fn a_panic_is_an_error_of_the_image_and_leaves_nothing_of_it() {
        let mut image = Image::default();
        let error = caught(&mut image, |image| {
            image.reshape(3, 2);
            panic!("told to")
        });
        assert!(error.unwrap_err().contains("panicked (told to)"));
        assert!(image == Image::default());
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        let mut image = Image::default();
        for (bytes, words) in [
            (&b""[..], "empty"),
            (b"<html>404</html>", "neither JPEG, PNG nor WebP"),
            (b"GIF89a", "neither"),
            (b"\xFF\xD8\xFF", "damaged or unsupported JPEG"),
            (b"\x89PNG\r\n\x1a\n", "damaged or unsupported PNG"),
        ] {
            let error = decode(bytes, &mut image).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    /// Scans for each channel are an error only where channels are subsampled; the files we write ourselves have one scan.
    #[test]
    fn scans_of_subsampled_channels_are_refused_rather_than_read_wrongly() {
        let pixels: Vec<u8> =
            (0..32 * 32).flat_map(|i| [i % 32 * 8, i / 32 * 8, 128].map(|v| v as u8)).collect();
        let encode = |sampling, is_optimised| {
            let mut file = Vec::new();
            let mut encoder = jpeg_encoder::Encoder::new(&mut file, 95);
            encoder.set_sampling_factor(sampling);
            // Whose tables follow from the whole picture, so that it writes a channel at a time.
            encoder.set_optimized_huffman_tables(is_optimised);
            encoder.encode(&pixels, 32, 32, jpeg_encoder::ColorType::Rgb).unwrap();
            file
        };
        let is_right = |image: &Image| {
            let differences = image.pixels.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b));
            differences.map(u64::from).sum::<u64>() < 8 * pixels.len() as u64
        };
        let mut image = Image::default();
        for (sampling, is_optimised) in [(WHOLE, false), (WHOLE, true), (HALVED, false)] {
            decode(&encode(sampling, is_optimised), &mut image).unwrap();
            assert!(is_right(&image), "{sampling:?}, {is_optimised}");
        }
        let decoded = decode(&encode(HALVED, true), &mut image);
        if cfg!(feature = "turbojpeg") {
            // libjpeg-turbo reads those, too.
            assert!(decoded.is_ok() && is_right(&image), "{decoded:?}");
        } else {
            let error = decoded.unwrap_err();
            assert!(error.contains("one scan a channel"), "{error}");
        }
    }

    /// A header of a huge picture is refused before memory is taken for it.
    #[test]
    fn decompression_bombs_are_refused() {
        let case = |name: &str| {
            let case = golden().into_iter().find(|case| case.name == name).unwrap();
            bytes(&case.file)
        };
        let mut image = Image::default();
        let mut png = case("PNG, grey");
        png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]); // 65536 × 65536
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = decode(&png, &mut image).unwrap_err();
        assert!(error.contains("65536 × 65536"), "{error}");

        let mut jpeg = case("JPEG, grey");
        let frame = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF]);
        let error = decode(&jpeg, &mut image).unwrap_err();
        assert!(error.contains("65535 × 65535"), "{error}");
        assert_eq!(image.pixels.capacity(), 0);
    }

    /// As PNG defines it.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }
}
