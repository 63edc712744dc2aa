//! Curves of a run, one small chart each.

use crate::pages::chart::{Chart, Format, Legend, Reference, Series};
use crate::pages::drawing::Dash;
use crate::pages::html;
use crate::pages::metrics::{Metrics, StepRecord};
use crate::pages::theme::Ink;

const SIZE: (f32, f32) = (400.0, 250.0);

/// What an axis of accuracies shows at least: 5 points.
pub(in crate::pages) const LEAST_SPAN: f64 = 0.05;

/// All curves that have values.
pub(super) fn section(metrics: &Metrics) -> String {
    let cards: String = charts(metrics)
        .iter()
        .filter(|chart| !chart.is_empty())
        .map(|chart| {
            format!("<div class=\"card\">{}</div>\n", chart.draw(SIZE.0, SIZE.1).to_inline_svg())
        })
        .collect();
    if cards.is_empty() {
        return cards;
    }
    let grid = format!("<div class=\"grid\">\n{cards}</div>\n");
    html::section("Training", &grid)
}

fn charts(metrics: &Metrics) -> Vec<Chart> {
    let step = |title: &str, ink, value: fn(&StepRecord) -> f64| {
        let points = step_points(metrics, value);
        plain(title, Series::new(title, Ink::Series(ink), &points, true))
    };
    let log_k = log_prototypes(metrics);
    let mut loss = step("Loss", 0, |s| s.loss);
    let mut entropy = step("Entropy of the marginal (nats)", 1, |s| s.marginal_entropy);
    let terms = metrics.loss_terms.unwrap_or(1.0);
    for (chart, name, terms) in [(&mut loss, "loss", terms), (&mut entropy, "entropy", 1.0)] {
        chart.series[0].name = name.into();
        chart.references.extend(log_k_line(log_k, terms));
        chart.legend = if log_k.is_some() { Legend::All } else { Legend::None };
    }
    let mut rate = step("Learning rate", 2, |s| s.lr);
    let mut sweeps = step("Sweeps of the assignment", 5, |s| s.sweeps);
    let mut speed = step("Images per second", 9, |s| s.images_per_second);
    for chart in [&mut rate, &mut sweeps, &mut speed] {
        chart.from_zero = true;
    }
    let mut gradients = step("Norm of the gradients", 4, |s| s.gradient_norm);
    gradients.from_zero = true;
    let beta = step("β of the assignment", 3, |s| s.beta);
    let momentum = step("Momentum of the teacher", 7, |s| s.ema_momentum);
    vec![knn(metrics), loss, entropy, rate, beta, momentum, sweeps, gradients, speed]
}

fn knn(metrics: &Metrics) -> Chart {
    let points = eval_points(metrics, "knn_top1");
    let mut chart =
        plain("k-NN accuracy, top-1", Series::marked("trained", Ink::Series(0), &points));
    for (encoder, name, ink, dash) in [
        ("untrained", "untrained", Ink::Series(1), Dash::Dashed),
        ("pixels", "raw pixels", Ink::Series(9), Dash::Dotted),
    ] {
        if let Some(value) = metrics.latest(encoder, "knn_top1").filter(|v| v.is_finite()) {
            let name = format!("{name} {}", Format::Percent.value(value));
            chart.references.push(Reference { name, value, ink, dash });
        }
    }
    // From the untrained encoder on, as the other curves, however few evaluations there are.
    let epochs = points.iter().map(|point| point.0).chain(metrics.steps.iter().map(|s| s.epoch));
    let end = epochs.filter(|epoch| epoch.is_finite()).fold(0.0, f64::max);
    chart.x = (end > 0.0).then_some((0.0, end));
    chart.format = Format::Percent;
    chart.least_span = LEAST_SPAN;
    chart.legend = Legend::All;
    chart
}

fn plain(title: &str, series: Series) -> Chart {
    Chart {
        title: title.into(),
        x_label: "epoch",
        series: vec![series],
        references: Vec::new(),
        format: Format::Plain,
        from_zero: false,
        least_span: 0.0,
        x: None,
        legend: Legend::None,
    }
}

/// A value of every step by epoch.
pub(in crate::pages) fn step_points(
    metrics: &Metrics,
    value: fn(&StepRecord) -> f64,
) -> Vec<(f64, f64)> {
    metrics.steps.iter().map(|s| (s.epoch, value(s))).collect()
}

/// A measure of the trained encoder by epoch.
pub(in crate::pages) fn eval_points(metrics: &Metrics, metric: &str) -> Vec<(f64, f64)> {
    points_of(metrics, "trained", metric)
}

/// That of the untrained encoder, at its start.
pub(in crate::pages) fn untrained_points(metrics: &Metrics, metric: &str) -> Vec<(f64, f64)> {
    points_of(metrics, "untrained", metric)
}

fn points_of(metrics: &Metrics, encoder: &str, metric: &str) -> Vec<(f64, f64)> {
    let found = metrics.evals.iter().filter(|e| e.encoder == encoder && e.metric == metric);
    let mut points: Vec<_> = found.map(|e| (e.epoch, e.value)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// log K, if it is recorded.
pub(in crate::pages) fn log_prototypes(metrics: &Metrics) -> Option<f64> {
    metrics.steps.iter().rev().map(|s| s.log_prototypes).find(|v| v.is_finite())
}

/// The line at log K, or at as many times log K as a loss is the sum of cross-entropies.
pub(in crate::pages) fn log_k_line(log_k: Option<f64>, num_terms: f64) -> Option<Reference> {
    log_k.map(|log_k| {
        let value = num_terms * log_k;
        let times = if num_terms > 1.0 { format!("{num_terms} ") } else { String::new() };
        let name = format!("{times}log K = {}", Format::Plain.value(value));
        Reference { name, value, ink: Ink::Muted, dash: Dash::Dashed }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::metrics::EvalRecord;

    #[test]
    fn accuracy_is_shown_from_the_start_to_the_last_step() {
        let mut metrics = Metrics::default();
        assert_eq!(knn(&metrics).x, None);
        metrics.push_eval(EvalRecord {
            step: 8,
            epoch: 2.0,
            encoder: "trained".into(),
            metric: "knn_top1".into(),
            value: 0.5,
            settings: None,
        });
        assert_eq!(knn(&metrics).x, Some((0.0, 2.0)));
        metrics.steps.push(StepRecord { step: 9, epoch: 2.5, ..StepRecord::default() });
        assert_eq!(knn(&metrics).x, Some((0.0, 2.5)));
    }

    #[test]
    fn a_sum_of_cross_entropies_is_held_against_as_many_times_log_k() {
        let line = |terms| log_k_line(Some(4.0), terms).map(|line| (line.name, line.value));
        assert_eq!(line(1.0), Some(("log K = 4".into(), 4.0)));
        assert_eq!(line(2.0), Some(("2 log K = 8".into(), 8.0)));
    }
}
