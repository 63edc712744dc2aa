//! A contact sheet: a row an image, the original and beside it the views that training makes of it, with what was drawn for each.

mod label;

use super::Error;
use super::chart::fitted;
use super::drawing::{Anchor, Dash, Drawing, Point, Shape};
use super::theme::Ink;
use crate::data::{CropBox, Example, Image, Interpolation, ViewSpec};
use label::wrapped;

/// Pixels of the PNG for each of the drawing's, so that text is sharp.
const SCALE: usize = 2;
/// The longest side of a picture, in pixels of the PNG.
const MAX_SIDE: usize = 300;
/// Below, in pixels of the drawing.
const MARGIN: f32 = 24.0;
const GAP: f32 = 18.0;
/// Room for the name of an image.
const LABEL: f32 = 150.0;
/// Views that are smaller get as much, for what is written beneath them.
const MIN_COLUMN: f32 = 144.0;
const HEAD: f32 = 118.0;
const SIZE: f32 = 10.5;
const LINE: f32 = 14.0;

/// The rows to be drawn, and what stands above them.
#[derive(Clone, Debug)]
pub struct Sheet {
    title: String,
    subtitle: String,
    /// Name and side of every view.
    views: Vec<(String, usize)>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    details: Vec<String>,
    original: Image,
    /// Width and height before it was made to fit.
    size: (usize, usize),
    views: Vec<Image>,
    crops: Vec<CropBox>,
    operations: Vec<Vec<String>>,
}

impl Sheet {
    /// A sheet without rows, for images with views of these kinds.
    pub fn new(title: &str, subtitle: &str, specs: &[ViewSpec]) -> Self {
        let views = specs.iter().flat_map(|spec| {
            (1..=spec.count).map(move |i| match spec.count {
                1 => (spec.name.clone(), spec.size),
                _ => (format!("{} {i}", spec.name), spec.size),
            })
        });
        Self {
            title: title.into(),
            subtitle: subtitle.into(),
            views: views.collect(),
            rows: Vec::new(),
        }
    }

    /// Another row; pictures too large for the sheet are made smaller.
    pub fn push(&mut self, example: Example, name: String, class: Option<&str>) {
        let (width, height) = (example.image.width, example.image.height);
        let mut details = Vec::new();
        details.extend(class.map(|class| format!("class {class}")));
        if !name.starts_with(&format!("image {} ", example.index)) {
            details.push(format!("image {}", example.index));
        }
        details.push(format!("{width} × {height} px"));
        let mut row = Row {
            name,
            details,
            original: fitting(example.image, width.max(height)),
            size: (width, height),
            views: Vec::new(),
            crops: Vec::new(),
            operations: Vec::new(),
        };
        let largest = self.largest_view();
        for view in example.views {
            row.crops.push(view.parameters.crop);
            row.operations.push(view.parameters.operations());
            row.views.push(fitting(view.image, largest));
        }
        self.rows.push(row);
    }

    /// How many images there are.
    pub fn num_rows(&self) -> usize {
        self.rows.len()
    }

    /// The sheet as a PNG file.
    ///
    /// # Errors
    /// [`Error::SheetTooLarge`] for many images or views.
    pub fn to_png(&self) -> Result<Vec<u8>, Error> {
        self.drawing().to_png(SCALE as f32).map_err(|error| match error {
            Error::TooLarge { width, height } => Error::SheetTooLarge { width, height },
            other => other,
        })
    }

    fn largest_view(&self) -> usize {
        self.views.iter().map(|&(_, size)| size).max().unwrap_or(1)
    }

    /// Left edge and width of the original's column and of each view's.
    fn columns(&self) -> Vec<(f32, f32)> {
        let largest = self.largest_view();
        let widths = self.views.iter().map(|&(_, size)| {
            let shown = shrunk(size, largest) * factor(largest);
            on_sheet(shown).ceil().max(MIN_COLUMN)
        });
        let mut left = MARGIN + LABEL + GAP;
        std::iter::once(on_sheet(MAX_SIDE))
            .chain(widths)
            .map(|width| {
                let at = left;
                left += width + GAP;
                (at, width)
            })
            .collect()
    }

    fn drawing(&self) -> Drawing {
        let columns = self.columns();
        let right = columns.last().map_or(MARGIN, |&(left, width)| left + width);
        let mut out = Drawing::new(right + MARGIN, 0.0, &self.title);
        let room = right - MARGIN;
        out.bold((MARGIN, MARGIN + 14.0), &fitted(&self.title, 0.95 * room, 18.0), 18.0);
        let subtitle = fitted(&self.subtitle, room, 11.5);
        out.text((MARGIN, MARGIN + 33.0), &subtitle, 11.5, Ink::Muted, Anchor::Start);
        self.head(&mut out, &columns);
        let mut top = HEAD;
        for row in &self.rows {
            out.line((MARGIN, top), (right, top), Ink::Grid, 1.0, Dash::Solid);
            top = row.draw(&mut out, top + 12.0, &columns, factor(self.largest_view())) + 14.0;
        }
        out.height = top + MARGIN - 14.0;
        out
    }

