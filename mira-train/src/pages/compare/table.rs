//! The results in rows and columns: as Markdown, for a terminal, and one line a run for other programs.

use super::{Comparison, Measured, Method, Run, State, Summary};

/// A column: what is above it, whose value it has, how that is written.
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) trained: fn(&Measured) -> Option<f64>,
    untrained: fn(&Measured) -> Option<f64>,
    pixels: fn(&Measured) -> Option<f64>,
    scale: f64,
    decimals: fn(f64) -> usize,
}

const MIB: f64 = 1_048_576.0;

/// What is compared, the accuracy that sorts first.
pub(super) const COLUMNS: [Column; 5] = [
    Column {
        head: "k-NN top-1 (%)",
        trained: |m| m.trained.knn,
        untrained: |m| m.untrained.knn,
        pixels: |m| m.pixels.knn,
        scale: 100.0,
        decimals: |_| 1,
    },
    Column {
        head: "Linear top-1 (%)",
        trained: |m| m.trained.linear,
        untrained: |m| m.untrained.linear,
        pixels: |m| m.pixels.linear,
        scale: 100.0,
        decimals: |_| 1,
    },
    Column {
        head: "Effective rank",
        trained: |m| m.trained.rank,
        untrained: |m| m.untrained.rank,
        pixels: |m| m.pixels.rank,
        scale: 1.0,
        decimals: |_| 1,
    },
    Column {
        head: "Seconds a step",
        trained: |m| m.seconds_per_step,
        untrained: |_| None,
        pixels: |_| None,
        scale: 1.0,
        // Three digits of the mean.
        decimals: |mean| (2.0 - mean.abs().max(1e-9).log10().floor()).clamp(0.0, 6.0) as usize,
    },
    Column {
        head: "Peak memory (MiB)",
        trained: |m| m.peak_memory_bytes.map(|bytes| bytes as f64),
        untrained: |_| None,
        pixels: |_| None,
        scale: 1.0 / MIB,
        decimals: |_| 0,
    },
];

impl Column {
    fn cell(&self, summary: Option<Summary>) -> String {
        let Some(Summary { mean, deviation }) = summary else { return "–".into() };
        let decimals = (self.decimals)(mean * self.scale);
        let number = |value: f64| format!("{:.decimals$}", value * self.scale);
        match deviation {
            Some(deviation) => format!("{} ± {}", number(mean), number(deviation)),
            None => number(mean),
        }
    }
}

/// What a column has of a run that is not the trained encoder's.
type OfColumn = fn(&Column) -> fn(&Measured) -> Option<f64>;

/// A row; plain text.
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    /// Why there is less in it than there should be.
    note: String,
}

/// Names of the columns.
pub(super) fn head() -> Vec<String> {
    let mut head = vec!["Method".to_owned(), "Seeds".into()];
    head.extend(COLUMNS.iter().map(|column| column.head.to_owned()));
    head
}

/// A row a method, best first, then what there is without training.
pub(super) fn rows(comparison: &Comparison) -> Vec<Row> {
    let mut rows: Vec<Row> = comparison.ranked().into_iter().map(of_method).collect();
    let others: [(&str, OfColumn); 2] =
        [("untrained encoder", |c| c.untrained), ("raw pixels", |c| c.pixels)];
    for (name, of) in others {
        let summaries: Vec<_> =
            COLUMNS.iter().map(|column| comparison.shared(of(column))).collect();
        if summaries.iter().all(Option::is_none) {
            continue;
        }
        let mut cells = vec![name.to_owned(), String::new()];
        cells.extend(COLUMNS.iter().zip(summaries).map(|(column, s)| column.cell(s)));
        rows.push(Row { cells, note: String::new() });
    }
    rows
}

fn of_method(method: &Method) -> Row {
    let (num_done, num_seeds) = (method.finished().count(), method.runs.len());
    let seeds = if num_done == num_seeds {
        num_seeds.to_string()
    } else {
        format!("{num_done} of {num_seeds}")
    };
    let mut cells = vec![method.name.clone(), seeds];
    cells.extend(COLUMNS.iter().map(|column| column.cell(method.summary(column.trained))));
    let failures = method.runs.iter().filter_map(|run| match &run.state {
        State::Failed(reason) => Some(format!("seed {} failed: {reason}", run.seed)),
        _ => None,
    });
    Row { cells, note: failures.collect::<Vec<_>>().join("; ") }
}

