//! A hub that means no good: nothing outside the folder, no more bytes than listed, no endless lists.

use mira_train::fetch::Error;
use serde_json::json;

use super::server::Act;
use super::support::{FILE, LOCAL, Sandbox, content, names};

const LEN: usize = 5000;
const LIST: &str = "/api/datasets/o/n/tree/main";
const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

fn refused(path: &str, size: &serde_json::Value) -> (Sandbox, Error) {
    let sandbox = Sandbox::with_file(LEN);
    let lie = json!({ "type": "file", "path": path, "size": 1, "oid": "0", "lfs": { "oid": SHA256, "size": size } });
    sandbox.server.file("o/n/main", "a", b"").lie("a", lie);
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    (sandbox, error)
}

#[test]
fn paths_that_leave_the_folder_are_refused_before_anything_is_fetched() {
    for path in
        ["../x.parquet", "data/../../train.parquet", "/train.parquet", "data\\..\\train.parquet"]
    {
        let (sandbox, error) = refused(path, &json!(1));
        assert!(matches!(error, Error::UnsafePath { .. }), "{path}: {error}");
        assert!(!sandbox.out().exists());
    }
}

#[test]
fn absurd_sizes_are_refused() {
    for size in [json!(u64::MAX), json!(1_u64 << 50)] {
        let (sandbox, error) = refused("data/test.parquet", &size);
        assert!(matches!(error, Error::TooLarge { .. }), "{size}: {error}");
        assert!(!sandbox.out().exists());
    }
    for size in [json!(-1), json!(1e300), json!("1")] {
        let (_, error) = refused("data/test.parquet", &size);
        assert!(matches!(error, Error::Listing { .. }), "{size}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn more_than_the_disk_holds_is_refused_before_anything_is_fetched() {
    let sandbox = Sandbox::empty();
    // 64 PiB in all.
    for i in 0..65536 {
        if i % 1024 == 0 {
            let path = format!("data/train-{i}.parquet");
            let lfs = json!({ "oid": SHA256, "size": 1_u64 << 40 });
            sandbox
                .server
                .file("o/n/main", &path, b"")
                .lie(&path, json!({ "type": "file", "path": path, "lfs": lfs }));
        }
    }
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(matches!(error, Error::NoSpace { needed, .. } if needed == 64 << 40), "{error}");
    assert_eq!(names(&sandbox.out()), Vec::<String>::new());
    assert_eq!(sandbox.server.requests("/resolve/").len(), 0);
}

#[test]
fn no_more_bytes_than_listed_are_kept() {
    let sandbox = Sandbox::with_file(LEN);
    // No length announced, and the right bytes at first.
    sandbox
        .server
        .script(FILE, &[Act::Other(content(LEN + 1_000_000)), Act::Other(content(LEN + 1))]);
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), [None, None, None]);
}

#[test]
fn another_length_than_listed_is_not_even_begun() {
    let sandbox = Sandbox::with_file(LEN);
    let lie = json!({ "type": "file", "path": FILE, "lfs": { "oid": SHA256, "size": LEN + 1 } });
    sandbox.server.lie(FILE, lie);
    let error = sandbox.fetch("hf:o/n").unwrap_err().to_string();
    assert!(error.contains("5000 bytes are offered, 5001 are listed"), "{error}");
    assert!(sandbox.part().is_empty());
}

#[test]
fn lists_that_are_none_are_refused() {
    for (text, word) in [
        ("<html>", "the list of files is invalid"),
        ("{}", "the list of files is invalid"),
        (
            r#"[{"type": "file", "path": "train.parquet", "size": 1}]"#,
            "train.parquet has no checksum",
        ),
        (
            r#"[{"type": "file", "path": "train.parquet", "size": 1, "oid": "xyz"}]"#,
            "has no checksum",
        ),
        ("[]", "no files of images"),
    ] {
        let sandbox = Sandbox::with_file(LEN);
        sandbox.server.script(LIST, &[Act::Json(text.into())]);
        let error = sandbox.fetch("hf:o/n").unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn a_list_whose_pages_go_round_ends() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.script(LIST, &[Act::Circle]);
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(error.to_string().contains("go round in circles"), "{error}");
}

#[test]
fn a_folder_in_the_place_of_a_file_is_told() {
    let sandbox = Sandbox::with_file(LEN);
    std::fs::create_dir_all(sandbox.path(LOCAL)).unwrap();
    let error = sandbox.fetch("hf:o/n").unwrap_err().to_string();
    assert!(error.contains(LOCAL) && error.contains("it is a folder"), "{error}");
}
