//! The results of a comparison: what each run measured, means and deviations over seeds ([`summarise`]), as Markdown, CSV and a page.

mod dots;
mod page;
mod table;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use page::html;
pub use table::{csv, markdown, text};

use super::Error;
use super::metrics::Metrics;
use super::report::curves::eval_points;
use crate::output::write_whole;

/// A comparison as far as it is.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What it is called.
    pub title: String,
    /// The command lines that repeat it, one after the other.
    pub command: String,
    /// The images.
    pub data: String,
    /// Epochs of every run.
    pub epochs: usize,
    /// Runs of every method.
    pub num_seeds: u64,
    /// The methods, in the order they were given.
    pub methods: Vec<Method>,
}

/// One of the recipes.
#[derive(Clone, Debug)]
pub struct Method {
    /// What it is called, and its folder.
    pub name: String,
    /// The recipe, as given.
    pub recipe: String,
    /// `objective.name`.
    pub objective: String,
    /// In what its recipe differs from the first one.
    pub differences: String,
    /// Its runs, a seed each.
    pub runs: Vec<Run>,
}

/// A run of a method.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// How far it is.
    pub state: State,
    /// What it has measured so far.
    pub measured: Option<Measured>,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    Waiting,
    /// Begun and left.
    Begun,
    /// Finished.
    Done,
    /// Ended before its end, and why.
    Failed(String),
}

/// What a run measured of an encoder, or of pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Values {
    /// k-NN accuracy, 0–1.
    pub knn: Option<f64>,
    /// Accuracy of the linear probe, 0–1.
    pub linear: Option<f64>,
    /// Effective rank.
    pub rank: Option<f64>,
}

/// What a run measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The trained encoder, at the last evaluation.
    pub trained: Values,
    /// The untrained encoder.
    pub untrained: Values,
    /// Raw pixels.
    pub pixels: Values,
    /// Seconds a step: the batch over the median of images a second.
    pub seconds_per_step: Option<f64>,
    /// The most memory of the run's process, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// k-NN accuracy of the trained encoder by epoch.
    pub curve: Vec<(f64, f64)>,
}

impl Measured {
    /// From a run's measurements.
    pub fn new(metrics: &Metrics, batch_size: usize) -> Self {
        let of = |encoder| {
            let latest = |metric| metrics.latest(encoder, metric).filter(|v| v.is_finite());
            let rank = latest("effective_rank");
            Values { knn: latest("knn_top1"), linear: latest("linear_top1"), rank }
        };
        let mut rates: Vec<f64> = metrics.steps.iter().map(|s| s.images_per_second).collect();
        rates.retain(|rate| rate.is_finite() && *rate > 0.0);
        Self {
            trained: of("trained"),
            untrained: of("untrained"),
            pixels: of("pixels"),
            seconds_per_step: median(&mut rates).map(|rate| batch_size as f64 / rate),
            peak_memory_bytes: metrics.peak_memory_bytes,
            curve: eval_points(metrics, "knn_top1"),
        }
    }
}

/// The middle value, or the mean of the two.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let above = *values.get(values.len() / 2)?;
    let below = values[(values.len() - 1) / 2];
    Some(f64::midpoint(below, above))
}

/// A mean with the standard deviation of single values (n − 1), if there are two of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: Option<f64>,
}

/// Mean and standard deviation; `None` of nothing.
pub fn summarise(values: &[f64]) -> Option<Summary> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    Some(Summary { mean, deviation })
}

impl Method {
    /// What its finished runs measured, with their seeds.
    pub fn finished(&self) -> impl Iterator<Item = (u64, &Measured)> {
        let is_done = |run: &&Run| run.state == State::Done;
        self.runs.iter().filter(is_done).filter_map(|run| Some((run.seed, run.measured.as_ref()?)))
    }

    fn summary(&self, value: fn(&Measured) -> Option<f64>) -> Option<Summary> {
        let values: Vec<f64> =
            self.finished().filter_map(|(_, measured)| value(measured)).collect();
        summarise(&values)
    }
}

impl Comparison {
    /// The methods by k-NN accuracy, best first; those without one at the end.
    pub fn ranked(&self) -> Vec<&Method> {
        let mut methods: Vec<&Method> = self.methods.iter().collect();
        let knn = |m: &Method| {
            m.summary(|measured| measured.trained.knn).map_or(f64::NEG_INFINITY, |s| s.mean)
        };
        methods.sort_by(|a, b| knn(b).total_cmp(&knn(a)));
        methods
    }

    /// Of something that methods have in common, such as raw pixels: the mean of a seed's runs is one value.
    fn shared(&self, value: fn(&Measured) -> Option<f64>) -> Option<Summary> {
        let seeds = (0..self.num_seeds).filter_map(|seed| {
            let runs = self.methods.iter().flat_map(|m| &m.runs).filter(|run| run.seed == seed);
            let values: Vec<f64> = runs.filter_map(|run| value(run.measured.as_ref()?)).collect();
            summarise(&values).map(|summary| summary.mean)
        });
        summarise(&seeds.collect::<Vec<_>>())
    }

    /// Runs that are finished.
    pub fn num_done(&self) -> usize {
        self.runs().filter(|(_, run)| run.state == State::Done).count()
    }

    /// All runs with their methods.
    pub fn runs(&self) -> impl Iterator<Item = (&Method, &Run)> {
        self.methods.iter().flat_map(|method| method.runs.iter().map(move |run| (method, run)))
    }

    /// A sentence for each run that failed.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.runs().filter_map(|(method, run)| match &run.state {
            State::Failed(reason) => Some(format!("{}, seed {}: {reason}", method.name, run.seed)),
            _ => None,
        });
        failed.collect()
    }

    /// Writes `results.md`, `results.csv` and `results.html` into a folder; each appears complete or not at all.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        for (name, text) in [
            ("results.md", markdown(self)),
            ("results.csv", csv(self)),
            ("results.html", html(self)),
        ] {
            let path = folder.join(name);
            write_whole(&path, text.as_bytes())
                .map_err(|source| Error::WriteFailed { path, source })?;
        }
        Ok(())
    }
}
