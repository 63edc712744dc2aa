//! The sheet shows the very pixels of training, says what was drawn, and nothing lies on anything else.

use std::io::Cursor;

use super::*;
use crate::data::{Format, LoaderConfig, Split, examples, open};
use crate::pages::drawing::text_width;

/// Views of several sizes, of which one kind comes twice.
fn specs(size: usize) -> Vec<ViewSpec> {
    let large = ViewSpec {
        name: "global with a name that is long".into(),
        size,
        jitter: 1.0,
        brightness: 0.4,
        contrast: 0.4,
        saturation: 0.2,
        hue: 0.1,
        grayscale: 1.0,
        blur: 1.0,
        solarize: 1.0,
        flip: 1.0,
        ..ViewSpec::default()
    };
    let small = ViewSpec { name: "local".into(), count: 2, size: size / 3, ..ViewSpec::default() };
    vec![large, small]
}

fn example(size: usize) -> Example {
    let config = LoaderConfig {
        batch_size: 1,
        seed: 3,
        num_workers: 0,
        prefetch: 1,
        views: specs(size),
        ..LoaderConfig::default()
    };
    let source = open(Format::Embedded, None, Split::Train).unwrap();
    examples(&*source, &config, 5, 1).unwrap().next().unwrap().unwrap()
}

fn sheet(size: usize, name: &str) -> Sheet {
    // Longer than there is room for.
    let (title, subtitle) = ("Views of a set ".repeat(40), "recipe and seed ".repeat(40));
    let mut sheet = Sheet::new(&title, &subtitle, &specs(size));
    for _ in 0..2 {
        sheet.push(example(size), name.into(), Some("a class with a name that fills two lines"));
    }
    sheet
}

/// Left, top, right and bottom of everything that must not lie on another.
fn boxes(drawing: &Drawing) -> Vec<(String, [f32; 4])> {
    let shapes = drawing.shapes.iter().filter_map(|shape| match shape {
        Shape::Text { at, text, size, bold, .. } => {
            let width = text_width(text, *size, *bold);
            let (ascent, descent) = (0.75 * size, 0.22 * size);
            Some((text.clone(), [at.0, at.1 - ascent, at.0 + width, at.1 + descent]))
        }
        Shape::Picture { at, size, .. } => {
            Some(("a picture".into(), [at.0, at.1, at.0 + size.0, at.1 + size.1]))
        }
        _ => None,
    });
    let bars = drawing.shapes.iter().filter_map(|shape| match shape {
        Shape::Lines { lines, width, .. } if *width == 3.0 => {
            let (from, to) = (lines[0][0], lines[0][1]);
            Some(("a bar".into(), [from.0, from.1 - 1.5, to.0, to.1 + 1.5]))
        }
        _ => None,
    });
    shapes.chain(bars).collect()
}

#[test]
fn nothing_lies_on_anything_else_or_beyond_the_edge() {
    let long = "n02107574/a_file_with-a.name_that_is_very_much_longer_than_its_room.JPEG";
    for size in [12, 96, 224, 500] {
        for name in ["image 7", long, &"W".repeat(200)] {
            let drawing = sheet(size, name).drawing();
            let boxes = boxes(&drawing);
            assert!(boxes.len() > 40, "{}", boxes.len());
            for (i, (text, [left, top, right, bottom])) in boxes.iter().enumerate() {
                assert!(*left >= 0.0 && *top >= 0.0, "{text}");
                assert!(*right <= drawing.width && *bottom <= drawing.height, "{text}");
                for (other, [l, t, r, b]) in &boxes[..i] {
                    let is_apart = left >= r || l >= right || top >= b || t >= bottom;
                    assert!(is_apart, "{size}: '{text}' lies on '{other}'");
                }
            }
        }
    }
}

