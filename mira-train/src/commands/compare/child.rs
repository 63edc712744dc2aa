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

/// How many of a run's warnings are passed on.
const MAX_WARNINGS: usize = 3;

/// How a run's process ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// It was asked to stop, and may be resumed.
    Interrupted,
    /// In words.
    Failed(String),
}

/// Makes a run, or what is left of it, and waits for its end: how that was, and what the run warned of.
pub(super) fn make(
    plan: &Plan,
    method: usize,
    seed: u64,
    out: &Path,
    stop: &StopRequest,
    say: &dyn Fn(&str),
) -> (Outcome, Vec<String>) {
    let folder = plan.folder(method, seed, out);
    // A comparison that was killed leaves a run that goes on by itself.
    let mut is_told = false;
    while let Some(owner) = locked_by(&folder) {
        if stop.requested().is_some() {
            return (Outcome::Interrupted, Vec::new());
        }
        if !std::mem::replace(&mut is_told, true) {
            say(&format!("{owner} is at it; waiting for its end"));
        }
        sleep(EVERY);
    }
    let state = plan.look(method, seed, out).state;
    if state == State::Done {
        return (Outcome::Done, Vec::new());
    }
    match start(plan, method, seed, out, state != State::Waiting) {
        Ok((child, said)) => {
            let (ending, is_told) = follow(child, stop);
            let said = end_of(said);
            let log = folder.join("metrics.jsonl");
            (outcome(ending, is_told, &said), warnings(&said, &log))
        }
        Err(error) => (Outcome::Failed(format!("it cannot be started: {error}")), Vec::new()),
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

/// Waits for the end of a run, which it asks to stop if that is asked for; how it ended, and whether it was asked.
fn follow(mut child: Child, stop: &StopRequest) -> (std::io::Result<ExitStatus>, bool) {
    let mut is_told = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return (Ok(status), is_told),
            Ok(None) => {}
            Err(error) => return (Err(error), is_told),
        }
        if stop.requested().is_some() && !std::mem::replace(&mut is_told, true) {
            ask_to_stop(&child);
        }
        sleep(EVERY);
    }
}

fn outcome(ending: std::io::Result<ExitStatus>, is_told: bool, said: &str) -> Outcome {
    let status = match ending {
        Ok(status) => status,
        Err(error) => return Outcome::Failed(format!("it cannot be waited for: {error}")),
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

/// What a run warned of, as it said it, without repetitions.
fn warnings(said: &str, log: &Path) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in said.lines().filter(|line| line.starts_with("warning: ")) {
        if !all.iter().any(|other| other == line) {
            all.push(line.to_owned());
        }
    }
    if all.len() > MAX_WARNINGS {
        let num_more = all.len() - MAX_WARNINGS;
        all.truncate(MAX_WARNINGS);
        all.push(format!("warning: and {num_more} more, in {}", log.display()));
    }
    all
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

/// What the run said at its end.
fn end_of(mut said: File) -> String {
    let mut bytes = Vec::new();
    let len = said.metadata().map_or(0, |m| m.len());
    let _ = said
        .seek(SeekFrom::Start(len.saturating_sub(MAX_SAID)))
        .and_then(|_| said.take(MAX_SAID).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Why the run failed, in its own words, or how it ended.
fn reason(status: ExitStatus, said: &str) -> String {
    let last = |start: &str| said.lines().rev().find_map(|line| line.strip_prefix(start));
    let line = last("error: ").or_else(|| last("").filter(|line| !line.trim().is_empty()));
    match line {
        Some(line) if status.code().is_some_and(|code| code < 100) => line.to_owned(),
        Some(line) => format!("{status}: {line}"),
        None => status.to_string(),
    }
}
