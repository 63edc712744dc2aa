//! What plots of runs hold, as pages and as pictures.

use super::*;
use crate::pages::drawing::{Anchor, Shape, text_width};
use crate::pages::html::check::well_formed;
use crate::pages::metrics::EvalRecord;

fn run(name: &str, num_steps: u64, log_prototypes: f64) -> Run {
    let mut metrics = Metrics::default();
    for step in 0..num_steps {
        let t = step as f64 / 100.0;
        let loss = 4.0 - t.min(2.0);
        metrics.push_step(StepRecord {
            step,
            epoch: t,
            loss,
            log_prototypes,
            ..StepRecord::default()
        });
    }
    for (encoder, value) in [("untrained", 0.5), ("trained", 0.625)] {
        let (encoder, metric) = (encoder.to_owned(), "knn_top1".to_owned());
        metrics.push_eval(EvalRecord {
            step: num_steps,
            epoch: 3.0,
            encoder,
            metric,
            value,
            settings: None,
        });
    }
    Run { name: name.into(), metrics }
}

#[test]
fn the_page_names_every_run_and_its_results() {
    let page = html(&[run("a<b>", 300, 4.0), run("second", 200, 4.0)]);
    well_formed(&page);
    for text in
        ["a&lt;b&gt;", "second", "50.0 → 62.5\u{a0}%", "+12.5", "log K = 4", "Comparison of 2 runs"]
    {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("a<b>"));
    // with other numbers of prototypes there is no common bound
    assert!(!html(&[run("x", 9, 4.0), run("y", 9, 5.0)]).contains("log K"));
}

#[test]
fn an_effective_rank_is_no_percentage() {
    let mut run = run("a", 9, 4.0);
    for (encoder, value) in [("untrained", 3.0), ("trained", 17.5)] {
        let (encoder, metric) = (encoder.to_owned(), "effective_rank".to_owned());
        run.metrics.push_eval(EvalRecord {
            step: 9,
            epoch: 3.0,
            encoder,
            metric,
            value,
            settings: None,
        });
    }
    let page = html(std::slice::from_ref(&run));
    for text in ["Effective rank", "<td>3.0 → 17.5</td>", "<td>+14.5</td>", "50.0 → 62.5\u{a0}%"]
    {
        assert!(page.contains(text), "{text} in {page}");
    }
    let table = crate::pages::report::headline::table(&run.metrics);
    for text in ["Effective rank", ">17.5</td>", ">+14.5</span>", ">+12.5 points</span>"] {
        assert!(table.contains(text), "{text} in {table}");
    }
    assert!(table.find("Effective rank") > table.find("k-NN"));
}

#[test]
fn files_are_what_their_names_say() {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (0..12).map(|i| run(&format!("run {i}"), 50, 4.0)).collect();
    for (name, start) in
        [("a.html", &b"<!DOCTYPE html>"[..]), ("b.SVG", b"<svg "), ("c.png", b"\x89PNG\r\n\x1a\n")]
    {
        let path = folder.path().join(name);
        write(&runs, &path).unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(start), "{name}");
    }
    well_formed(&svg(&runs));
    for name in ["d.gif", "e"] {
        let refused = write(&runs, &folder.path().join(name));
        assert!(matches!(refused, Err(Error::UnknownPicture { .. })));
    }
    let nowhere = write(&runs, &folder.path().join("no/such/f.png"));
    assert!(matches!(nowhere, Err(Error::WriteFailed { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "something was left behind");
}

#[test]
fn runs_are_named_by_what_tells_them_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for name in ["x/seed0", "y/seed0", "y/seed1"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("metrics.jsonl"), "{\"kind\":\"step\",\"step\":0,\"epoch\":0}\n")
            .unwrap();
        paths.push(path);
    }
    paths[1] = paths[1].join("metrics.jsonl");
    let names: Vec<_> = read(&paths).unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["x/seed0", "y/seed0", "seed1"]);
    let twice = [paths[0].clone(), paths[2].clone(), paths[0].clone()];
    let names: Vec<_> = read(&twice).unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["seed0", "seed1", "seed0 (2)"]);
}

#[test]
fn no_run_and_empty_runs_are_drawn_without_panic() {
    for runs in [vec![], vec![Run { name: String::new(), metrics: Metrics::default() }]] {
        well_formed(&html(&runs));
        assert!(png(&runs).is_ok());
    }
}

/// What a drawing writes: the text, and from where to where.
fn texts(drawing: &Drawing) -> Vec<(String, f32, f32)> {
    let texts = drawing.shapes.iter().filter_map(|shape| {
        let Shape::Text { at, text, size, anchor, bold, .. } = shape else { return None };
        let width = text_width(text, *size, *bold);
        let left = match anchor {
            Anchor::Start => at.0,
            Anchor::Middle => at.0 - width / 2.0,
            Anchor::End => at.0 - width,
        };
        Some((text.clone(), left, left + width))
    });
    texts.collect()
}

