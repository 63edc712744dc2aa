//! A dot for every run on an axis of accuracy, a line of dots a method, its mean as a stroke.

use super::{Comparison, Measured, summarise};
use crate::pages::chart::{
    Format, LegendEntry, Sample, fitted_in_the_middle, legend, legend_height, within,
};
use crate::pages::drawing::{Anchor, Dash, Drawing, Mark, Shape, text_width};
use crate::pages::theme::Ink;

const WIDTH: f32 = 560.0;
const ROW: f32 = 26.0;
const SIZE: f32 = 12.0;
/// A line to hold dots against is drawn where it leaves them at least this part of the axis.
const MIN_PART: f64 = 0.25;

/// What a method would have had without training.
pub(super) struct Reference {
    pub(super) name: &'static str,
    pub(super) value: Option<f64>,
    pub(super) ink: Ink,
    pub(super) dash: Dash,
}

/// The runs' accuracies by method, best k-NN first; `None` where no run has one.
pub(super) fn draw(
    comparison: &Comparison,
    title: &str,
    value: fn(&Measured) -> Option<f64>,
    references: &[Reference],
) -> Option<Drawing> {
    let rows: Vec<(&str, Vec<(u64, f64)>)> = comparison
        .ranked()
        .into_iter()
        .map(|method| {
            let of_seed = |(seed, measured)| Some((seed, value(measured)?));
            (method.name.as_str(), method.finished().filter_map(of_seed).collect())
        })
        .collect();
    let all: Vec<f64> = rows.iter().flat_map(|(_, runs)| runs).map(|(_, v)| *v).collect();
    let (low, high) = reach(&all, references)?;

    let entries: Vec<LegendEntry> = references
        .iter()
        .filter_map(|r| {
            let value = r.value?;
            let arrow = if value < low { "← " } else { "" };
            let back = if value > high { " →" } else { "" };
            let name = format!("{arrow}{} {}{back}", r.name, Format::Percent.value(value));
            Some(LegendEntry { name, ink: r.ink, sample: Sample::Line(r.dash) })
        })
        .collect();
    let top = 30.0 + legend_height(&entries, WIDTH - 4.0);
    let bottom = top + rows.len() as f32 * ROW;
    let names: Vec<String> =
        rows.iter().map(|(name, _)| fitted_in_the_middle(name, 150.0, SIZE)).collect();
    let widest = names.iter().map(|name| text_width(name, SIZE, false)).fold(0.0, f32::max);
    let (left, right) = (widest + 16.0, WIDTH - 14.0);
    let x_at = |v: f64| left + ((v - low) / (high - low)) as f32 * (right - left);

    let mut out = Drawing::new(WIDTH, bottom + 24.0, &summary(title, &rows));
    out.bold((2.0, 14.0), title, 13.0);
    out.place((2.0, 22.0), legend(&entries, WIDTH - 4.0));
    let ticks = within(low, high, 6);
    for &tick in &ticks.values {
        let x = x_at(tick);
        out.line((x, top), (x, bottom), Ink::Grid, 1.0, Dash::Solid);
        let name = Format::Percent.tick(tick, ticks.step);
        let half = text_width(&name, 11.0, false) / 2.0;
        out.text(
            (x.min(WIDTH - half - 1.0), bottom + 16.0),
            &name,
            11.0,
            Ink::Muted,
            Anchor::Middle,
        );
    }
    out.line((left, bottom), (right, bottom), Ink::Axis, 1.0, Dash::Solid);
    for reference in references {
        let Some(value) = reference.value.filter(|v| (low..=high).contains(v)) else { continue };
        let x = x_at(value);
        out.line((x, top), (x, bottom), reference.ink, 1.5, reference.dash);
    }
    for (i, ((_, runs), name)) in rows.iter().zip(&names).enumerate() {
        let y = top + (i as f32 + 0.5) * ROW;
        out.text((left - 12.0, y + 4.0), name, SIZE, Ink::Text, Anchor::End);
        for &(seed, value) in runs {
            out.shapes.push(Shape::Dots {
                points: vec![(x_at(value), y)],
                ink: Ink::Series(i),
                size: 10.0,
                mark: Mark::Round,
                opacity: 0.6,
                title: format!("seed {seed}: {}", Format::Percent.value(value)),
            });
        }
        let values: Vec<f64> = runs.iter().map(|(_, v)| *v).collect();
        if let Some(summary) = summarise(&values) {
            let x = x_at(summary.mean);
            out.line((x, y - 9.0), (x, y + 9.0), Ink::Text, 2.0, Dash::Solid);
        }
    }
    Some(out)
}

/// The ends of the axis: all dots with some room, and lines that are not too far.
fn reach(dots: &[f64], references: &[Reference]) -> Option<(f64, f64)> {
    let first = *dots.first()?;
    let (dots_low, dots_high) =
        dots.iter().fold((first, first), |(low, high), &v| (low.min(v), high.max(v)));
    // A single dot has room of a point on either side.
    let span = (dots_high - dots_low).max(0.02);
    let (mut low, mut high) = (dots_low, dots_high);
    for value in references.iter().filter_map(|r| r.value) {
        let (with_low, with_high) = (low.min(value), high.max(value));
        if span / (with_high - with_low).max(span) >= MIN_PART {
            (low, high) = (with_low, with_high);
        }
    }
    let room = 0.06 * (high - low).max(span);
    Some((low - room, high + room))
}

/// For those who cannot see it.
fn summary(title: &str, rows: &[(&str, Vec<(u64, f64)>)]) -> String {
    let methods = rows.iter().map(|(name, runs)| {
        let values: Vec<String> = runs.iter().map(|(_, v)| Format::Percent.value(*v)).collect();
        format!("{name}: {}", if values.is_empty() { "none".into() } else { values.join(", ") })
    });
    format!("{title} of every run. {}", methods.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: f64) -> Reference {
        Reference { name: "r", value: Some(value), ink: Ink::Muted, dash: Dash::Dashed }
    }

    #[test]
    fn lines_that_would_squeeze_the_dots_are_left_outside() {
        let dots = [0.7, 0.8];
        let holds = |v: f64, (low, high): (f64, f64)| (low..=high).contains(&v);
        let near = reach(&dots, &[at(0.6)]).unwrap();
        assert!(holds(0.6, near) && holds(0.7, near) && holds(0.8, near), "{near:?}");
        let far = reach(&dots, &[at(0.1)]).unwrap();
        assert!(!holds(0.1, far) && holds(0.7, far) && holds(0.8, far), "{far:?}");
        let (low, high) = reach(&[0.5], &[]).unwrap();
        assert!(low < 0.5 && high > 0.5);
        assert!(reach(&[], &[at(0.5)]).is_none());
    }
}
