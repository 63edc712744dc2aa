//! Runs that do not learn are told so, once, whatever the objective.

use serde_json::Value;

use super::resume::{OFTEN, started};
use super::support::{Sandbox, TINY, refused, succeeds};

/// Of what sign the run was warned, a warning each.
fn signs(sandbox: &Sandbox, run: &str) -> Vec<(String, u64)> {
    let warnings = sandbox.metrics(run, "warning");
    let sign = |w: &Value| Some((w["sign"].as_str()?.to_owned(), w["step"].as_u64()?));
    warnings.iter().filter_map(sign).collect()
}

fn of(sign: &str, step: u64) -> (String, u64) {
    (sign.into(), step)
}

/// Targets as soft as these say nothing, and a run of three epochs has no fourth to be told in.
#[test]
fn a_stuck_loss_is_named_at_the_end_of_the_third_epoch() {
    let sandbox = Sandbox::new();
    let soft = ["--quiet", "--set", "assignment.temperature=5"];
    for (epochs, step) in [("3", 17), ("4", 18)] {
        let epochs = format!("schedule.epochs={epochs}");
        let more = [&soft[..], &["--out", &epochs, "--set", &epochs]].concat();
        let mut command = sandbox.command(&["run"]);
        for setting in TINY {
            command.args(["--set", setting]);
        }
        succeeds(command.args(more));
        assert_eq!(signs(&sandbox, &epochs), [of("stuck", step)], "{epochs}");
    }
}

/// DINO without centring, whose teacher sharpens what comes first.
fn collapsing(sandbox: &Sandbox, out: &str) -> std::process::Command {
    let mut command = sandbox.command(&["run", "small/dino", "--out", out, "--quiet"]);
    for setting in TINY.iter().copied().chain([
        "prototypes.count=40",
        "prototypes.freeze_epochs=0",
        "objective.center_momentum=1",
        "objective.teacher_temperature=0.005",
        "teacher.momentum_start=0.5",
        "schedule.epochs=8",
    ]) {
        command.args(["--set", setting]);
    }
    command
}

#[test]
fn a_collapsed_teacher_is_named_once_in_all_sessions_of_a_run() {
    let sandbox = Sandbox::new();
    let collapsed = |run: &str| {
        let signs = signs(&sandbox, run);
        signs.into_iter().filter(|(sign, _)| sign == "collapsed-marginal").collect::<Vec<_>>()
    };
    succeeds(&mut collapsing(&sandbox, "whole"));
    let whole = collapsed("whole");
    assert_eq!(whole.len(), 1, "{whole:?}");

    // Killed after it was told.
    let mut command = collapsing(&sandbox, "killed");
    command.args(&OFTEN[1..]);
    let told = usize::try_from(whole[0].1).expect("a small number") + 4;
    let mut child = started(command, &sandbox, "killed", told);
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    succeeds(&mut sandbox.command(&["run", "--resume", "--out", "killed", "--quiet"]));
    assert_eq!(collapsed("killed"), whole);
}

#[test]
fn temperatures_that_cannot_be_divided_by_are_refused() {
    let sandbox = Sandbox::new();
    let tiny = ["--dry-run", "--set", "assignment.temperature=1e-300"];
    refused(&mut sandbox.tiny("run", &tiny), &["assignment.temperature", "at least 1e-6"]);
    for method in ["swav", "deepcluster-v2"] {
        let recipe = format!("small/{method}");
        let line = ["run", &recipe, "--dry-run", "--set", "objective.epsilon=1e-320"];
        refused(&mut sandbox.command(&line), &["objective.epsilon", "at least 1e-6"]);
    }
}