/// The table in Markdown, as readable as text.
pub fn text(comparison: &Comparison) -> String {
    let rows = rows(comparison);
    let has_notes = rows.iter().any(|row| !row.note.is_empty());
    let mut head = head();
    let mut body: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let mut cells = row.cells;
        cells.extend(has_notes.then_some(row.note));
        body.push(cells.iter().map(|cell| plain(cell).replace('|', "\\|")).collect());
    }
    head.extend(has_notes.then(|| "Note".to_owned()));
    let num_numbers = 1 + COLUMNS.len();
    let is_number = |column: usize| (1..=num_numbers).contains(&column);
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(&body).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(3)
    };
    // The last column is as long as it is: a reason must not push everybody else's line apart.
    let widths: Vec<usize> =
        (0..head.len()).map(|c| if c > num_numbers { 4 } else { width(c) }).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if is_number(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(
            |(column, &width)| {
                if is_number(column) { "-".repeat(width - 1) + ":" } else { "-".repeat(width) }
            },
        )
        .collect();
    let body: String = body.iter().map(|row| line(row)).collect();
    line(&head) + &line(&rule) + &body
}

/// The results with what they are of.
pub fn markdown(comparison: &Comparison) -> String {
    let Comparison { title, command, num_seeds, .. } = comparison;
    let mut out = format!("# {}\n\n", plain(title));
    let commands: Vec<String> = command.lines().map(plain).collect();
    out += &format!("```sh\n{}\n```\n\n", commands.join("\n"));
    out += &facts(comparison)
        .iter()
        .map(|(name, value)| format!("- {name}: {}\n", plain(value)))
        .collect::<String>();
    out += &format!("\n{}\n{}\n", text(comparison), caption(*num_seeds));
    out += "\n## What differs from the first recipe\n\n";
    for method in &comparison.methods {
        out += &format!("- **{}**: {}\n", plain(&method.name), plain(&method.differences));
    }
    out
}

/// What the results are of.
pub(super) fn facts(comparison: &Comparison) -> Vec<(&'static str, String)> {
    let recipes: Vec<&str> = comparison.methods.iter().map(|m| m.recipe.as_str()).collect();
    let (num_done, num_runs) = (comparison.num_done(), comparison.runs().count());
    vec![
        ("Recipes", recipes.join(", ")),
        ("Data", comparison.data.clone()),
        ("Epochs", comparison.epochs.to_string()),
        ("Seeds", comparison.num_seeds.to_string()),
        ("Finished", format!("{num_done} of {num_runs} runs")),
        ("Program", concat!("mira-train ", env!("CARGO_PKG_VERSION")).to_owned()),
    ]
}

/// What the numbers of the table are.
pub(super) fn caption(num_seeds: u64) -> &'static str {
    if num_seeds > 1 {
        "Mean ± standard deviation over seeds (n − 1). Best k-NN first. A step's time is the median of the run's."
    } else {
        "One seed: no deviation is known. Best k-NN first. A step's time is the median of the run's."
    }
}

/// One line, whatever a path or a reason contains.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// One line a run, every digit.
pub fn csv(comparison: &Comparison) -> String {
    let head = [
        "method",
        "recipe",
        "objective",
        "seed",
        "state",
        "reason",
        "knn_top1",
        "linear_top1",
        "effective_rank",
        "seconds_per_step",
        "peak_memory_bytes",
        "untrained_knn_top1",
        "untrained_linear_top1",
        "untrained_effective_rank",
        "pixels_knn_top1",
    ];
    let mut out = head.join(",") + "\r\n";
    for (method, run) in comparison.runs() {
        out += &line(method, run).iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",");
        out += "\r\n";
    }
    out
}

fn line(method: &Method, run: &Run) -> Vec<String> {
    let (state, reason) = match &run.state {
        State::Waiting => ("waiting", ""),
        State::Begun => ("begun", ""),
        State::Done => ("done", ""),
        State::Failed(reason) => ("failed", reason.as_str()),
    };
    let mut cells = vec![
        method.name.clone(),
        method.recipe.clone(),
        method.objective.clone(),
        run.seed.to_string(),
        state.into(),
        reason.into(),
    ];
    let measured = run.measured.clone().unwrap_or_default();
    let number = |value: Option<f64>| value.map_or(String::new(), |v| v.to_string());
    // What was evaluated half-way is no result.
    let trained =
        if run.state == State::Done { measured.trained } else { super::Values::default() };
    let untrained = measured.untrained;
    cells
        .extend([trained.knn, trained.linear, trained.rank, measured.seconds_per_step].map(number));
    cells.push(measured.peak_memory_bytes.map_or(String::new(), |bytes| bytes.to_string()));
    let others = [untrained.knn, untrained.linear, untrained.rank, measured.pixels.knn];
    cells.extend(others.map(number));
    cells
}

/// As RFC 4180 has it.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
