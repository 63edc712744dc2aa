//! How far work on images is.

use std::time::{Duration, Instant};

use crate::terminal::{BAR, Terminal};
use crate::text::count;
use crate::train::hours;

/// Between lines of progress in a log.
const INTERVAL: Duration = Duration::from_secs(30);

/// A bar on a terminal, a line now and then in a log.
pub(super) struct ImageProgress {
    terminal: Terminal,
    /// When, and after how many images, the first report came.
    started: Option<(Instant, u64)>,
    last_line: Instant,
}

impl ImageProgress {
    /// Neither bar nor lines if `quiet`.
    pub(super) fn new(quiet: bool) -> Self {
        Self { terminal: Terminal::new(BAR, quiet), started: None, last_line: Instant::now() }
    }

    /// So many of so many images are done; `more` is said after the rate.
    pub(super) fn at(&mut self, done: u64, total: u64, more: &str) {
        let Some((started, first)) = self.started else {
            self.started = Some((Instant::now(), done));
            self.terminal.start(done, total);
            return;
        };
        let rate = (done - first) as f64 / started.elapsed().as_secs_f64().max(1e-9);
        let text = format!("{rate:.0} img/s  {more}");
        if let Some(bar) = self.terminal.bar() {
            bar.set_position(done);
            bar.set_message(text);
        } else if !self.terminal.is_quiet() && self.last_line.elapsed() >= INTERVAL {
            self.last_line = Instant::now();
            let left = total.saturating_sub(done) as f64 / rate.max(1e-9);
            let left = hours(Duration::from_secs_f64(left.min(1e9)));
            let (done, total) = (count(done), count(total));
            self.terminal.say(&format!("image {done} of {total}  eta {left}  {text}"));
        }
    }

    /// The bar goes away.
    pub(super) fn finish(&self) {
        self.terminal.finish();
    }
}
