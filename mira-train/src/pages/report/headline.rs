//! The first thing a reader sees: what training has changed.

use crate::pages::html::{self, escape};
use crate::pages::metrics::Metrics;

/// What a measure is called.
pub(in crate::pages) fn measure_name(metric: &str) -> String {
    let (kind, top) = metric.split_once("_top").unwrap_or((metric, ""));
    let kind = match kind {
        "knn" => "k-NN".to_owned(),
        "linear" => "Linear probe".to_owned(),
        "effective_rank" => "Effective rank".to_owned(),
        other => other.replace('_', " "),
    };
    if top.is_empty() { kind } else { format!("{kind}, top-{top}") }
}

/// Names of the measures, the two usual ones first.
pub(in crate::pages) fn measures(metrics: &[&Metrics]) -> Vec<String> {
    let mut names: Vec<String> =
        metrics.iter().flat_map(|m| &m.evals).map(|e| e.metric.clone()).collect();
    let rank = |name: &str| match name {
        "knn_top1" => 0,
        "linear_top1" => 1,
        name if is_accuracy(name) => 2,
        _ => 3,
    };
    names.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    names.dedup();
    names
}

/// Whether a measure is a part of one; an effective rank, for example, is not.
pub(in crate::pages) fn is_accuracy(metric: &str) -> bool {
    metric.contains("_top")
}

/// A value as its measure is written: accuracies in per cent, others with one decimal.
pub(in crate::pages) fn shown(metric: &str, value: f64) -> String {
    if is_accuracy(metric) { percent(value) } else { format!("{value:.1}") }
}

/// What training has changed, of the numbers as they are shown: accuracies in points.
pub(in crate::pages) fn change(metric: &str, from: f64, to: f64) -> String {
    if is_accuracy(metric) { points(from, to) } else { points(from / 100.0, to / 100.0) }
}

pub(in crate::pages) fn percent(value: f64) -> String {
    format!("{:.1}\u{a0}%", value * 100.0)
}

/// A difference of two parts of one, in points, of the numbers as they are shown.
pub(crate) fn points(from: f64, to: f64) -> String {
    let tenths = ((to * 1000.0).round() - (from * 1000.0).round()) / 10.0;
    if tenths < 0.0 { format!("−{:.1}", -tenths) } else { format!("+{tenths:.1}") }
}

/// The result in a sentence.
pub(super) fn lead(metrics: &Metrics) -> String {
    let knn = |encoder| metrics.latest(encoder, "knn_top1");
    let (Some(before), Some(after)) = (knn("untrained"), knn("trained")) else {
        return "<p class=\"lead\">Self-supervised pre-training with mira.</p>\n".into();
    };
    let pixels =
        knn("pixels").map_or(String::new(), |p| format!(" Raw pixels give {}.", percent(p)));
    format!(
        "<p class=\"lead\">Pre-training without labels took k-NN accuracy from {} to <strong>{}</strong>, {} points.{pixels}</p>\n",
        percent(before),
        percent(after),
        points(before, after)
    )
}

/// Measures in rows; raw pixels, untrained, trained, difference.
pub(in crate::pages) fn table(metrics: &Metrics) -> String {
    let measures = measures(&[metrics]);
    if measures.is_empty() {
        return "<p class=\"muted\">No evaluation was recorded.</p>".into();
    }
    let mut rows = Vec::new();
    for metric in &measures {
        let latest = |encoder| metrics.latest(encoder, metric).filter(|v| v.is_finite());
        let cell = |value: Option<f64>| value.map_or("–".into(), |v| shown(metric, v));
        let (before, after) = (latest("untrained"), latest("trained"));
        let change = before.zip(after).map_or("–".into(), |(before, after)| {
            let class = if after >= before { "good" } else { "bad" };
            let unit = if is_accuracy(metric) { " points" } else { "" };
            format!("<span class=\"{class}\">{}{unit}</span>", change(metric, before, after))
        });
        let name = escape(&measure_name(metric));
        rows.push(vec![name, cell(latest("pixels")), cell(before), cell(after), change]);
    }
    let head = ["Measure", "Raw pixels", "Untrained", "Trained", "Gain"];
    // The trained encoder's numbers are what the page is about.
    html::table(&head.map(String::from), &rows, Some(3))
}

/// Names and values.
pub(super) fn facts(facts: &[(String, String)]) -> String {
    let items: String = facts
        .iter()
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value)))
        .collect();
    if items.is_empty() {
        "<p class=\"muted\">No facts were recorded.</p>".into()
    } else {
        format!("<dl>\n{items}</dl>")
    }
}