    /// What the columns are; the line under a view's name has the colour of its crops on the original.
    fn head(&self, out: &mut Drawing, columns: &[(f32, f32)]) {
        let (name, sizes) = (HEAD - 24.0, HEAD - 10.0);
        let mut columns = columns.iter();
        if let Some(&(left, _)) = columns.next() {
            out.bold((left, name), "original", 12.0);
            out.text((left, sizes), "with the crops", SIZE, Ink::Muted, Anchor::Start);
        }
        for (i, ((view, size), &(left, width))) in self.views.iter().zip(columns).enumerate() {
            let ink = Ink::Series(i);
            out.line((left, name - 16.0), (left + width, name - 16.0), ink, 3.0, Dash::Solid);
            out.bold((left, name), &fitted(view, 0.95 * width, 12.0), 12.0);
            let size = format!("{size} × {size} px");
            out.text((left, sizes), &size, SIZE, Ink::Muted, Anchor::Start);
        }
    }
}

impl Row {
    /// Draws from `top` on; where the row ends.
    fn draw(&self, out: &mut Drawing, top: f32, columns: &[(f32, f32)], repeat: usize) -> f32 {
        let mut bottom = self.label(out, top);
        let mut columns = columns.iter();
        if let Some(&(left, _)) = columns.next() {
            let longest = self.original.width.max(self.original.height);
            bottom = bottom.max(self.original(out, (left, top), factor(longest)));
        }
        for ((view, operations), &(left, width)) in
            self.views.iter().zip(&self.operations).zip(columns)
        {
            let end = picture(out, (left, top), view, repeat);
            bottom = bottom.max(lines(out, (left, end + 4.0), operations, width));
        }
        bottom
    }

    fn label(&self, out: &mut Drawing, top: f32) -> f32 {
        let mut y = top + 10.0;
        for line in wrapped(&self.name, 0.93 * LABEL, 11.5, 4) {
            out.bold((MARGIN, y), &line, 11.5);
            y += LINE + 1.0;
        }
        for line in self.details.iter().flat_map(|line| wrapped(line, LABEL, SIZE, 2)) {
            out.text((MARGIN, y), &line, SIZE, Ink::Muted, Anchor::Start);
            y += LINE;
        }
        y - LINE + 4.0
    }

    fn original(&self, out: &mut Drawing, at: Point, repeat: usize) -> f32 {
        let bottom = picture(out, at, &self.original, repeat);
        let across = on_sheet(self.original.width * repeat) / self.size.0 as f32;
        let down = on_sheet(self.original.height * repeat) / self.size.1 as f32;
        for (i, crop) in self.crops.iter().enumerate() {
            let (left, top) = (at.0 + crop.left as f32 * across, at.1 + crop.top as f32 * down);
            let right = left + crop.width as f32 * across;
            let bottom = top + crop.height as f32 * down;
            for (ink, width) in [(Ink::Surface, 2.5), (Ink::Series(i), 1.5)] {
                frame(out, (left, top), (right, bottom), ink, width);
            }
        }
        bottom
    }
}

/// Pixels of the PNG in those of the drawing.
fn on_sheet(pixels: usize) -> f32 {
    pixels as f32 / SCALE as f32
}

/// How often each pixel of a picture is repeated, if `longest` is the longest side of those that are shown alike.
fn factor(longest: usize) -> usize {
    (MAX_SIDE / longest.max(1)).max(1)
}

/// A side after [`fitting`].
fn shrunk(side: usize, longest: usize) -> usize {
    if longest <= MAX_SIDE { side } else { (side * MAX_SIDE / longest).max(1) }
}

/// A picture as it is or, if `longest` is too long for the sheet, smaller by as much as that is.
fn fitting(image: Image, longest: usize) -> Image {
    if longest <= MAX_SIDE {
        return image;
    }
    let (width, height) = (shrunk(image.width, longest), shrunk(image.height, longest));
    image.resized(width, height, Interpolation::Bicubic)
}

/// Draws a picture, each pixel as `repeat × repeat` of the PNG's; where it ends.
fn picture(out: &mut Drawing, at: Point, image: &Image, repeat: usize) -> f32 {
    let size = (on_sheet(image.width * repeat), on_sheet(image.height * repeat));
    out.picture(at, size, image.clone());
    // Beside the picture, not on it: where a white one ends can be seen, and no pixel is covered.
    let beside = 0.5 / SCALE as f32;
    let (left, top) = (at.0 - beside, at.1 - beside);
    frame(
        out,
        (left, top),
        (at.0 + size.0 + beside, at.1 + size.1 + beside),
        Ink::Axis,
        2.0 * beside,
    );
    (at.1 + size.1).ceil()
}

/// Draws a rectangle.
fn frame(out: &mut Drawing, (left, top): Point, (right, bottom): Point, ink: Ink, width: f32) {
    let corners = vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
    out.shapes.push(Shape::Lines { lines: vec![corners], ink, width, dash: Dash::Solid });
}

/// Draws text below `top`, each piece in a line of its own, or more if it is too wide; where it ends.
fn lines(out: &mut Drawing, (left, top): Point, pieces: &[String], width: f32) -> f32 {
    let mut y = top;
    for line in pieces.iter().flat_map(|piece| wrapped(piece, width, SIZE, 3)) {
        y += LINE;
        out.text((left, y - 3.0), &line, SIZE, Ink::Text, Anchor::Start);
    }
    y
}

#[cfg(test)]
mod tests;
