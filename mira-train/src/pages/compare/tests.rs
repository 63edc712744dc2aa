//! What the page of a comparison holds, and that it is well-formed.

use super::page::mean_curve;
use super::*;
use crate::pages::html::check::well_formed;
use crate::pages::metrics::{EvalRecord, StepRecord};

fn done(seed: u64, knn: f64, linear: f64) -> Run {
    let measured = Measured {
        trained: Values { knn: Some(knn), linear: Some(linear), rank: Some(12.25) },
        untrained: Values { knn: Some(0.5 + seed as f64 / 100.0), linear: None, rank: Some(3.0) },
        pixels: Values { knn: Some(0.9), ..Values::default() },
        seconds_per_step: Some(0.0123),
        peak_memory_bytes: Some(300 << 20),
        curve: vec![(1.0, 0.6), (2.0, knn)],
    };
    Run { seed, state: State::Done, measured: Some(measured) }
}

fn method(name: &str, runs: Vec<Run>) -> Method {
    let recipe = format!("small/{name}");
    Method {
        name: name.into(),
        recipe,
        objective: "mio".into(),
        differences: "nothing".into(),
        runs,
    }
}

fn comparison(methods: Vec<Method>) -> Comparison {
    Comparison {
        title: "Comparison".into(),
        command: "mira-train compare".into(),
        data: "embedded".into(),
        epochs: 2,
        num_seeds: 2,
        methods,
    }
}

