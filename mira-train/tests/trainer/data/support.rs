//! Sets of pictures, and the program run on them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A PNG file in which every pixel differs from its neighbours.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixel = |i: u32| [37 * i, 11 * i, i].map(|value| value.to_le_bytes()[0]);
    let pixels: Vec<u8> = (0..width * height).flat_map(pixel).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    file
}

pub(crate) fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Four training images of two classes, one test image, in `set/`.
pub(crate) fn image_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, width, height) in [
        ("train/ant/1.png", 4, 3),
        ("train/ant/2.png", 40, 30),
        ("train/ant/3.png", 20, 10),
        ("train/bee/1.png", 30, 10),
        ("val/bee/1.png", 8, 8),
    ] {
        write(folder.path(), &format!("set/{name}"), &png(width, height));
    }
    folder
}

/// The program in a folder; killed, and the test failed, if it does not end.
pub(crate) fn data(folder: &Path, arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mira-train"))
        .current_dir(folder)
        .arg("data")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let given_up = Instant::now() + Duration::from_mins(1);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > given_up {
            child.kill().unwrap();
            panic!("{arguments:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// One line on stderr that says all of `words`, exit code 2, nothing on stdout.
pub(crate) fn is_refused(folder: &Path, arguments: &[&str], words: &[&str]) {
    let output = data(folder, arguments);
    let said = stderr(&output);
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
}
