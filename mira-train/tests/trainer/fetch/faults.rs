//! What goes wrong once and is put right by trying again, and what is not.

use std::fs;
use std::time::Duration;

use mira_train::fetch::{Error, Options};

use super::server::Act;
use super::support::{FILE, LOCAL, Sandbox, content, names};

const LEN: usize = 100_000;

/// The file arrives in spite of `acts`, after one request more than there are of them.
fn survives(acts: &[Act]) -> Vec<Option<String>> {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.script(FILE, acts);
    sandbox.fetches(LEN);
    let ranges = sandbox.server.ranges(FILE);
    assert_eq!(ranges.len(), acts.len() + 1, "{acts:?}: {ranges:?}");
    ranges
}

/// The ranges of a first request for everything and of others from these places.
fn then_from(places: &[usize]) -> Vec<Option<String>> {
    std::iter::once(None)
        .chain(places.iter().map(|first| Some(format!("bytes={first}-"))))
        .collect()
}

#[test]
fn a_file_comes_whole() {
    assert_eq!(survives(&[]), [None]);
}

#[test]
fn an_empty_file_needs_no_request() {
    let sandbox = Sandbox::with_file(0);
    sandbox.fetches(0);
    assert_eq!(sandbox.server.ranges(FILE), []);
}

#[test]
fn servers_in_trouble_are_asked_again() {
    let acts = [Act::Status(500, ""), Act::Status(503, "Retry-After: 0\r\n"), Act::Status(429, "")];
    assert_eq!(survives(&acts), [None, None, None, None]);
}

#[test]
fn a_short_read_goes_on_where_it_ended() {
    let ranges = survives(&[Act::Short(70_000), Act::Short(10_000)]);
    assert_eq!(ranges, then_from(&[70_000, 80_000]));
}

#[test]
fn a_broken_connection_is_made_anew() {
    survives(&[Act::Reset(0), Act::Reset(50_000)]);
}

#[test]
fn a_server_that_stops_sending_is_left() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.script(FILE, &[Act::Stall(60_000)]);
    let options =
        Options { timeout: Duration::from_millis(400), num_retries: 50, ..sandbox.options() };
    sandbox.fetch_with("hf:o/n", options).unwrap();
    sandbox.is_complete(LEN);
    let ranges = sandbox.server.ranges(FILE);
    assert_eq!(ranges[..2], then_from(&[60_000]));
}

#[test]
fn a_wrong_checksum_is_fetched_anew_once() {
    assert_eq!(survives(&[Act::Damaged]), [None, None]);
    // A damaged beginning, too, although the rest is right.
    assert_eq!(survives(&[Act::Damaged, Act::Short(5)])[1..], then_from(&[5]));
}

#[test]
fn a_checksum_that_stays_wrong_is_an_error_that_leaves_no_file() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.script(FILE, &[Act::Damaged, Act::Damaged]);
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    let Error::Checksum { path, expected, got } = &error else { panic!("{error}") };
    assert_eq!(path, FILE);
    assert!(expected.starts_with("sha256:") && got.starts_with("sha256:") && expected != got);
    assert_eq!(error.exit_code(), 1);
    assert!(!sandbox.path(LOCAL).exists() && sandbox.part().is_empty());
}

#[test]
fn git_checksums_are_held_against_small_files() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.small().script(FILE, &[Act::Damaged]);
    sandbox.fetches(LEN);
    assert_eq!(sandbox.server.ranges(FILE), [None, None]);
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.small().script(FILE, &[Act::Damaged, Act::Damaged]);
    let error = sandbox.fetch("hf:o/n").unwrap_err().to_string();
    assert!(error.contains("git-sha1:"), "{error}");
}

#[test]
fn retries_are_bounded_and_what_came_is_kept() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.script(FILE, &[Act::Short(1000), Act::Short(0), Act::Short(0), Act::Short(0)]);
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    let Error::GaveUp { num_failures, .. } = &error else { panic!("{error}") };
    assert_eq!((*num_failures, error.exit_code()), (4, 1));
    assert!(error.to_string().contains(FILE), "{error}");
    assert!(sandbox.part() == content(LEN)[..1000]);
    // The same command goes on.
    sandbox.fetches(LEN);
    assert_eq!(
        sandbox.server.ranges(FILE)[3..],
        [&then_from(&[1000])[1..], &then_from(&[1000])[1..]].concat()
    );
}

#[test]
fn progress_forgives_failures_but_starting_over_does_not() {
    // 5 failures with 3 retries, each a MiB further.
    let len = 6 << 20;
    let sandbox = Sandbox::with_file(len);
    sandbox.server.script(FILE, &[const { Act::Short(1 << 20) }; 5]);
    sandbox.fetches(len);
    // A server without ranges comes no further, however often it sends the first 2 MiB.
    let sandbox = Sandbox::with_file(len);
    let mut acts = vec![Act::Short(2 << 20)];
    acts.resize(5, Act::Other(content(2 << 20)));
    sandbox.server.script(FILE, &acts);
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(matches!(error, Error::GaveUp { .. }), "{error}");
}

#[test]
fn a_server_that_asks_for_too_much_patience_is_quoted() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.script(FILE, &[Act::Status(503, "Retry-After: 86400\r\n")]);
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(matches!(error, Error::Wait { seconds: 86400, .. }), "{error}");
}

#[test]
fn the_list_is_asked_for_again_too() {
    let sandbox = Sandbox::with_file(LEN);
    let acts = [Act::Reset(0), Act::Status(502, ""), Act::Status(500, "")];
    sandbox.server.script("/api/datasets/o/n/tree/main", &acts);
    sandbox.fetches(LEN);
}

#[test]
fn nobody_there_is_an_error_after_the_retries() {
    let sandbox = Sandbox::empty();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = Options { endpoint: format!("http://127.0.0.1:{port}"), ..sandbox.options() };
    let error = sandbox.fetch_with("hf:o/n", options).unwrap_err();
    assert!(matches!(error, Error::GaveUp { num_failures: 4, .. }), "{error}");
    assert!(error.to_string().contains("the list of files of hf:o/n"), "{error}");
}

#[test]
fn a_file_given_up_ends_the_others_and_leaves_them_resumable() {
    let sandbox = Sandbox::with_file(LEN);
    let other = "data/test-00000-of-00001.parquet";
    sandbox.server.file("o/n/main", other, &content(10)).script(FILE, &[Act::Stall(5000)]);
    sandbox.server.script(other, &[Act::Status(403, "")]);
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(matches!(error, Error::Denied { status: 403, .. }), "{error}");
    // Without being told to end, it would have been asked for again.
    assert!(sandbox.server.ranges(FILE).len() <= 1);
    assert_eq!(sandbox.fetch("hf:o/n").unwrap().num_fetched, 2);
    assert_eq!(fs::read(sandbox.path(LOCAL)).unwrap(), content(LEN));
    assert_eq!(names(&sandbox.out()).len(), 2);
}
