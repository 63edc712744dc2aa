//! A drawing is a list of lines, shapes, text and pictures; [`svg`] and [`raster`] turn it into a picture.

mod font;
mod raster;
mod svg;

pub(super) use font::text_width;

use super::theme::Ink;
use crate::data::Image;

/// A point, in pixels from the upper left corner.
pub(super) type Point = (f32, f32);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
}

impl Dash {
    /// Lengths of a dash and of a gap, for a line of width 1.5.
    fn lengths(self) -> Option<[f32; 2]> {
        match self {
            Self::Solid => None,
            Self::Dashed => Some([6.0, 4.0]),
            Self::Dotted => Some([1.5, 3.0]),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mark {
    Round,
    Square,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Open lines.
    Lines { lines: Vec<Vec<Point>>, ink: Ink, width: f32, dash: Dash },
    /// A closed outline, filled.
    Area { outline: Vec<Point>, ink: Ink, opacity: f32 },
    /// Marks of one kind.
    Dots { points: Vec<Point>, ink: Ink, size: f32, mark: Mark, opacity: f32, title: String },
    /// One line of text, at its baseline.
    Text { at: Point, text: String, size: f32, ink: Ink, anchor: Anchor, bold: bool },
    /// One line of text that reads upwards, centred on a point of its baseline.
    UpwardText { at: Point, text: String, size: f32, ink: Ink },
    /// A picture over a rectangle, its pixels as rectangles.
    Picture { at: Point, size: (f32, f32), image: Image },
    /// Where a pointer shows a value; in SVG only.
    Hover {
        strip: (f32, f32),
        y: (f32, f32),
        dots: Vec<(Point, Ink)>,
        x: f32,
        at: Point,
        text: String,
        as_title: bool,
    },
}

/// A picture that is not drawn yet.
#[derive(Clone, Debug)]
pub(super) struct Drawing {
    pub(super) width: f32,
    pub(super) height: f32,
    /// What it shows, for those who cannot see it.
    pub(super) title: String,
    pub(super) shapes: Vec<Shape>,
}

impl Drawing {
    pub(super) fn new(width: f32, height: f32, title: &str) -> Self {
        Self { width, height, title: title.to_owned(), shapes: Vec::new() }
    }

    pub(super) fn line(&mut self, from: Point, to: Point, ink: Ink, width: f32, dash: Dash) {
        self.shapes.push(Shape::Lines { lines: vec![vec![from, to]], ink, width, dash });
    }

    pub(super) fn text(&mut self, at: Point, text: &str, size: f32, ink: Ink, anchor: Anchor) {
        self.push_text(at, text, size, ink, anchor, false);
    }

    pub(super) fn bold(&mut self, at: Point, text: &str, size: f32) {
        self.push_text(at, text, size, Ink::Text, Anchor::Start, true);
    }

    pub(super) fn picture(&mut self, at: Point, size: (f32, f32), image: Image) {
        self.shapes.push(Shape::Picture { at, size, image });
    }

    fn push_text(
        &mut self,
        at: Point,
        text: &str,
        size: f32,
        ink: Ink,
        anchor: Anchor,
        bold: bool,
    ) {
        self.shapes.push(Shape::Text { at, text: text.to_owned(), size, ink, anchor, bold });
    }

    /// Puts another drawing on this one, its upper left corner at `at`.
    pub(super) fn place(&mut self, at: Point, other: Self) {
        let moved = |p: &mut Point| *p = (p.0 + at.0, p.1 + at.1);
        for mut shape in other.shapes {
            match &mut shape {
                Shape::Lines { lines, .. } => lines.iter_mut().flatten().for_each(moved),
                Shape::Area { outline: points, .. } | Shape::Dots { points, .. } => {
                    points.iter_mut().for_each(moved);
                }
                Shape::Text { at, .. }
                | Shape::UpwardText { at, .. }
                | Shape::Picture { at, .. } => moved(at),
                Shape::Hover { strip, y, dots, x, at: text_at, .. } => {
                    *strip = (strip.0 + at.0, strip.1 + at.0);
                    *y = (y.0 + at.1, y.1 + at.1);
                    *x += at.0;
                    for (p, _) in dots {
                        moved(p);
                    }
                    moved(text_at);
                }
            }
            self.shapes.push(shape);
        }
    }
}
