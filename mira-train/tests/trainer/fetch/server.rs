//! A hub for tests: HTTP/1.1, one request a connection, and a script of what goes wrong.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use ring::digest;
use serde_json::json;

/// Files a page of the list.
const PAGE: usize = 3;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// What it should, with ranges.
    Serve,
    /// An answer without content.
    Status(u16, &'static str),
    /// Promises everything, sends this many bytes, and closes.
    Short(usize),
    /// Sends this many bytes, and no more; the connection stays open until the client closes it.
    Stall(usize),
    /// Breaks the connection after this many bytes.
    Reset(usize),
    /// Everything from the beginning, whatever was asked for.
    Whole,
    /// The range that was asked for, but said to begin one byte later.
    Shifted,
    /// Ranges without regard to `If-Range`.
    Careless,
    /// Other content, with an entity tag of its own, and no end announced.
    Other(Vec<u8>),
    /// Another content of the same length, under the same entity tag.
    Damaged,
    /// To another address.
    Redirect(String),
    /// An empty page of the list, followed by itself.
    Circle,
    /// Any text as a JSON answer.
    Json(String),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Path and query.
    pub(crate) target: String,
    headers: HashMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Default)]
struct State {
    /// By repository and revision, as in addresses; then by path.
    sets: HashMap<String, BTreeMap<String, Vec<u8>>>,
    /// By the part of the address that is the path, encoded.
    script: HashMap<String, VecDeque<Act>>,
    /// What the list says instead of the truth, by path.
    lies: HashMap<String, serde_json::Value>,
    /// Files that are in large-file storage.
    large: bool,
    requests: Vec<Request>,
}

