//! Drawings as PNG, on paper-white.

use tiny_skia::{
    Color, FillRule, FilterQuality, IntSize, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap,
    PixmapPaint, Stroke, StrokeDash, Transform,
};
use ttf_parser::OutlineBuilder;

use super::{Anchor, Drawing, Mark, Point, Shape, font};
use crate::data::Image;
use crate::pages::Error;
use crate::pages::theme::Ink;
use crate::pages::thumbnail;

/// Pixels a side beyond which no picture is made.
const MAX_SIDE: f32 = 16384.0;

impl Drawing {
    /// A PNG file with `scale` pixels for each of the drawing's.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(in crate::pages) fn to_png(&self, scale: f32) -> Result<Vec<u8>, Error> {
        let (width, height) = ((self.width * scale).ceil(), (self.height * scale).ceil());
        let too_large = Error::TooLarge { width: width as u64, height: height as u64 };
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(too_large);
        }
        let Some(mut pixmap) = Pixmap::new(width as u32, height as u32) else {
            return Err(too_large);
        };
        pixmap.fill(Color::WHITE);
        for shape in &self.shapes {
            draw(&mut pixmap, shape, Transform::from_scale(scale, scale));
        }
        let pixels: Vec<u8> =
            pixmap.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
        Ok(thumbnail::encode(width as u32, height as u32, &pixels))
    }
}

fn draw(pixmap: &mut Pixmap, shape: &Shape, transform: Transform) {
    match shape {
        Shape::Lines { lines, ink, width, dash } => {
            let mut path = PathBuilder::new();
            for line in lines {
                outline(&mut path, line);
            }
            let stroke = Stroke {
                width: *width,
                line_join: LineJoin::Round,
                dash: dash.lengths().and_then(|l| StrokeDash::new(l.to_vec(), 0.0)),
                ..Stroke::default()
            };
            if let Some(path) = path.finish() {
                pixmap.stroke_path(&path, &paint(*ink, 1.0), &stroke, transform, None);
            }
        }
        Shape::Area { outline: points, ink, opacity } => {
            let mut path = PathBuilder::new();
            outline(&mut path, points);
            path.close();
            fill(pixmap, path.finish(), &paint(*ink, *opacity), transform);
        }
        Shape::Dots { points, ink, size, mark, opacity, .. } => {
            let cap = if *mark == Mark::Round { LineCap::Round } else { LineCap::Square };
            let stroke = Stroke { width: *size, line_cap: cap, ..Stroke::default() };
            for &(x, y) in points {
                let mut path = PathBuilder::new();
                path.move_to(x, y);
                path.line_to(x, y);
                if let Some(path) = path.finish() {
                    pixmap.stroke_path(&path, &paint(*ink, *opacity), &stroke, transform, None);
                }
            }
        }
        Shape::Text { at, text, size, ink, anchor, bold } => {
            let width = font::text_width(text, *size, *bold);
            let x = match anchor {
                Anchor::Start => at.0,
                Anchor::Middle => at.0 - width / 2.0,
                Anchor::End => at.0 - width,
            };
            let path = text_path(text, (x, at.1), *size, *bold);
            fill(pixmap, path, &paint(*ink, 1.0), transform);
        }
        Shape::UpwardText { at, text, size, ink } => {
            let path =
                text_path(text, (-font::text_width(text, *size, false) / 2.0, 0.0), *size, false);
            let turned = transform.pre_translate(at.0, at.1).pre_rotate(-90.0);
            fill(pixmap, path, &paint(*ink, 1.0), turned);
        }
        Shape::Picture { at, size, image } => {
            if let Some(picture) = opaque(image) {
                let across = size.0 / image.width as f32;
                let down = size.1 / image.height as f32;
                let paint =
                    PixmapPaint { quality: FilterQuality::Nearest, ..PixmapPaint::default() };
                let placed = transform.pre_translate(at.0, at.1).pre_scale(across, down);
                pixmap.draw_pixmap(0, 0, picture.as_ref(), &paint, placed, None);
            }
        }
        Shape::Hover { .. } => {}
    }
}

/// `None` for a picture without pixels.
fn opaque(image: &Image) -> Option<Pixmap> {
    let (width, height) = (u32::try_from(image.width).ok()?, u32::try_from(image.height).ok()?);
    let pixels = image.pixels.as_chunks::<3>().0;
    let rgba = pixels.iter().flat_map(|&[r, g, b]| [r, g, b, u8::MAX]).collect();
    Pixmap::from_vec(rgba, IntSize::from_wh(width, height)?)
}

fn fill(pixmap: &mut Pixmap, path: Option<Path>, paint: &Paint<'_>, transform: Transform) {
    if let Some(path) = path {
        pixmap.fill_path(&path, paint, FillRule::Winding, transform, None);
    }
}

fn paint(ink: Ink, opacity: f32) -> Paint<'static> {
    let [r, g, b] = ink.rgb();
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, (opacity * 255.0).round() as u8);
    paint
}

fn outline(path: &mut PathBuilder, points: &[Point]) {
    for (i, &(x, y)) in points.iter().enumerate() {
        if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
}

fn text_path(text: &str, (mut x, y): Point, size: f32, bold: bool) -> Option<Path> {
    let face = font::face(bold)?;
    let scale = size / f32::from(face.units_per_em());
    let mut path = PathBuilder::new();
    for c in text.chars() {
        face.outline_glyph(font::glyph(face, c), &mut Glyph { path: &mut path, x, y, scale });
        x += font::advance(face, c) * scale;
    }
    path.finish()
}

/// A glyph on its way into a path; a font's y goes up.
struct Glyph<'a> {
    path: &'a mut PathBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl Glyph<'_> {
    fn at(&self, x: f32, y: f32) -> Point {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlineBuilder for Glyph<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::drawing::Dash;

    fn pixels(drawing: &Drawing) -> (usize, Vec<u8>) {
        let png = drawing.to_png(1.0).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width as usize, pixels)
    }

    #[test]
    fn text_and_lines_leave_ink_where_they_should() {
        let mut drawing = Drawing::new(60.0, 30.0, "");
        drawing.text((2.0, 12.0), "HHHH", 12.0, Ink::Text, Anchor::Start);
        drawing.line((0.0, 25.0), (60.0, 25.0), Ink::Series(0), 2.0, Dash::Solid);
        let (width, pixels) = pixels(&drawing);
        let row = |y: usize| pixels[y * width * 3..][..width * 3].to_vec();
        let is_white = |row: &[u8]| row.iter().all(|&v| v == 255);
        assert!(!is_white(&row(8)), "no text");
        assert!(is_white(&row(17)) && is_white(&row(1)), "ink outside of the text");
        assert!(row(25).chunks(3).all(|p| p == Ink::Series(0).rgb()), "the line is not whole");
        assert!(is_white(&row(28)));
    }

    #[test]
    fn pictures_that_are_too_large_are_refused() {
        let drawing = Drawing::new(1e6, 10.0, "");
        assert!(matches!(drawing.to_png(1.0), Err(Error::TooLarge { .. })));
    }
}
