//! `mira-train data hash`: batches are the same for any number of threads, in any process, and from any step on.

use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::support::{data, image_folder, is_refused, png, stdout, write};

/// Batches of 40 of 240 images, six an epoch.
const SMALL: &[&str] = &["--set", "train.batch_size=40", "--set", "data.max_train=240"];

fn json(folder: &TempDir, arguments: &[&str]) -> Value {
    let arguments = [&["hash", "--json"], arguments].concat();
    let output = data(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_str(stdout(&output)).unwrap()
}

fn hashes(report: &Value) -> Vec<&str> {
    report["batches"].as_array().unwrap().iter().map(|hash| hash.as_str().unwrap()).collect()
}

#[test]
fn neither_threads_nor_processes_nor_where_they_begin_change_a_batch() {
    let folder = TempDir::new().unwrap();
    let output = data(folder.path(), &[&["hash", "--batches", "14"], SMALL].concat());
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let mut lines = said.lines().skip(3);
    let rows: Vec<_> = lines.by_ref().take(4).map(|line| line.split_at(20)).collect();
    assert_eq!(
        rows.iter().map(|row| row.0.trim()).collect::<Vec<_>>(),
        ["1", "2", "8", "8, resumed at 7"]
    );
    assert!(rows.iter().all(|row| row.1 == rows[0].1 && row.1.trim().len() == 16), "{said}");
    assert!(said.ends_with("The same, byte for byte.\n"), "{said}");

    let whole = json(&folder, &[&["--batches", "14", "--threads", "3"], SMALL].concat());
    assert_eq!(whole["is_same"], true);
    assert_eq!(whole["made"][0]["hash"].as_str().unwrap(), rows[0].1.trim());
    let whole = hashes(&whole);
    let mut distinct = whole.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!((whole.len(), distinct.len()), (14, 14), "an epoch is not the one before");
    // In the middle of an epoch, at an edge, beyond one.
    for first in [4, 6, 11] {
        let from = first.to_string();
        let rest = ["--first", &from, "--batches", "3", "--threads", "2"];
        let rest = json(&folder, &[&rest, SMALL].concat());
        assert_eq!(hashes(&rest), whole[first..first + 3]);
    }
    let other = json(&folder, &[&["--batches", "2", "--set", "train.seed=1"], SMALL].concat());
    assert!(hashes(&other).iter().zip(&whole).all(|(other, hash)| other != hash));
}

/// Killed while it makes batches, the same command makes the same ones.
#[test]
fn a_kill_leaves_nothing_that_counts() {
    let folder = TempDir::new().unwrap();
    for (i, class) in ["ant", "bee"].into_iter().enumerate() {
        for n in 0..20 {
            let picture = png(30 + n, 20 + u32::try_from(i).unwrap());
            write(folder.path(), &format!("set/train/{class}/{n}.png"), &picture);
        }
    }
    let few = ["set", "--batches", "5", "--set", "train.batch_size=8"];
    let before = json(&folder, &few);
    let mut child = Command::new(env!("CARGO_BIN_EXE_mira-train"))
        .current_dir(folder.path())
        .args(["data", "hash", "set", "--batches", "1000000", "--set", "train.batch_size=8"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it is over before it is killed");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(json(&folder, &few), before);
    // Another set has other batches.
    write(folder.path(), "set/train/ant/3.png", &png(7, 7));
    assert_ne!(hashes(&json(&folder, &few)), hashes(&before));
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = image_folder();
    is_refused(folder.path(), &["hash", "nowhere"], &["nowhere"]);
    is_refused(folder.path(), &["hash", "set"], &["batch size", "at most 4"]);
    is_refused(folder.path(), &["hash", "--batches", "0"], &["--batches"]);
    is_refused(folder.path(), &["hash", "--threads", "0"], &["--threads"]);
    is_refused(
        folder.path(),
        &["hash", "--set", "train.sed=1"],
        &["train.sed", "did you mean `seed`"],
    );
    let bad = folder.path().join("set/train/ant/2.png");
    std::fs::write(bad, "").unwrap();
    let strict = ["hash", "set", "--set", "train.batch_size=3", "--set", "data.max_bad_fraction=0"];
    is_refused(folder.path(), &strict, &["2.png"]);
}
