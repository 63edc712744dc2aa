//! Interrupted runs end as if they had not been.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Sandbox, refused, succeeds};

fn encoder(sandbox: &Sandbox, run: &str) -> Vec<u8> {
    std::fs::read(sandbox.path(run).join("encoder.safetensors")).expect("an encoder")
}

#[track_caller]
pub(crate) fn same(sandbox: &Sandbox, run: &str, uninterrupted: &str) {
    for kind in ["step", "eval"] {
        assert_eq!(
            sandbox.metrics(run, kind),
            sandbox.metrics(uninterrupted, kind),
            "{kind} of {run}"
        );
    }
    assert!(encoder(sandbox, run) == encoder(sandbox, uninterrupted), "the encoder of {run}");
}

/// Starts a command and waits until its run has a recipe and has done `steps` steps.
pub(crate) fn started(mut command: Command, sandbox: &Sandbox, run: &str, steps: usize) -> Child {
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary");
    let folder = sandbox.path(run);
    let deadline = Instant::now() + Duration::from_mins(5);
    loop {
        let log = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
        let done = log.matches("\"kind\":\"step\"").count();
        if done >= steps && folder.join("recipe.toml").exists() {
            return child;
        }
        let ended = child.try_wait().expect("its state");
        assert!(ended.is_none(), "{run} ended with {ended:?} after {done} of {steps} steps");
        assert!(Instant::now() < deadline, "{run} did {done} of {steps} steps in 5 minutes");
        sleep(Duration::from_millis(2));
    }
}

/// A checkpoint a step, so that it is killed between any two.
pub(crate) const OFTEN: &[&str] = &["--quiet", "--set", "checkpoint.every_minutes=0.0001"];

#[test]
fn killed_anywhere_and_resumed_it_ends_with_the_same_bits() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("whole", &["--quiet"]));
    let mut command = sandbox.tiny("killed", OFTEN);
    // While the untrained encoder is evaluated, in the middle of an epoch, at the end of warm-up and freezing (6), at an evaluation (12), late.
    for steps in [0, 2, 6, 9, 12, 17, 22] {
        let mut child = started(command, &sandbox, "killed", steps);
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        command = sandbox.command(&["run", "--resume", "--out", "killed", "--quiet"]);
    }
    succeeds(&mut command);
    same(&sandbox, "killed", "whole");
    // Resuming what is finished changes nothing.
    succeeds(&mut sandbox.command(&["run", "--resume", "--out", "killed", "--quiet"]));
    same(&sandbox, "killed", "whole");
}

/// Three times, or as often as `MIRA_KILLS` says; `just kill-loop` says 100.
#[test]
fn killed_at_random_moments_it_ends_with_the_same_bits() {
    let kills = std::env::var("MIRA_KILLS").map_or(3, |kills| kills.parse().expect("a number"));
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("whole", &["--quiet"]));
    // Short runs end before they are killed often: they are begun anew.
    let mut random = u64::from(std::process::id());
    println!("seed {random}");
    let mut done = 0;
    while done < kills {
        let run = format!("killed{done}");
        let mut child = started(sandbox.tiny(&run, OFTEN), &sandbox, &run, 0);
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        done += 1;
        loop {
            let mut command = sandbox.command(&["run", "--resume", "--out", &run, "--quiet"]);
            let mut child =
                command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary");
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            sleep(Duration::from_micros(random >> 45));
            child.kill().expect("SIGKILL");
            if child.wait().expect("its end").success() || done >= kills {
                break;
            }
            done += 1;
        }
        succeeds(&mut sandbox.command(&["run", "--resume", "--out", &run, "--quiet"]));
        same(&sandbox, &run, "whole");
    }
}

#[cfg(unix)]
#[test]
fn a_damaged_checkpoint_gives_way_loudly_and_strictly_not_at_all() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("whole", &["--quiet"]));
    let child = started(sandbox.tiny("run", OFTEN), &sandbox, "run", 9);
    let pid = child.id().to_string();
    succeeds(Command::new("kill").args(["-TERM", &pid]));
    child.wait_with_output().expect("its end");
    let mut checkpoints: Vec<_> = std::fs::read_dir(sandbox.path("run/checkpoints"))
        .expect("checkpoints")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    checkpoints.sort();
    let latest = checkpoints.last().expect("one at least");
    let mut bytes = std::fs::read(latest).expect("a checkpoint");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(latest, bytes).expect("a damaged checkpoint");
    let name = latest.file_name().and_then(|name| name.to_str()).expect("a name");
    let resume = ["run", "--resume", "--out", "run"];
    refused(sandbox.command(&resume).arg("--strict"), &[name, "without --strict"]);
    let output = sandbox.command(&resume).output().expect("the binary");
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("warning") && said.contains(name), "{said}");
    same(&sandbox, "run", "whole");
}

