//! Who may read what, who gets the token, and where files are.

use mira_train::fetch::{Error, Options};

use super::server::{Act, Server};
use super::support::{FILE, SET, Sandbox, content};

const LEN: usize = 5000;
const LIST: &str = "/api/datasets/o/n/tree/main";

fn with_token(sandbox: &Sandbox) -> Options {
    Options { token: Some("hf_secret".into()), ..sandbox.options() }
}

#[test]
fn the_token_goes_to_the_endpoint_and_no_further() {
    let sandbox = Sandbox::with_file(LEN);
    // Another port is another server, as another host would be.
    let elsewhere = Server::start();
    elsewhere.file(SET, FILE, &content(LEN));
    let to = format!("{}/datasets/o/n/resolve/main/{FILE}?signature=x", elsewhere.endpoint());
    sandbox.server.script(FILE, &[Act::Redirect(to)]);
    sandbox.fetch_with("hf:o/n", with_token(&sandbox)).unwrap();
    sandbox.is_complete(LEN);
    let bearer = Some("Bearer hf_secret");
    let own = sandbox.server.requests("");
    assert_eq!(own.len(), 2);
    assert!(own.iter().all(|request| request.header("authorization") == bearer));
    let others = elsewhere.requests("");
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].header("authorization"), None);
}

#[test]
fn redirects_at_home_keep_the_token() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox
        .server
        .script("/api/datasets/old/tree/main", &[Act::Redirect(format!("{LIST}?recursive=true"))]);
    let to = format!("/datasets/o/n/resolve/main/{FILE}");
    sandbox.server.script(&format!("/datasets/old/resolve/main/{FILE}"), &[Act::Redirect(to)]);
    sandbox.fetch_with("hf:old", with_token(&sandbox)).unwrap();
    sandbox.is_complete(LEN);
    let requests = sandbox.server.requests("");
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.header("authorization").is_some()));
}

#[test]
fn redirects_without_end_are_left() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.server.script(LIST, &vec![Act::Redirect(LIST.into()); 30]);
    let error = sandbox.fetch("hf:o/n").unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(sandbox.server.requests(LIST).len() <= 11);
}

#[test]
fn refusals_are_told_at_once_with_the_remedy() {
    for (status, token, words) in [
        (401, false, &["put your token into HF_TOKEN", "check the name"][..]),
        (403, true, &["accept its terms", "account of HF_TOKEN"]),
        (404, false, &["no such data set", "check the name"]),
        (400, false, &["unexpected status 400"]),
    ] {
        for ending in [LIST, FILE] {
            let sandbox = Sandbox::with_file(LEN);
            sandbox.server.script(ending, &[Act::Status(status, "")]);
            let options = if token { with_token(&sandbox) } else { sandbox.options() };
            let error = sandbox.fetch_with("hf:o/n", options).unwrap_err();
            assert_eq!(sandbox.server.requests(ending).len(), 1, "asked again: {error}");
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(
                words.iter().all(|word| text.contains(word)) && text.contains(ending),
                "{text}"
            );
            assert!(!text.contains("hf_secret"), "{text}");
        }
    }
}

#[test]
fn no_token_is_sent_where_there_is_none() {
    let sandbox = Sandbox::with_file(LEN);
    sandbox.fetches(LEN);
    assert!(sandbox.server.requests("").iter().all(|r| r.header("authorization").is_none()));
}

#[test]
fn an_endpoint_may_have_a_path() {
    let sandbox = Sandbox::with_file(LEN);
    let hub = format!("{}/", sandbox.server.endpoint());
    let to = format!("{hub}datasets/o/n/resolve/main/{FILE}");
    sandbox.server.script(&format!("/hub{LIST}"), &[Act::Redirect(LIST.into())]);
    sandbox.server.script(&format!("/hub/datasets/o/n/resolve/main/{FILE}"), &[Act::Redirect(to)]);
    let options = Options { endpoint: format!("{hub}hub/"), ..sandbox.options() };
    sandbox.fetch_with("hf:o/n", options).unwrap();
    sandbox.is_complete(LEN);
}
