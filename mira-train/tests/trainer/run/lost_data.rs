//! Images that are gone while a run goes on: no bad images, for a run without them would be another run.

use std::fs;
use std::process::Stdio;

use super::bad_images::{run, set_of};
use super::resume::{same, started};
use super::support::succeeds;

#[cfg(unix)]
#[test]
fn a_run_whose_images_are_gone_is_saved_and_goes_on_when_they_are_back() {
    // Too large to be kept in memory.
    let sandbox = set_of(160, &[]);
    // Sixty steps an epoch, of which only the last epoch's end would be saved.
    let small = [
        &["--quiet", "--set", "train.batch_size=4", "--set", "schedule.epochs=8"][..],
        &["--set", "checkpoint.every_epochs=8", "--set", "eval.every_epochs=8"],
    ]
    .concat();
    succeeds(&mut run(&sandbox, "whole", &small));

    let child = started(run(&sandbox, "cut", &small), &sandbox, "cut", 1);
    let signal = |name: &str| {
        let mut kill = std::process::Command::new("kill");
        let status = kill.args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
        assert!(status.expect("kill").success());
    };
    signal("-STOP");
    // Half of the images; the others could take their place.
    let (here, gone) = (sandbox.path("data/train/ant"), sandbox.path("gone"));
    fs::rename(&here, &gone).expect("another name");
    signal("-CONT");
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!sandbox.path("cut/quarantine.jsonl").exists(), "no image is bad");
    let saved = fs::read_dir(sandbox.path("cut/checkpoints")).expect("checkpoints");
    let saved: Vec<_> = saved.map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(saved.iter().any(|name| name != "step-00000000.mira"), "{saved:?}");

    fs::rename(&gone, &here).expect("its name");
    succeeds(&mut sandbox.command(&["run", "--resume", "--out", "cut", "--quiet"]));
    same(&sandbox, "cut", "whole");
}
