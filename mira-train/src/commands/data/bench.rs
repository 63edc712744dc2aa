//! `mira-train data bench`: whether a GPU would have to wait for its images.

use std::fmt::Write as _;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use serde_json::json;

use crate::Error;
use crate::cli::data::bench::BenchArgs;
use crate::cli::run::load_recipe;
use crate::data::{Source, Split, StageTimes, ViewSpec, measure_loader, measure_stages, open};
use crate::text::count;
use crate::train::{self, view_specs};

const SEED: u64 = 0;

pub(super) fn run(args: &BenchArgs) -> Result<(ExitCode, String), Error> {
    let recipe = load_recipe(&args.recipe)?.with_overrides(&args.overrides)?;
    let source =
        open(args.source, args.data.as_deref(), Split::Train).map_err(train::Error::from)?;
    let views = view_specs(&recipe);
    let budget = Duration::from_secs(args.seconds.into());
    let processors = available_parallelism().map_or(1, NonZero::get);
    let threads = match &args.threads[..] {
        [] => numbers_up_to(processors),
        given => given.iter().map(|n| *n as usize).collect(),
    };
    let times = measure_stages(&*source, &views, SEED, budget).map_err(train::Error::from)?;
    let mut rates = Vec::with_capacity(threads.len());
    for num_workers in threads {
        let rate = measure_loader(&source, &views, SEED, num_workers, budget);
        rates.push((num_workers, rate.map_err(train::Error::from)?));
    }
    let text = if args.json {
        in_json(&*source, &views, &times, &rates)
    } else {
        in_words(&*source, &views, &times, &rates, processors)
    };
    Ok((ExitCode::SUCCESS, text))
}

/// 1, 2, 4, … and the number itself.
fn numbers_up_to(processors: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |n| Some(2 * n));
    powers.take_while(|n| *n < processors).chain([processors]).collect()
}

fn views_in_words(views: &[ViewSpec]) -> String {
    let each: Vec<_> = views.iter().map(|view| format!("{}×{}", view.count, view.size)).collect();
    each.join(" + ")
}

fn in_words(
    source: &dyn Source,
    views: &[ViewSpec],
    times: &StageTimes,
    rates: &[(usize, f64)],
    processors: usize,
) -> String {
    let mut text = String::new();
    let each = |time: Duration| time.as_secs_f64() * 1e3 / times.num_images as f64;
    let megapixels = times.num_pixels as f64 / times.num_images as f64 / 1e6;
    let _ = writeln!(
        text,
        "{} images of {megapixels:.2} megapixels on average; views {}\n",
        count(source.len()),
        views_in_words(views)
    );
    let _ = writeln!(text, "{:<14} {:>9}  {:>6}", "one thread", "ms/image", "share");
    for (name, time) in times.stages() {
        let share = 100.0 * time.as_secs_f64() / times.total().as_secs_f64();
        let _ = writeln!(text, "{name:<14} {:>9.3}  {share:>4.0} %", each(time));
    }
    let _ = writeln!(
        text,
        "{:<14} {:>9.3}  {:>4} %   {:.0} images/s ({} measured)\n",
        "in all",
        each(times.total()),
        100,
        times.images_per_second(),
        count(times.num_images)
    );
    let _ = writeln!(text, "{:<14} {:>9}  {:>8}", "threads", "images/s", "a thread");
    for (num_workers, rate) in rates {
        let alone = rate / *num_workers as f64;
        let _ = writeln!(text, "{num_workers:<14} {rate:>9.0}  {alone:>8.0}");
    }
    let fastest = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "\nA GPU that trains on up to {fastest:.0} images a second does not wait for this machine's {processors} processor(s)."
    );
    text
}

fn in_json(
    source: &dyn Source,
    views: &[ViewSpec],
    times: &StageTimes,
    rates: &[(usize, f64)],
) -> String {
    let per_image: serde_json::Map<_, _> = times
        .stages()
        .iter()
        .map(|(name, time)| {
            let milliseconds = time.as_secs_f64() * 1e3 / times.num_images as f64;
            ((*name).to_owned(), milliseconds.into())
        })
        .collect();
    let rates: Vec<_> = rates
        .iter()
        .map(|(threads, rate)| json!({ "threads": threads, "images_per_second": rate }))
        .collect();
    let report = json!({
        "images": source.len(),
        "measured": times.num_images,
        "views": views_in_words(views),
        "milliseconds_per_image": per_image,
        "images_per_second_of_a_thread": times.images_per_second(),
        "loader": rates,
    });
    format!("{report}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_threads_double_up_to_the_processors() {
        assert_eq!(numbers_up_to(1), [1]);
        assert_eq!(numbers_up_to(2), [1, 2]);
        assert_eq!(numbers_up_to(12), [1, 2, 4, 8, 12]);
    }
}
