//! The results as a page: the table, every run's dot, curves.

use super::dots::{self, Reference};
use super::table::{caption, facts, head, rows};
use super::{Comparison, Measured, Method, summarise};
use crate::pages::chart::{Chart, Format, Legend, Series};
use crate::pages::drawing::{Dash, Drawing};
use crate::pages::html::{escape, page, section, table};
use crate::pages::report::curves::LEAST_SPAN;
use crate::pages::theme::Ink;

/// The results as one HTML file that needs nothing else.
pub fn html(comparison: &Comparison) -> String {
    let mut body = format!("<h1>{}</h1>\n{}", escape(&comparison.title), lead(comparison));
    let failures = comparison.failures();
    if !failures.is_empty() {
        let items: String = failures.iter().map(|f| format!("<li>{}</li>\n", escape(f))).collect();
        body += &format!(
            "<div class=\"warn\"><strong>Runs that failed</strong><ul>\n{items}</ul></div>\n"
        );
    }
    body += &format!("<div class=\"card\">{}</div>\n", results(comparison));
    let drawings = [knn(comparison), linear(comparison), curves(comparison)];
    let cards: String = drawings
        .iter()
        .flatten()
        .map(|drawing| format!("<div class=\"card\">{}</div>\n", drawing.to_inline_svg()))
        .collect();
    if !cards.is_empty() {
        body += &section("Every run", &format!("<div class=\"grid wide\">\n{cards}</div>\n"));
    }
    let differences: String = comparison
        .methods
        .iter()
        .map(|m| {
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"text\">{}</td></tr>\n",
                escape(&m.name),
                escape(&m.differences)
            )
        })
        .collect();
    body += &section(
        "What differs from the first recipe",
        &format!(
            "<div class=\"card\"><div class=\"scroll\"><table>\n<tbody>\n{differences}</tbody>\n</table></div></div>\n"
        ),
    );
    let facts: String = facts(comparison)
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value)))
        .collect();
    let repeat = format!(
        "<pre class=\"wrap\"><code>{}</code></pre>\n<p></p>\n<div class=\"card\"><dl>\n{facts}</dl></div>\n",
        escape(&comparison.command)
    );
    body += &section("How to repeat it", &repeat);
    page(&format!("{} · mira", comparison.title), &body)
}

/// The result in a sentence.
fn lead(comparison: &Comparison) -> String {
    let (num_done, num_runs) = (comparison.num_done(), comparison.runs().count());
    let progress = if num_done < num_runs {
        format!(" {num_done} of {num_runs} runs are finished.")
    } else {
        String::new()
    };
    let best = comparison.ranked().into_iter().find_map(|method| {
        let summary = method.summary(|m| m.trained.knn)?;
        let number = |v: f64| format!("{:.1}", 100.0 * v);
        let deviation = summary.deviation.map_or(String::new(), |d| format!(" ± {}", number(d)));
        Some(format!(
            "Best by k-NN: <strong>{}</strong> with {}{deviation}\u{a0}%.",
            escape(&method.name),
            number(summary.mean)
        ))
    });
    let best = best.unwrap_or_else(|| "No accuracy is known yet.".into());
    format!("<p class=\"lead\">{best}{progress}</p>\n")
}

/// The table, each method with its colour.
fn results(comparison: &Comparison) -> String {
    let head: Vec<String> = head().iter().map(|name| escape(name)).collect();
    let num_methods = comparison.methods.len();
    let rows: Vec<Vec<String>> = rows(comparison)
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let mut cells: Vec<String> = row.cells.iter().map(|cell| escape(cell)).collect();
            if i < num_methods {
                cells[0] = format!(
                    "<svg class=\"sample\" viewBox=\"0 0 22 10\" aria-hidden=\"true\"><circle class=\"f{}\" cx=\"6\" cy=\"5\" r=\"5\"/></svg>{}",
                    Ink::Series(i).class(),
                    cells[0]
                );
            }
            cells
        })
        .collect();
    let caption = caption(comparison.num_seeds);
    table(&head, &rows, Some(2)) + &format!("<p class=\"muted caption\">{caption}</p>\n")
}

fn knn(comparison: &Comparison) -> Option<Drawing> {
    let of = |value: fn(&Measured) -> Option<f64>| comparison.shared(value).map(|s| s.mean);
    let references = [
        untrained(of(|m| m.untrained.knn)),
        Reference {
            name: "raw pixels",
            value: of(|m| m.pixels.knn),
            ink: Ink::Muted,
            dash: Dash::Dotted,
        },
    ];
    dots::draw(comparison, "k-NN accuracy, top-1", |m| m.trained.knn, &references)
}

fn linear(comparison: &Comparison) -> Option<Drawing> {
    let reference = untrained(comparison.shared(|m| m.untrained.linear).map(|s| s.mean));
    dots::draw(comparison, "Linear probe, top-1", |m| m.trained.linear, &[reference])
}

fn untrained(value: Option<f64>) -> Reference {
    Reference { name: "untrained", value, ink: Ink::Muted, dash: Dash::Dashed }
}

/// k-NN accuracy over epochs, the mean of the finished seeds, from the untrained encoder on.
fn curves(comparison: &Comparison) -> Option<Drawing> {
    let series = comparison.ranked().into_iter().enumerate();
    let chart = Chart {
        title: "k-NN accuracy, mean over seeds".into(),
        x_label: "epoch",
        series: series.map(|(i, m)| Series::of_run(&m.name, i, &mean_curve(m))).collect(),
        references: Vec::new(),
        format: Format::Percent,
        from_zero: false,
        least_span: LEAST_SPAN,
        x: None,
        legend: Legend::All,
    };
    (!chart.is_empty()).then(|| chart.draw(560.0, 330.0))
}

/// Of the finished runs, at the epochs at which all of them were evaluated.
pub(super) fn mean_curve(method: &Method) -> Vec<(f64, f64)> {
    let curves: Vec<Vec<(f64, f64)>> = method
        .finished()
        .map(|(_, measured)| {
            let start = measured.untrained.knn.map(|value| (0.0, value));
            start.into_iter().chain(measured.curve.iter().copied()).collect()
        })
        .collect();
    let Some(first) = curves.first() else { return Vec::new() };
    let at = |curve: &[(f64, f64)], epoch: f64| {
        curve.iter().find(|(other, _)| *other == epoch).map(|(_, value)| *value)
    };
    let mean = |epoch: f64| {
        let values: Option<Vec<f64>> = curves.iter().map(|curve| at(curve, epoch)).collect();
        Some((epoch, summarise(&values?)?.mean))
    };
    first.iter().filter_map(|(epoch, _)| mean(*epoch)).collect()
}
