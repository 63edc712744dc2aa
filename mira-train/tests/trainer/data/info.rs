//! What `mira-train data info` says and with which exit code, of whole sets and of damaged ones.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{data, image_folder, is_refused, png, stderr, stdout, write};

fn report(folder: &Path, arguments: &[&str]) -> Value {
    let output = data(folder, &[&["info", "--json"], arguments].concat());
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert_eq!(stdout(&output).lines().count(), 1);
    serde_json::from_str(stdout(&output)).unwrap()
}

#[test]
fn numbers_are_those_of_the_files() {
    let folder = image_folder();
    let length = |name: &str| fs::metadata(folder.path().join("set").join(name)).unwrap().len();
    let train = ["ant/1.png", "ant/2.png", "ant/3.png", "bee/1.png"];
    let num_bytes: u64 = train.iter().map(|name| length(&format!("train/{name}"))).sum();
    for arguments in [&["set"][..], &["set", "--check"], &["set", "--source", "image-folder"]] {
        let report = report(folder.path(), arguments);
        let expected = json!({
            "num_images": 4,
            "num_unlabelled": 0,
            "classes": [{ "name": "ant", "num_images": 3 }, { "name": "bee", "num_images": 1 }],
            "num_bytes": num_bytes,
            "mean_bytes": num_bytes as f64 / 4.0,
            "num_examined": 4,
            "num_turned": 0,
            "smallest": [4, 3],
            "median": [30, 10],
            "largest": [40, 30],
            "corrupt": [],
        });
        assert_eq!(report["splits"]["train"], expected);
        assert_eq!(report["splits"]["test"]["num_images"], 1);
        assert_eq!(report["splits"]["test"]["num_bytes"], length("val/bee/1.png"));
        assert_eq!((&report["path"], &report["format"]), (&json!("set"), &json!("image-folder")));
        assert_eq!((&report["num_images"], &report["num_corrupt"]), (&json!(5), &json!(0)));
        assert_eq!(report["no_test"], Value::Null);
    }
    let output = data(folder.path(), &["info", "set", "--check"]);
    let said = stdout(&output);
    for words in [
        "set: image-folder\n",
        "train   4 images, ",
        "2 classes: ant, bee\n",
        "          1 (bee) to 3 images (ant) a class\n",
        "4 × 3 to 40 × 30 pixels, median 30 × 10\n",
        "test    1 image, ",
        "          8 × 8 pixels\n",
        "no corrupt image among 5\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn classes_and_labels_are_those_of_the_lists() {
    let folder = image_folder();
    write(folder.path(), "classes.txt", b"# one\nant\n");
    write(folder.path(), "labels.txt", b"ant/1.png\nbee/1.jpg\n");
    write(folder.path(), "set/val/ant/1.png", &png(9, 9));
    let of_ants = report(folder.path(), &["set", "--classes", "classes.txt"]);
    let classes = |n: u64| json!([{ "name": "ant", "num_images": n }]);
    assert_eq!(of_ants["splits"]["train"]["classes"], classes(3));
    assert_eq!(of_ants["splits"]["test"]["classes"], classes(1));
    let listed = report(folder.path(), &["set", "--label-list", "labels.txt"]);
    assert_eq!(listed["splits"]["train"]["num_unlabelled"], 2);
    assert_eq!(listed["splits"]["test"]["num_unlabelled"], 0);
    let share = report(folder.path(), &["set", "--label-fraction", "0.3"]);
    let one_each = json!([{ "name": "ant", "num_images": 1 }, { "name": "bee", "num_images": 1 }]);
    assert_eq!(share["splits"]["train"]["classes"], one_each);
    assert_eq!(share["splits"]["train"]["num_images"], 4);
    write(folder.path(), "classes.txt", b"aunt\n");
    let arguments = ["info", "set", "--classes", "classes.txt"];
    is_refused(folder.path(), &arguments, &["classes.txt: 1 of 1", "did you mean 'ant'?"]);
    // Written by an editor that puts a mark at the start, and with a line that is no name.
    write(folder.path(), "classes.txt", b"\xef\xbb\xbfant\n");
    assert_eq!(report(folder.path(), &["set", "--classes", "classes.txt"])["num_images"], 4);
    write(folder.path(), "classes.txt", &vec![b'x'; 1 << 20]);
    let output = data(folder.path(), &["info", "set", "--classes", "classes.txt"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).len() < 500, "{} bytes", stderr(&output).len());
    write(folder.path(), "labels.txt", b"ant/7.png\n");
    let arguments = ["info", "set", "--label-list", "labels.txt"];
    is_refused(folder.path(), &arguments, &["labels.txt: 1 of 1 entries", "'ant/7.png'"]);

    // A packed set of some classes.
    write(folder.path(), "classes.txt", b"bee\n");
    let arguments = ["pack", "set", "bees", "--classes", "classes.txt", "--quiet"];
    assert_eq!(data(folder.path(), &arguments).status.code(), Some(0));
    let bees = report(folder.path(), &["bees"]);
    assert_eq!(
        (&bees["num_images"], &bees["splits"]["train"]["num_images"]),
        (&json!(2), &json!(1))
    );
}

/// A JPEG file that a camera held sideways wrote: the orientation is said, and the image has the size that it has in the file.
#[test]
fn turned_images_are_counted_and_not_turned() {
    let folder = image_folder();
    let mut file = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut file, 90);
    encoder.encode(&[99; 50 * 60 * 3], 50, 60, jpeg_encoder::ColorType::Rgb).unwrap();
    // Orientation (0x0112), of type 3, one: 6, turned by 90°.
    let exif =
        b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    file.splice(2..2, *exif);
    write(folder.path(), "set/train/ant/turned.jpg", &file);
    let report = report(folder.path(), &["set", "--check"]);
    assert_eq!(report["splits"]["train"]["num_turned"], 1);
    assert_eq!(report["splits"]["train"]["largest"], json!([50, 60]));
    let output = data(folder.path(), &["info", "set"]);
    let said = stdout(&output);
    assert!(said.contains("1 image with an EXIF orientation, which is not applied\n"), "{said}");
}

