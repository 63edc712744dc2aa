//! A progress bar on a terminal, and lines beside it.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar is drawn, at most, in a second.
const HZ: u8 = 8;

/// How much is done, the time left, and what is said besides.
pub(crate) const BAR: &str = "{bar:24} {percent:>3} %  eta {eta}  {msg}";

/// stderr: a bar if it is a terminal, lines, or nothing.
#[derive(Debug)]
pub(crate) struct Terminal {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Terminal {
    /// A bar in indicatif's `template` that is not drawn before it [starts](Self::start); none without a terminal, and neither bar
    /// nor lines if `quiet`.
    pub(crate) fn new(template: &str, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self { bar, quiet }
    }

    /// The bar appears at `position` of `length`; the time left is estimated from here.
    pub(crate) fn start(&self, position: u64, length: u64) {
        if let Some(bar) = &self.bar {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(HZ));
            bar.set_length(length);
            bar.set_position(position);
            bar.reset_eta();
        }
    }

    /// The bar, if there is one.
    pub(crate) const fn bar(&self) -> Option<&ProgressBar> {
        self.bar.as_ref()
    }

    /// Whether lines are to be kept back.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tell(line)),
            None if self.quiet => {}
            None => tell(line),
        }
    }

    /// The bar goes away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line on stderr, whatever a path, a name or a decoder's words contain. Where stderr is gone (`2>&1 | head`) or its disk is full, the
/// line is lost and nothing else: `eprintln!` would end the program, and with it the work.
pub(crate) fn tell(text: &str) {
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line.push('\n');
    // In one piece, so that lines of several processes do not mix.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// The most memory that this process has held, in bytes, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}
