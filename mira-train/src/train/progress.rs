//! What a person sees while a run goes: a bar on a terminal, a line an epoch in a log.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::StepReport;

/// Progress on stderr.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
    first_step: u64,
    num_steps: u64,
    steps_per_epoch: u64,
}

impl Progress {
    /// For steps `first_step` to `num_steps`.
    pub fn new(first_step: u64, num_steps: u64, steps_per_epoch: u64, quiet: bool) -> Self {
        let bar = bar(first_step, num_steps, quiet);
        Self { bar, quiet, started: Instant::now(), first_step, num_steps, steps_per_epoch }
    }

    /// After a step.
    pub fn step(&self, report: &StepReport, images_per_second: f64) {
        let text = format!(
            "epoch {:.1}  {images_per_second:.0} img/s  loss {:.3}  lr {:.3}  β {:.3}  {} sweeps, gap {:.0e}  entropy {:.2}/{:.2}",
            report.epoch,
            report.loss,
            report.lr,
            report.beta,
            report.sweeps,
            report.duality_gap,
            report.marginal_entropy,
            report.log_prototypes,
        );
        if let Some(bar) = &self.bar {
            bar.set_position(report.step + 1);
            bar.set_message(text);
        } else if !self.quiet && (report.step + 1).is_multiple_of(self.steps_per_epoch) {
            let done = (report.step + 1 - self.first_step) as f64;
            let left = (self.num_steps - report.step - 1) as f64;
            let left = Duration::from_secs_f64(self.started.elapsed().as_secs_f64() / done * left);
            eprintln!(
                "step {:>6} of {}  eta {}  {text}",
                report.step + 1,
                self.num_steps,
                hours(left)
            );
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None if self.quiet => {}
            None => eprintln!("{line}"),
        }
    }

    /// The bar goes away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar with the time left and a message; none unless a person watches stderr.
pub(crate) fn bar(first: u64, end: u64, quiet: bool) -> Option<ProgressBar> {
    if quiet || !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::with_draw_target(Some(end), ProgressDrawTarget::stderr_with_hz(8));
    let style = "{bar:24} {percent:>3} %  eta {eta}  {msg}";
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_position(first);
    bar.reset_eta();
    Some(bar)
}

/// A duration as a person says it.
pub fn hours(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}
