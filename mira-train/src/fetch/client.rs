//! One request: time limits, redirects, who gets the token, what a status means; and being told to stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use super::Error;
use super::retry::Fault;
use crate::run_folder::{Signal, StopRequest};

/// The most redirects that one request follows.
const MAX_REDIRECTS: usize = 10;

/// How soon a signal is seen.
const TICK: Duration = Duration::from_millis(20);

/// How to reach a hub.
#[derive(Clone, Debug)]
pub struct Options {
    /// The hub's address, without a path of its own or with one.
    pub endpoint: String,
    /// Sent to the endpoint, and to nobody that it redirects to.
    pub token: Option<String>,
    /// Failures in a row without progress that are tolerated.
    pub num_retries: u32,
    /// How long to wait for a connection, for an answer, and for the next bytes of a file.
    pub timeout: Duration,
    /// The first pause after a failure; later ones are longer.
    pub backoff: Duration,
    /// PEM certificates of authorities to trust, rather than those of Mozilla's list.
    pub certificates: Option<PathBuf>,
}

impl Default for Options {
    /// `https://huggingface.co` without a token, 5 retries from 1 s, time limits of 30 s.
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".into(),
            token: None,
            num_retries: 5,
            timeout: Duration::from_secs(30),
            backoff: Duration::from_secs(1),
            certificates: None,
        }
    }
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin(String, String, u16);

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = uri.host()?.to_ascii_lowercase();
        Some(Self(scheme, host, uri.port_u16().unwrap_or(default)))
    }

    /// A proxy cannot reach this machine's own servers.
    fn is_loopback(&self) -> bool {
        let host = self.1.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Requests to a hub; its clones of connections are closed when a signal comes.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    options: Options,
    origin: Origin,
    stop: StopRequest,
    cancelled: Arc<AtomicBool>,
    watcher: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Client {
    pub(super) fn new(mut options: Options, stop: StopRequest) -> Result<Self, Error> {
        options.endpoint.truncate(options.endpoint.trim_end_matches('/').len());
        let origin = origin_of_endpoint(&options.endpoint)
            .map_err(|problem| Error::Endpoint { got: options.endpoint.clone(), problem })?;
        options.token = options.token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        if options.token.iter().any(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::Token);
        }
        let limit = Some(options.timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("mira-train/", env!("CARGO_PKG_VERSION")))
            // A compressed body has other lengths and ranges.
            .accept_encoding("identity")
            .timeout_resolve(limit)
            .timeout_connect(limit)
            .timeout_recv_response(limit)
            .timeout_per_read(limit)
            .timeout_per_write(limit);
        config = config.proxy(if origin.is_loopback() { None } else { Proxy::try_from_env() });
        if let Some(path) = &options.certificates {
            config =
                config.tls_config(TlsConfig::builder().root_certs(certificates(path)?).build());
        }
        let agent = config.build().new_agent();
        let cancelled = Arc::new(AtomicBool::new(false));
        let watcher = watch(&agent, &stop, &cancelled);
        Ok(Self { agent, options, origin, stop, cancelled, watcher })
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }

    /// Ends all requests, now and to come.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.agent.clone().shutdown();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.signal().is_some()
    }

    /// The signal that has come, if any.
    pub(super) fn signal(&self) -> Option<Signal> {
        self.stop.requested()
    }

    /// Waits, but not beyond the end.
    pub(super) fn wait(&self, duration: Duration) {
        let until = Instant::now() + duration;
        while !self.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(TICK));
        }
    }

    /// Gets a URL: statuses 200 to 299 and 416 are answers, others are faults.
    pub(super) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Fault> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let here: Uri = url.parse().map_err(|_| redirect(&url, "it is no address"))?;
            let mut request = self.agent.get(&here);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = self.token_for(&here) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| self.fault(&url, &error))?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.judge(&here, status, response);
            }
            let target = response.headers().get("location").and_then(|value| value.to_str().ok());
            let target = target.ok_or_else(|| redirect(&url, "a redirect without an address"))?;
            url = join(&here, target)?;
        }
        Err(redirect(&url, "more than 10 redirects").into())
    }

    fn token_for(&self, uri: &Uri) -> Option<&str> {
        let is_own = Origin::of(uri).is_some_and(|origin| origin == self.origin);
        self.options.token.as_deref().filter(|_| is_own)
    }

    fn judge(
        &self,
        here: &Uri,
        status: u16,
        response: Response<Body>,
    ) -> Result<Response<Body>, Fault> {
        // Without the query, which may hold a signature.
        let url = without_query(here);
        Err(match status {
            200..=299 | 416 => return Ok(response),
            401 | 403 => {
                Error::Denied { url, status, has_token: self.token_for(here).is_some() }.into()
            }
            404 | 410 => Error::NotFound { url, status }.into(),
            408 | 425 | 429 | 500..=599 => Fault::Transient {
                problem: format!("status {status}"),
                wait: retry_after(response.headers()),
            },
            _ => Error::Status { url, status }.into(),
        })
    }

    /// What kept a request from its answer.
    fn fault(&self, url: &str, error: &ureq::Error) -> Fault {
        use ureq::Error as E;
        let tls = |problem: String| {
            let url = url.parse().map_or_else(|_| url.into(), |uri| without_query(&uri));
            Fault::Fatal(Error::Tls { url, problem })
        };
        match error {
            E::Timeout(_) => Fault::transient(self.silence()),
            // So the TLS library's complaints come through the connection.
            E::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => tls(e.to_string()),
            E::Io(e) => self.broken(e),
            E::Tls(_) | E::Rustls(_) | E::Pem(_) => tls(error.to_string()),
            E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl => {
                redirect(url, &error.to_string()).into()
            }
            _ => Fault::transient(error.to_string()),
        }
    }

    /// A connection that ended in the middle.
    pub(super) fn broken(&self, error: &std::io::Error) -> Fault {
        match error.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
                Fault::transient(self.silence())
            }
            _ => Fault::transient(error.to_string()),
        }
    }

    fn silence(&self) -> String {
        format!("no answer or no data for {} s", self.options.timeout.as_secs_f64())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.watcher.take() {
            end.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
    }
}

