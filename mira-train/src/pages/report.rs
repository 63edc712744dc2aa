//! The report of one run: a single HTML file that needs nothing else.

pub(super) mod curves;
pub(crate) mod headline;
mod pictures;
mod scatter;
mod usage;

use super::html::{escape, page, section};
use super::metrics::Metrics;
use super::projection::Projection;
pub use super::thumbnail::Thumbnail;

/// One query of the nearest-neighbour gallery.
#[derive(Clone, Debug)]
pub struct GalleryRow {
    /// The picture whose neighbours were looked for.
    pub query: Thumbnail,
    /// The nearest ones, nearest first.
    pub neighbours: Vec<Neighbour>,
}

/// A neighbour of a query.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its picture, captioned with its class.
    pub thumbnail: Thumbnail,
    /// Whether its class is the query's; `None` where classes are not known.
    pub is_match: Option<bool>,
}

/// What a report shows; parts that are empty are left out of it.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The recipe's name, or what else to call the run.
    pub title: &'a str,
    /// The command line that repeats it.
    pub command: &'a str,
    /// The resolved recipe.
    pub recipe_toml: &'a str,
    /// What it measured.
    pub metrics: &'a Metrics,
    /// Names and values for the facts beside the results: parameters, device, duration, ….
    pub facts: Vec<(String, String)>,
    /// How often each prototype is assigned: the marginal, which sums to 1.
    pub prototype_usage: &'a [f32],
    /// Embeddings to project.
    pub embeddings: Option<Projection<'a>>,
    /// Nearest neighbours.
    pub gallery: &'a [GalleryRow],
    /// A row an image: the original, then augmented views.
    pub views: &'a [Vec<Thumbnail>],
    /// What a reader should be warned of, beside the warnings in the metrics.
    pub warnings: &'a [String],
}

/// The page; every text in the report is escaped.
pub fn html(report: &Report<'_>) -> String {
    let mut body = format!("<h1>{}</h1>\n{}", escape(report.title), headline::lead(report.metrics));
    body += &warnings(report);
    body += &format!(
        "<div class=\"top\">\n<div class=\"card\">{}</div>\n<div class=\"card\">{}</div>\n</div>\n",
        headline::table(report.metrics),
        headline::facts(&report.facts)
    );
    body += &curves::section(report.metrics);
    let learned = usage::card(report.prototype_usage) + &scatter::card(report.embeddings);
    if !learned.is_empty() {
        let grid = format!("<div class=\"grid wide\">\n{learned}</div>\n");
        body += &section("What the encoder has learned", &grid);
    }
    let max_side = pictures::side_limit(report.gallery, report.views);
    body += &pictures::gallery(report.gallery, max_side);
    body += &pictures::views(report.views, max_side);
    body += &how_to_repeat(report);
    page(&format!("{} · mira", report.title), &body)
}

/// Warnings and notes, above everything they cast doubt on.
fn warnings(report: &Report<'_>) -> String {
    let metrics = report.metrics;
    let mut texts: Vec<String> =
        report.warnings.iter().chain(&metrics.warnings).chain(&metrics.notes).cloned().collect();
    match metrics.num_skips {
        0 => {}
        1 => texts.push("1 step was skipped because its loss or gradients were not finite.".into()),
        n => texts.push(format!(
            "{n} steps were skipped because their loss or gradients were not finite."
        )),
    }
    if texts.is_empty() {
        return String::new();
    }
    let items: String = texts.iter().map(|t| format!("<li>{}</li>\n", escape(t))).collect();
    format!("<div class=\"warn\"><strong>Please note</strong><ul>\n{items}</ul></div>\n")
}

fn how_to_repeat(report: &Report<'_>) -> String {
    let mut body = String::new();
    if !report.command.is_empty() {
        body += &format!("<pre class=\"wrap\"><code>{}</code></pre>\n", escape(report.command));
    }
    if !report.recipe_toml.is_empty() {
        body += &format!(
            "<p></p>\n<details><summary>The resolved recipe</summary><pre><code>{}</code></pre></details>\n",
            escape(report.recipe_toml)
        );
    }
    if body.is_empty() { body } else { section("How to repeat it", &body) }
}

#[cfg(test)]
mod tests;
