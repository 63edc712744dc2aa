//! A line chart: axes with round ticks, several series, reference lines, a legend, values under the pointer.

mod downsample;
mod layout;
mod ticks;

use downsample::{Bucket, downsample};
pub(super) use layout::{LegendEntry, Sample, fitted, fitted_in_the_middle, legend, legend_height};
use ticks::spanning;
pub(super) use ticks::{Format, within};

use super::drawing::{Anchor, Dash, Drawing, Mark, Point, Shape, text_width};
use super::theme::{Ink, NUM_SERIES};

/// Points of a curve that are drawn; more cannot be told apart.
const MAX_POINTS: usize = 180;
/// Places at which a pointer finds values.
const MAX_HOVERS: usize = 60;
const TICK_SIZE: f32 = 11.0;

/// One curve.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) ink: Ink,
    buckets: Vec<Bucket>,
    has_band: bool,
    has_marks: bool,
    is_filled: bool,
    dash: Dash,
}

impl Series {
    /// A curve of many points: their means, and a band of their reach if wanted.
    pub(super) fn new(name: &str, ink: Ink, points: &[(f64, f64)], has_band: bool) -> Self {
        let buckets = downsample(points, MAX_POINTS);
        Self {
            name: name.to_owned(),
            ink,
            buckets,
            has_band,
            has_marks: points.len() == 1,
            is_filled: false,
            dash: Dash::Solid,
        }
    }

    /// A curve of few points, each with a mark.
    pub(super) fn marked(name: &str, ink: Ink, points: &[(f64, f64)]) -> Self {
        let has_marks = points.len() <= 40;
        Self { has_marks, ..Self::new(name, ink, points, false) }
    }

    /// The curve of the i-th run: beyond as many as there are colours, lines differ by their dashes.
    pub(super) fn of_run(name: &str, i: usize, points: &[(f64, f64)]) -> Self {
        Self { dash: Self::dash_of_run(i), ..Self::marked(name, Ink::Series(i), points) }
    }

    pub(super) fn dash_of_run(i: usize) -> Dash {
        [Dash::Solid, Dash::Dashed, Dash::Dotted][i / NUM_SERIES % 3]
    }

    /// A curve that is filled down to 0.
    pub(super) fn filled(name: &str, ink: Ink, points: &[(f64, f64)]) -> Self {
        Self { is_filled: true, ..Self::new(name, ink, points, false) }
    }

    fn known(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter().filter(|b| b.num_values > 0 && b.x.is_finite())
    }
}

/// A horizontal line to hold curves against.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) ink: Ink,
    pub(super) dash: Dash,
}

/// What stands in a chart's legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Legend {
    None,
    References,
    All,
}

/// What a chart shows.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_label: &'static str,
    pub(super) series: Vec<Series>,
    pub(super) references: Vec<Reference>,
    pub(super) format: Format,
    /// Whether the axis of values begins at 0.
    pub(super) from_zero: bool,
    /// What the axis of values shows at least, so that small differences look small.
    pub(super) least_span: f64,
    /// From where to where, if not as far as its own curves go.
    pub(super) x: Option<(f64, f64)>,
    pub(super) legend: Legend,
}

/// From values to pixels.
struct Plane {
    x: (f64, f64),
    y: (f64, f64),
    left: f32,
    right: f32,
    top: f32,
    bottom: f32,
}

impl Plane {
    fn at(&self, x: f64, y: f64) -> Point {
        (self.x_at(x), self.y_at(y))
    }

    fn x_at(&self, x: f64) -> f32 {
        self.left + ((x - self.x.0) / (self.x.1 - self.x.0)) as f32 * (self.right - self.left)
    }

    fn y_at(&self, y: f64) -> f32 {
        self.bottom - ((y - self.y.0) / (self.y.1 - self.y.0)) as f32 * (self.bottom - self.top)
    }
}

