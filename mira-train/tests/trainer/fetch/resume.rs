//! Going on where an earlier download ended, and noticing when that is not possible.

use std::fs;

use mira_train::fetch::Error;
use ring::digest;

use super::server::{Act, hex};
use super::support::{FILE, LOCAL, Sandbox, content};

const LEN: usize = 100_000;
const HAVE: usize = 40_000;

fn note(of: &[u8], etag: &str) -> String {
    let sha256 = hex(digest::digest(&digest::SHA256, of).as_ref());
    format!(r#"{{"content":"sha256:{sha256}","etag":{etag}}}"#)
}

/// A hub with one file, and a part of it from before.
fn with_part() -> Sandbox {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.leave_part(&content(LEN)[..HAVE], &note(&content(LEN), r#""\"one\"""#));
    sandbox
}

/// The ranges asked for: the rest, then everything, so many times.
fn rest_then(num_wholes: usize) -> Vec<Option<String>> {
    let mut ranges = vec![Some(format!("bytes={HAVE}-"))];
    ranges.resize(1 + num_wholes, None);
    ranges
}

#[test]
fn only_the_rest_is_asked_for_under_the_same_name() {
    let sandbox = with_part();
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), rest_then(0));
    assert_eq!(sandbox.server.requests("/resolve/")[0].header("if-range"), Some("\"one\""));
}

#[test]
fn what_is_there_and_right_is_left_alone() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.fetches(LEN);
    let before = fs::metadata(sandbox.path(LOCAL)).unwrap().modified().unwrap();
    let again = sandbox.fetch("hf:o/n").unwrap();
    assert_eq!((again.num_fetched, again.num_present), (0, 1));
    assert_eq!(sandbox.server.ranges(FILE).len(), 1);
    assert_eq!(fs::metadata(sandbox.path(LOCAL)).unwrap().modified().unwrap(), before);
    // The same length is not enough.
    let mut other = content(LEN);
    other[LEN / 2] ^= 1;
    fs::write(sandbox.path(LOCAL), other).unwrap();
    sandbox.fetches(LEN);
}

#[test]
fn a_server_without_ranges_sends_everything() {
    let sandbox = with_part();
    sandbox.server.script(FILE, &[Act::Whole]);
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), rest_then(0));
}

#[test]
fn a_range_that_is_refused_starts_over() {
    let sandbox = with_part();
    sandbox.server.script(FILE, &[Act::Status(416, "")]);
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), rest_then(1));
}

#[test]
fn another_range_than_asked_for_starts_over() {
    let sandbox = with_part();
    sandbox.server.script(FILE, &[Act::Shifted]);
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), rest_then(1));
}

#[test]
fn content_under_another_name_starts_over() {
    // The server honours If-Range, and sends everything.
    let sandbox = Sandbox::with_file(LEN);
    sandbox.leave_part(&content(LEN)[..HAVE], &note(&content(LEN), r#""\"zero\"""#));
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), rest_then(0));
    // It does not, but its own name says that the content is another.
    let sandbox = Sandbox::with_file(LEN);
    sandbox.leave_part(&content(LEN)[..HAVE], &note(&content(LEN), r#""\"zero\"""#));
    sandbox.server.script(FILE, &[Act::Careless]);
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), rest_then(1));
}

#[test]
fn the_name_is_remembered_from_one_attempt_to_the_next() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.script(FILE, &[Act::Short(HAVE)]);
    sandbox.fetches(LEN);
    let tags: Vec<_> = sandbox.server.requests("/resolve/");
    let tags: Vec<_> = tags.iter().map(|request| request.header("if-range")).collect();
    assert_eq!(tags, [None, Some("\"one\"")]);
}

#[test]
fn without_a_name_the_checksum_decides() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.leave_part(&content(LEN)[..HAVE], &note(&content(LEN), "null"));
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), rest_then(0));
    // A part that a power cut damaged.
    let sandbox = Sandbox::with_file(LEN);
    sandbox.leave_part(&vec![0; HAVE], &note(&content(LEN), "null"));
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), rest_then(1));
}

#[test]
fn parts_of_something_else_are_thrown_away() {
    for (bytes, note) in [
        (&content(LEN)[..HAVE], note(&content(7), r#""\"one\"""#)),
        (&content(LEN)[..HAVE], "not JSON".into()),
        (&content(LEN + 9)[..], note(&content(LEN), r#""\"one\"""#)),
    ] {
        let sandbox = Sandbox::with_file(LEN);
        sandbox.leave_part(bytes, &note);
        sandbox.fetches(LEN);
        assert_eq!(sandbox.server.ranges(FILE), [None], "{note}");
    }
}

#[test]
fn a_part_that_is_everything_is_only_checked() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.leave_part(&content(LEN), &note(&content(LEN), "null"));
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), []);
}

#[test]
fn one_process_a_folder() {
    let sandbox = with_part();
    let lock = fs::File::create(sandbox.path(".mira-fetch.lock")).unwrap();
    lock.try_lock().unwrap();
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(matches!(error, Error::Folder(_)) && error.exit_code() == 2, "{error}");
    assert!(error.to_string().contains("in use by another mira-train"), "{error}");
    assert_eq!(sandbox.part().len(), HAVE);
    drop(lock);
    sandbox.fetches(LEN);
}