#[test]
fn the_sheet_is_as_wide_as_its_table_and_rows_can_be_told_apart() {
    let names = [1, 10, 11].map(|i| format!("a-long-name-of-a-run-which-is-number-{i}"));
    let runs = names.clone().map(|name| {
        let mut run = run(&name, 50, 4.0);
        for metric in ["knn_top5", "linear_top1", "linear_top5", "effective_rank"] {
            for (encoder, value) in [("untrained", 0.5), ("trained", 0.625)] {
                let (encoder, metric) = (encoder.to_owned(), metric.to_owned());
                run.metrics.push_eval(EvalRecord {
                    step: 50,
                    epoch: 3.0,
                    encoder,
                    metric,
                    value,
                    settings: None,
                });
            }
        }
        run
    });
    let sheet = drawing(&runs);
    assert!(sheet.width > 1300.0, "{}", sheet.width);
    for (text, left, right) in texts(&sheet) {
        assert!(left >= 0.0 && right <= sheet.width, "{text} from {left} to {right}");
    }
    let texts = texts(&sheet);
    for end in ["number-1", "-10", "-11"] {
        let named =
            |(text, ..): &&(String, f32, f32)| text.starts_with("a-lo") && text.ends_with(end);
        // In the legend and in the table.
        assert_eq!(texts.iter().filter(named).count(), 2, "{end}: {texts:?}");
    }
}

#[test]
fn accuracy_begins_with_the_untrained_encoder_on_the_axes_of_the_others() {
    let record = |epoch, encoder: &str, value| EvalRecord {
        step: 0,
        epoch,
        encoder: encoder.into(),
        metric: "knn_top1".into(),
        value,
        settings: None,
    };
    let mut run = run("a", 300, 4.0);
    run.metrics.evals = vec![record(0.0, "untrained", 0.71), record(2.0, "trained", 0.713)];
    let charts = charts(std::slice::from_ref(&run));
    assert!(charts.iter().all(|chart| chart.x == charts[0].x), "{charts:?}");
    let knn = charts.iter().find(|chart| chart.title.starts_with("k-NN")).unwrap();
    assert_eq!(knn.x_bounds(), (0.0, 2.0));
    let texts = texts(&knn.draw(560.0, 330.0));
    let ticks: Vec<f64> =
        texts.iter().filter_map(|(text, ..)| text.strip_suffix("\u{a0}%")?.parse().ok()).collect();
    let highest = ticks.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lowest = ticks.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(highest - lowest >= 5.0, "{ticks:?}");
}

#[test]
fn beta_is_drawn_where_it_is_recorded() {
    let mut with = run("a", 9, 4.0);
    assert!(!svg(std::slice::from_ref(&with)).contains("β of the assignment"));
    with.metrics.steps[0].beta = 0.7;
    assert!(svg(&[with]).contains("β of the assignment"));
}

#[test]
fn numbers_that_do_not_compare_are_told_of_under_the_table() {
    let evaluated = |name: &str, settings: Option<&str>| {
        let mut run = run(name, 9, 4.0);
        for eval in &mut run.metrics.evals {
            eval.settings = settings.map(str::to_owned);
        }
        for metric in ["knn_top5", "linear_top1"] {
            let last = run.metrics.evals.last().unwrap().clone();
            run.metrics.push_eval(EvalRecord { metric: metric.into(), ..last });
        }
        run
    };
    let told = "were evaluated with other settings than a";
    let alike = [evaluated("a", Some("{\"k\":20}")), evaluated("b", Some("{\"k\":20}"))];
    assert!(!html(&alike).contains("other settings"));
    let mut runs = vec![
        evaluated("a", Some("{\"k\":20}")),
        // It does not say.
        evaluated("old", None),
        evaluated("b<", Some("{\"k\":5}")),
        evaluated("c", Some("{\"k\":7}")),
    ];
    // Long enough for several lines of a sheet.
    runs[3].metrics.notes.push("Lines were left out. ".repeat(30));
    let page = html(&runs);
    well_formed(&page);
    assert!(page.contains(&format!("k-NN, Linear probe: b&lt;, c {told}")), "{page}");
    assert!(page.contains("c: Lines were left out."), "{page}");
    // Of a single run it is clear whose notes they are.
    assert!(html(&runs[3..]).contains(">Lines were left out."));
    let sheet = drawing(&runs);
    let texts = texts(&sheet);
    assert!(texts.iter().any(|(text, ..)| text.contains(&format!("b<, c {told}"))), "{texts:?}");
    let noted = texts.iter().filter(|(text, ..)| text.contains("left out.")).collect::<Vec<_>>();
    assert!(noted.len() > 1, "{texts:?}");
    for (text, left, right) in &texts {
        assert!(*left >= 0.0 && *right <= sheet.width, "{text} from {left} to {right}");
    }
    let lowest = sheet.shapes.iter().filter_map(|shape| match shape {
        Shape::Text { at, .. } => Some(at.1),
        _ => None,
    });
    assert!(lowest.fold(0.0, f32::max) < sheet.height);
}