/// `worse` is given first; of `wild` one run failed.
fn example() -> Comparison {
    let failed = Run { seed: 1, state: State::Failed("a | b, \"c\"\n<d>".into()), measured: None };
    comparison(vec![
        method("worse", vec![done(0, 0.70, 0.8), done(1, 0.72, 0.8)]),
        method("wild", vec![done(0, 0.65, 0.7), failed]),
        method("better", vec![done(0, 0.80, 0.85), done(1, 0.81, 0.9)]),
    ])
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

#[test]
fn means_and_deviations() {
    assert_eq!(summarise(&[]), None);
    assert_eq!(summarise(&[3.0]), Some(Summary { mean: 3.0, deviation: None }));
    // Σ (x − 5)² = 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32, over 7
    let many = summarise(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
    assert!(close(many.mean, 5.0) && close(many.deviation.unwrap(), (32.0_f64 / 7.0).sqrt()));
    assert_eq!(median(&mut [5.0, 1.0, 3.0]), Some(3.0));
    assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
    assert_eq!(median(&mut []), None);
}

#[test]
fn a_run_is_measured_by_its_last_evaluation_and_median_step() {
    let mut metrics = Metrics::default();
    metrics.peak_memory_bytes = Some(7);
    for (step, images_per_second) in [(0, 10.0), (1, 100.0), (2, 200.0), (3, f64::NAN)] {
        metrics.push_step(StepRecord { step, images_per_second, ..StepRecord::default() });
    }
    for (step, encoder, metric, value) in [
        (0, "untrained", "knn_top1", 0.5),
        (0, "untrained", "effective_rank", 2.0),
        (0, "pixels", "knn_top1", 0.75),
        (2, "trained", "knn_top1", 0.625),
        (4, "trained", "knn_top1", 0.875),
        (4, "trained", "effective_rank", 9.5),
        (4, "trained", "linear_top1", f64::NAN),
    ] {
        let (encoder, metric) = (encoder.to_owned(), metric.to_owned());
        metrics.push_eval(EvalRecord {
            step,
            epoch: step as f64,
            encoder,
            metric,
            value,
            settings: None,
        });
    }
    let measured = Measured::new(&metrics, 50);
    let trained = Values { knn: Some(0.875), linear: None, rank: Some(9.5) };
    assert_eq!(measured.trained, trained);
    assert_eq!((measured.untrained.knn, measured.untrained.rank), (Some(0.5), Some(2.0)));
    assert_eq!((measured.pixels.knn, measured.pixels.rank), (Some(0.75), None));
    assert_eq!((measured.seconds_per_step, measured.peak_memory_bytes), (Some(0.5), Some(7)));
    assert_eq!(measured.curve, [(2.0, 0.625), (4.0, 0.875)]);
}

#[test]
fn the_table_is_sorted_by_knn_and_has_the_untrained_and_the_pixels_below() {
    let text = text(&example());
    let rows: Vec<Vec<&str>> =
        text.lines().map(|line| line.split(" | ").map(str::trim).collect()).collect();
    let names: Vec<&str> = rows[2..].iter().map(|row| row[0].trim_start_matches("| ")).collect();
    assert_eq!(names, ["better", "worse", "wild", "untrained encoder", "raw pixels"], "{text}");
    // 80 and 81: sd = 1/√2
    assert_eq!(rows[2][1..4], ["2", "80.5 ± 0.7", "87.5 ± 3.5"], "{text}");
    assert_eq!(rows[2][4..7], ["12.2 ± 0.0", "0.0123 ± 0.0000", "300 ± 0"], "{text}");
    assert_eq!(rows[4][1..3], ["1 of 2", "65.0"], "{text}");
    assert!(rows[4][7].contains("seed 1 failed: a \\| b, \"c\" <d>"), "{text}");
    // A seed's runs are one value: 50 and 51.
    assert_eq!(rows[5][2..5], ["50.5 ± 0.7", "–", "3.0 ± 0.0"], "{text}");
    assert_eq!(rows[6][2..4], ["90.0 ± 0.0", "–"], "{text}");
    // Lines of the numbers end below each other.
    let ends: Vec<_> =
        text.lines().map(|l| l.chars().take(90).collect::<String>().rfind('|')).collect();
    assert!(ends.iter().all(Option::is_some));
}

#[test]
fn a_table_without_failures_has_no_notes_and_one_of_nothing_is_drawn() {
    let mut fine = example();
    fine.methods.remove(1);
    assert!(!text(&fine).contains("Note"), "{}", text(&fine));
    let waiting = |seed| Run { seed, state: State::Waiting, measured: None };
    let nothing = comparison(vec![method("a", vec![waiting(0), waiting(1)])]);
    assert!(text(&nothing).contains("0 of 2"));
    assert!(!text(&nothing).contains("raw pixels"));
    well_formed(&html(&nothing));
    assert!(html(&nothing).contains("0 of 2 runs are finished"));
}

#[test]
fn lines_for_programs_are_one_a_run_with_every_digit() {
    let mut example = example();
    example.methods[0].runs[0] = done(0, 0.1 + 0.2, 0.8);
    // What was evaluated half-way is no result; what it started from is known.
    example.methods[0].runs[1].state = State::Begun;
    let csv = csv(&example);
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines.len(), 1 + 6 + 1, "{csv}");
    let expected =
        "worse,small/worse,mio,0,done,,0.30000000000000004,0.8,12.25,0.0123,314572800,0.5,,3,0.9";
    assert_eq!(lines[1], expected);
    assert_eq!(lines[2], "worse,small/worse,mio,1,begun,,,,,0.0123,314572800,0.51,,3,0.9");
    assert!(csv.contains("wild,small/wild,mio,1,failed,\"a | b, \"\"c\"\"\n<d>\",,,"), "{csv}");
}

#[test]
fn the_page_is_well_formed_escaped_and_has_a_dot_for_every_run() {
    let mut example = example();
    example.methods[0].name = "<b>worse".into();
    let page = html(&example);
    well_formed(&page);
    assert!(page.contains("Best by k-NN: <strong>better</strong> with 80.5 ± 0.7\u{a0}%."));
    assert!(!page.contains("<b>worse") && page.contains("&lt;b&gt;worse"));
    assert!(page.contains("wild, seed 1: a | b, &quot;c&quot;"));
    // Five finished runs in two pictures.
    assert_eq!(page.matches("<title>seed ").count(), 10);
    assert!(page.contains("<title>seed 1: 81.0\u{a0}%</title>"));
}

#[test]
fn curves_are_means_where_all_seeds_have_one_from_the_untrained_on() {
    let mut other = done(1, 0.8, 0.8);
    other.measured.as_mut().unwrap().curve = vec![(2.0, 0.8), (3.0, 0.9)];
    let curve = mean_curve(&method("a", vec![done(0, 0.7, 0.8), other]));
    assert_eq!(curve.len(), 2, "{curve:?}");
    for ((epoch, value), (at, expected)) in curve.into_iter().zip([(0.0, 0.505), (2.0, 0.75)]) {
        assert!(epoch == at && close(value, expected), "{epoch} {value}");
    }
}

#[test]
fn three_files_are_written_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        example().write(folder.path()).unwrap();
    }
    let entries = std::fs::read_dir(folder.path()).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["results.csv", "results.html", "results.md"]);
    let nowhere = example().write(&folder.path().join("nowhere"));
    assert!(matches!(nowhere, Err(Error::WriteFailed { .. })));
}
