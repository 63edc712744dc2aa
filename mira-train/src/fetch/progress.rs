//! What a person sees while files come: a bar on a terminal, a line a file in a log.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::terminal::Terminal;

const TEMPLATE: &str = "{bar:24} {percent:>3} %  eta {eta}  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}";

/// Progress on stderr.
#[derive(Debug)]
pub struct Progress {
    terminal: Terminal,
    num_bytes: AtomicU64,
}

impl Progress {
    /// A bar on a terminal, lines elsewhere, nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { terminal: Terminal::new(TEMPLATE, quiet), num_bytes: AtomicU64::new(0) }
    }

    /// The bar appears.
    pub(super) fn start(&self, num_bytes: u64) {
        self.terminal.start(0, num_bytes);
    }

    /// Bytes that are there.
    pub(super) fn add(&self, num_bytes: u64) {
        let before = self.num_bytes.fetch_add(num_bytes, Ordering::Relaxed);
        self.show(before.wrapping_add(num_bytes));
    }

    /// Bytes that have to be fetched again.
    pub(super) fn take_back(&self, num_bytes: u64) {
        let before = self.num_bytes.fetch_sub(num_bytes, Ordering::Relaxed);
        self.show(before.wrapping_sub(num_bytes));
    }

    fn show(&self, num_bytes: u64) {
        if let Some(bar) = self.terminal.bar() {
            bar.set_position(num_bytes);
        }
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        self.terminal.say(line);
    }

    /// The bar goes away.
    pub(super) fn finish(&self) {
        self.terminal.finish();
    }
}