#[test]
fn views_are_on_the_sheet_pixel_for_pixel() {
    for (size, repeat) in [(12, 25), (96, 3), (224, 1)] {
        let (drawing, expected) = (sheet(size, "a").drawing(), example(size).views);
        let places = drawing.shapes.iter().filter_map(|shape| match shape {
            Shape::Picture { at, .. } => Some((at.0 as usize * SCALE, at.1 as usize * SCALE)),
            _ => None,
        });
        let png = sheet(size, "a").to_png().unwrap();
        let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let width = reader.next_frame(&mut pixels).unwrap().width as usize;
        let pixels = pixels.as_chunks::<3>().0;
        // The first picture is the original; its row comes twice.
        let places: Vec<_> = places.collect();
        assert_eq!((places.len(), expected.len()), (8, 3));
        for (view, (left, top)) in expected.iter().zip(&places[1..]) {
            let view = &view.image;
            for (y, row) in view.pixels.as_chunks::<3>().0.chunks(view.width).enumerate() {
                for (x, pixel) in row.iter().enumerate() {
                    for i in 0..repeat * repeat {
                        let (dx, dy) = (i % repeat, i / repeat);
                        let at = (top + y * repeat + dy) * width + left + x * repeat + dx;
                        assert_eq!(pixels[at], *pixel, "{x}, {y} of {size}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_was_drawn_is_beneath_each_view() {
    let (drawing, views) = (sheet(224, "a").drawing(), example(224).views);
    let mut texts = drawing.shapes.iter().filter_map(|shape| match shape {
        Shape::Text { at, text, .. } => Some((at.0, text.as_str())),
        _ => None,
    });
    let columns = Sheet::new("", "", &specs(224)).columns();
    for (view, (left, _)) in views.iter().zip(&columns[1..]) {
        for operation in view.parameters.operations() {
            assert!(texts.any(|found| found == (*left, &operation)), "{operation}");
        }
    }
    assert!(views[0].parameters.operations().len() == 9);
}

#[test]
fn crops_are_outlined_where_they_were_taken() {
    let (drawing, example) = (sheet(96, "a").drawing(), example(96));
    let picture = drawing.shapes.iter().find_map(|shape| match shape {
        Shape::Picture { at, size, .. } => Some((*at, *size)),
        _ => None,
    });
    let ((left, top), (width, _)) = picture.unwrap();
    let scale = width / example.image.width as f32;
    for (i, view) in example.views.iter().enumerate() {
        let outline = drawing.shapes.iter().find_map(|shape| match shape {
            Shape::Lines { lines, ink, width, .. } if (*ink, *width) == (Ink::Series(i), 1.5) => {
                Some([lines[0][0], lines[0][2]])
            }
            _ => None,
        });
        let crop = view.parameters.crop;
        let corner = |x: usize, y: usize| (left + scale * x as f32, top + scale * y as f32);
        let last = corner(crop.left + crop.width, crop.top + crop.height);
        let [(x0, y0), (x1, y1)] = outline.unwrap();
        let first = corner(crop.left, crop.top);
        for (got, expected) in [(x0, first.0), (y0, first.1), (x1, last.0), (y1, last.1)] {
            assert!((got - expected).abs() < 0.01, "view {i}: {got}, expected {expected}");
        }
    }
}

#[test]
fn large_pictures_are_made_to_fit_and_views_keep_their_proportions() {
    let mut sheet = sheet(600, "a");
    let mut wide = example(600);
    wide.image = wide.image.resized(900, 300, Interpolation::Bicubic);
    sheet.push(wide, "wide".into(), None);
    let sizes: Vec<_> = sheet
        .drawing()
        .shapes
        .iter()
        .filter_map(|shape| match shape {
            Shape::Picture { size, .. } => Some(*size),
            _ => None,
        })
        .collect();
    assert_eq!(sizes[..4], [(140.0, 140.0), (150.0, 150.0), (50.0, 50.0), (50.0, 50.0)]);
    assert_eq!(sizes[8], (150.0, 50.0));
}

#[test]
fn a_sheet_for_no_screen_is_refused() {
    let mut sheet = Sheet::new("", "", &specs(12));
    for _ in 0..60 {
        sheet.push(example(12), "a".into(), None);
    }
    let error = sheet.to_png().unwrap_err();
    assert!(matches!(error, Error::SheetTooLarge { height: 16385.., .. }), "{error}");
}
