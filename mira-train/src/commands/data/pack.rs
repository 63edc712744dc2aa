//! `mira-train data pack`: a data set into a few large files.

use std::path::Path;

use crate::Error;
use crate::cli::data::pack::PackArgs;
use crate::commands::progress::ImageProgress;
use crate::data::{
    Classes, PackError, PackInput, PackOptions, PackReport, Split, SplitReport, Subset, estimate,
    pack,
};
use crate::text::{bytes, count};
use crate::train::hours;

/// Images that a dry run looks at.
const LOOKED_AT: usize = 64;

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
    let mut progress = ImageProgress::new(args.quiet);
    let report = pack(&input, &args.dst, &options, &mut |at| {
        let skipped = match at.num_skipped {
            0 => String::new(),
            n => format!("  {n} left out"),
        };
        let more = format!("{}{skipped}", bytes(at.num_bytes));
        progress.at(at.num_done as u64, at.num_images as u64, &more);
    });
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
