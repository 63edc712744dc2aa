//! The final evaluations of runs, as an HTML table and as a drawing.

use super::Run;
use crate::pages::chart::{Format, Series, fitted_in_the_middle};
use crate::pages::drawing::{Anchor, Dash, Drawing, text_width};
use crate::pages::html::{escape, table};
use crate::pages::metrics::Metrics;
use crate::pages::report::headline::{change, is_accuracy, measure_name, measures, shown};
use crate::pages::theme::Ink;

const CAPTION: &str = "The untrained → the trained encoder; gains in accuracy are in points.";
const ROW: f32 = 26.0;
const SIZE: f32 = 12.5;
/// Between columns.
const GAP: f32 = 26.0;
/// The line before a run's name, as in the legend, and the room after it.
const SAMPLE: (f32, f32) = (18.0, 7.0);
/// The longest name that is written out where the others take the width.
const MAX_NAME: f32 = 220.0;

/// Names of the columns, and a row a run; plain text.
fn cells(runs: &[Run]) -> (Vec<String>, Vec<Vec<String>>) {
    let all: Vec<_> = runs.iter().map(|r| &r.metrics).collect();
    let measures = measures(&all);
    let mut head = vec!["Run".to_owned(), "Epochs".into(), "Loss, last epoch".into()];
    for metric in &measures {
        head.extend([measure_name(metric), "gain".into()]);
    }
    let rows = runs.iter().map(|run| {
        let metrics = &run.metrics;
        let epochs =
            metrics.steps.iter().map(|s| s.epoch).chain(metrics.evals.iter().map(|e| e.epoch));
        let loss = last_loss(metrics);
        let mut row = vec![
            run.name.clone(),
            Format::Plain.value((epochs.fold(0.0, f64::max) * 10.0).round() / 10.0),
            loss.map_or("–".into(), |v| Format::Plain.value(v)),
        ];
        for metric in &measures {
            let latest = |encoder| metrics.latest(encoder, metric).filter(|v| v.is_finite());
            let (before, after) = (latest("untrained"), latest("trained"));
            let cell = match (before, after) {
                (Some(b), Some(a)) => format!("{} → {}", bare(metric, b), shown(metric, a)),
                (None, Some(a)) => shown(metric, a),
                (Some(b), None) => format!("{} → –", bare(metric, b)),
                (None, None) => "–".into(),
            };
            let gain = before.zip(after).map_or("–".into(), |(b, a)| change(metric, b, a));
            row.extend([cell, gain]);
        }
        row
    });
    (head, rows.collect())
}

/// A value without its unit.
fn bare(metric: &str, value: f64) -> String {
    format!("{:.1}", if is_accuracy(metric) { value * 100.0 } else { value })
}

/// Mean loss of the last epoch: that of a single step is a matter of luck.
fn last_loss(metrics: &Metrics) -> Option<f64> {
    let end = metrics.steps.last()?.epoch;
    let last = metrics.steps.iter().rev().take_while(|s| s.epoch > end - 1.0);
    let (sum, count) = last
        .map(|s| s.loss)
        .filter(|v| v.is_finite())
        .fold((0.0, 0_u32), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

pub(super) fn html(runs: &[Run]) -> String {
    let (head, rows) = cells(runs);
    let head: Vec<_> = head.iter().map(|h| escape(h)).collect();
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .enumerate()
        .map(|(i, row)| {
            let mut row: Vec<_> = row.iter().map(|c| escape(c)).collect();
            let dash = match Series::dash_of_run(i) {
                Dash::Solid => "",
                Dash::Dashed => " stroke-dasharray=\"6 4\"",
                Dash::Dotted => " stroke-dasharray=\"1.5 3\"",
            };
            row[0] = format!(
                "<svg class=\"sample\" viewBox=\"0 0 22 10\" aria-hidden=\"true\"><path class=\"k{}\" stroke-width=\"2.5\"{dash} d=\"M0 5H22\"/></svg>{}",
                Ink::Series(i).class(),
                row[0]
            );
            row
        })
        .collect();
    table(&head, &rows, None) + &format!("<p class=\"muted caption\">{CAPTION}</p>\n")
}

/// At least `width` wide: more where there are many measures.
pub(super) fn drawing(runs: &[Run], width: f32) -> Drawing {
    let (head, rows) = cells(runs);
    let widths: Vec<f32> = (0..head.len())
        .map(|j| {
            let cells = std::iter::once(&head[j]).chain(rows.iter().map(|r| &r[j]));
            cells.map(|c| text_width(c, SIZE, false)).fold(0.0, f32::max) + GAP
        })
        .collect();
    let rest: f32 = widths[1..].iter().sum();
    let lead = SAMPLE.0 + SAMPLE.1;
    let first = (width - rest).max(lead + widths[0].min(MAX_NAME + GAP));
    let mut out = Drawing::new(
        width.max(first + rest),
        (rows.len() + 1) as f32 * ROW + 24.0,
        "Final evaluations",
    );
    let mut line = |y: f32, cells: &[String], ink: Ink| {
        let mut right = first;
        for (cell, width) in cells.iter().zip(&widths).skip(1) {
            right += width;
            out.text((right, y), cell, SIZE, ink, Anchor::End);
        }
    };
    line(ROW - 9.0, &head, Ink::Muted);
    for (i, row) in rows.iter().enumerate() {
        line(ROW * (i + 2) as f32 - 9.0, row, Ink::Text);
    }
    out.text((0.0, ROW - 9.0), &head[0], SIZE, Ink::Muted, Anchor::Start);
    for (i, row) in rows.iter().enumerate() {
        let y = ROW * (i + 2) as f32 - 9.0;
        // Names may be alike where they are shortened; lines tell runs apart as in the charts.
        let (ink, dash) = (Ink::Series(i), Series::dash_of_run(i));
        out.line((0.0, y - 4.0), (SAMPLE.0, y - 4.0), ink, 2.0, dash);
        let name = fitted_in_the_middle(&row[0], first - GAP - lead, SIZE);
        out.text((lead, y), &name, SIZE, Ink::Text, Anchor::Start);
    }
    for i in 1..=rows.len() {
        let y = ROW * i as f32;
        out.line((0.0, y), (first + rest, y), Ink::Grid, 1.0, Dash::Solid);
    }
    let bottom = out.height - 4.0;
    out.text((0.0, bottom), CAPTION, 11.0, Ink::Muted, Anchor::Start);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::metrics::StepRecord;

    #[test]
    fn the_final_loss_is_the_mean_of_the_last_epoch() {
        let mut metrics = Metrics::default();
        assert_eq!(last_loss(&metrics), None);
        for (step, epoch, loss) in
            [(0, 0.0, 9.0), (1, 1.5, 2.0), (2, 2.0, f64::NAN), (3, 2.25, 4.0)]
        {
            metrics.push_step(StepRecord { step, epoch, loss, ..StepRecord::default() });
        }
        assert_eq!(last_loss(&metrics), Some(3.0));
    }
}
