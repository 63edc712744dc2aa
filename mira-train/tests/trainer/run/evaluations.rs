//! Runs that are resumed with other settings, other test images, or another recipe: numbers that are shown together were made alike.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::resume::{logged, started};
use super::support::{Sandbox, succeeds};

const SHORT: [&str; 3] = ["--quiet", "--set", "schedule.epochs=2"];
const RESUME: [&str; 5] = ["run", "--resume", "--out", "run", "--quiet"];

/// The lines of a summary that tell of a gain.
fn gains(summary: &str) -> Vec<&str> {
    summary.lines().filter(|line| line.contains("points")).collect()
}

/// The first sentence and the first table of a report.
fn results(sandbox: &Sandbox) -> String {
    let report = std::fs::read_to_string(sandbox.path("run/report.html")).expect("a report");
    let from = report.find("<p class=\"lead\">").expect("a sentence");
    let to = report[from..].find("</table>").expect("a table");
    report[from..from + to].to_owned()
}

#[test]
fn back_at_settings_of_before_a_run_shows_their_numbers() {
    let sandbox = Sandbox::new();
    let first = succeeds(&mut sandbox.tiny("run", &SHORT));
    let first_results = results(&sandbox);
    let with = |setting: &str| succeeds(sandbox.command(&RESUME).args(["--set", setting]));
    let other = with("eval.knn_neighbours=5");
    assert!(gains(&other)[0].contains("k=5"), "{other}");
    assert_ne!(results(&sandbox), first_results, "the other settings give other numbers");
    let back = with("eval.knn_neighbours=20");
    assert_eq!((gains(&first).len(), gains(&back)), (2, gains(&first)));
    assert_eq!(results(&sandbox), first_results);
    let evaluations = sandbox.metrics("run", "eval");
    for encoder in ["pixels", "untrained", "trained"] {
        let of = |e: &&Value| e["encoder"] == encoder && e["metric"] == "knn_top1";
        let made = evaluations.iter().filter(of).map(|e| &e["settings"]["knn_neighbours"]);
        assert_eq!(made.collect::<Vec<_>>(), [20, 5, 20], "{encoder}");
    }
}

#[test]
fn a_report_goes_before_what_it_shows_is_made_again() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("run", &SHORT));
    let report = sandbox.path("run/report.html");
    let killed = |settings: &[&str], until: &dyn Fn(&mut std::process::Child)| {
        let mut command = sandbox.command(&RESUME);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = started(command, &sandbox, "run", 0);
        until(&mut child);
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        assert!(!report.exists(), "a report of other settings is left");
    };
    // In a probe of hours, after the k-NN of its settings.
    let long = "eval.linear_epochs=1000000";
    killed(&["eval.knn_neighbours=5", long], &|child| {
        logged(child, &sandbox, "run", "\"knn_neighbours\":5");
    });
    succeeds(sandbox.command(&RESUME).args(["--set", "eval.linear_epochs=2"]));
    assert!(report.exists());
    // From the checkpoint before the last: until it is trained again, the run is not finished.
    std::fs::remove_file(sandbox.path("run/checkpoints/step-00000012.mira")).expect("a checkpoint");
    killed(&[long], &|child| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while child.try_wait().expect("its state").is_none()
            && report.exists()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}

/// Training and test images of two classes, of one colour each.
fn images(root: &Path, first_test_image: u8) {
    for (split, numbers) in [("train", 0..60), ("val", first_test_image..first_test_image + 20)] {
        for (class, red) in [("cats", 200), ("dogs", 40)] {
            let folder = root.join(split).join(class);
            std::fs::create_dir_all(&folder).expect("a folder");
            for n in numbers.clone() {
                let file = std::fs::File::create(folder.join(format!("{n}.png"))).expect("a file");
                let mut encoder = png::Encoder::new(file, 20, 20);
                encoder.set_color(png::ColorType::Rgb);
                let pixels = [red, 3 * n, 90].repeat(400);
                let written = encoder.write_header().and_then(|mut w| w.write_image_data(&pixels));
                written.expect("a picture");
            }
        }
    }
}

#[test]
fn on_other_test_images_a_run_is_evaluated_again_and_on_a_copy_it_is_not() {
    let sandbox = Sandbox::new();
    for (name, first_test_image) in [("data", 0), ("copy", 0), ("other", 30)] {
        images(&sandbox.path(name), first_test_image);
    }
    succeeds(sandbox.tiny("run", &SHORT).args(["--data", "data"]));
    let num_made = |encoder: &str, metric: &str| {
        let evaluations = sandbox.metrics("run", "eval");
        evaluations.iter().filter(|e| e["encoder"] == encoder && e["metric"] == metric).count()
    };
    for (data, expected) in [("copy", 1), ("other", 2), ("other", 2)] {
        succeeds(sandbox.command(&RESUME).args(["--data", data]));
        for (encoder, metric) in [
            ("pixels", "knn_top1"),
            ("untrained", "knn_top1"),
            ("untrained", "effective_rank"),
            ("trained", "knn_top5"),
            ("trained", "linear_top1"),
            ("trained", "effective_rank"),
        ] {
            assert_eq!(num_made(encoder, metric), expected, "{encoder} {metric} on {data}");
        }
    }
}

