//! The HTTP client below `object_store`: ureq, which waits in the thread that asked.

use std::error::Error as _;
use std::io;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use ureq::http::Uri;
use ureq::{Agent, Proxy};

use super::Limits;

/// The most bytes of one answer: 1 GiB, more than the index of 25 million images.
const MAX_BODY: u64 = 1 << 30;

/// Makes clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connector(pub(super) Limits);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let agent = |https_only, proxy| -> Agent {
            let limit = Some(self.0.timeout);
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .user_agent(concat!("mira-train/", env!("CARGO_PKG_VERSION")))
                // A compressed body has other lengths and ranges.
                .accept_encoding("identity")
                .https_only(https_only)
                .proxy(proxy)
                .timeout_resolve(limit)
                .timeout_connect(limit)
                .timeout_recv_response(limit)
                .timeout_per_read(limit)
                .timeout_per_write(limit)
                // Bytes that drip in come to an end, too.
                .timeout_global(Some(self.0.timeout * 20));
            config.build().new_agent()
        };
        let proxy = Proxy::try_from_env();
        Ok(HttpClient::new(Client {
            encrypted: agent(true, proxy.clone()),
            plain: agent(false, proxy),
            local: agent(false, None),
        }))
    }
}

#[derive(Debug)]
struct Client {
    /// Never redirected from https to http.
    encrypted: Agent,
    plain: Agent,
    /// A proxy cannot reach this machine's own servers.
    local: Agent,
}

impl Client {
    fn agent(&self, uri: &Uri) -> &Agent {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if uri.scheme_str() == Some("https") {
            &self.encrypted
        } else if is_loopback || host == "localhost" {
            &self.local
        } else {
            &self.plain
        }
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.as_bytes().map(|bytes| bytes.to_vec()).unwrap_or_default();
        let agent = self.agent(&parts.uri);
        let request = ureq::http::Request::from_parts(parts, body);
        let response = agent.run(request).map_err(error)?;
        let (parts, body) = response.into_parts();
        let length = parts.headers.get("content-length");
        let expected = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let bytes = body.into_with_config().limit(MAX_BODY).read_to_vec().map_err(error)?;
        if expected.is_some_and(|expected| expected != bytes.len()) {
            let problem = format!("{} of {} bytes came", bytes.len(), expected.unwrap_or(0));
            let problem = io::Error::new(io::ErrorKind::UnexpectedEof, problem);
            return Err(HttpError::new(HttpErrorKind::Interrupted, problem));
        }
        Ok(HttpResponse::from_parts(parts, bytes.into()))
    }
}

/// What is tried again, and what is not.
fn error(error: ureq::Error) -> HttpError {
    use ureq::Error as E;
    let kind = match &error {
        E::Timeout(_) => HttpErrorKind::Timeout,
        // So the TLS library's complaints come through the connection.
        E::Io(e) if e.kind() == io::ErrorKind::InvalidData => HttpErrorKind::Unknown,
        E::Io(e) if e.source().is_some_and(<dyn std::error::Error>::is::<E>) => {
            HttpErrorKind::Timeout
        }
        E::Io(_) => HttpErrorKind::Interrupted,
        E::ConnectionFailed | E::HostNotFound => HttpErrorKind::Connect,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
