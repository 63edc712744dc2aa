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
/// A line of text under the table.
const LINE: f32 = 16.0;
const SIZE: f32 = 12.5;
/// Of the text under the table.
const NOTE_SIZE: f32 = 11.0;
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
        let loss = last_loss(metrics);
        let mut row = vec![
            run.name.clone(),
            Format::Plain.value((metrics.epochs() * 10.0).round() / 10.0),
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

/// What is to be known of the numbers: which do not compare, and what readers of the runs' measurements have left out.
fn notes(runs: &[Run]) -> Vec<String> {
    let mut notes = other_settings(runs);
    for run in runs {
        let of_run = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
        notes.extend(run.metrics.notes.iter().map(|note| format!("{of_run}{note}")));
    }
    notes
}

/// Runs that were evaluated otherwise than the first one, as far as their logs say how.
fn other_settings(runs: &[Run]) -> Vec<String> {
    let all: Vec<_> = runs.iter().map(|r| &r.metrics).collect();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for metric in measures(&all) {
        let settings = |run: &Run| {
            let last = run.metrics.evals.iter().rfind(|eval| eval.metric == metric)?;
            last.settings.clone()
        };
        let mut known = runs.iter().filter_map(|run| Some((&run.name, settings(run)?)));
        let Some((first, of_first)) = known.next() else { continue };
        let others: Vec<&str> = known
            .filter(|(_, settings)| *settings != of_first)
            .map(|(name, _)| name.as_str())
            .collect();
        if others.is_empty() {
            continue;
        }
        let verb = if others.len() == 1 { "was" } else { "were" };
        let told = format!(
            "{} {verb} evaluated with other settings than {first}: these numbers do not compare.",
            others.join(", ")
        );
        // Of top-1 and top-5 alike.
        let kind = measure_name(metric.split_once("_top").map_or(&*metric, |(kind, _)| kind));
        match found.iter_mut().find(|(other, _)| *other == told) {
            Some((_, kinds)) if kinds.contains(&kind) => {}
            Some((_, kinds)) => kinds.push(kind),
            None => found.push((told, vec![kind])),
        }
    }
    found.into_iter().map(|(told, kinds)| format!("{}: {told}", kinds.join(", "))).collect()
}

/// A text in lines of at most this width.
fn wrapped(text: &str, width: f32, size: f32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = fitted_in_the_middle(word, width, size);
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), size, false) <= width => {
                *line = format!("{line} {word}");
            }
            _ => lines.push(word),
        }
    }
    lines
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
    let under = std::iter::once(CAPTION.to_owned()).chain(notes(runs));
    let under = under.map(|text| format!("<p class=\"muted caption\">{}</p>\n", escape(&text)));
    table(&head, &rows, None) + &under.collect::<String>()
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
    let width = width.max(first + rest);
    let notes: Vec<_> =
        notes(runs).iter().flat_map(|note| wrapped(note, width, NOTE_SIZE)).collect();
    let caption = (rows.len() + 1) as f32 * ROW + 20.0;
    let height = caption + notes.len() as f32 * LINE + 4.0;
    let mut out = Drawing::new(width, height, "Final evaluations");
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
    out.text((0.0, caption), CAPTION, NOTE_SIZE, Ink::Muted, Anchor::Start);
    for (i, note) in notes.iter().enumerate() {
        let y = caption + (i + 1) as f32 * LINE;
        out.text((0.0, y), note, NOTE_SIZE, Ink::Muted, Anchor::Start);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::metrics::{EvalRecord, StepRecord};

    #[test]
    fn epochs_are_those_made_with_the_last_step() {
        let epochs = |num_steps: u64, steps_per_record: u64, evaluated: &[f64]| {
            let mut metrics = Metrics::default();
            metrics.steps_per_record = steps_per_record;
            for step in 0..num_steps {
                let epoch = step as f64 / 6.0;
                metrics.push_step(StepRecord { step, epoch, ..StepRecord::default() });
            }
            for &epoch in evaluated {
                metrics.push_eval(EvalRecord {
                    step: 0,
                    epoch,
                    encoder: "trained".into(),
                    metric: "knn_top1".into(),
                    value: 0.5,
                    settings: None,
                });
            }
            let run = Run { name: "a".into(), metrics };
            cells(&[run]).1[0][1].clone()
        };
        for (num_steps, expected) in [(12, "2"), (9, "1.5"), (6, "1"), (0, "0")] {
            for steps_per_record in [1, 4] {
                assert_eq!(epochs(num_steps, steps_per_record, &[]), expected, "{num_steps}");
            }
        }
        // Evaluated after its last step, or before it.
        assert_eq!(epochs(12, 1, &[1.0, 2.0]), "2");
        assert_eq!(epochs(9, 1, &[1.0]), "1.5");
    }

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
