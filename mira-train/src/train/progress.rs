//! What a person sees while a run goes: a bar on a terminal; in a log a line an epoch, and a minute.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::StepReport;
use crate::terminal::{BAR, Terminal};

/// Between lines in a log, at the most: an epoch may take days.
const INTERVAL: Duration = Duration::from_mins(1);

/// Progress on stderr.
#[derive(Debug)]
pub struct Progress {
    terminal: Terminal,
    started: Instant,
    last_line: Cell<Instant>,
    first_step: u64,
    num_steps: u64,
    steps_per_epoch: u64,
}

impl Progress {
    /// For steps `first_step` to `num_steps`.
    pub fn new(first_step: u64, num_steps: u64, steps_per_epoch: u64, quiet: bool) -> Self {
        let terminal = Terminal::new(BAR, quiet);
        terminal.start(first_step, num_steps);
        let (started, last_line) = (Instant::now(), Cell::new(Instant::now()));
        Self { terminal, started, last_line, first_step, num_steps, steps_per_epoch }
    }

    /// After a step.
    pub fn step(&self, report: &StepReport, images_per_second: f64) {
        let mut text = format!(
            "epoch {:.1}  {images_per_second:.0} img/s  loss {:.3}  lr {}",
            (report.step + 1) as f64 / self.steps_per_epoch as f64,
            report.loss,
            three_digits(report.lr),
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
            && ((report.step + 1).is_multiple_of(self.steps_per_epoch)
                || self.last_line.get().elapsed() >= INTERVAL)
        {
            self.last_line.set(Instant::now());
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

/// A learning rate, which may be 1e-5 as well as 10, to three digits.
fn three_digits(x: f64) -> String {
    if x != 0.0 && x.abs() < 0.1 { format!("{x:.2e}") } else { format!("{x:.3}") }
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
