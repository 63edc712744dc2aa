//! The font of PNG pictures, which is also the measure for laying out text.

use std::sync::OnceLock;

use ttf_parser::Face;

/// The face; `None` never happens with the bundled files.
pub(super) fn face(bold: bool) -> Option<&'static Face<'static>> {
    static REGULAR: OnceLock<Option<Face<'static>>> = OnceLock::new();
    static BOLD: OnceLock<Option<Face<'static>>> = OnceLock::new();
    let (cell, bytes): (_, &'static [u8]) = if bold {
        (&BOLD, include_bytes!("../../../assets/inter-semibold.otf"))
    } else {
        (&REGULAR, include_bytes!("../../../assets/inter-regular.otf"))
    };
    cell.get_or_init(|| Face::parse(bytes, 0).ok()).as_ref()
}

/// Width of a line of text in pixels.
pub(crate) fn text_width(text: &str, size: f32, bold: bool) -> f32 {
    let Some(face) = face(bold) else { return 0.6 * size * text.chars().count() as f32 };
    let units: f32 = text.chars().map(|c| advance(face, c)).sum();
    units * size / f32::from(face.units_per_em())
}

pub(super) fn advance(face: &Face<'_>, c: char) -> f32 {
    let glyph = glyph(face, c);
    f32::from(face.glyph_hor_advance(glyph).unwrap_or(face.units_per_em() / 2))
}

/// The glyph of a character; of one that is not in the font, the sign for that.
pub(super) fn glyph(face: &Face<'_>, c: char) -> ttf_parser::GlyphId {
    face.glyph_index(c).or_else(|| face.glyph_index('\u{fffd}')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_what_charts_write() {
        for bold in [false, true] {
            let face = face(bold).unwrap();
            for c in "Loss 0123456789.,%−×→βτ·…✓–é".chars() {
                assert!(face.glyph_index(c).is_some(), "{c}");
            }
        }
        assert!(text_width("mm", 12.0, false) > 2.0 * text_width("ii", 12.0, false));
        assert_eq!(text_width("", 12.0, false), 0.0);
    }
}
