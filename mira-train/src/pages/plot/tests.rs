use super::*;
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
        metrics.push_eval(EvalRecord { step: num_steps, epoch: 3.0, encoder, metric, value });
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
        run.metrics.push_eval(EvalRecord { step: 9, epoch: 3.0, encoder, metric, value });
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
}

#[test]
fn no_run_and_empty_runs_are_drawn_without_panic() {
    for runs in [vec![], vec![Run { name: String::new(), metrics: Metrics::default() }]] {
        well_formed(&html(&runs));
        assert!(png(&runs).is_ok());
    }
}
