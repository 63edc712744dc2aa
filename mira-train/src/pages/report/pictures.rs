//! Rows of thumbnails: nearest neighbours, and what augmentation makes of an image.

use super::{GalleryRow, Thumbnail};
use crate::pages::html::{escape, section};

/// Bytes all pictures of a page may take, before compression.
const BUDGET: f64 = 2.4e6;
/// Up to this side, pixels are shown as squares.
const PIXELATED: usize = 64;

/// The longest side pictures may have for the page to stay small.
pub(super) fn side_limit(gallery: &[GalleryRow], views: &[Vec<Thumbnail>]) -> usize {
    let num_pictures = gallery.iter().map(|r| r.neighbours.len() + 1).sum::<usize>()
        + views.iter().map(Vec::len).sum::<usize>();
    // Base64 takes four bytes for three.
    ((BUDGET / (4.0 * num_pictures.max(1) as f64)).sqrt() as usize).clamp(8, 96)
}

pub(super) fn gallery(rows: &[GalleryRow], max_side: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let known: Vec<bool> =
        rows.iter().flat_map(|r| &r.neighbours).filter_map(|n| n.is_match).collect();
    let num_matches = known.iter().filter(|&&m| m).count();
    let share = if known.is_empty() {
        String::new()
    } else {
        format!(" {num_matches} of these {} are of the query’s class (✓).", known.len())
    };
    let mut out = format!(
        "<p>Left a test image, beside it the training images whose embeddings are nearest to its own, nearest first.{share}</p>\n\
         <div class=\"card gallery{}\">\n",
        density(
            rows.iter().flat_map(|r| r.neighbours.iter().map(|n| &n.thumbnail).chain([&r.query]))
        )
    );
    for row in rows {
        out += "<div class=\"row\">";
        out += &figure(&row.query, "first", "", max_side);
        for neighbour in &row.neighbours {
            let (class, sign) = match neighbour.is_match {
                Some(true) => ("yes", "<span>✓</span>"),
                Some(false) => ("no", "<span>✗</span>"),
                None => ("", ""),
            };
            out += &figure(&neighbour.thumbnail, class, sign, max_side);
        }
        out += "</div>\n";
    }
    section("Nearest neighbours", &(out + "</div>\n"))
}

pub(super) fn views(rows: &[Vec<Thumbnail>], max_side: usize) -> String {
    if rows.iter().all(Vec::is_empty) {
        return String::new();
    }
    let mut out = format!(
        "<p>Left an image, beside it views as training sees them: the network learns to give them the same assignment.</p>\n\
         <div class=\"card gallery{}\">\n",
        density(rows.iter().flatten())
    );
    for row in rows.iter().filter(|row| !row.is_empty()) {
        out += "<div class=\"row\">";
        for (i, view) in row.iter().enumerate() {
            out += &figure(view, if i == 0 { "first" } else { "" }, "", max_side);
        }
        out += "</div>\n";
    }
    section("Augmented views", &(out + "</div>\n"))
}

/// Small pictures are shown small, two rows side by side.
fn density<'a>(pictures: impl Iterator<Item = &'a Thumbnail>) -> &'static str {
    let mut pictures = pictures;
    if pictures.all(|p| p.width.max(p.height) <= PIXELATED) { " dense" } else { "" }
}

fn figure(picture: &Thumbnail, class: &str, sign: &str, max_side: usize) -> String {
    let pixels = if picture.width.max(picture.height) <= PIXELATED { " pixels" } else { "" };
    let caption = escape(&picture.caption);
    let image = picture
        .data_uri(max_side)
        .map_or(String::new(), |uri| format!("<img alt=\"{caption}\" src=\"{uri}\">"));
    let label = if caption.is_empty() {
        String::new()
    } else {
        format!("<figcaption>{caption}</figcaption>")
    };
    format!("<figure class=\"{class}{pixels}\"><div>{image}{sign}</div>{label}</figure>")
}
