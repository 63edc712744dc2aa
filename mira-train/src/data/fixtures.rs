//! Image files for tests.

use super::Image;

/// A PNG file of a picture.
pub(super) fn png(image: &Image) -> Vec<u8> {
    encode(image.width, image.height, png::ColorType::Rgb, &image.pixels)
}

/// A PNG file of 1 × 1 pixel.
pub(super) fn grey_png(grey: u8) -> Vec<u8> {
    encode(1, 1, png::ColorType::Grayscale, &[grey])
}

fn encode(width: usize, height: usize, colours: png::ColorType, samples: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(colours);
    encoder.write_header().unwrap().write_image_data(samples).unwrap();
    file
}
