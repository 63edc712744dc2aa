//! Being asked to stop: the trainer finishes its step, saves, and exits with [`EXIT_INTERRUPTED`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::Error;
use crate::terminal::tell;

/// Exit code of a trainer that was asked to stop and has saved a checkpoint, or had nothing to save yet: `EX_TEMPFAIL` of `sysexits.h`, "try
/// again", so that a job script can tell it from success (0), failure (1) and bad input (2) and run the same command with `--resume`.
pub const EXIT_INTERRUPTED: u8 = 75;

/// A SIGINT this soon after the first is not somebody's second thought.
const GRACE: Duration = Duration::from_secs(1);

/// Between looks for signals.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Exit code after a second Ctrl-C, which does not wait for a checkpoint: the shell's 128 + SIGINT.
const EXIT_AT_ONCE: i32 = 130;

/// A signal that asks for a checkpoint and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT, or Ctrl-C.
    Interrupt,
    /// SIGTERM: the system goes down, or the job's time is over.
    Terminate,
    /// SIGUSR1: what schedulers send some time before.
    User1,
    /// SIGHUP: the terminal is gone, as when a connection drops.
    HangUp,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::User1 => "SIGUSR1",
            Self::HangUp => "SIGHUP",
        })
    }
}

/// The SIGINTs so far.
#[derive(Clone, Copy, Debug, Default)]
struct Interrupts {
    /// When the first was seen.
    first: Option<Instant>,
}

impl Interrupts {
    /// Whether one that came between two looks is somebody's second thought. It may have come right after the earlier look, however late the later one is
    /// on a busy machine.
    fn is_second_thought(&mut self, before: Instant, now: Instant) -> bool {
        let first = *self.first.get_or_insert(now);
        before.saturating_duration_since(first) + 2 * LOOK_EVERY >= GRACE
    }
}

/// Whether the process has been asked to stop; clones are of one mind.
#[derive(Clone, Debug)]
pub struct StopRequest {
    /// 0, or the last signal's place in [`SIGNALS`] plus one.
    last: Arc<AtomicUsize>,
}

const SIGNALS: &[(i32, Signal)] = &[
    (SIGINT, Signal::Interrupt),
    (SIGTERM, Signal::Terminate),
    #[cfg(unix)]
    (signal_hook::consts::SIGUSR1, Signal::User1),
    #[cfg(unix)]
    (signal_hook::consts::SIGHUP, Signal::HangUp),
];

/// Whether this process was started to go on without its terminal; taken for granted where the system does not say.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 != 0)
}

impl StopRequest {
    /// Listens for SIGINT, SIGTERM, SIGUSR1 and SIGHUP (Ctrl-C on Windows) from now to the process's end, and says so on stderr when one comes. A second
    /// SIGINT, a second after the first or later, ends the process at once, with exit code 130: some programs send it twice in a row (`timeout -s INT`, to the
    /// process and to its group). A SIGHUP that is ignored, as under `nohup`, stays so. To be called once, before threads are busy.
    ///
    /// # Errors
    /// [`Error::Signals`].
    pub fn install() -> Result<Self, Error> {
        let request = Self::never();
        let install = || {
            let interrupted = Arc::new(AtomicBool::new(false));
            flag::register(SIGINT, Arc::clone(&interrupted))?;
            for (place, &(number, signal)) in SIGNALS.iter().enumerate() {
                if signal == Signal::HangUp && ignores_hang_up() {
                    continue;
                }
                flag::register_usize(number, Arc::clone(&request.last), place + 1)?;
            }
            let watched = request.clone();
            let watch = move || watched.watch(&interrupted);
            std::thread::Builder::new().name("signals".into()).spawn(watch)?;
            Ok(())
        };
        install().map_err(|source| Error::Signals { source })?;
        Ok(request)
    }

    /// Tells of the first of each signal in a row, and ends the process at the second SIGINT. Not in the handlers, which may do next to nothing.
    fn watch(&self, interrupted: &AtomicBool) {
        let (mut told, mut interrupts, mut looked) = (None, Interrupts::default(), Instant::now());
        loop {
            std::thread::sleep(LOOK_EVERY);
            let before = std::mem::replace(&mut looked, Instant::now());
            let last = self.requested();
            if let Some(signal) = last.filter(|_| last != told) {
                let again = match signal {
                    Signal::Interrupt => {
                        "; once more, in a second or later, ends it at once, and nothing more is saved"
                    }
                    _ => "",
                };
                tell(&format!(
                    "{signal}: stopping as soon as what is begun is done and saved{again}"
                ));
                told = last;
            }
            if interrupted.swap(false, Ordering::Relaxed)
                && interrupts.is_second_thought(before, looked)
            {
                tell("SIGINT again: ended at once, nothing more is saved");
                signal_hook::low_level::exit(EXIT_AT_ONCE);
            }
        }
    }

    /// One that is never made: for callers that do not want to be interrupted.
    pub fn never() -> Self {
        Self { last: Arc::new(AtomicUsize::new(0)) }
    }

    /// As if the process had been asked.
    #[cfg(test)]
    pub(crate) fn ask(&self, signal: Signal) {
        let place = SIGNALS.iter().position(|&(_, known)| known == signal);
        self.last.store(place.map_or(0, |place| place + 1), Ordering::Relaxed);
    }

    /// The last signal, if any has come.
    pub fn requested(&self) -> Option<Signal> {
        let place = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        SIGNALS.get(place).map(|&(_, signal)| signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_is_late_makes_no_second_thought() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut interrupts = Interrupts::default();
        assert!(!interrupts.is_second_thought(at(0), at(50)), "the first");
        // Sent at once, seen late.
        assert!(!interrupts.is_second_thought(at(100), at(5000)));
        assert!(!interrupts.is_second_thought(at(800), at(850)));
        // A second after the first, which came before its look.
        assert!(interrupts.is_second_thought(at(950), at(1000)));
        // A first one that is seen late is no second one.
        assert!(!Interrupts::default().is_second_thought(at(0), at(5000)));
    }
}
