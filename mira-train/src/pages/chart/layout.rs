//! Legends: samples with names, in rows as wide as there is room.

use crate::pages::drawing::{Anchor, Dash, Drawing, Mark, Shape, text_width};
use crate::pages::theme::Ink;

const SIZE: f32 = 11.5;
const ROW: f32 = 17.0;
const SAMPLE: f32 = 18.0;
const GAP: f32 = 20.0;

/// What stands before a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sample {
    Line(Dash),
    Mark(Mark),
}

/// A name and its sample.
#[derive(Clone, Debug)]
pub(crate) struct LegendEntry {
    pub(crate) name: String,
    pub(crate) ink: Ink,
    pub(crate) sample: Sample,
}

impl LegendEntry {
    fn lead(&self) -> f32 {
        if matches!(self.sample, Sample::Line(_)) { SAMPLE + 6.0 } else { 15.0 }
    }
}

/// Where each entry goes, and its name cut to what fits.
fn places(entries: &[LegendEntry], width: f32) -> Vec<(f32, f32, String)> {
    let (mut x, mut y) = (0.0, 0.0);
    let mut places = Vec::new();
    for entry in entries {
        let name = fitted_in_the_middle(&entry.name, width - entry.lead(), SIZE);
        let needed = entry.lead() + text_width(&name, SIZE, false);
        if x > 0.0 && x + needed > width {
            x = 0.0;
            y += ROW;
        }
        places.push((x, y, name));
        x += needed + GAP;
    }
    places
}

/// The beginning of a text that is too long for its room.
pub(crate) fn fitted(name: &str, width: f32, size: f32) -> String {
    shortened(name, width, size, |short, n| format!("{}…", text_of(&short[..n])))
}

/// Beginning and end of a name that is too long for its room: runs' names differ at their ends most of the time.
pub(crate) fn fitted_in_the_middle(name: &str, width: f32, size: f32) -> String {
    shortened(name, width, size, |chars, n| {
        let (start, end) = (n.div_ceil(2), chars.len() - n / 2);
        format!("{}…{}", text_of(&chars[..start]), text_of(&chars[end..]))
    })
}

fn text_of(chars: &[char]) -> String {
    chars.iter().collect()
}

/// The name, or what `cut` makes of as many of its characters as there is room for.
fn shortened(name: &str, width: f32, size: f32, cut: impl Fn(&[char], usize) -> String) -> String {
    let chars: Vec<char> = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = text_of(&chars);
    if text_width(&clean, size, false) <= width {
        return clean;
    }
    let fits = (0..chars.len().min(500)).rev().map(|n| cut(&chars, n));
    fits.into_iter().find(|short| text_width(short, size, false) <= width).unwrap_or_default()
}

/// Height of a legend.
pub(crate) fn legend_height(entries: &[LegendEntry], width: f32) -> f32 {
    places(entries, width).last().map_or(0.0, |(_, y, _)| y + ROW)
}

/// Draws a legend.
pub(crate) fn legend(entries: &[LegendEntry], width: f32) -> Drawing {
    let mut out = Drawing::new(width, legend_height(entries, width), "");
    for (entry, (x, y, name)) in entries.iter().zip(places(entries, width)) {
        let middle = y + ROW / 2.0;
        match entry.sample {
            Sample::Line(dash) => out.line((x, middle), (x + SAMPLE, middle), entry.ink, 2.0, dash),
            Sample::Mark(mark) => out.shapes.push(Shape::Dots {
                points: vec![(x + 5.0, middle)],
                ink: entry.ink,
                size: if mark == Mark::Round { 9.0 } else { 7.0 },
                mark,
                opacity: 1.0,
                title: String::new(),
            }),
        }
        out.text((x + entry.lead(), middle + 4.0), &name, SIZE, Ink::Text, Anchor::Start);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(n: usize) -> Vec<LegendEntry> {
        (0..n)
            .map(|i| LegendEntry {
                name: format!("entry {i}"),
                ink: Ink::Series(i),
                sample: Sample::Line(Dash::Solid),
            })
            .collect()
    }

    #[test]
    fn rows_break_before_they_are_too_wide() {
        let entries = entries(20);
        for width in [100.0, 300.0, 800.0] {
            for ((x, _, name), entry) in places(&entries, width).iter().zip(&entries) {
                assert!(x + entry.lead() + text_width(name, SIZE, false) <= width);
                assert_eq!(*name, entry.name);
            }
        }
        assert_eq!(legend_height(&entries, 1e6), ROW);
        assert_eq!(legend_height(&[], 100.0), 0.0);
    }

    #[test]
    fn long_names_are_cut() {
        let cut = fitted(&"long ".repeat(1000), 100.0, SIZE);
        assert!(cut.ends_with('…') && text_width(&cut, SIZE, false) <= 100.0);
        assert_eq!(fitted("a\nb", 100.0, SIZE), "a b");
        assert_eq!(fitted("wide", 1.0, SIZE), "");
    }

    #[test]
    fn names_of_runs_keep_both_ends() {
        let name = |n: u32| format!("a-long-name-of-a-run-number-{n}");
        let cut = fitted_in_the_middle(&name(10), 130.0, SIZE);
        assert!(cut.starts_with("a-long") && cut.ends_with("-10") && cut.contains('…'), "{cut}");
        assert!(text_width(&cut, SIZE, false) <= 130.0);
        assert_ne!(cut, fitted_in_the_middle(&name(11), 130.0, SIZE));
        assert_eq!(fitted_in_the_middle("short", 130.0, SIZE), "short");
    }
}
