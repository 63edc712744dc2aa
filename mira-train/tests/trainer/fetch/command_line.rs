//! The binary as a user meets it, in a folder of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mira_train::data::{Format, Image, Split, open};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use super::server::{Act, Server};
use super::support::{content, names};

const CIFAR: &str = "uoft-cs/cifar10/main";
const TRAIN: &str = "plain_text/train-00000-of-00001.parquet";
const TEST: &str = "plain_text/test-00000-of-00001.parquet";

/// A Parquet file of 1 × 1 pictures, each with its place as grey and label.
fn pictures(num_images: u8) -> Vec<u8> {
    let png = |grey: u8| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 1, 1);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[grey]).unwrap();
        ByteArray::from(file)
    };
    let schema = "message schema { required binary img; required int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut file, schema, Arc::new(WriterProperties::default()))
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    let images: Vec<_> = (0..num_images).map(png).collect();
    let labels: Vec<_> = (0..num_images).map(i64::from).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&images, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    file
}

fn cifar() -> Server {
    let server = Server::start();
    server.file(CIFAR, TRAIN, &pictures(7)).file(CIFAR, TEST, &pictures(3));
    server.file(CIFAR, "README.md", b"# CIFAR-10");
    server
}

fn command(folder: &Path, server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mira-train"));
    command.current_dir(folder).args(["data", "fetch"]).args(arguments);
    command.env("HF_ENDPOINT", server.endpoint()).env_remove("HF_TOKEN");
    command.stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_named_set_is_fetched_through_faults_and_opens() {
    let (folder, server) = (TempDir::new().unwrap(), cifar());
    server.script(TRAIN, &[Act::Status(500, ""), Act::Short(100), Act::Stall(200)]);
    let output = command(folder.path(), &server, &["cifar10", "--timeout", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.starts_with("2 file(s) fetched, 0 there already"), "{said}");
    assert!(said.contains("mira-train run --data data/cifar10"), "{said}");
    let log = stderr(&output);
    for words in
        ["hf:uoft-cs/cifar10:plain_text/ from http://127", "status 500; trying again", "(1 of 5)"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
    let path = folder.path().join("data/cifar10");
    assert_eq!(names(&path), ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]);
    for (split, num_images) in [(Split::Train, 7), (Split::Test, 3)] {
        let set = open(Format::Auto, Some(&path), split).unwrap();
        assert_eq!((set.len(), set.num_classes()), (num_images, Some(num_images)));
        let mut image = Image::default();
        set.load(2, &mut image).unwrap();
        assert_eq!((image.pixels.as_slice(), set.label(2)), (&[2; 3][..], Some(2)));
    }
    let again = command(folder.path(), &server, &["cifar10", "--quiet"]).output().unwrap();
    assert!(stdout(&again).starts_with("0 file(s) fetched, 2 there already"), "{}", stdout(&again));
    assert_eq!(stderr(&again), "");
}

#[test]
fn a_dry_run_lists_and_fetches_nothing() {
    let (folder, server) = (TempDir::new().unwrap(), cifar());
    let output = command(folder.path(), &server, &["cifar10", "--dry-run"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    let len = pictures(7).len();
    let size = format!("{},{:03}", len / 1000, len % 1000);
    for words in [
        &format!("{size}  train-00000-of-00001.parquet  sha256:"),
        "2 file(s)",
        "nothing was fetched",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!((names(folder.path()).len(), server.requests("/resolve/").len()), (0, 0));
}

#[test]
fn flags_and_environment_name_the_hub_and_the_token() {
    let (folder, server, unused) = (TempDir::new().unwrap(), cifar(), Server::start());
    let arguments = ["cifar10", "--endpoint", &server.endpoint(), "--out", "here"];
    let mut fetch = command(folder.path(), &unused, &arguments);
    let output = fetch.env("HF_TOKEN", "hf_secret").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(unused.requests("").len(), 0);
    assert!(
        server.requests("").iter().all(|r| r.header("authorization") == Some("Bearer hf_secret"))
    );
    assert_eq!(names(&folder.path().join("here")).len(), 2);
}

#[test]
fn failures_are_one_line_with_their_exit_code() {
    let (folder, server) = (TempDir::new().unwrap(), cifar());
    for (arguments, code, words) in [
        (&["cifar-10"][..], 2, "did you mean cifar10?"),
        (&["hf:no/where"], 2, "no such data set"),
        (
            &["cifar10", "--endpoint", "hub"],
            2,
            "expected an address such as https://huggingface.co",
        ),
        (&["cifar10", "--retries", "0"], 1, "status 500; given up after 1 failure(s)"),
    ] {
        server.script(TRAIN, &[Act::Status(500, "")]);
        let output = command(folder.path(), &server, arguments).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: ") && last.contains(words), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_part_and_the_same_command_goes_on() {
    let (folder, server) = (TempDir::new().unwrap(), Server::start());
    let (path, whole) = ("train.parquet", content(100_000));
    server.file("o/n/main", path, &whole).script(path, &[Act::Stall(60_000)]);
    let mut child =
        command(folder.path(), &server, &["hf:o/n", "--out", "here", "--timeout", "3600"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let part = folder.path().join("here/train.parquet.part");
    while fs::metadata(&part).map_or(0, |m| m.len()) < 60_000 {
        std::thread::yield_now();
    }
    // The server is silent for good, and the time limit is an hour: only closing the connection ends this.
    let pid = i32::try_from(child.id()).unwrap();
    let killed = Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    let given_up = Instant::now() + Duration::from_mins(2);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > given_up {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("stopped by SIGINT"), "{}", stdout(&output));
    assert_eq!(
        names(&folder.path().join("here")),
        ["train.parquet.part", "train.parquet.part.json"]
    );
    let output = command(folder.path(), &server, &["hf:o/n", "--out", "here"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(server.ranges(path), [None, Some("bytes=60000-".into())]);
    assert!(fs::read(folder.path().join("here/train.parquet")).unwrap() == whole);
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_the_part_kept() {
    let (folder, server) = (TempDir::new().unwrap(), Server::start());
    let (path, whole) = ("train.parquet", content(400_000));
    server.file("o/n/main", path, &whole);
    // A limit on the size of files, of 100 blocks of 512 or 1024 bytes; the signal that it sends is ignored.
    let fetch = command(folder.path(), &server, &["hf:o/n", "--out", "here"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""])
        .arg(fetch.get_program())
        .args(fetch.get_args());
    limited.current_dir(folder.path()).env("HF_ENDPOINT", server.endpoint());
    let output = limited.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("train.parquet.part cannot be written")
            && said.contains("run the same command again"),
        "{said}"
    );
    let kept = fs::metadata(folder.path().join("here/train.parquet.part")).unwrap().len();
    let output = command(folder.path(), &server, &["hf:o/n", "--out", "here"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read(folder.path().join("here/train.parquet")).unwrap() == whole);
    assert!(kept <= 102_400, "{kept}");
}