#[test]
fn formats_are_found_out() {
    let folder = image_folder();
    let row = |label: u8| [vec![label], vec![7; 3072]].concat();
    for i in 1..=5 {
        write(folder.path(), &format!("cifar/data_batch_{i}.bin"), &[row(i), row(9)].concat());
    }
    write(folder.path(), "cifar/test_batch.bin", &row(3));
    write(folder.path(), "plain/1.png", &png(5, 5));
    for (path, format, num_train, num_test, side, num_bytes) in [
        (Some("cifar"), "cifar10", 10, Some(1), 32, 10 * 3072),
        (Some("plain"), "image-folder", 1, None, 5, png(5, 5).len()),
        (None, "embedded", 6000, Some(1000), 28, 6000 * 784),
    ] {
        let report = report(folder.path(), path.as_slice());
        assert_eq!(report["format"], format);
        assert_eq!(report["splits"]["train"]["num_images"], num_train);
        assert_eq!(report["splits"]["train"]["median"], json!([side, side]));
        assert_eq!(report["splits"]["train"]["num_bytes"], num_bytes);
        assert_eq!(report["splits"]["test"]["num_images"].as_u64(), num_test);
        assert_eq!(report["no_test"].is_string(), num_test.is_none());
        assert_eq!(report["splits"]["train"]["num_examined"], num_train.min(512));
    }
    let every = report(folder.path(), &["--check"]);
    assert_eq!((&every["num_images"], &every["num_examined"]), (&json!(7000), &json!(7000)));
}

/// Each kind of damage, and the words that tell it.
fn damage(set: &Path) -> Vec<(String, &'static str)> {
    let whole = png(30, 30);
    let mut bomb = whole.clone();
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 0xff;
    let files: [(&str, &[u8], &str); 6] = [
        ("empty.png", b"", "it is empty"),
        ("page.jpg", b"<html>404</html>", "neither JPEG, PNG nor WebP"),
        ("short.png", &whole[..middle], "damaged or unsupported PNG"),
        ("flipped.png", &flipped, "damaged or unsupported PNG"),
        ("bomb.png", &bomb, "damaged or unsupported PNG"),
        ("stub.webp", b"RIFF\0\0\0\0WEBPVP8 ", "damaged or unsupported WebP"),
    ];
    let damage = files.into_iter().map(|(name, bytes, words)| {
        let name = format!("train/bee/{name}");
        write(set, &name, bytes);
        (format!("{}/{name}", set.file_name().unwrap().to_str().unwrap()), words)
    });
    damage.collect()
}

