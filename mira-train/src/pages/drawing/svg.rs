//! Drawings as SVG; colours are classes of [`style`].

use std::fmt::Write as _;

use super::{Anchor, Drawing, Mark, Point, Shape};
use crate::data::Image;
use crate::pages::html::escape;
use crate::pages::theme::{Ink, style};
use crate::pages::thumbnail::data_uri;

impl Drawing {
    /// For a page that has the style rules.
    pub(in crate::pages) fn to_inline_svg(&self) -> String {
        self.svg("", "")
    }

    /// A file of its own.
    pub(in crate::pages) fn to_svg(&self) -> String {
        let size = format!(r#" width="{}" height="{}""#, self.width, self.height);
        let inside = format!(
            r#"<style>{}</style><rect class="fs" width="{}" height="{}"/>"#,
            style(),
            self.width,
            self.height
        );
        self.svg(&size, &inside)
    }

    fn svg(&self, size: &str, inside: &str) -> String {
        let mut out = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}"{size} role="img" aria-label="{2}"><title>{2}</title>{inside}"#,
            self.width,
            self.height,
            escape(&self.title)
        );
        for shape in &self.shapes {
            write_shape(&mut out, shape);
        }
        out.push_str("</svg>");
        out
    }
}

fn write_picture(
    out: &mut String,
    at: Point,
    (width, height): (f32, f32),
    image: &Image,
) -> std::fmt::Result {
    write!(
        out,
        r#"<image x="{}" y="{}" width="{width}" height="{height}" preserveAspectRatio="none" style="image-rendering:pixelated" href="{}"/>"#,
        Short(at.0),
        Short(at.1),
        data_uri(image.width, image.height, &image.pixels).unwrap_or_default()
    )
}

fn write_shape(out: &mut String, shape: &Shape) {
    // Writing to a string cannot fail.
    let _ = match shape {
        Shape::Lines { lines, ink, width, dash } => {
            let dash = dash
                .lengths()
                .map_or(String::new(), |[on, off]| format!(r#" stroke-dasharray="{on} {off}""#));
            let join =
                if matches!(*ink, Ink::Series(_)) { r#" stroke-linejoin="round""# } else { "" };
            let d: String = lines.iter().map(|line| data(line)).collect();
            write!(
                out,
                r#"<path class="k{}" fill="none" stroke-width="{width}"{dash}{join} d="{d}"/>"#,
                ink.class()
            )
        }
        Shape::Area { outline, ink, opacity } => write!(
            out,
            r#"<path class="f{}" fill-opacity="{opacity}" d="{}Z"/>"#,
            ink.class(),
            data(outline)
        ),
        Shape::Dots { points, ink, size, mark, opacity, title } => {
            // A line of no length with round or square ends is a mark.
            let cap = if *mark == Mark::Round { "round" } else { "square" };
            let mut d = String::with_capacity(points.len() * 14);
            for &(x, y) in points {
                let _ = write!(d, "M{} {}h0", Short(x), Short(y));
            }
            let title = if title.is_empty() {
                String::new()
            } else {
                format!("<title>{}</title>", escape(title))
            };
            write!(
                out,
                r#"<path class="k{}" fill="none" stroke-width="{size}" stroke-linecap="{cap}" stroke-opacity="{opacity}" d="{d}">{title}</path>"#,
                ink.class()
            )
        }
        Shape::Text { at, text, size, ink, anchor, bold } => {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => r#" text-anchor="middle""#,
                Anchor::End => r#" text-anchor="end""#,
            };
            let bold = if *bold { r#" font-weight="600""# } else { "" };
            write!(
                out,
                r#"<text class="f{}" x="{}" y="{}" font-size="{size}"{anchor}{bold}>{}</text>"#,
                ink.class(),
                Short(at.0),
                Short(at.1),
                escape(text)
            )
        }
        Shape::UpwardText { at, text, size, ink } => write!(
            out,
            r#"<text class="f{}" transform="translate({} {}) rotate(-90)" font-size="{size}" text-anchor="middle">{}</text>"#,
            ink.class(),
            Short(at.0),
            Short(at.1),
            escape(text)
        ),
        Shape::Picture { at, size, image } => write_picture(out, *at, *size, image),
        Shape::Hover { strip, y, dots, x, at, text, as_title } => {
            let _ = write!(
                out,
                r#"<g class="h"><rect class="z" x="{}" y="{}" width="{}" height="{}"/><path class="km" d="M{} {}V{}"/>"#,
                Short(strip.0),
                Short(y.0),
                Short(strip.1 - strip.0),
                Short(y.1 - y.0),
                Short(*x),
                Short(y.0),
                Short(y.1)
            );
            for (p, ink) in dots {
                let _ = write!(
                    out,
                    r#"<circle class="f{}" cx="{}" cy="{}" r="3"/>"#,
                    ink.class(),
                    Short(p.0),
                    Short(p.1)
                );
            }
            let text = escape(text);
            if *as_title {
                write!(out, "<title>{text}</title></g>")
            } else {
                write!(
                    out,
                    r#"<text class="ft" x="{}" y="{}" font-size="11" text-anchor="end">{text}</text></g>"#,
                    Short(at.0),
                    Short(at.1)
                )
            }
        }
    };
}

fn data(points: &[Point]) -> String {
    let mut d = String::with_capacity(points.len() * 12);
    for (i, &(x, y)) in points.iter().enumerate() {
        let _ = write!(d, "{}{} {}", if i == 0 { 'M' } else { 'L' }, Short(x), Short(y));
    }
    d
}

/// A coordinate to a tenth of a pixel.
struct Short(f32);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round() / 10.0;
        write!(f, "{}", if tenths == 0.0 { 0.0 } else { tenths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::drawing::Dash;

    #[test]
    fn coordinates_are_short_and_text_is_escaped() {
        let mut drawing = Drawing::new(10.0, 5.0, "a < b");
        drawing.line((0.0, 1.0 / 3.0), (-0.01, 2.0), Ink::Axis, 1.0, Dash::Solid);
        drawing.text((1.0, 2.0), "<script>&\"'", 11.0, Ink::Text, Anchor::End);
        let svg = drawing.to_inline_svg();
        assert!(svg.contains(r#"d="M0 0.3L0 2""#), "{svg}");
        assert!(svg.contains("&lt;script&gt;&amp;&quot;&#39;</text>"), "{svg}");
        assert!(svg.contains("<title>a &lt; b</title>"), "{svg}");
    }
}
