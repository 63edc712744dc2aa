//! `mira-train data info`: what a data set holds, and which of its images cannot be decoded.

mod report;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::cli::data::info::InfoArgs;
use crate::data::{self, Format, Source, Split, Subset, open, recognise, survey};
use crate::terminal::Terminal;
use crate::text::count;
use crate::train;
use report::{Part, Report};

/// Corrupt images were found.
const EXIT_CORRUPT: u8 = 3;

/// Images decoded of a split without `--check`.
const SAMPLE: usize = 512;

pub(super) fn run(args: &InfoArgs) -> Result<(ExitCode, String), Error> {
    let sources = sources(args.source, args.path.as_deref(), &args.subset.subset())
        .map_err(train::Error::from)?;
    let sample = (!args.check).then_some(SAMPLE);
    let num_examined =
        |source: &Arc<dyn Source>| sample.map_or(source.len(), |n| n.min(source.len()));
    let progress = Progress::new(sources.parts.iter().map(|(_, s)| num_examined(s)).sum(), args);
    let parts = sources.parts.iter().map(|(name, source)| Part {
        name,
        class_names: source.class_names(),
        has_folders: sources.format == Format::WebDataset && has_folders(&**source),
        survey: survey(&**source, sample, &|| progress.done()),
    });
    let report = Report {
        path: args.path.as_deref(),
        format: sources.format,
        parts: parts.collect(),
        no_test: sources.no_test.as_deref(),
    };
    progress.terminal.finish();
    let code = if report.num_corrupt() > 0 { EXIT_CORRUPT } else { 0 };
    Ok((ExitCode::from(code), if args.json { report.to_json() } else { report.to_string() }))
}

struct Sources {
    format: Format,
    parts: Vec<(&'static str, Arc<dyn Source>)>,
    /// Why there are no test images.
    no_test: Option<String>,
}

/// Both parts of a set, or the one that there is.
fn sources(format: Format, path: Option<&Path>, subset: &Subset) -> Result<Sources, data::Error> {
    let open = |format, split| subset.of(open(format, path, split)?, split);
    let train = open(format, Split::Train);
    let format = match path {
        Some(path) if train.is_ok() => recognise(format, path)?,
        Some(_) => format,
        None => Format::Embedded,
    };
    if let Some(path) = path.filter(|path| path.is_file()) {
        let no_test = Some("the path is one file; a folder may have them in another".into());
        // Which part it is of is for its name to say.
        let source = match train {
            Err(data::Error::NotRecognised { .. }) => open(format, Split::Test)?,
            train => train?,
        };
        let format = recognise(format, path)?;
        return Ok(Sources { format, parts: vec![("images", source)], no_test });
    }
    match (train, open(format, Split::Test)) {
        (Ok(train), Ok(test)) => {
            Ok(Sources { format, parts: vec![("train", train), ("test", test)], no_test: None })
        }
        (
            Ok(train),
            Err(
                data::Error::NotRecognised { problem, .. }
                | data::Error::Inconsistent { problem, .. },
            ),
        ) => Ok(Sources { format, parts: vec![("train", train)], no_test: Some(problem) }),
        (Ok(_), Err(error)) | (Err(error), _) => Err(error),
    }
}

/// Whether images lie in several folders, by the first and the last of each of some hundred places.
fn has_folders(source: &dyn Source) -> bool {
    let step = source.len().div_ceil(SAMPLE).max(1);
    let folder = |index| {
        let path = source.relative_path(index)?;
        path.rsplit_once('/').map(|(folder, _)| folder.to_owned())
    };
    let first = folder(0);
    (0..source.len()).step_by(step).any(|index| folder(index) != first)
}

/// What a person sees while images are decoded: a bar on a terminal, now and then a line in a log.
struct Progress {
    terminal: Terminal,
    num_images: usize,
    num_done: AtomicU64,
    started: Instant,
    /// When a line was written, or the work began.
    said: Mutex<Instant>,
}

impl Progress {
    const TEMPLATE: &str = "{bar:24} {percent:>3} %  eta {eta}  {human_pos} of {human_len} images";
    const BETWEEN_LINES: Duration = Duration::from_secs(10);

    fn new(num_images: usize, args: &InfoArgs) -> Self {
        let terminal = Terminal::new(Self::TEMPLATE, args.quiet);
        terminal.start(0, num_images as u64);
        let now = Instant::now();
        let (num_done, said) = (AtomicU64::new(0), Mutex::new(now));
        Self { terminal, num_images, num_done, started: now, said }
    }

    fn done(&self) {
        let num_done = self.num_done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(bar) = self.terminal.bar() {
            bar.inc(1);
        } else if !self.terminal.is_quiet() {
            self.log(num_done);
        }
    }

    fn log(&self, num_done: u64) {
        let now = Instant::now();
        {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if now.saturating_duration_since(*said) < Self::BETWEEN_LINES {
                return;
            }
            *said = now;
        }
        let num_left = self.num_images as f64 - num_done as f64;
        let seconds = now.saturating_duration_since(self.started).as_secs_f64();
        let left = Duration::from_secs_f64((seconds / num_done as f64 * num_left).max(0.0));
        let (num_done, num_images) = (count(num_done), count(self.num_images));
        let left = train::hours(left);
        self.terminal.say(&format!("{num_done} of {num_images} images  eta {left}"));
    }
}
