//! What a person sees while a run goes: a bar on a terminal, a line an epoch in a log.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::StepReport;
use crate::terminal::{BAR, Terminal};

/// Progress on stderr.
#[derive(Debug)]
pub struct Progress {
    terminal: Terminal,
    started: Instant,
    first_step: u64,
    num_steps: u64,
    steps_per_epoch: u64,
}

impl Progress {
    /// For steps `first_step` to `num_steps`.
    pub fn new(first_step: u64, num_steps: u64, steps_per_epoch: u64, quiet: bool) -> Self {
        let terminal = Terminal::new(BAR, quiet);
        terminal.start(first_step, num_steps);
        Self { terminal, started: Instant::now(), first_step, num_steps, steps_per_epoch }
    }

    /// After a step.
    pub fn step(&self, report: &StepReport, images_per_second: f64) {
        let mut text = format!(
            "epoch {:.1}  {images_per_second:.0} img/s  loss {:.3}  lr {:.3}",
            report.epoch, report.loss, report.lr,
        );
        let of = |name| report.diagnostics.get(name);
        if let Some(beta) = of("beta") {
            let _ = write!(text, "  β {beta:.3}");
        }
        if let (Some(sweeps), Some(gap)) = (of("sweeps"), of("duality_gap")) {
            let _ = write!(text, "  {sweeps} sweeps, gap {gap:.0e}");
        }
        if let (Some(entropy), Some(most)) = (of("marginal_entropy"), of("log_prototypes")) {
            let _ = write!(text, "  entropy {entropy:.2}/{most:.2}");
        }
        if let Some(bar) = self.terminal.bar() {
            bar.set_position(report.step + 1);
            bar.set_message(text);
        } else if !self.terminal.is_quiet()
            && (report.step + 1).is_multiple_of(self.steps_per_epoch)
        {
            let done = (report.step + 1 - self.first_step) as f64;
            let left = (self.num_steps - report.step - 1) as f64;
            let left = self.started.elapsed().as_secs_f64() / done * left;
            self.terminal.say(&format!(
                "step {:>6} of {}  eta {}  {text}",
                report.step + 1,
                self.num_steps,
                hours_of(left)
            ));
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        self.terminal.say(line);
    }

    /// A warning, whatever is quiet.
    pub fn warn(&self, warning: &str) {
        self.terminal.warn(warning);
    }

    /// The bar goes away.
    pub fn finish(&self) {
        self.terminal.finish();
    }
}

/// Seconds as a person says them; what is no time, in a file that may hold anything, is none.
pub fn hours_of(seconds: f64) -> String {
    hours(Duration::try_from_secs_f64(seconds).unwrap_or_default())
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
