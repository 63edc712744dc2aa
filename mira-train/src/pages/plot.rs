//! Several runs beside each other: curves on shared axes, a table of their final evaluations; as HTML, SVG or PNG.

mod table;

use std::path::{Path, PathBuf};

use super::Error;
use super::chart::{
    Chart, Format, Legend, LegendEntry, Sample, Series, bounds, legend, legend_height,
};
use super::drawing::Drawing;
use super::html;
use super::metrics::{Metrics, StepRecord};
use super::report::curves::{
    LEAST_SPAN, eval_points, log_k_line, log_prototypes, step_points, untrained_points,
};
use super::theme::Ink;
use crate::output::write_whole;

/// Pixels of a PNG for each of the drawing's: sharp on dense displays and paper.
const PNG_SCALE: f32 = 2.0;
const CHART: (f32, f32) = (560.0, 330.0);
const MARGIN: f32 = 24.0;

/// A run to be compared.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it is called in the plot.
    pub name: String,
    /// What it measured.
    pub metrics: Metrics,
}

/// Reads runs from their folders or `metrics.jsonl` files; each is called by as much of the end of its path as tells it from the others. A run
/// that is named twice has a number the second time.
///
/// # Errors
/// Those of [`Metrics::read`], for the first that fails.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Run>, Error> {
    let parts: Vec<Vec<String>> = paths.iter().map(|p| name_parts(p)).collect();
    let tail = |parts: &[String], n: usize| parts[parts.len().saturating_sub(n)..].join("/");
    let mut runs = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        let longest = parts[i].len().max(1);
        let is_unique = |n: &usize| {
            let others =
                parts.iter().enumerate().filter(|(j, other)| *j != i && **other != parts[i]);
            others.into_iter().all(|(_, other)| tail(other, *n) != tail(&parts[i], *n))
        };
        let needed = (1..longest).find(is_unique).unwrap_or(longest);
        let mut name = tail(&parts[i], needed);
        let num_before = parts[..i].iter().filter(|other| **other == parts[i]).count();
        if num_before > 0 {
            name += &format!(" ({})", num_before + 1);
        }
        runs.push(Run { name, metrics: Metrics::read(path)? });
    }
    Ok(runs)
}

/// The folders of a path, the run's own last.
fn name_parts(path: &Path) -> Vec<String> {
    // `.` and links are called by what they are, where that can be found out.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = if full.file_name().is_some_and(|n| n == "metrics.jsonl") {
        full.parent()
    } else {
        Some(&*full)
    };
    let parts = folder.into_iter().flat_map(Path::components);
    parts.map(|c| c.as_os_str().to_string_lossy().into_owned()).filter(|c| c != "/").collect()
}

/// The comparison as a page.
pub fn html(runs: &[Run]) -> String {
    let title = title(runs);
    let mut body = format!("<h1>{}</h1>\n<p></p>\n", html::escape(&title));
    body += &format!("<div class=\"card\">{}</div>\n", table::html(runs));
    let cards: String = charts(runs)
        .iter()
        .map(|c| {
            format!("<div class=\"card\">{}</div>\n", c.draw(CHART.0, CHART.1).to_inline_svg())
        })
        .collect();
    body += &html::section("Training", &format!("<div class=\"grid wide\">\n{cards}</div>\n"));
    html::page(&format!("{title} · mira"), &body)
}

/// The comparison as an SVG file, light or dark as the viewer prefers.
pub fn svg(runs: &[Run]) -> String {
    drawing(runs).to_svg()
}

/// The comparison as a PNG file.
///
/// # Errors
/// [`Error::TooLarge`] for hundreds of runs.
pub fn png(runs: &[Run]) -> Result<Vec<u8>, Error> {
    drawing(runs).to_png(PNG_SCALE)
}

/// Writes the comparison to a file, as its name's ending says; the file appears complete or not at all.
///
/// # Errors
/// [`Error::UnknownPicture`], [`Error::TooLarge`], [`Error::WriteFailed`].
pub fn write(runs: &[Run], out: &Path) -> Result<(), Error> {
    let ending = out.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    let bytes = match ending.as_deref() {
        Some("html" | "htm") => html(runs).into_bytes(),
        Some("svg") => svg(runs).into_bytes(),
        Some("png") => png(runs)?,
        _ => return Err(Error::UnknownPicture { path: out.to_owned() }),
    };
    write_whole(out, &bytes).map_err(|source| Error::WriteFailed { path: out.to_owned(), source })
}

