//! Bad input: one sentence with the remedy, exit code 2, and nothing half-written.

use std::fs;

use super::support::{Sandbox, refused, refused_with};

#[test]
fn settings_that_cannot_be() {
    let sandbox = Sandbox::new();
    for (setting, words) in [
        ("optimizer.base_lr=nan", &["optimizer.base_lr", "nan"][..]),
        ("prototypes.count=1", &["prototypes.count", "1"]),
        ("train.batch_size=4000", &["batch", "4000", "240"]),
        ("eval.knn_neighbours=241", &["eval.knn_neighbours", "1 and 240", "241"]),
        ("train.accumulation_steps=7", &["train.accumulation_steps"]),
        ("model.architecture=resnet19", &["model.architecture", "resnet18"]),
        ("assignment.beta_start=1.0", &["assignment.beta_start"]),
        ("trian.seed=3", &["train"]),
        ("views.0.blur=0.5", &["views.0.blur", "is a section", "views.0.blur.probability"]),
        ("views=3", &["`views` is a section", "such as `views.0.name`"]),
        ("views.*.flip=2", &["views.0.flip", "2"]),
    ] {
        refused(&mut sandbox.tiny("run", &["--set", setting]), words);
        assert!(!sandbox.path("run").exists(), "{setting} left a folder");
    }
    refused(
        &mut sandbox.command(&["run", "--device", "cuda:0", "--out", "run"]),
        &["cuda:0", "CPU"],
    );
    refused(&mut sandbox.command(&["run", "cifar10-small-cpu", "--out", "run"]), &["--data"]);
    refused(&mut sandbox.command(&["run", "defualt", "--out", "run"]), &["default"]);
    assert!(!sandbox.path("run").exists());
}

#[test]
fn data_that_cannot_be() {
    let sandbox = Sandbox::new();
    let folder = |name: &str| {
        let path = sandbox.path(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    };
    folder("empty");
    let mut pixels = Vec::new();
    let mut encoder = png::Encoder::new(&mut pixels, 20, 20);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().and_then(|mut w| w.write_image_data(&[90; 1200])).expect("a picture");
    for n in 0..60 {
        fs::write(folder("single/train/cats").join(format!("{n}.png")), &pixels)
            .expect("a picture");
        fs::write(folder("corrupt/train/cats").join(format!("{n}.png")), &pixels)
            .expect("a picture");
        fs::write(
            folder("corrupt/train/dogs").join(format!("{n}.png")),
            &pixels[..pixels.len() / 2],
        )
        .expect("half a picture");
    }
    let run = |data: &str| {
        sandbox.tiny("run", &["--quiet", "--data", data, "--set", "data.max_train=100000"])
    };
    refused(&mut run("nowhere"), &["nowhere", "does not exist"]);
    refused(&mut run("empty"), &["empty"]);
    refused(&mut run("single"), &["cats", "one class"]);
    assert!(!sandbox.path("run").exists());
    refused(&mut run("corrupt"), &["dogs"]);
}

#[test]
fn outputs_that_cannot_be() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("file"), "mine").expect("a file");
    refused(&mut sandbox.tiny("file", &[]), &["file", "not a folder"]);
    refused(&mut sandbox.tiny("file/run", &[]), &["file/run"]);
    fs::create_dir(sandbox.path("mine")).expect("a folder");
    fs::write(sandbox.path("mine/thesis.tex"), "mine").expect("a file");
    refused(&mut sandbox.tiny("mine", &[]), &["mine"]);
    assert_eq!(fs::read_dir(sandbox.path("mine")).expect("a folder").count(), 1);
}

/// A limit on the size of files stands for a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_without_a_byte_left_is_nothing_that_another_folder_on_it_puts_right() {
    let sandbox = Sandbox::new();
    let program = env!("CARGO_BIN_EXE_mira-train");
    let line = format!("trap '' XFSZ; ulimit -f 0; exec '{program}' run --out run --quiet");
    let mut limited = std::process::Command::new("sh");
    limited.current_dir(sandbox.path(".")).args(["-c", &line]);
    refused_with(1, &mut limited, &["writing run/lock failed", "check the disk"]);
    assert!(!sandbox.path("run").exists());
}

#[test]
fn dry_runs_refuse_what_runs_refuse() {
    let sandbox = Sandbox::new();
    for (setting, words) in [
        ("train.batch_size=4000", &["batch", "4000", "240"][..]),
        ("eval.knn_neighbours=241", &["eval.knn_neighbours", "241"]),
        ("eval.image_size=7", &["eval.image_size", "7", "at least 8"]),
    ] {
        refused(&mut sandbox.tiny("run", &["--dry-run", "--set", setting]), words);
    }
    fs::create_dir(sandbox.path("mine")).expect("a folder");
    fs::write(sandbox.path("mine/thesis.tex"), "mine").expect("a file");
    refused(&mut sandbox.tiny("mine", &["--dry-run"]), &["mine", "thesis.tex"]);
}
