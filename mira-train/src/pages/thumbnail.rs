//! Small pictures in a page, as PNG data URIs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An RGB picture with a caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Three bytes a pixel, row by row.
    pub rgb: Vec<u8>,
    /// What is written below it; plain text.
    pub caption: String,
}

impl Thumbnail {
    /// `data:image/png;base64,…`, made smaller so that no side is longer than `max_side`; `None` if the bytes do not fill the picture.
    pub(super) fn data_uri(&self, max_side: usize) -> Option<String> {
        let num_bytes = self.width.checked_mul(self.height)?.checked_mul(3)?;
        if num_bytes == 0 || num_bytes != self.rgb.len() {
            return None;
        }
        let longest = self.width.max(self.height);
        let (width, height, rgb) = if longest <= max_side.max(1) {
            (self.width, self.height, self.rgb.clone())
        } else {
            let fit = |side: usize| (side * max_side / longest).max(1);
            let (width, height) = (fit(self.width), fit(self.height));
            (width, height, self.shrunk(width, height))
        };
        data_uri(width, height, &rgb)
    }

    /// Each new pixel is the mean of those it covers.
    fn shrunk(&self, width: usize, height: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(width * height * 3);
        let span = |i: usize, new: usize, old: usize| {
            let start = i * old / new;
            start..((i + 1) * old / new).max(start + 1)
        };
        for y in 0..height {
            let rows = span(y, height, self.height);
            for x in 0..width {
                let columns = span(x, width, self.width);
                let num_pixels = (rows.len() * columns.len()) as u64;
                for channel in 0..3 {
                    let sum: u64 = rows
                        .clone()
                        .flat_map(|r| {
                            columns.clone().map(move |c| (r * self.width + c) * 3 + channel)
                        })
                        .map(|i| u64::from(self.rgb[i]))
                        .sum();
                    out.push(((sum + num_pixels / 2) / num_pixels) as u8);
                }
            }
        }
        out
    }
}

/// `data:image/png;base64,…` of `width * height * 3` bytes.
pub(super) fn data_uri(width: usize, height: usize, rgb: &[u8]) -> Option<String> {
    let png = encode(u32::try_from(width).ok()?, u32::try_from(height).ok()?, rgb);
    Some(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

/// A PNG file of `width * height * 3` bytes.
pub(super) fn encode(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    // Into memory, with lengths that agree, neither of these fails.
    if let Ok(mut writer) = encoder.write_header() {
        let _ = writer.write_image_data(rgb);
    }
    png
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(uri: &str) -> (u32, u32, Vec<u8>) {
        let png = STANDARD.decode(uri.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width, info.height, pixels)
    }

    #[test]
    fn small_pictures_come_back_as_they_were() {
        let rgb: Vec<u8> = (0..18).map(|i| i * 14).collect();
        let picture = Thumbnail { width: 3, height: 2, rgb: rgb.clone(), caption: String::new() };
        assert_eq!(decode(&picture.data_uri(96).unwrap()), (3, 2, rgb));
    }

    #[test]
    fn large_ones_are_averaged() {
        let rgb = [[0, 10, 100], [100, 30, 200], [50, 0, 0], [51, 0, 0]].repeat(2).concat();
        let picture = Thumbnail { width: 4, height: 2, rgb, caption: String::new() };
        assert_eq!(decode(&picture.data_uri(2).unwrap()), (2, 1, vec![50, 20, 150, 51, 0, 0]));
    }

    #[test]
    fn pictures_that_do_not_add_up_are_left_out() {
        let broken = Thumbnail { width: 4, height: 4, rgb: vec![0; 5], caption: String::new() };
        assert_eq!(broken.data_uri(96), None);
    }
}
