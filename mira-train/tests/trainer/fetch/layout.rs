//! Which files are fetched, from lists of several pages and from the branch of converted sets.

use mira_train::fetch::Error;

use super::support::{Sandbox, names};

#[test]
fn all_pages_of_the_list_are_read() {
    let sandbox = Sandbox::empty();
    let files: Vec<_> = (0..10).map(|i| format!("data/train-{i:05}-of-00010.parquet")).collect();
    for file in &files {
        sandbox.server.file("o/n/main", file, file.as_bytes());
    }
    assert_eq!(sandbox.fetch("hf:o/n").unwrap().num_fetched, 10);
    assert_eq!(sandbox.server.requests("/api/").len(), 4);
    let expected: Vec<_> = files.iter().map(|file| file.replace("data/", "")).collect();
    assert_eq!(names(&sandbox.out()), expected);
    for file in &files {
        let local = sandbox.path(&file.replace("data/", ""));
        assert_eq!(std::fs::read_to_string(local).unwrap(), *file);
    }
}

#[test]
fn sets_without_parquet_are_taken_from_the_converted_branch() {
    let sandbox = Sandbox::empty();
    sandbox.server.file("o/n/main", "images.tar.gz", b"x").file("o/n/main", "README.md", b"x");
    let refused = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(matches!(refused, Error::Nothing { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("images.tar.gz") && text.contains("hf:o/n at main"), "{text}");

    let branch = "o/n/refs%2Fconvert%2Fparquet";
    sandbox.server.file(branch, "default/train/0000.parquet", b"a");
    sandbox.server.file(branch, "default/test/0000.parquet", b"b");
    assert_eq!(sandbox.fetch("hf:o/n").unwrap().num_fetched, 2);
    assert_eq!(names(&sandbox.out()), ["test-0000.parquet", "train-0000.parquet"]);
    // A revision that was named is the only one.
    assert!(matches!(sandbox.fetch("hf:o/n@main"), Err(Error::Nothing { .. })));
    assert_eq!(sandbox.fetch("hf:o/n@refs/convert/parquet").unwrap().num_present, 2);
}

#[test]
fn several_sets_are_told_before_anything_is_fetched_and_one_can_be_chosen() {
    let sandbox = Sandbox::empty();
    for folder in ["160px", "320px"] {
        sandbox.server.file("o/n/main", &format!("{folder}/train-0.parquet"), folder.as_bytes());
    }
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(matches!(error, Error::SeveralSets { .. }) && error.exit_code() == 2, "{error}");
    assert!(!sandbox.out().exists());
    sandbox.fetch("hf:o/n:320px").unwrap();
    assert_eq!(std::fs::read_to_string(sandbox.path("train-0.parquet")).unwrap(), "320px");
}

#[test]
fn image_files_keep_their_folders() {
    let sandbox = Sandbox::empty();
    let files = ["train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3 ü.png", "val/cat/notes.txt"];
    for file in &files {
        sandbox.server.file("o/n/main", file, file.as_bytes());
    }
    // Addresses are encoded; this server does not decode.
    sandbox.server.file("o/n/main", "val/cat/3%20%C3%BC.png", files[2].as_bytes());
    sandbox
        .server
        .lie("val/cat/3%20%C3%BC.png", serde_json::json!({ "type": "directory", "path": "x" }));
    assert_eq!(sandbox.fetch("hf:o/n").unwrap().num_fetched, 3);
    for file in &files[..3] {
        assert_eq!(std::fs::read_to_string(sandbox.path(file)).unwrap(), *file);
    }
    assert!(!sandbox.path(files[3]).exists());
}