/// A running hub; it ends when dropped.
pub(crate) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Without files.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(Mutex::new(State { large: true, ..State::default() }));
        let end = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (Arc::clone(&state), Arc::clone(&end));
        let accept = move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                // A client that goes away is no concern of the server.
                thread::spawn(move || drop(answer(stream, &state)));
            }
        };
        Self { address, state, end, thread: Some(thread::spawn(accept)) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a file at `repo/revision`, such as `o/n/main`.
    pub(crate) fn file(&self, set: &str, path: &str, content: &[u8]) -> &Self {
        let mut state = self.state.lock().expect("a lock");
        state.sets.entry(set.into()).or_default().insert(path.into(), content.to_vec());
        drop(state);
        self
    }

    /// What happens with the next requests whose path ends so; after that, what should.
    pub(crate) fn script(&self, ending: &str, acts: &[Act]) -> &Self {
        self.state
            .lock()
            .expect("a lock")
            .script
            .entry(ending.into())
            .or_default()
            .extend(acts.iter().cloned());
        self
    }

    /// What the list has for a path.
    pub(crate) fn lie(&self, path: &str, entry: serde_json::Value) -> &Self {
        self.state.lock().expect("a lock").lies.insert(path.into(), entry);
        self
    }

    /// Files are in Git itself, with its checksums.
    pub(crate) fn small(&self) -> &Self {
        self.state.lock().expect("a lock").large = false;
        self
    }

    /// The requests so far whose path contains a text.
    pub(crate) fn requests(&self, part: &str) -> Vec<Request> {
        let state = self.state.lock().expect("a lock");
        state.requests.iter().filter(|request| request.target.contains(part)).cloned().collect()
    }

    /// The ranges asked for of a file, in order.
    pub(crate) fn ranges(&self, part: &str) -> Vec<Option<String>> {
        let range = |request: &Request| request.header("range").map(String::from);
        self.requests(part).iter().filter(|r| r.target.contains("/resolve/")).map(range).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (request, head) = peek(&stream)?;
    let target = request.target.clone();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let act = {
        let mut state = state.lock().expect("a lock");
        state.requests.push(request.clone());
        let script = state.script.iter_mut().find(|(ending, _)| path.ends_with(ending.as_str()));
        script.and_then(|(_, acts)| acts.pop_front()).unwrap_or(Act::Serve)
    };
    if let Act::Reset(_) = act {
        // The request stays unread: closing then breaks the connection, rather than ending it.
    } else {
        stream.read_exact(&mut vec![0; head])?;
    }
    match &act {
        Act::Status(status, headers) => {
            return write!(
                stream,
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Act::Redirect(to) => {
            return write!(
                stream,
                "HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Act::Circle => {
            let host = request.header("host").unwrap_or_default();
            let link = format!("Link: <http://{host}{target}>; rel=\"next\"\r\n");
            return json_answer(&mut stream, &link, "[]");
        }
        Act::Json(text) => return json_answer(&mut stream, "", text),
        _ => {}
    }
    if let Some(listed) = path.strip_prefix("/api/datasets/") {
        let state = state.lock().expect("a lock");
        return list(&mut stream, &state, &listed.replace("/tree", ""), &target, &request);
    }
    let content = {
        let state = state.lock().expect("a lock");
        let wanted = path.strip_prefix("/datasets/").unwrap_or(&path).replace("/resolve", "");
        state.sets.iter().find_map(|(set, files)| {
            files.get(wanted.strip_prefix(set.as_str())?.strip_prefix('/')?).cloned()
        })
    };
    match content {
        Some(content) => serve(&mut stream, &act, &request, content),
        None => write!(stream, "HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

/// The request, and how long its head is, without taking it from the connection.
fn peek(stream: &TcpStream) -> std::io::Result<(Request, usize)> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = stream.peek(&mut buffer)?;
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let mut lines = text[..end].split("\r\n");
            let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let headers = lines.filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            });
            return Ok((Request { target: target.into(), headers: headers.collect() }, end + 4));
        }
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        thread::yield_now();
    }
}

fn json_answer(stream: &mut TcpStream, headers: &str, text: &str) -> std::io::Result<()> {
    let len = text.len();
    write!(
        stream,
        "HTTP/1.1 200 X\r\n{headers}Content-Type: application/json\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{text}"
    )
}

fn list(
    stream: &mut TcpStream,
    state: &State,
    set: &str,
    target: &str,
    request: &Request,
) -> std::io::Result<()> {
    let Some(files) = state.sets.get(set) else {
        return write!(stream, "HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let first: usize = target.split("cursor=").nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut entries = vec![json!({ "type": "directory", "oid": "0", "size": 0, "path": "data" })];
    entries.extend(
        files.iter().skip(first).take(PAGE).map(|(path, content)| entry(state, path, content)),
    );
    let mut link = String::new();
    if first + PAGE < files.len() {
        let host = request.header("host").unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let cursor = first + PAGE;
        let _ = write!(
            link,
            "Link: <http://{host}{path}?recursive=true&cursor={cursor}>; rel=\"next\"\r\n"
        );
    }
    json_answer(stream, &link, &json!(entries).to_string())
}

fn entry(state: &State, path: &str, content: &[u8]) -> serde_json::Value {
    if let Some(lie) = state.lies.get(path) {
        return lie.clone();
    }
    let blob = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
    let git = hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref());
    let mut entry = json!({ "type": "file", "oid": git, "size": content.len(), "path": path });
    if state.large {
        let sha256 = hex(digest::digest(&digest::SHA256, content).as_ref());
        // As on the hub: the entry's own checksum is that of the pointer.
        entry["oid"] = json!("0123456789012345678901234567890123456789");
        entry["lfs"] = json!({ "oid": sha256, "size": content.len(), "pointerSize": 134 });
    }
    entry
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn serve(
    stream: &mut TcpStream,
    act: &Act,
    request: &Request,
    mut content: Vec<u8>,
) -> std::io::Result<()> {
    let etag = match act {
        Act::Other(_) => "\"two\"",
        _ => "\"one\"",
    };
    if let Act::Other(other) = act {
        content.clone_from(other);
    }
    if let Act::Damaged = act {
        for byte in &mut content {
            *byte ^= 0x20;
        }
    }
    let asked: Option<(usize, Option<usize>)> = request.header("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()))
    });
    let is_same =
        matches!(act, Act::Careless) || request.header("if-range").is_none_or(|tag| tag == etag);
    let asked = asked.filter(|_| is_same && !matches!(act, Act::Whole));
    let start = asked.map(|(first, _)| first);
    let total = content.len();
    let last = asked.and_then(|(_, last)| last).unwrap_or(total).min(total.saturating_sub(1));
    if start.is_some_and(|start| start >= total) {
        return write!(
            stream,
            "HTTP/1.1 416 X\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let mut head = match start {
        Some(start) => {
            let start = if matches!(act, Act::Shifted) { start + 1 } else { start };
            format!("HTTP/1.1 206 X\r\nContent-Range: bytes {start}-{last}/{total}\r\n")
        }
        None => "HTTP/1.1 200 X\r\n".to_owned(),
    };
    let body = &content[start.unwrap_or(0)..];
    let body = if start.is_some() { &body[..=last - start.unwrap_or(0)] } else { body };
    if !matches!(act, Act::Other(_)) {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    let _ = write!(head, "ETag: {etag}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    match act {
        Act::Short(n) | Act::Reset(n) => stream.write_all(&body[..*n]),
        Act::Stall(n) => {
            stream.write_all(&body[..*n])?;
            stream.read(&mut [0]).map(drop)
        }
        _ => stream.write_all(body),
    }
}