impl Chart {
    /// Whether there is anything to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.series.iter().all(|s| s.known().next().is_none())
    }

    /// From where to where its curves go.
    pub(super) fn x_bounds(&self) -> (f64, f64) {
        bounds(self.series.iter().flat_map(Series::known).map(|b| b.x))
    }

    /// Draws it.
    pub(super) fn draw(&self, width: f32, height: f32) -> Drawing {
        let mut out = Drawing::new(width, height, &self.summary());
        out.bold((2.0, 14.0), &self.title, 13.0);
        let mut top = 26.0;
        if self.legend != Legend::None {
            let entries = self.legend_entries();
            out.place((2.0, 22.0), legend(&entries, width - 4.0));
            top += legend_height(&entries, width - 4.0);
        }
        let plane = self.axes(&mut out, top + 8.0);
        for series in &self.series {
            band(&mut out, &plane, series);
        }
        for r in self.references.iter().filter(|r| r.value.is_finite()) {
            let y = plane.y_at(r.value);
            out.line((plane.left, y), (plane.right, y), r.ink, 1.5, r.dash);
        }
        for series in &self.series {
            curve(&mut out, &plane, series);
        }
        self.hovers(&mut out, &plane);
        out
    }

    /// A sentence for those who cannot see it.
    fn summary(&self) -> String {
        let mut parts = Vec::new();
        for s in &self.series {
            let (Some(first), Some(last)) = (s.known().next(), s.known().last()) else { continue };
            let (from, to) = (self.format.value(first.mean), self.format.value(last.mean));
            parts.push(format!("{}: from {from} to {to}", s.name));
        }
        parts.extend(self.references.iter().map(|r| r.name.clone()));
        format!("{} by {}. {}", self.title, self.x_label, parts.join("; "))
    }

    fn legend_entries(&self) -> Vec<LegendEntry> {
        let shown = if self.legend == Legend::All { &self.series[..] } else { &[] };
        let series = shown.iter().map(|s| LegendEntry {
            name: s.name.clone(),
            ink: s.ink,
            sample: Sample::Line(s.dash),
        });
        let references = self.references.iter().map(|r| LegendEntry {
            name: r.name.clone(),
            ink: r.ink,
            sample: Sample::Line(r.dash),
        });
        series.chain(references).collect()
    }

    /// Axes, grid and their names; says where values go.
    fn axes(&self, out: &mut Drawing, top: f32) -> Plane {
        let known = || self.series.iter().flat_map(Series::known);
        let references = self.references.iter().map(|r| r.value).filter(|v| v.is_finite());
        let zero = self.from_zero.then_some(0.0);
        let (low, high) = bounds(known().map(|b| b.mean).chain(references).chain(zero));
        // A band is shown whole unless single values would squeeze the curve.
        let reach = bounds(known().flat_map(|b| [b.low, b.high]));
        let is_near = |edge: f64, other: f64| (edge - other).abs() <= 0.25 * (high - low);
        let low = if is_near(reach.0, low) { low.min(reach.0) } else { low };
        let high = if is_near(reach.1, high) { high.max(reach.1) } else { high };
        let (low, high) = self.at_least(low, high);
        let y_ticks = spanning(low, high, 5);
        let (y_low, y_high) = (y_ticks.values[0], y_ticks.values[y_ticks.values.len() - 1]);
        let (x_low, x_high) = self.x.unwrap_or_else(|| self.x_bounds());
        let (x_low, x_high) = x_range(x_low, x_high);

        let names: Vec<_> =
            y_ticks.values.iter().map(|&v| self.format.tick(v, y_ticks.step)).collect();
        let widest = names.iter().map(|n| text_width(n, TICK_SIZE, false)).fold(0.0, f32::max);
        let plane = Plane {
            x: (x_low, x_high),
            y: (y_low, y_high),
            left: 2.0 + widest + 8.0,
            right: out.width - 10.0,
            top,
            bottom: out.height - 34.0,
        };
        for (name, &value) in names.iter().zip(&y_ticks.values) {
            let y = plane.y_at(value);
            out.line((plane.left, y), (plane.right, y), Ink::Grid, 1.0, Dash::Solid);
            out.text((plane.left - 8.0, y + 4.0), name, TICK_SIZE, Ink::Muted, Anchor::End);
        }
        let room = plane.right - plane.left;
        let x_ticks = within(x_low, x_high, (room / 45.0) as usize);
        for &value in &x_ticks.values {
            let (x, name) = (plane.x_at(value), Format::Plain.tick(value, x_ticks.step));
            out.line((x, plane.bottom), (x, plane.bottom + 4.0), Ink::Axis, 1.0, Dash::Solid);
            let half = text_width(&name, TICK_SIZE, false) / 2.0;
            let x = x.min(out.width - half - 1.0);
            out.text((x, plane.bottom + 16.0), &name, TICK_SIZE, Ink::Muted, Anchor::Middle);
        }
        out.line(
            (plane.left, plane.bottom),
            (plane.right, plane.bottom),
            Ink::Axis,
            1.0,
            Dash::Solid,
        );
        let middle = f32::midpoint(plane.left, plane.right);
        out.text((middle, out.height - 4.0), self.x_label, TICK_SIZE, Ink::Muted, Anchor::Middle);
        plane
    }

    /// The range, widened on both sides to what is shown at least; shares stay between 0 and 1.
    fn at_least(&self, low: f64, high: f64) -> (f64, f64) {
        let missing = self.least_span - (high - low);
        if !(missing > 0.0 && missing.is_finite()) {
            return (low, high);
        }
        let mut low = low - missing / 2.0;
        if self.format == Format::Percent {
            low = low.min(1.0 - self.least_span).max(0.0);
        }
        (low, low + self.least_span)
    }

    /// Values under the pointer, at the places of the curve that has most of them.
    fn hovers(&self, out: &mut Drawing, plane: &Plane) {
        let Some(longest) = self.series.iter().max_by_key(|s| s.known().count()) else { return };
        let known: Vec<f64> = longest.known().map(|b| b.x).collect();
        let num_hovers = known.len().min(MAX_HOVERS);
        let places: Vec<f64> = (0..num_hovers)
            .map(|i| {
                known[if num_hovers > 1 { i * (known.len() - 1) / (num_hovers - 1) } else { 0 }]
            })
            .collect();
        let title_end = text_width(&self.title, 13.0, true) + 16.0;
        for (i, &x) in places.iter().enumerate() {
            let place =
                format!("{} {}", self.x_label, Format::Plain.value((x * 100.0).round() / 100.0));
            let (mut full, mut short) = (place.clone(), place);
            let mut dots = Vec::new();
            for series in &self.series {
                let distance = |b: &Bucket| (b.x - x).abs();
                let nearest = series.known().min_by(|a, b| distance(a).total_cmp(&distance(b)));
                let Some(found) = nearest else { continue };
                let value = self.format.value(found.mean);
                let name = if self.series.len() > 1 { &*format!("{} ", series.name) } else { "" };
                full += &format!(" · {name}{value}");
                short += &format!(" · {value}");
                dots.push((plane.at(found.x, found.mean), series.ink));
            }
            // Values alone are in the order of the legend; what does not fit at all becomes a tooltip.
            let fits = |text: &str| title_end + text_width(text, 11.0, false) <= out.width;
            let as_title = !fits(&full) && !fits(&short);
            let text = if fits(&full) || as_title { full } else { short };
            let px = plane.x_at(x);
            let half_way = |other: Option<&f64>, edge: f32| {
                other.map_or(edge, |&o| f32::midpoint(px, plane.x_at(o)))
            };
            let before = half_way(i.checked_sub(1).and_then(|i| places.get(i)), plane.left);
            let after = half_way(places.get(i + 1), plane.right);
            out.shapes.push(Shape::Hover {
                strip: (before, after),
                y: (plane.top, plane.bottom),
                dots,
                x: px,
                at: (out.width - 2.0, 14.0),
                text,
                as_title,
            });
        }
    }
}