/// The path in a run's recipe leads to its images from anywhere; there may be others by then, or none.
#[test]
fn evaluated_from_another_folder_it_says_what_it_evaluates_on() {
    let sandbox = Sandbox::new();
    for name in ["data", "elsewhere/data"] {
        images(&sandbox.path(name), 0);
    }
    succeeds(sandbox.tiny("run", &SHORT).args(["--data", "data"]));
    let eval = |from: &str, more: &[&str]| {
        let mut command = sandbox.command(&["eval", "knn"]);
        command.current_dir(sandbox.path(from)).arg(sandbox.path("run")).args(more);
        command.args(["--neighbours", "5"]);
        command
    };
    let said = |command: &mut std::process::Command| {
        let output = command.output().expect("the binary");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    for from in [".", "elsewhere"] {
        assert_eq!(said(&mut eval(from, &[])), "");
    }
    // One image less than the run had, here and where another one is meant.
    for gone in ["data/train/cats/0.png", "elsewhere/data/train/cats/0.png"] {
        std::fs::remove_file(sandbox.path(gone)).expect("an image");
    }
    let other = said(&mut eval("elsewhere", &[]));
    assert!(other.contains("it had 120 training images, not 119 (data.path is /"), "{other}");
    // Whoever names them means them.
    assert_eq!(said(&mut eval("elsewhere", &["--data", "data"])), "");
    let [data, away] = ["data", "away"].map(|name| sandbox.path(name));
    std::fs::rename(&data, &away).expect("another name");
    super::support::refused(&mut eval("elsewhere", &[]), &["data.path = /", "elsewhere now"]);
    std::fs::rename(&away, &data).expect("its name");
    // Weights by themselves know which recipe they are of.
    let recipe = std::fs::read_to_string(sandbox.path("run/recipe.toml")).expect("its recipe");
    assert_eq!(recipe.matches("\nepochs = 2\n").count(), 1, "{recipe}");
    let other = recipe.replace("\nepochs = 2\n", "\nepochs = 3\n");
    std::fs::write(sandbox.path("other.toml"), other).expect("a file");
    for (recipe, warns) in [("run/recipe.toml", false), ("other.toml", true)] {
        let weights = ["eval", "knn", "run/encoder.safetensors", "--neighbours", "5", "--recipe"];
        let said = said(sandbox.command(&weights).arg(recipe));
        assert_eq!(said.contains("of a run with another recipe"), warns, "{recipe}: {said}");
    }
    let json = succeeds(&mut eval(".", &["--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    // Two epochs of 120 images, 40 a step, at the tiny recipe's size.
    assert_eq!((&json["step"], &json["num_steps"]), (&6.into(), &6.into()), "{json}");
    assert_eq!(json["image_size"], 16, "{json}");
    assert!(json["data"].as_str().is_some_and(|path| path.ends_with("/data")), "{json}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_new_in_a_recipe_is_logged_before_the_folder_has_it() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("run", &["--quiet"]));
    let read = |file: &str| std::fs::read(sandbox.path("run").join(file)).expect(file);
    let (recipe, log) = (read("recipe.toml"), read("metrics.jsonl"));
    // A limit on the size of files stands for the end of the process at its first line in the log. Blocks of 512 bytes, or of 1024.
    let blocks = recipe.len() / 512 + 2;
    assert!(log.len() > 1024 * blocks, "{} of {}", recipe.len(), log.len());
    let program = env!("CARGO_BIN_EXE_mira-train");
    let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec '{program}' {}", RESUME.join(" "));
    let mut limited = std::process::Command::new("sh");
    limited.current_dir(sandbox.path(".")).args(["-c", &(line + " --set checkpoint.keep=3")]);
    super::support::refused_with(1, &mut limited, &["metrics.jsonl", "File too large"]);
    assert!(read("recipe.toml") == recipe, "what the log does not say has been adopted");
    succeeds(sandbox.command(&RESUME).args(["--set", "checkpoint.keep=3"]));
    let changes = sandbox.metrics("run", "recipe");
    let changed = "checkpoint.keep (saved 2, given 3)";
    assert_eq!((changes.len(), &changes[0]["changes"][0]), (1, &changed.into()));
    assert_ne!(read("recipe.toml"), recipe);
}

#[test]
fn numbers_that_are_no_times_do_not_end_a_run() {
    use mira_train::run_folder::{RunFolder, load_latest};

    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("run", &SHORT));
    let log = sandbox.path("run/metrics.jsonl");
    let text = std::fs::read_to_string(&log).expect("metrics");
    for seconds in [-1.0, 1e300] {
        let lines = text.lines().map(|line| {
            let mut record: Value = serde_json::from_str(line).expect("JSON");
            if record["kind"] == "end" {
                record["seconds"] = seconds.into();
            }
            record.to_string() + "\n"
        });
        std::fs::write(&log, lines.collect::<String>()).expect("metrics");
        succeeds(&mut sandbox.command(&RESUME));
        // Those of the sessions before this one, of which a report tells.
        let mut latest = load_latest(&sandbox.path("run"), true).expect("it").expect("it");
        latest.snapshot.meta["seconds"] = seconds.into();
        let folder = RunFolder::open(sandbox.path("run")).expect("a run");
        folder.save(latest.step, &(&latest.snapshot).into()).expect("a checkpoint");
        drop(folder);
        std::fs::remove_file(sandbox.path("run/report.html")).expect("a report");
        succeeds(&mut sandbox.command(&RESUME));
        assert!(sandbox.path("run/report.html").exists());
    }
}