#[cfg(unix)]
#[test]
fn asked_to_stop_it_saves_and_says_so_by_its_exit_code() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("whole", &["--quiet"]));
    let child = started(sandbox.tiny("stopped", &["--quiet"]), &sandbox, "stopped", 3);
    let pid = child.id().to_string();
    succeeds(Command::new("kill").args(["-TERM", &pid]));
    let ended = child.wait_with_output().expect("its end");
    assert_eq!(ended.status.code(), Some(75));
    let done = sandbox.metrics("stopped", "step").len();
    assert!((3..24).contains(&done), "it stopped after {done} steps");
    succeeds(&mut sandbox.command(&["run", "--resume", "--out", "stopped", "--quiet"]));
    same(&sandbox, "stopped", "whole");
}

/// Waits until a run's log has this text.
pub(crate) fn logged(child: &mut Child, sandbox: &Sandbox, run: &str, text: &str) {
    let deadline = Instant::now() + Duration::from_mins(5);
    let log = sandbox.path(run).join("metrics.jsonl");
    while !std::fs::read_to_string(&log).unwrap_or_default().contains(text) {
        let ended = child.try_wait().expect("its state");
        assert!(ended.is_none() && Instant::now() < deadline, "no {text} in {run}, {ended:?}");
        sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn asked_to_stop_in_an_evaluation_it_does_not_wait_for_its_end() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("whole", &["--quiet"]));
    // A probe of hours.
    let long = ["--quiet", "--set", "eval.linear_epochs=1000000"];
    let mut child = started(sandbox.tiny("stopped", &long), &sandbox, "stopped", 0);
    logged(&mut child, &sandbox, "stopped", "effective_rank");
    succeeds(Command::new("kill").args(["-TERM", &child.id().to_string()]));
    assert_eq!(child.wait().expect("its end").code(), Some(75));
    let resume = ["run", "--resume", "--out", "stopped", "--quiet", "--set"];
    succeeds(sandbox.command(&resume).arg("eval.linear_epochs=2"));
    same(&sandbox, "stopped", "whole");
}

/// Leaves of a log the lines before the first that says all of `words`.
pub(crate) fn cut(sandbox: &Sandbox, run: &str, words: &[&str]) {
    let path = sandbox.path(run).join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).expect("metrics");
    let is_it = |line: &&str| words.iter().all(|word| line.contains(word));
    let kept: Vec<&str> = text.lines().take_while(|line| !is_it(line)).collect();
    assert!(kept.len() < text.lines().count(), "no line with {words:?}");
    std::fs::write(&path, kept.join("\n") + "\n").expect("metrics");
}

#[test]
fn killed_in_an_evaluation_it_makes_only_what_is_missing() {
    let sandbox = Sandbox::new();
    // Evaluations are saved before, whatever the checkpoints' own times.
    let rare = ["--quiet", "--set", "checkpoint.every_epochs=100"];
    succeeds(&mut sandbox.tiny("whole", &rare));
    succeeds(&mut sandbox.tiny("killed", &rare));
    let checkpoint =
        |step: &str| sandbox.path("killed/checkpoints").join(format!("step-{step}.mira"));
    assert!(checkpoint("00000012").exists() && checkpoint("00000024").exists());
    let resume = ["run", "--resume", "--out", "killed", "--quiet"];
    // In the last one, between two numbers.
    cut(&sandbox, "killed", &["\"trained\"", "linear_top5", "\"step\":24"]);
    std::fs::remove_file(sandbox.path("killed/report.html")).expect("a report");
    succeeds(&mut sandbox.command(&resume));
    same(&sandbox, "killed", "whole");
    let ends = sandbox.metrics("killed", "end");
    assert_eq!((ends.len(), &ends[0]["evaluated"]), (1, &true.into()));
    let report = std::fs::read_to_string(sandbox.path("killed/report.html")).expect("a report");
    // What the last session alone does not know.
    assert!(report.contains("mira-train run killed/recipe.toml"), "the command");
    assert!(report.contains("Share of each prototype"), "the prototypes");
    let seconds = |run| sandbox.metrics(run, "end")[0]["seconds"].as_f64().expect("seconds");
    assert!(seconds("killed") > 0.5 * seconds("whole"), "all sessions count");
    // After the last one, before its report.
    std::fs::remove_file(sandbox.path("killed/report.html")).expect("a report");
    succeeds(&mut sandbox.command(&resume));
    assert!(sandbox.path("killed/report.html").exists());
    same(&sandbox, "killed", "whole");
    // In one of those between.
    std::fs::remove_file(checkpoint("00000024")).expect("a checkpoint");
    cut(&sandbox, "killed", &["\"trained\"", "knn_top5", "\"step\":12"]);
    succeeds(&mut sandbox.command(&resume));
    same(&sandbox, "killed", "whole");
    assert_eq!(sandbox.metrics("killed", "end").len(), 1);
}

