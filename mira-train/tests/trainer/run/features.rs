//! `mira-train features`: files that other programs read are what the evaluation sees.

use std::fs;
use std::path::Path;

use mira_train::eval::{Features, knn};
use mira_train::npy::{Npy, Values};
use serde_json::Value;

use super::bad_images::{run, set};
use super::support::{Sandbox, refused, succeeds};

const FILES: [&str; 7] = [
    "features.json",
    "test_features.npy",
    "test_images.txt",
    "test_labels.npy",
    "train_features.npy",
    "train_images.txt",
    "train_labels.npy",
];

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: Result<fs::DirEntry, _>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries.map(|e| name(e).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Labels as `NumPy` stores them: 128 bytes of header, then numbers of 64 bits.
fn labels(path: &Path) -> Vec<i64> {
    let bytes = fs::read(path).expect("labels");
    let (header, numbers) = bytes.split_at(128);
    let header = String::from_utf8_lossy(header);
    let shape = format!("'shape': ({},)", numbers.len() / 8);
    assert!(header.contains("'<i8'") && header.contains(&shape), "{header}");
    let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    numbers.chunks_exact(8).map(number).collect()
}

fn features(folder: &Path, split: &str) -> Features {
    let npy = Npy::open(&folder.join(format!("{split}_features.npy"))).expect("features");
    let dim = npy.shape().num_prototypes();
    let Values::F32(rows) = npy.read().expect("numbers") else { panic!("not float32") };
    let labels = labels(&folder.join(format!("{split}_labels.npy")));
    let labels = labels.into_iter().map(|label| u32::try_from(label).expect("a class")).collect();
    Features { dim, rows, labels, num_classes: 2 }
}

#[test]
fn the_files_hold_what_the_evaluation_sees_of_the_images_that_can_be_read() {
    let sandbox = set(&["train/bee/101.jpg", "val/ant/030.jpg"]);
    succeeds(&mut run(&sandbox, "run", &["--quiet"]));
    let said = succeeds(&mut sandbox.command(&["features", "run", "--out", "new/features"]));
    assert!(said.contains("239 training and 59 test images") && said.contains("run"), "{said}");
    let folder = sandbox.path("new/features");
    assert_eq!(names(&folder), FILES);

    let (train, test) = (features(&folder, "train"), features(&folder, "test"));
    let found = knn::top1(&train, &test, 5, 0.07).expect("an accuracy").accuracy;
    let eval = ["eval", "knn", "run", "-k", "5", "--temperature", "0.07", "--json"];
    let eval: Value = serde_json::from_str(&succeeds(&mut sandbox.command(&eval))).expect("JSON");
    assert_eq!((&eval["top1"], &eval["top5"]), (&found.top1.into(), &found.top5.into()));

    // Folders, as classes are, in the order of their names, less the one that is damaged.
    let images = fs::read_to_string(folder.join("train_images.txt")).expect("names");
    let images: Vec<String> = images.lines().map(|line| line.replace('\\', "/")).collect();
    let all = (0..120).map(|i| format!("ant/{:03}.jpg", 2 * i));
    let all = all.chain((0..120).map(|i| format!("bee/{:03}.jpg", 2 * i + 1)));
    assert_eq!(images, all.filter(|name| name != "bee/101.jpg").collect::<Vec<_>>());
    let of_bees = images.iter().map(|image| u32::from(image.starts_with("bee")));
    assert_eq!(train.labels, of_bees.collect::<Vec<_>>());

    let text = fs::read_to_string(folder.join("features.json")).expect("what they are of");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["dim"], &json["step"]), (&train.dim.into(), &eval["step"]));
    let part = &json["train"];
    assert_eq!(part["classes"], serde_json::json!(["ant", "bee"]));
    assert_eq!((&part["num_images"], &part["num_left_out"]), (&239.into(), &1.into()));

    // Nothing is replaced, and a run's folder is no place.
    for out in ["new/features", "run"] {
        let command = ["features", "run", "--out", out];
        refused(&mut sandbox.command(&command), &["--out", "not empty", "new or an empty folder"]);
    }
    // What fails on the way leaves nothing.
    let strict = ["features", "run", "--max-bad-fraction", "0", "--out", "strict/features"];
    refused(&mut sandbox.command(&strict), &["101.jpg"]);
    assert_eq!(names(&sandbox.path("strict")), [""; 0]);
}

#[test]
fn images_need_no_labels() {
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny("run", &["--quiet"]));
    let pictures = set(&[]);
    fs::create_dir(sandbox.path("flat")).expect("a folder");
    for name in ["000", "002", "004"] {
        let from = pictures.path("data/train/ant").join(format!("{name}.jpg"));
        fs::copy(from, sandbox.path("flat").join(format!("{name}.jpg"))).expect("a copy");
    }
    let command = ["features", "run", "--data", "flat", "--json", "--out", "features"];
    let json = succeeds(&mut sandbox.command(&command));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&json["train"]["num_images"], &json["train"]["num_labelled"]),
        (&3.into(), &0.into())
    );
    assert!(json["test"].is_null() && json["train"]["classes"].is_null(), "{json}");
    let folder = sandbox.path("features");
    assert_eq!(labels(&folder.join("train_labels.npy")), [-1; 3]);
    assert!(!folder.join("test_features.npy").exists());
    let images = fs::read_to_string(folder.join("train_images.txt")).expect("names");
    assert_eq!(images, "000.jpg\n002.jpg\n004.jpg\n");
}

#[cfg(target_os = "linux")]
#[test]
fn interrupted_it_leaves_nothing() {
    use std::process::{Command, Stdio};
    let sandbox = Sandbox::new();
    succeeds(&mut sandbox.tiny(
        "run",
        &["--quiet", "--set", "schedule.epochs=1", "--set", "schedule.warmup_epochs=0"],
    ));
    // As large as the embedded images are made, which takes seconds.
    let mut command =
        sandbox.command(&["features", "run", "--out", "features", "--image-size", "256"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(2);
    while !sandbox.path("features").exists() {
        assert!(std::time::Instant::now() < deadline, "no folder in two minutes");
    }
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("SIGTERM") && said.contains("features is not written"), "{said}");
    assert!(!sandbox.path("features").exists());
}