#[test]
fn corrupt_images_are_named_and_the_others_still_counted() {
    let folder = image_folder();
    #[allow(unused_mut)] // only Unix has named pipes
    let mut damaged = damage(&folder.path().join("set"));
    #[cfg(unix)]
    {
        // Nobody ever writes to it: reading it would never end.
        let pipe = folder.path().join("set/train/ant/pipe.jpg");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        damaged.push(("set/train/ant/pipe.jpg".into(), "no regular file"));
    }
    let output = data(folder.path(), &["info", "set", "--check"]);
    let said = stdout(&output);
    assert_eq!((output.status.code(), stderr(&output)), (Some(3), ""), "{said}");
    assert!(said.contains(&format!(
        "{0} of {1} images corrupt; runs end at so many, unless data.max_bad_fraction is raised\n",
        damaged.len(),
        damaged.len() + 5
    )));
    for (name, words) in &damaged {
        let line = said.lines().find(|line| line.trim_start().starts_with(&format!("{name}: ")));
        assert!(line.is_some_and(|line| line.contains(words)), "{name}: {said}");
    }
    // The sample is all of so small a set; its exit code is the same.
    let output = data(folder.path(), &["info", "set", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(report["num_corrupt"], damaged.len());
    assert_eq!(report["splits"]["train"]["largest"], json!([40, 30]));
    let listed = report["splits"]["train"]["corrupt"].as_array().unwrap();
    for (name, words) in &damaged {
        let found = listed.iter().find(|found| found["name"] == *name).unwrap();
        assert!(found["reason"].as_str().unwrap().contains(words), "{found}");
    }
}

#[test]
fn a_long_list_is_cut_on_stdout_and_whole_in_json() {
    let folder = image_folder();
    for i in 0..23 {
        write(folder.path(), &format!("set/train/ant/x{i:02}.png"), b"");
    }
    let output = data(folder.path(), &["info", "set", "--check"]);
    let said = stdout(&output);
    assert!(said.contains("23 of 28 images corrupt; runs end at so many"), "{said}");
    assert_eq!(said.matches(": it is empty").count(), 20);
    assert!(said.ends_with("and 3 more; --json lists all\n"), "{said}");
    let output = data(folder.path(), &["info", "set", "--check", "--json"]);
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(report["splits"]["train"]["corrupt"].as_array().unwrap().len(), 23);
}

#[cfg(unix)]
#[test]
fn a_file_with_a_line_break_in_its_name_is_one_line() {
    let folder = image_folder();
    write(folder.path(), "set/train/ant/a\nb.png", b"");
    let output = data(folder.path(), &["info", "set"]);
    let listed: Vec<_> = stdout(&output).lines().filter(|l| l.contains("empty")).collect();
    assert!(matches!(listed[..], [line] if line.contains("a\u{fffd}b.png")), "{listed:?}");
}

#[test]
fn what_is_no_data_set_is_refused_with_the_remedy() {
    let folder = image_folder();
    write(folder.path(), "notes.txt", b"?");
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (arguments, words) in [
        (&["info", "nowhere"][..], "nowhere does not exist; give the folder"),
        (&["info", "empty"], "it is empty"),
        (&["info", "notes.txt"], "it is a file; give the folder"),
        (&["info", "set", "--source", "cifar10"], "looked for"),
        (&["info", "--source", "idx"], "give the path of the data"),
        (&["info", "set", "--source", "jpg"], "image-folder"),
    ] {
        is_refused(folder.path(), arguments, &[words]);
    }
}

#[test]
fn what_names_and_archives_hold_does_not_reach_the_terminal_raw() {
    let folder = image_folder();
    write(folder.path(), "set/train/\u{1b}[2J/1.png", &png(2, 2));
    let output = data(folder.path(), &["info", "set"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("3 classes: �[2J, ant, bee"), "{}", stdout(&output));
    assert!(!stdout(&output).contains('\u{1b}'), "{}", stdout(&output));
}

#[test]
fn an_archive_of_class_folders_is_told_from_shards_without_labels() {
    let folder = image_folder();
    let archive = |names: &[&str]| {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let (file, mut header) = (png(3, 3), tar::Header::new_ustar());
            header.set_size(file.len() as u64);
            builder.append_data(&mut header, name, &file[..]).unwrap();
        }
        builder.into_inner().unwrap()
    };
    write(folder.path(), "classes.tar", &archive(&["a/1.png", "a/2.png", "b/1.png"]));
    write(folder.path(), "flat.tar", &archive(&["x/1.png", "x/2.png"]));
    let said = |path: &str| stdout(&data(folder.path(), &["info", path])).to_owned();
    assert!(said("classes.tar").contains("no classes: ") && said("classes.tar").contains("unpack"));
    assert!(said("flat.tar").contains("no classes\n"), "{}", said("flat.tar"));
}

#[test]
fn images_that_nobody_reads_are_told() {
    let folder = image_folder();
    write(folder.path(), "set/train/ant/4.gif", b"GIF89a");
    let output = data(folder.path(), &["info", "set"]);
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    assert!(
        said.starts_with("warning: set/train has images of formats")
            && said.contains("gif")
            && said.contains("1 in all"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
}
