//! One run, in a process of its own: its memory is its own, and its end is nobody else's.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::plan::Plan;
use crate::pages::compare::State;
use crate::run_folder::{EXIT_INTERRUPTED, StopRequest, locked_by, write_bytes_atomically};

/// How often a run is looked after.
const EVERY: Duration = Duration::from_millis(50);
/// As much of what a run said at its end as is looked through for the reason.
const MAX_SAID: u64 = 1 << 16;

/// How a run's process ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// It was asked to stop, and may be resumed.
    Interrupted,
    /// In words.
    Failed(String),
}

/// Makes a run, or what is left of it, and waits for its end.
pub(super) fn make(
    plan: &Plan,
    method: usize,
    seed: u64,
    out: &Path,
    stop: &StopRequest,
    say: &dyn Fn(&str),
) -> Outcome {
    let folder = plan.folder(method, seed, out);
    // A comparison that was killed leaves a run that goes on by itself.
    let mut is_told = false;
    while let Some(owner) = locked_by(&folder) {
        if stop.requested().is_some() {
            return Outcome::Interrupted;
        }
        if !std::mem::replace(&mut is_told, true) {
            say(&format!("{owner} is at it; waiting for its end"));
        }
        sleep(EVERY);
    }
    let state = plan.look(method, seed, out).state;
    if state == State::Done {
        return Outcome::Done;
    }
    match start(plan, method, seed, out, state != State::Waiting) {
        Ok((child, said)) => follow(child, said, stop),
        Err(error) => Outcome::Failed(format!("it cannot be started: {error}")),
    }
}

fn start(
    plan: &Plan,
    method: usize,
    seed: u64,
    out: &Path,
    resume: bool,
) -> std::io::Result<(Child, File)> {
    let folder = plan.folder(method, seed, out);
    let above = folder.parent().unwrap_or(out);
    std::fs::create_dir_all(above)?;
    let recipe = format!("seed-{seed}.toml");
    write_bytes_atomically(above, &recipe, plan.recipe(method, seed).to_toml().as_bytes())?;
    let mut out_flag = OsString::from("--out=");
    out_flag.push(&folder);
    let said = tempfile::tempfile()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("run").arg(out_flag).arg("--quiet");
    if resume {
        command.arg("--resume");
    }
    command.arg("--").arg(above.join(recipe));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.try_clone()?);
    Ok((command.spawn()?, said))
}

fn follow(mut child: Child, said: File, stop: &StopRequest) -> Outcome {
    let mut is_told = false;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return Outcome::Failed(format!("it cannot be waited for: {error}")),
        }
        if stop.requested().is_some() && !std::mem::replace(&mut is_told, true) {
            ask_to_stop(&child);
        }
        sleep(EVERY);
    };
    if status.success() {
        Outcome::Done
    } else if status.code() == Some(EXIT_INTERRUPTED.into()) || (is_told && status.code().is_none())
    {
        Outcome::Interrupted
    } else {
        Outcome::Failed(reason(status, said))
    }
}

/// SIGTERM whatever the signal was: from a terminal the run has had its SIGINT already, and a second one would end it without a checkpoint.
#[cfg(unix)]
fn ask_to_stop(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};
    // It may have ended meanwhile.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
}

#[cfg(not(unix))]
fn ask_to_stop(_: &Child) {
    // Ctrl-C has reached it as well.
}

/// What the run said at its end, or how it ended.
fn reason(status: ExitStatus, mut said: File) -> String {
    let mut bytes = Vec::new();
    let len = said.metadata().map_or(0, |m| m.len());
    let _ = said
        .seek(SeekFrom::Start(len.saturating_sub(MAX_SAID)))
        .and_then(|_| said.take(MAX_SAID).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let last = |start: &str| text.lines().rev().find_map(|line| line.strip_prefix(start));
    let line = last("error: ").or_else(|| last("").filter(|line| !line.trim().is_empty()));
    match line {
        Some(line) if status.code().is_some_and(|code| code < 100) => line.to_owned(),
        Some(line) => format!("{status}: {line}"),
        None => status.to_string(),
    }
}
