//! Being asked to stop, and being told.

use std::path::Path;
use std::process::{Command, exit};
use std::time::Duration;

use mira_train::run_folder::{EXIT_INTERRUPTED, Signal, StopRequest};

use crate::support::{Other, as_other, say};

/// Long enough for any machine; a process that outlives it has failed.
const NUM_WAITS: usize = 20_000;

/// The other process, as a trainer does it.
pub(crate) fn stop_when_asked() {
    let request = StopRequest::install().unwrap();
    assert_eq!(request.requested(), None);
    say("ready");
    for _ in 0..NUM_WAITS {
        if let Some(signal) = request.clone().requested() {
            say(&signal.to_string());
            exit(EXIT_INTERRUPTED.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    exit(3);
}

/// The other process, as a trainer that does not come to the end of its step.
pub(crate) fn never_stop() {
    let request = StopRequest::install().unwrap();
    say("ready");
    let mut last = None;
    for _ in 0..NUM_WAITS {
        let signal = request.requested();
        if signal != last {
            last = signal;
            say(&signal.map_or("none".into(), |s: Signal| s.to_string()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    exit(3);
}

#[test]
fn signals_ask_for_an_end_with_its_own_exit_code() {
    for (name, said) in
        [("INT", "SIGINT"), ("TERM", "SIGTERM"), ("USR1", "SIGUSR1"), ("HUP", "SIGHUP")]
    {
        // Whoever runs these tests without a terminal hands that on.
        if name == "HUP" && ignores_hang_up() {
            continue;
        }
        let mut other = Other::start("stop when asked", Path::new(""));
        assert_eq!(other.says().as_deref(), Some("ready"));
        other.signal(name);
        assert_eq!(other.says().as_deref(), Some(said));
        assert_eq!(other.exit_code(), Some(75));
    }
}

/// Whether this process ignores SIGHUP, and so those that it starts; where the system does not say, a trainer takes it for granted.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    mask.is_none_or(|mask| u64::from_str_radix(mask, 16).unwrap() % 2 == 1)
}

/// As under `nohup`.
#[test]
fn a_hang_up_that_is_ignored_stays_so() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    as_other(&mut command, "stop when asked", Path::new(""));
    let mut other = Other::of(&mut command);
    assert_eq!(other.says().as_deref(), Some("ready"));
    other.signal("HUP");
    other.signal("TERM");
    assert_eq!(other.says().as_deref(), Some("SIGTERM"));
    assert_eq!(other.exit_code(), Some(75));
}

#[test]
fn only_a_second_interrupt_ends_at_once() {
    let mut other = Other::start("never stop", Path::new(""));
    assert_eq!(other.says().as_deref(), Some("ready"));
    // None of these is a second Ctrl-C.
    for (name, said) in
        [("TERM", "SIGTERM"), ("USR1", "SIGUSR1"), ("TERM", "SIGTERM"), ("INT", "SIGINT")]
    {
        other.signal(name);
        assert_eq!(other.says().as_deref(), Some(said));
    }
    // Nor is the same one, sent twice in a row, as `timeout -s INT` does.
    other.signal("INT");
    // Of two that come together the handler of the second may run first.
    std::thread::sleep(Duration::from_millis(100));
    other.signal("TERM");
    assert_eq!(other.says().as_deref(), Some("SIGTERM"));
    // A second thought. Whether it is still told of is chance; on a busy machine it may be taken for one that was sent with the first, but not for ever.
    let mut exit_code = None;
    while exit_code.is_none() {
        std::thread::sleep(Duration::from_millis(1500));
        other.signal("INT");
        std::thread::sleep(Duration::from_millis(200));
        exit_code = other.exit_code_so_far();
    }
    assert_eq!(exit_code, Some(130));
}

#[test]
fn nobody_asks_the_one_that_is_never_asked() {
    assert_eq!(StopRequest::never().requested(), None);
}
