//! `mira-train data pack`: a data set into a few large files.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Error;
use crate::cli::data::pack::PackArgs;
use crate::data::{
    Classes, PackError, PackInput, PackOptions, PackProgress, PackReport, Split, SplitReport,
    Subset, estimate, pack,
};
use crate::terminal::{BAR, Terminal};
use crate::text::{bytes, count};
use crate::train::hours;

/// Images that a dry run looks at.
const LOOKED_AT: usize = 64;

/// Between lines of progress in a log.
const INTERVAL: Duration = Duration::from_secs(30);

/// Runs `mira-train data pack` and returns what to print.
///
/// # Errors
/// [`Error::Pack`].
pub(super) fn run(args: &PackArgs) -> Result<String, Error> {
    refuse_nesting(&args.src, &args.dst)?;
    let mut input = PackInput::open(args.source, &args.src).map_err(PackError::from)?;
    let subset = Subset { classes: args.classes.clone().map(Classes::List), labels: None };
    input.train = subset.of(input.train, Split::Train).map_err(PackError::from)?;
    let test = input.test.map(|test| subset.of(test, Split::Test)).transpose();
    input.test = test.map_err(PackError::from)?;
    let options = PackOptions {
        pixels: args.pixels(),
        num_threads: args.threads as usize,
        max_bad_fraction: args.max_bad_fraction,
        ..PackOptions::default()
    };
    if args.dry_run {
        return dry_run(args, &input, &options);
    }
    let mut progress = Progress::new(args.quiet);
    let report = pack(&input, &args.dst, &options, &mut |at| progress.at(at));
    progress.finish();
    Ok(summary(&args.dst, &report?))
}

/// A packed set inside its source would be found there as part of it.
fn refuse_nesting(src: &Path, dst: &Path) -> Result<(), PackError> {
    let parent = dst.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.canonicalize().ok()
    });
    match (src.canonicalize(), parent) {
        (Ok(src), Some(parent)) if parent.starts_with(&src) => {
            let problem =
                format!("it is inside {}, the source; give a folder outside", src.display());
            Err(PackError::Occupied { path: dst.into(), problem })
        }
        _ => Ok(()),
    }
}

fn dry_run(args: &PackArgs, input: &PackInput, options: &PackOptions) -> Result<String, Error> {
    let estimate = estimate(input, options, LOOKED_AT)?;
    let bad = match estimate.num_bad {
        0 => String::new(),
        bad => format!("; {bad} of them cannot be read"),
    };
    Ok(format!(
        "{} training and {} test images into {}: about {} in about {}, from {} images{bad}; nothing was written\n",
        count(input.train.len()),
        count(input.num_images() - input.train.len()),
        args.dst.display(),
        bytes(estimate.num_bytes),
        hours(estimate.duration),
        estimate.num_looked_at
    ))
}

fn summary(folder: &Path, report: &PackReport) -> String {
    let none = SplitReport { num_packed: 0, num_skipped: 0 };
    let (train, test) = (report.train, report.test.unwrap_or(none));
    let skipped = match train.num_skipped + test.num_skipped {
        0 => String::new(),
        n => format!("; {} that cannot be read are listed in skipped.jsonl", count(n)),
    };
    let resumed = match report.num_resumed {
        0 => String::new(),
        n => format!("; {} were there from before", count(n)),
    };
    format!(
        "{} training and {} test images in {}, {}{skipped}{resumed}\n",
        count(train.num_packed),
        count(test.num_packed),
        folder.display(),
        bytes(report.num_bytes)
    )
}

/// A bar on a terminal, a line now and then in a log.
struct Progress {
    terminal: Terminal,
    /// When, and after how many images, the first report came.
    started: Option<(Instant, usize)>,
    last_line: Instant,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        Self { terminal: Terminal::new(BAR, quiet), started: None, last_line: Instant::now() }
    }

    fn at(&mut self, at: PackProgress) {
        let (done, total) = (at.num_done as u64, at.num_images as u64);
        let Some((started, first)) = self.started else {
            self.started = Some((Instant::now(), at.num_done));
            self.terminal.start(done, total);
            return;
        };
        let rate = (at.num_done - first) as f64 / started.elapsed().as_secs_f64().max(1e-9);
        let skipped = match at.num_skipped {
            0 => String::new(),
            n => format!("  {n} left out"),
        };
        let text = format!("{rate:.0} img/s  {}{skipped}", bytes(at.num_bytes));
        if let Some(bar) = self.terminal.bar() {
            bar.set_position(done);
            bar.set_message(text);
        } else if !self.terminal.is_quiet() && self.last_line.elapsed() >= INTERVAL {
            self.last_line = Instant::now();
            let left = (total - done) as f64 / rate.max(1e-9);
            let left = hours(Duration::from_secs_f64(left.min(1e9)));
            let (done, total) = (count(done), count(total));
            self.terminal.say(&format!("image {done} of {total}  eta {left}  {text}"));
        }
    }

    fn finish(&self) {
        self.terminal.finish();
    }
}