#[test]
fn what_is_cut_off_the_log_is_told_of() {
    let sandbox = Sandbox::new();
    // Checkpoints of steps 12 and 24, which are evaluated.
    succeeds(&mut sandbox.tiny("run", &["--quiet", "--set", "checkpoint.every_epochs=100"]));
    let records = || [sandbox.metrics("run", "step"), sandbox.metrics("run", "eval")];
    let whole = records();
    for (checkpoint, step) in [("00000024", 12), ("00000012", 0)] {
        let saved = sandbox.path("run/checkpoints");
        std::fs::remove_file(saved.join(format!("step-{checkpoint}.mira"))).expect("a checkpoint");
        if step == 0 {
            std::fs::remove_file(saved.join("step-00000024.mira")).expect("a checkpoint");
        }
        let mut resume = sandbox.command(&["run", "--resume", "--out", "run"]);
        let output = resume.output().expect("the binary");
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        let told = sandbox.metrics("run", "resume");
        assert_eq!((told.len(), &told[0]["cut_from"]), (1, &step.into()));
        let line =
            format!("metrics.jsonl: {} lines from step {step} on cut off", told[0]["num_cut"]);
        assert!(said.contains(&line), "expected {line:?} in: {said}");
        assert_eq!(records(), whole, "made again as it was");
    }
}

#[test]
fn two_trainers_do_not_share_a_folder() {
    let sandbox = Sandbox::new();
    let mut child = started(
        sandbox.tiny("run", &["--quiet", "--set", "schedule.epochs=1000"]),
        &sandbox,
        "run",
        1,
    );
    refused(
        &mut sandbox.command(&["run", "--resume", "--out", "run"]),
        &["run", &child.id().to_string()],
    );
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
}

#[test]
fn another_run_is_not_resumed() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("run", &["--quiet", "--set", "schedule.epochs=2"]));
    let resume = ["run", "--resume", "--out", "run", "--set"];
    refused(sandbox.command(&resume).arg("model.width=8"), &["model.width", "4", "8"]);
    refused(sandbox.command(&resume).arg("train.seed=7"), &["train.seed"]);
    refused(sandbox.command(&resume).arg("eval.knn_neighbours=300"), &["eval.knn_neighbours"]);
    refused(&mut sandbox.command(&["run", "--resume", "--out", "nothing"]), &["nothing"]);
    // As without --resume.
    let twice = ["--seed", "0", "--set", "train.seed=0"];
    refused(sandbox.command(&resume[..4]).args(twice), &["--seed gives `train.seed`, too"]);
    let twice = ["--data", "x", "--set", "data.path=y"];
    refused(sandbox.command(&resume[..4]).args(twice), &["--data gives `data.path`, too"]);
    refused(&mut sandbox.tiny("run", &[]), &["--resume"]);
}

