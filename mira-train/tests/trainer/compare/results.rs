//! What a comparison leaves behind.

use std::fs;

use mira_train::recipe::Recipe;

use super::support::{Sandbox, TINY, succeeds};

/// The tiny recipe as a file, with some settings changed.
pub(crate) fn recipe(sandbox: &Sandbox, file: &str, more: &[&str]) {
    let mut settings: Vec<String> = TINY.iter().map(ToString::to_string).collect();
    settings.push("schedule.epochs=2".into());
    let more: Vec<String> = more.iter().map(ToString::to_string).collect();
    let tiny = Recipe::builtin("default").unwrap().with_overrides(&settings).unwrap();
    let recipe = tiny.with_overrides(&more).unwrap();
    fs::write(sandbox.path(file), recipe.to_toml()).expect("a file");
}

/// `results.csv` by (method, seed) and column.
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn read(sandbox: &Sandbox, out: &str) -> Self {
        let text = fs::read_to_string(sandbox.path(out).join("results.csv")).expect("results");
        // No cell of these has a comma but reasons, which are in quotes.
        let lines = text.split("\r\n").filter(|line| !line.is_empty());
        let cells = |line: &str| {
            let mut parts = line.split('"');
            let mut cells: Vec<String> = Vec::new();
            let plain = |text: &str| text.split(',').map(String::from).collect::<Vec<_>>();
            cells.extend(plain(parts.next().unwrap_or_default()));
            while let (Some(quoted), Some(rest)) = (parts.next(), parts.next()) {
                *cells.last_mut().expect("a cell") = quoted.into();
                cells.extend(plain(rest).into_iter().skip(1));
            }
            cells
        };
        Self(lines.map(cells).collect())
    }

    pub(crate) fn num_runs(&self) -> usize {
        self.0.len() - 1
    }

    pub(crate) fn get(&self, method: &str, seed: u64, column: &str) -> &str {
        let at = |name: &str| self.0[0].iter().position(|c| c == name).expect(name);
        let seed = seed.to_string();
        let row = self.0.iter().find(|row| row[at("method")] == method && row[at("seed")] == seed);
        &row.expect(method)[at(column)]
    }
}

#[test]
fn the_results_are_what_the_runs_measured() {
    let sandbox = Sandbox::new();
    recipe(&sandbox, "mira.toml", &[]);
    recipe(&sandbox, "rival.toml", &["objective.name=mio", "optimizer.base_lr=0.1"]);
    let command = ["compare", "mira.toml", "rival.toml", "--seeds", "2", "--out", "out"];
    let said = succeeds(&mut sandbox.command(&command));
    assert!(said.contains("| mira") && said.contains("out/results.html"), "{said}");

    let table = Table::read(&sandbox, "out");
    assert_eq!(table.num_runs(), 4);
    let mut knn = Vec::new();
    for method in ["mira", "rival"] {
        for seed in 0..2 {
            let run = format!("out/{method}/seed-{seed}");
            let evaluations = sandbox.metrics(&run, "eval");
            let value = |encoder: &str, metric: &str| {
                let of = |e: &&serde_json::Value| e["encoder"] == encoder && e["metric"] == metric;
                evaluations.iter().rev().find(of).expect(metric)["value"]
                    .as_f64()
                    .expect("a number")
            };
            for (column, expected) in [
                ("knn_top1", value("trained", "knn_top1")),
                ("linear_top1", value("trained", "linear_top1")),
                ("effective_rank", value("trained", "effective_rank")),
                ("untrained_knn_top1", value("untrained", "knn_top1")),
                ("untrained_linear_top1", value("untrained", "linear_top1")),
                ("untrained_effective_rank", value("untrained", "effective_rank")),
                ("pixels_knn_top1", value("pixels", "knn_top1")),
            ] {
                let got = table.get(method, seed, column).parse::<f64>().expect("a number");
                assert_eq!(got, expected, "{column} of {run}");
            }
            let end = &sandbox.metrics(&run, "end")[0];
            let peak = table.get(method, seed, "peak_memory_bytes");
            assert_eq!(peak, end["peak_memory_bytes"].to_string(), "{run}");
            assert!(table.get(method, seed, "seconds_per_step").parse::<f64>().expect(&run) > 0.0);
            assert_eq!(table.get(method, seed, "state"), "done");
            // The seed of the folder is the run's, and the recipe that was run lies beside it.
            let text = fs::read_to_string(sandbox.path(&format!("{run}/recipe.toml"))).unwrap();
            assert_eq!(text, fs::read_to_string(sandbox.path(&format!("{run}.toml"))).unwrap());
            assert_eq!(Recipe::from_toml(&text, "the run's").unwrap().train.seed, seed);
            knn.push(value("trained", "knn_top1"));
        }
    }
    let markdown = fs::read_to_string(sandbox.path("out/results.md")).expect("results");
    assert!(said.lines().take(6).all(|line| markdown.contains(line)), "{said}\n{markdown}");
    for (name, pair) in [("mira", &knn[..2]), ("rival", &knn[2..])] {
        let mean = 100.0 * f64::midpoint(pair[0], pair[1]);
        let deviation = 100.0 * (pair[0] - pair[1]).abs() / 2f64.sqrt();
        let cell = format!("{mean:.1} ± {deviation:.1} |");
        let row = markdown.lines().find(|line| line.starts_with(&format!("| {name} ")));
        assert!(row.is_some_and(|row| row.contains(&cell)), "{cell} of {name} in {markdown}");
    }
    for part in [
        "mira-train compare mira.toml rival.toml --seeds 2",
        "untrained encoder",
        "raw pixels",
        "objective.name = \"mio\"",
        "optimizer.base_lr = 0.1",
        "no prototypes",
        "4 of 4 runs",
    ] {
        assert!(markdown.contains(part), "no {part:?} in {markdown}");
    }
    let page = fs::read_to_string(sandbox.path("out/results.html")).expect("results");
    for part in ["rival", "seed 1: ", "raw pixels", "mean over seeds", "</html>"] {
        assert!(page.contains(part), "no {part:?}");
    }
}

#[test]
fn a_method_that_diverges_is_a_row_and_the_others_are_made_all_the_same() {
    let sandbox = Sandbox::new();
    recipe(&sandbox, "wild.toml", &["optimizer.base_lr=1e30"]);
    recipe(&sandbox, "tame.toml", &[]);
    let command = ["compare", "wild.toml", "tame.toml", "--seeds", "1", "--out", "out"];
    let common = ["--set", "train.max_skipped_steps=2"];
    let output = sandbox.command(&command).args(common).output().expect("the binary");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let table = Table::read(&sandbox, "out");
    assert_eq!(table.get("wild", 0, "state"), "failed");
    assert!(table.get("wild", 0, "reason").contains("3 steps in a row"));
    assert_eq!(table.get("wild", 0, "knn_top1"), "");
    assert_eq!(table.get("tame", 0, "state"), "done");
    assert!(table.get("tame", 0, "knn_top1").parse::<f64>().is_ok());
    for file in ["out/results.md", "out/results.html"] {
        let text = fs::read_to_string(sandbox.path(file)).expect(file);
        assert!(text.contains("3 steps in a row"), "{file}");
    }
    let row = said.lines().find(|line| line.starts_with("| wild")).expect("a row");
    assert!(row.contains("0 of 1") && row.contains("seed 0 failed: 3 steps"), "{row}");
    // The one that has a number is above the one that has none.
    assert!(said.find("| tame") < said.find("| wild"), "{said}");
}
