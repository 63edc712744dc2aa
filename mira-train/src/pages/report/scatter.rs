//! Embeddings in their first two principal components, coloured by class.

use crate::pages::chart::{LegendEntry, Sample, legend, legend_height, within};
use crate::pages::drawing::{Anchor, Dash, Drawing, Mark, Shape};
use crate::pages::html::escape;
use crate::pages::projection::{Pca, Projection, pca};
use crate::pages::theme::{Ink, NUM_SERIES};
use crate::text::count;

/// Classes with a colour and mark of their own; the others share one.
const MAX_CLASSES: usize = 2 * NUM_SERIES;
/// Classes are drawn a part each in turn, so that none hides the others.
const NUM_ROUNDS: usize = 8;
const SIZE: (f32, f32) = (560.0, 460.0);

pub(super) fn card(projection: Option<Projection<'_>>) -> String {
    let Some(projection) = projection else { return String::new() };
    let pca = match pca(projection.features, projection.dim) {
        Ok(pca) => pca,
        Err(e) => {
            return format!(
                "<div class=\"card\"><p>No embeddings are shown: {}.</p></div>\n",
                escape(&e.to_string())
            );
        }
    };
    let drawing = draw(&projection, &pca);
    let num_features = projection.features.len() / projection.dim;
    let shown = if pca.rows.len() < num_features {
        format!("{} of {}", count(pca.rows.len()), count(num_features))
    } else {
        count(num_features)
    };
    format!(
        "<div class=\"card\">{}<p></p><p>{shown} embeddings of the trained encoder in the two directions in which they vary most: {:.1} % of their variance. \
         Labels colour the points; training has not seen them.</p></div>\n",
        drawing.to_inline_svg(),
        100.0 * (pca.explained[0] + pca.explained[1])
    )
}

/// Name, colour and mark of a group of points.
struct Group {
    entry: LegendEntry,
    points: Vec<(f32, f32)>,
}

fn groups(projection: &Projection<'_>, pca: &Pca) -> Vec<Group> {
    let num_classes = projection
        .class_names
        .len()
        .max(projection.labels.iter().flatten().map(|&l| l as usize + 1).max().unwrap_or(0));
    let num_own = num_classes.min(MAX_CLASSES);
    let others = if num_classes > MAX_CLASSES {
        format!("{} other classes", num_classes - MAX_CLASSES)
    } else {
        "no label".into()
    };
    let mut groups: Vec<Group> = (0..=num_own)
        .map(|i| {
            let name =
                projection.class_names.get(i).cloned().unwrap_or_else(|| format!("class {i}"));
            let mark = if i < NUM_SERIES { Mark::Round } else { Mark::Square };
            let (name, ink) =
                if i < num_own { (name, Ink::Series(i)) } else { (others.clone(), Ink::Axis) };
            Group {
                entry: LegendEntry { name, ink, sample: Sample::Mark(mark) },
                points: Vec::new(),
            }
        })
        .collect();
    for (&row, point) in pca.rows.iter().zip(&pca.points) {
        let label = projection
            .labels
            .get(row)
            .copied()
            .flatten()
            .map_or(num_own, |l| (l as usize).min(num_own));
        groups[label].points.push((point[0], point[1]));
    }
    groups.retain(|g| !g.points.is_empty());
    groups
}

fn draw(projection: &Projection<'_>, pca: &Pca) -> Drawing {
    let groups = groups(projection, pca);
    let mut out =
        Drawing::new(SIZE.0, SIZE.1, "Embeddings in their first two principal components");
    out.bold((2.0, 14.0), "Embeddings, principal components", 13.0);
    let entries: Vec<_> = groups.iter().map(|g| g.entry.clone()).collect();
    let is_labelled = entries.len() > 1 || projection.labels.iter().any(Option::is_some);
    let mut top = 30.0;
    if is_labelled {
        out.place((2.0, 24.0), legend(&entries, SIZE.0 - 4.0));
        top += legend_height(&entries, SIZE.0 - 4.0);
    }
    let (left, right, bottom) = (22.0, SIZE.0 - 6.0, SIZE.1 - 22.0);
    // One scale for both directions, or distances would lie.
    let bounds = |j: usize| {
        pca.points
            .iter()
            .map(|p| p[j])
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
    };
    let ((x_low, x_high), (y_low, y_high)) = (bounds(0), bounds(1));
    let room = 10.0;
    let per_pixel = ((x_high - x_low) / (right - left - 2.0 * room))
        .max((y_high - y_low) / (bottom - top - 2.0 * room))
        .max(f32::MIN_POSITIVE);
    let middle = (f32::midpoint(x_low, x_high), f32::midpoint(y_low, y_high));
    let x_at = |v: f32| f32::midpoint(left, right) + (v - middle.0) / per_pixel;
    let y_at = |v: f32| f32::midpoint(top, bottom) - (v - middle.1) / per_pixel;
    let half = ((right - left) / 2.0 * per_pixel, (bottom - top) / 2.0 * per_pixel);
    let step = within(f64::from(-half.1), f64::from(half.1), 5).step as f32;
    let multiples = |low: f32, high: f32| {
        let (first, last) = ((low / step).ceil() as i32, (high / step).floor() as i32);
        (first..=last.min(first.saturating_add(50))).map(move |i| i as f32 * step)
    };
    for v in multiples(middle.0 - half.0, middle.0 + half.0) {
        out.line((x_at(v), top), (x_at(v), bottom), Ink::Grid, 1.0, Dash::Solid);
    }
    for v in multiples(middle.1 - half.1, middle.1 + half.1) {
        out.line((left, y_at(v)), (right, y_at(v)), Ink::Grid, 1.0, Dash::Solid);
    }
    let explained = |j: usize| {
        format!("component {} ({:.1} % of the variance)", j + 1, 100.0 * pca.explained[j])
    };
    out.text(
        (f32::midpoint(left, right), SIZE.1 - 5.0),
        &explained(0),
        11.0,
        Ink::Muted,
        Anchor::Middle,
    );
    out.shapes.push(Shape::UpwardText {
        at: (12.0, f32::midpoint(top, bottom)),
        text: explained(1),
        size: 11.0,
        ink: Ink::Muted,
    });
    for round in 0..NUM_ROUNDS {
        for group in &groups {
            let part = group.points.iter().skip(round).step_by(NUM_ROUNDS);
            let points: Vec<_> = part.map(|p| (x_at(p.0), y_at(p.1))).collect();
            if points.is_empty() {
                continue;
            }
            let LegendEntry { name, ink, sample: Sample::Mark(mark) } = &group.entry else {
                continue;
            };
            let size = if *mark == Mark::Round { 5.0 } else { 4.0 };
            let (ink, mark, title) =
                (*ink, *mark, if is_labelled { name.clone() } else { String::new() });
            out.shapes.push(Shape::Dots { points, ink, size, mark, opacity: 0.75, title });
        }
    }
    out
}