/// A thread that closes all connections when a signal comes, so that none is waited for; without one, their time limits do it.
fn watch(
    agent: &Agent,
    stop: &StopRequest,
    cancelled: &Arc<AtomicBool>,
) -> Option<(Arc<AtomicBool>, JoinHandle<()>)> {
    let (agent, stop, cancelled) = (agent.clone(), stop.clone(), Arc::clone(cancelled));
    let end = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&end);
    let work = move || {
        while !ended.load(Ordering::Relaxed) {
            if stop.requested().is_some() {
                cancelled.store(true, Ordering::Relaxed);
                agent.shutdown();
                return;
            }
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name("fetch-watch".into()).spawn(work).ok().map(|thread| (end, thread))
}

fn origin_of_endpoint(endpoint: &str) -> Result<Origin, &'static str> {
    let uri: Uri = endpoint.parse().map_err(|_| "is no address")?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("has a user's name in it");
    }
    if uri.query().is_some() || endpoint.contains('#') {
        return Err("has a query or a fragment");
    }
    Origin::of(&uri).ok_or("does not begin with https:// or http://")
}

fn certificates(path: &Path) -> Result<RootCerts, Error> {
    let refuse = |problem: String| Error::Certificates { path: path.into(), problem };
    let text = fs::read(path).map_err(|e| refuse(e.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| refuse(e.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(refuse("there is no certificate".into()));
    }
    Ok(RootCerts::from(found))
}

/// Where a redirect leads; never from https to http.
fn join(here: &Uri, target: &str) -> Result<String, Error> {
    let scheme = here.scheme_str().unwrap_or("https");
    let authority = here.authority().map_or("", |authority| authority.as_str());
    let joined = if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else {
        target.to_owned()
    };
    let Some(origin) = joined.parse().ok().as_ref().and_then(Origin::of) else {
        return Err(redirect(&without_query(here), "a redirect to something other than http"));
    };
    if scheme == "https" && origin.0 != "https" {
        return Err(redirect(&without_query(here), "a redirect from https to http"));
    }
    Ok(joined)
}

fn redirect(url: &str, problem: &str) -> Error {
    Error::Redirect { url: url.into(), problem: problem.into() }
}

fn without_query(uri: &Uri) -> String {
    let text = uri.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

/// In seconds; a date is not understood, and the client's own pause serves.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_of_hubs() {
        for (endpoint, expected) in [
            ("https://huggingface.co", Ok(("huggingface.co", 443, false))),
            ("https://huggingface.co/", Ok(("huggingface.co", 443, false))),
            ("http://[::1]:8080/hub", Ok(("[::1]", 8080, true))),
            ("http://127.0.0.1", Ok(("127.0.0.1", 80, true))),
            ("ftp://huggingface.co", Err("does not begin with")),
            ("huggingface.co", Err("does not begin with")),
            ("https://user:secret@huggingface.co", Err("has a user's name")),
            ("https://huggingface.co?x", Err("has a query")),
            ("a b", Err("is no address")),
        ] {
            let options = Options { endpoint: endpoint.into(), ..Options::default() };
            match (Client::new(options, StopRequest::never()), expected) {
                (Ok(client), Ok((host, port, is_loopback))) => {
                    assert_eq!((client.origin.1.as_str(), client.origin.2), (host, port));
                    assert_eq!(client.origin.is_loopback(), is_loopback);
                    assert!(!client.options.endpoint.ends_with('/'));
                }
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
                (got, _) => panic!("{endpoint}: {got:?}"),
            }
        }
    }

    #[test]
    fn redirects_are_joined_and_never_lose_encryption() {
        let here: Uri = "https://hub.example:8443/a/b?sig=secret".parse().unwrap();
        for (target, expected) in [
            ("/c?x=1", "https://hub.example:8443/c?x=1"),
            ("//cdn.example/c", "https://cdn.example/c"),
            ("https://cdn.example/c", "https://cdn.example/c"),
        ] {
            assert_eq!(join(&here, target).unwrap(), expected);
        }
        for target in ["http://hub.example/c", "file:///etc/passwd", "c/d", ""] {
            let error = join(&here, target).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_token_is_for_the_endpoint_alone() {
        let options = Options { token: Some(" hf_x\n".into()), ..Options::default() };
        let client = Client::new(options.clone(), StopRequest::never()).unwrap();
        for (url, is_own) in [
            ("https://huggingface.co/x", true),
            ("https://HUGGINGFACE.co:443/x", true),
            ("http://huggingface.co/x", false),
            ("https://huggingface.co:444/x", false),
            ("https://cdn.huggingface.co/x", false),
            ("https://huggingface.co.example/x", false),
        ] {
            let token = client.token_for(&url.parse().unwrap());
            assert_eq!(token, is_own.then_some("hf_x"), "{url}");
        }
        let options = Options { token: Some("a b".into()), ..options };
        assert!(matches!(Client::new(options, StopRequest::never()), Err(Error::Token)));
    }

    #[test]
    fn certificates_are_pem() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        for text in [None, Some("nothing"), Some("-----BEGIN CERTIFICATE-----\n!\n-----END")] {
            if let Some(text) = text {
                fs::write(&file, text).unwrap();
            }
            let error = certificates(&file).unwrap_err().to_string();
            assert!(error.contains("ca.pem") && error.contains("SSL_CERT_FILE"), "{error}");
        }
    }
}