fn title(runs: &[Run]) -> String {
    match runs {
        [one] => one.name.clone(),
        _ => format!("Comparison of {} runs", runs.len()),
    }
}

fn charts(runs: &[Run]) -> Vec<Chart> {
    let chart = |title: &str, points: &dyn Fn(&Metrics) -> Vec<(f64, f64)>| {
        let series = runs
            .iter()
            .enumerate()
            .map(|(i, run)| Series::of_run(&run.name, i, &points(&run.metrics)));
        Chart {
            title: title.into(),
            x_label: "epoch",
            series: series.collect(),
            references: Vec::new(),
            format: Format::Plain,
            from_zero: false,
            least_span: 0.0,
            x: None,
            legend: Legend::None,
        }
    };
    let steps =
        |title: &str, value: fn(&StepRecord) -> f64| chart(title, &|m| step_points(m, value));
    let mut knn = chart("k-NN accuracy, top-1", &|m| {
        let trained = eval_points(m, "knn_top1");
        let start = trained.first().map_or(f64::INFINITY, |(epoch, _)| *epoch);
        let untrained = untrained_points(m, "knn_top1").into_iter().filter(|(x, _)| *x < start);
        untrained.chain(trained.iter().copied()).collect()
    });
    (knn.format, knn.least_span) = (Format::Percent, LEAST_SPAN);
    let mut loss = steps("Loss", |s| s.loss);
    let mut rate = steps("Learning rate", |s| s.lr);
    rate.from_zero = true;
    let beta = steps("β of the assignment", |s| s.beta);
    let mut entropy = steps("Entropy of the marginal (nats)", |s| s.marginal_entropy);
    // Runs with other numbers of prototypes have other bounds.
    let mut log_ks: Vec<f64> = runs.iter().filter_map(|r| log_prototypes(&r.metrics)).collect();
    log_ks.dedup_by(|a, b| (*a - *b).abs() < 1e-6);
    if let [log_k] = log_ks[..] {
        let terms = |run: &&Run| run.metrics.loss_terms.unwrap_or(1.0);
        let of_loss = runs.first().map_or(1.0, |first| terms(&first));
        let is_one = runs.iter().all(|run| (terms(&run) - of_loss).abs() < 1e-6);
        for (chart, terms) in [(&mut loss, is_one.then_some(of_loss)), (&mut entropy, Some(1.0))] {
            let Some(terms) = terms else { continue };
            chart.references.extend(log_k_line(Some(log_k), terms));
            chart.legend = Legend::References;
        }
    }
    let mut charts = vec![loss, knn, rate, entropy, beta];
    charts.retain(|c| !c.is_empty());
    // The same epochs in all of them, so that what happens at one time stands in one place.
    let x = bounds(charts.iter().map(Chart::x_bounds).flat_map(|(low, high)| [low, high]));
    for chart in &mut charts {
        chart.x = Some(x);
    }
    charts
}

/// Everything on one sheet.
fn drawing(runs: &[Run]) -> Drawing {
    let least = 2.0 * CHART.0 + MARGIN;
    let table = table::drawing(runs, least);
    // As wide as the table, if that is the widest.
    let room = least.max(table.width);
    let width = room + 2.0 * MARGIN;
    let chart_width = (room - MARGIN) / 2.0;
    let names: Vec<LegendEntry> = runs
        .iter()
        .enumerate()
        .map(|(i, run)| LegendEntry {
            name: run.name.clone(),
            ink: Ink::Series(i),
            sample: Sample::Line(Series::dash_of_run(i)),
        })
        .collect();
    let charts = charts(runs);
    let charts_top = MARGIN + 30.0 + legend_height(&names, room) + 14.0;
    let table_top = charts_top + charts.len().div_ceil(2) as f32 * (CHART.1 + MARGIN);
    let title = title(runs);
    let mut out = Drawing::new(width, table_top + table.height + MARGIN, &title);
    out.bold((MARGIN, MARGIN + 16.0), &title, 20.0);
    out.place((MARGIN, MARGIN + 30.0), legend(&names, room));
    for (i, chart) in charts.iter().enumerate() {
        let x = MARGIN + (i % 2) as f32 * (chart_width + MARGIN);
        let y = charts_top + (i / 2) as f32 * (CHART.1 + MARGIN);
        out.place((x, y), chart.draw(chart_width, CHART.1));
    }
    out.place((MARGIN, table_top), table);
    out
}

#[cfg(test)]
mod tests;