#[test]
fn evaluated_with_other_settings_it_compares_like_with_like() {
    let sandbox = Sandbox::new();
    let settings = ["--quiet", "--set", "schedule.epochs=2", "--set", "eval.every_epochs=1"];
    let [other, changed] = ["eval.knn_neighbours=5", "eval.knn_neighbours (saved 20, given 5)"];
    succeeds(sandbox.tiny("whole", &settings).args(["--set", other]));
    succeeds(&mut sandbox.tiny("run", &settings));
    let whole = sandbox.metrics("whole", "eval");
    let evaluated = |encoder: &str| -> Vec<Value> {
        let all = sandbox.metrics("run", "eval").into_iter();
        let knn = all.filter(|e| e["encoder"] == encoder && e["metric"] == "knn_top1");
        knn.map(|e| e["settings"]["knn_neighbours"].clone()).collect()
    };
    assert_eq!(evaluated("trained"), [20, 20]);
    // Resumed after its end: evaluated again, as if it had been so from its beginning, and nothing trained.
    let resume = ["run", "--resume", "--out", "run", "--quiet"];
    let checkpoint = sandbox.path("run/checkpoints/step-00000012.mira");
    let trained = std::fs::read(&checkpoint).expect("a checkpoint");
    let output = sandbox.command(&resume).args(["--set", other]).output().expect("the binary");
    assert!(output.status.success());
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    let words = ["warning", changed, "evaluated again"];
    assert!(words.iter().all(|word| warned.contains(word)), "{warned}");
    assert_eq!(std::fs::read(&checkpoint).expect("a checkpoint"), trained);
    for encoder in ["pixels", "untrained"] {
        assert_eq!(evaluated(encoder), [20, 5], "{encoder}");
    }
    assert_eq!(evaluated("trained"), [20, 20, 5]);
    let all = sandbox.metrics("run", "eval");
    for expected in whole.iter().filter(|e| e["step"] == 0 || e["step"] == 12) {
        assert!(all.contains(expected), "{expected}");
    }
    let changes = sandbox.metrics("run", "recipe");
    assert_eq!((changes.len(), &changes[0]["changes"][0]), (1, &changed.into()));
    let of_whole = sandbox.command(&["run", "--resume", "--out", "whole", "--quiet"]).output();
    let summary = |out: &[u8]| {
        let text = String::from_utf8_lossy(out).into_owned();
        text.lines().filter(|line| line.contains("points")).map(String::from).collect::<Vec<_>>()
    };
    let (of_run, of_whole) = (summary(&output.stdout), summary(&of_whole.expect("it").stdout));
    assert!(!of_run.is_empty() && of_run == of_whole, "{of_run:?} {of_whole:?}");
    assert!(of_run[0].contains("k=5"), "{of_run:?}");
    // The recipe stays changed: without flags there is nothing left to do.
    let log = std::fs::read(sandbox.path("run/metrics.jsonl")).expect("metrics");
    succeeds(&mut sandbox.command(&resume));
    assert_eq!(std::fs::read(sandbox.path("run/metrics.jsonl")).expect("metrics"), log);
    // Resumed in its middle.
    std::fs::remove_file(checkpoint).expect("a checkpoint");
    succeeds(sandbox.command(&resume).args(["--set", "eval.knn_neighbours=7"]));
    for encoder in ["pixels", "untrained"] {
        assert_eq!(evaluated(encoder), [20, 5, 7], "{encoder}");
    }
    assert_eq!(evaluated("trained"), [20, 7, 7]);
}

#[test]
fn a_log_that_does_not_say_how_it_was_evaluated_is_evaluated_again() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("run", &["--quiet", "--set", "schedule.epochs=2"]));
    let path = sandbox.path("run/metrics.jsonl");
    let text = std::fs::read_to_string(&path).expect("metrics");
    let lines = text.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).expect("JSON");
        record.as_object_mut().expect("an object").remove("settings");
        record.to_string() + "\n"
    });
    std::fs::write(&path, lines.collect::<String>()).expect("metrics");
    let resume = ["run", "--resume", "--out", "run", "--quiet"];
    succeeds(sandbox.command(&resume).args(["--set", "eval.knn_neighbours=5"]));
    for encoder in ["pixels", "untrained", "trained"] {
        let all = sandbox.metrics("run", "eval").into_iter();
        let knn = all.filter(|e| e["encoder"] == encoder && e["metric"] == "knn_top1");
        let found: Vec<Value> = knn.map(|e| e["settings"]["knn_neighbours"].clone()).collect();
        assert_eq!(found, [Value::Null, 5.into()], "{encoder}");
    }
}

/// Grey pictures in class folders, so many a class.
fn pictures(sandbox: &Sandbox, split: &str, classes: &[&str], num_images: u8) {
    for class in classes {
        let path = sandbox.path(split).join(class);
        std::fs::create_dir_all(&path).expect("a folder");
        for n in 0..num_images {
            let file = std::fs::File::create(path.join(format!("{n}.png"))).expect("a file");
            let mut encoder = png::Encoder::new(file, 20, 20);
            encoder.set_color(png::ColorType::Rgb);
            let pixels = [2 * n; 1200];
            let written = encoder.write_header().and_then(|mut w| w.write_image_data(&pixels));
            written.expect("a picture");
        }
    }
}