pub(super) fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
}

/// From the start of the run to its end; the middle of the last of many steps is nearly a whole epoch.
fn x_range(low: f64, high: f64) -> (f64, f64) {
    let (low, high) = ticks::widened(low, high);
    let low = if low <= 0.25 * high { low.min(0.0) } else { low };
    let whole = high.ceil();
    (low, if whole - high < 0.02 * (high - low) { whole } else { high })
}

/// How far the values of each bucket reach, within the axis.
fn band(out: &mut Drawing, plane: &Plane, series: &Series) {
    if !series.has_band || series.known().all(|b| b.num_values < 2) {
        return;
    }
    for part in series.buckets.split(|b| b.num_values == 0) {
        let clamped = |v: f64| v.clamp(plane.y.0, plane.y.1);
        let upper = part.iter().map(|b| plane.at(b.x, clamped(b.high)));
        let lower = part.iter().rev().map(|b| plane.at(b.x, clamped(b.low)));
        let outline: Vec<_> = upper.chain(lower).collect();
        if outline.len() > 2 {
            out.shapes.push(Shape::Area { outline, ink: series.ink, opacity: 0.18 });
        }
    }
}

fn curve(out: &mut Drawing, plane: &Plane, series: &Series) {
    if series.is_filled {
        let mut outline: Vec<Point> = series.known().map(|b| plane.at(b.x, b.mean)).collect();
        if let (Some(first), Some(last)) = (outline.first().copied(), outline.last().copied()) {
            let zero = plane.y_at(plane.y.0.max(0.0));
            outline.extend([(last.0, zero), (first.0, zero)]);
            out.shapes.push(Shape::Area { outline, ink: series.ink, opacity: 0.25 });
        }
    }
    let parts = series.buckets.split(|b| b.num_values == 0);
    let lines: Vec<Vec<Point>> = parts
        .filter(|part| part.len() > 1)
        .map(|part| part.iter().map(|b| plane.at(b.x, b.mean)).collect())
        .collect();
    if !lines.is_empty() {
        out.shapes.push(Shape::Lines { lines, ink: series.ink, width: 1.8, dash: series.dash });
    }
    if series.has_marks {
        let points = series.known().map(|b| plane.at(b.x, b.mean)).collect();
        let (ink, title) = (series.ink, String::new());
        out.shapes.push(Shape::Dots {
            points,
            ink,
            size: 6.0,
            mark: Mark::Round,
            opacity: 1.0,
            title,
        });
    }
}
