//! What a run's report holds, and that it is well-formed.

use super::*;
use crate::pages::html::check::well_formed;
use crate::pages::metrics::{EvalRecord, StepRecord};

const NASTY: &str = "<img src=x onerror=alert(1)>&\"'</script>";

fn thumbnail(side: usize, seed: usize, caption: &str) -> Thumbnail {
    // Noise: the worst that compression can meet.
    let noise = |i: usize| ((i + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8;
    let rgb = (0..side * side * 3).map(noise).collect();
    Thumbnail { width: side, height: side, rgb, caption: caption.into() }
}

fn metrics(num_steps: u64) -> Metrics {
    let mut metrics = Metrics::default();
    for step in 0..num_steps {
        let t = step as f64 / num_steps as f64;
        metrics.push_step(StepRecord {
            step,
            epoch: 100.0 * t,
            loss: 6.0 - 2.0 * t,
            lr: 0.3 * (1.0 - t),
            beta: 0.7,
            ema_momentum: 0.99 + 0.01 * t,
            images_per_second: 1500.0,
            sweeps: 5.0,
            marginal_entropy: 6.0,
            log_prototypes: 6.2,
            ..StepRecord::default()
        });
    }
    for (encoder, metric, value) in [
        ("pixels", "knn_top1", 0.745),
        ("untrained", "knn_top1", 0.713),
        ("trained", "knn_top1", 0.824),
        ("untrained", "linear_top1", 0.801),
        ("trained", "linear_top1", 0.7995),
    ] {
        let (encoder, metric) = (encoder.to_owned(), metric.to_owned());
        metrics.push_eval(EvalRecord {
            step: num_steps,
            epoch: 100.0,
            encoder,
            metric,
            value,
            settings: None,
        });
    }
    metrics
}

fn plain(metrics: &Metrics) -> Report<'_> {
    Report {
        title: "title",
        command: "",
        recipe_toml: "",
        metrics,
        facts: Vec::new(),
        prototype_usage: &[],
        embeddings: None,
        gallery: &[],
        views: &[],
        warnings: &[],
    }
}

#[test]
fn a_full_report_is_well_formed_escaped_and_small() {
    let mut metrics = metrics(300_000);
    metrics.warnings.push(NASTY.into());
    let (dim, n) = (64, 3000);
    let features: Vec<f32> = (0..n * dim).map(|i| ((i * i) as f32).sin()).collect();
    let labels: Vec<Option<u32>> = (0..n as u32).map(|i| (i % 7 != 0).then_some(i % 30)).collect();
    let class_names: Vec<String> = (0..30).map(|i| format!("{NASTY}{i}")).collect();
    let gallery: Vec<GalleryRow> = (0..12)
        .map(|i| GalleryRow {
            query: thumbnail(224, i, NASTY),
            neighbours: (0..8)
                .map(|j| Neighbour {
                    thumbnail: thumbnail(224, i * 9 + j, NASTY),
                    is_match: Some(j % 2 == 0),
                })
                .collect(),
        })
        .collect();
    let views: Vec<Vec<Thumbnail>> =
        (0..8).map(|i| (0..9).map(|j| thumbnail(224, i + j, NASTY)).collect()).collect();
    let usage: Vec<f32> = (1..=30_000).map(|i| 1.0 / i as f32).collect();
    let page = html(&Report {
        title: NASTY,
        command: NASTY,
        recipe_toml: NASTY,
        facts: vec![(NASTY.into(), NASTY.into())],
        prototype_usage: &usage,
        embeddings: Some(Projection {
            features: &features,
            dim,
            labels: &labels,
            class_names: &class_names,
        }),
        gallery: &gallery,
        views: &views,
        warnings: &[NASTY.to_owned()],
        ..plain(&metrics)
    });
    well_formed(&page);
    assert!(!page.contains("<img src=x") && !page.contains("</script"));
    assert!(page.len() < 5 << 20, "{} bytes", page.len());
    assert_eq!(page.matches("<img ").count(), 12 * 9 + 8 * 9);
    for heading in [
        "Loss",
        "Learning rate",
        "β of the assignment",
        "Momentum of the teacher",
        "Entropy of the marginal",
        "k-NN accuracy",
        "Sweeps",
        "Images per second",
    ] {
        assert!(page.contains(heading), "{heading}");
    }
    assert!(page.contains("48 of these 96 are of the query’s class"));
}

#[test]
fn the_headline_has_the_differences_of_the_numbers_shown() {
    let metrics = metrics(10);
    let page = html(&plain(&metrics));
    assert!(
        page.contains(
            "from 71.3\u{a0}% to <strong>82.4\u{a0}%</strong>, +11.1 points. Raw pixels give 74.5\u{a0}%."
        ),
        "{page}"
    );
    assert!(
        page.contains("<td class=\"big\">82.4\u{a0}%</td><td><span class=\"good\">+11.1 points")
    );
    // 0.7995 is shown as 79.9 % or 80.0\u{a0}%; the difference must agree with what is shown.
    let shown = headline::percent(0.7995);
    let difference = if shown == "80.0\u{a0}%" { "−0.1 points" } else { "−0.2 points" };
    assert!(page.contains(&format!("{shown}</td><td><span class=\"bad\">{difference}")), "{shown}");
}

#[test]
fn a_report_of_nothing_is_still_a_page() {
    let metrics = Metrics::default();
    let page = html(&plain(&metrics));
    well_formed(&page);
    assert!(page.contains("No evaluation was recorded.") && !page.contains("<h2>"));
}

#[test]
fn bad_embeddings_and_pictures_are_said_or_left_out() {
    let metrics = metrics(1);
    let broken = Thumbnail { rgb: vec![1], ..thumbnail(8, 0, "broken") };
    let page = html(&Report {
        embeddings: Some(Projection {
            features: &[f32::NAN; 8],
            dim: 2,
            labels: &[],
            class_names: &[],
        }),
        views: &[vec![broken]],
        ..plain(&metrics)
    });
    well_formed(&page);
    assert!(page.contains("No embeddings are shown: cannot project") && !page.contains("<img"));
}