#[test]
fn a_run_goes_on_from_any_folder() {
    let sandbox = Sandbox::new();
    pictures(&sandbox, "data/train", &["ants", "cats", "dogs"], 60);
    pictures(&sandbox, "data/val", &["ants", "cats", "dogs"], 5);
    for (list, classes) in [("two.txt", "cats\ndogs\n"), ("others.txt", "ants\ncats\ndogs\n")] {
        std::fs::write(sandbox.path(list), classes).expect("a list");
    }
    std::fs::write(sandbox.path("labels.txt"), "cats/3.png\ndogs/4.png\n").expect("a list");
    let lists = ["data.classes=two.txt", "data.label_list=labels.txt", "eval.knn_neighbours=1"];
    let mut settings = vec!["--quiet", "--data", "data", "--set", "schedule.epochs=2"];
    settings.extend(lists.iter().flat_map(|list| ["--set", list]));
    succeeds(&mut sandbox.tiny("whole", &settings));
    succeeds(&mut sandbox.tiny("run", &settings));
    let last = sandbox.path("run/checkpoints/step-00000006.mira");
    let first = sandbox.path("run/checkpoints/step-00000003.mira");
    assert!(first.exists(), "two epochs of three steps");
    std::fs::create_dir(sandbox.path("elsewhere")).expect("a folder");
    let elsewhere = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.current_dir(sandbox.path("elsewhere"));
        command
    };
    let resume = ["run", "--resume", "--out", "../run", "--quiet"];
    std::fs::remove_file(&last).expect("a checkpoint");
    succeeds(&mut elsewhere(&resume));
    same(&sandbox, "run", "whole");
    assert!(sandbox.metrics("run", "recipe").is_empty(), "nothing has changed");
    // What it says of itself needs its folder alone.
    succeeds(&mut elsewhere(&["eval", "knn", "../run"]));
    succeeds(&mut elsewhere(&["run", "../run/recipe.toml", "--out", "../again", "--quiet"]));
    same(&sandbox, "again", "whole");

    // Lists may be moved; other ones are other images.
    std::fs::rename(sandbox.path("two.txt"), sandbox.path("elsewhere/2.txt")).expect("a list");
    std::fs::remove_file(&last).expect("a checkpoint");
    refused(&mut elsewhere(&resume), &["two.txt"]);
    refused(
        elsewhere(&resume).args(["--set", "data.classes=../others.txt"]),
        &["training images (saved 120, given 180)"],
    );
    succeeds(elsewhere(&resume).args(["--set", "data.classes=2.txt"]));
    same(&sandbox, "run", "whole");
    let changes = sandbox.metrics("run", "recipe");
    let changed = changes[0]["changes"][0].as_str().expect("a change");
    let full =
        |name: &str| sandbox.path(name).canonicalize().expect("a file").display().to_string();
    assert_eq!(changes.len(), 1);
    assert!(
        changed.starts_with("data.classes (saved") && changed.contains(&full("elsewhere/2.txt"))
    );
}

#[test]
fn a_run_goes_on_with_a_copy_of_its_images_and_not_with_others() {
    let sandbox = Sandbox::new();
    let folder = |name: &str, num_images| {
        pictures(&sandbox, &format!("{name}/train"), &["cats", "dogs"], num_images);
    };
    folder("data", 60);
    folder("copy", 60);
    folder("more", 61);
    let settings = ["--quiet", "--data", "data", "--set", "schedule.epochs=2"];
    succeeds(&mut sandbox.tiny("run", &settings));
    let resume = ["run", "--resume", "--out", "run", "--quiet", "--data"];
    refused(
        sandbox.command(&resume).arg("more"),
        &["training images (saved 120, given 122)", "--data"],
    );
    std::fs::rename(sandbox.path("copy/train/dogs/7.png"), sandbox.path("copy/train/dogs/x.png"))
        .unwrap();
    refused(sandbox.command(&resume).arg("copy"), &["fingerprint"]);
    std::fs::rename(sandbox.path("copy/train/dogs/x.png"), sandbox.path("copy/train/dogs/7.png"))
        .unwrap();
    succeeds(sandbox.command(&resume).arg("copy"));
    std::fs::rename(sandbox.path("copy"), sandbox.path("moved")).expect("another name");
    for command in [&resume[..5], &["eval", "knn", "run"]] {
        refused(&mut sandbox.command(command), &["copy", "elsewhere now", "--data"]);
    }
    // A run of an earlier version, whose paths are relative: to the folder it was started in.
    let saved = sandbox.path("run/recipe.toml");
    let text = std::fs::read_to_string(&saved).expect("a recipe");
    let full = sandbox.path("copy").canonicalize().unwrap_or_else(|_| sandbox.path("copy"));
    assert!(text.contains(&full.display().to_string()), "{text}");
    std::fs::write(&saved, text.replace(&full.display().to_string(), "moved")).expect("a recipe");
    succeeds(&mut sandbox.command(&resume[..5]));
    // Not where it was given.
    for given in [&["--data", "nowhere"][..], &["--set", "data.path=nowhere"]] {
        let output = sandbox.command(&resume[..4]).args(given).output().expect("the binary");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("nowhere") && !said.contains("elsewhere now"), "{said}");
    }
}
