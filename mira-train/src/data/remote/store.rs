//! A folder on a server.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, GetOptions, GetRange, ObjectMeta, ObjectStore, RetryConfig};
use twox_hash::XxHash3_64;

use super::client::Connector;
use crate::data::Error;

/// How long is waited and how often tried.
#[derive(Clone, Copy, Debug)]
pub(in crate::data) struct Limits {
    /// For a connection, for an answer, and for the next bytes; twenty times as long for a whole answer.
    pub(in crate::data) timeout: Duration,
    /// Further attempts after the first.
    pub(in crate::data) num_retries: usize,
    /// The first pause; later ones are longer.
    pub(in crate::data) backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { timeout: 30 * second, num_retries: 5, backoff: second }
    }
}

/// A folder on a server.
#[derive(Clone, Debug)]
pub(in crate::data) struct Remote {
    url: String,
    store: Arc<dyn ObjectStore>,
    /// The folder, where the store is of a whole bucket; none where it is of an address, of which names are parts as well.
    folder: Option<String>,
}

/// A file in it.
#[derive(Clone, Debug)]
pub(in crate::data) struct RemoteFile {
    remote: Remote,
    name: String,
}

/// What tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) struct Version {
    pub(in crate::data) size: u64,
    /// Of its entity tag and its time of change; 0 where the server says neither.
    pub(in crate::data) tag: u64,
}

impl Version {
    fn of(meta: &ObjectMeta) -> Self {
        let time = meta.last_modified.timestamp_micros();
        let tag = match (&meta.e_tag, time) {
            (None, 0) => 0,
            (tag, time) => XxHash3_64::oneshot(format!("{tag:?} {time}").as_bytes()),
        };
        Self { size: meta.size, tag }
    }
}

impl Remote {
    pub(in crate::data) fn new(url: &Path, limits: Limits) -> Result<Self, Error> {
        let url = url.to_string_lossy().trim_end_matches('/').to_owned();
        let refuse = |problem: String| Error::Remote { url: url.clone(), problem };
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        if rest.is_empty() || rest.contains(['?', '#']) {
            return Err(refuse(
                "it is no address of a folder; write it like https://host/folder".into(),
            ));
        }
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: limits.backoff,
                max_backoff: limits.backoff * 30,
                base: 2.0,
            },
            max_retries: limits.num_retries,
            retry_timeout: limits.timeout * 20,
        };
        // What a bucket is called comes before the first slash.
        let folder = || Some(rest.split_once('/').map_or("", |(_, folder)| folder).to_owned());
        let connector = Connector(limits);
        let (store, folder): (object_store::Result<Arc<dyn ObjectStore>>, Option<String>) =
            match &*scheme.to_ascii_lowercase() {
                "s3" => {
                    let builder = AmazonS3Builder::from_env().with_url(&url).with_retry(retry);
                    let store = builder.with_http_connector(connector).build();
                    (store.map(|store| Arc::new(store) as _), folder())
                }
                "gs" => {
                    let builder = GoogleCloudStorageBuilder::from_env().with_url(&url);
                    let store = builder.with_retry(retry).with_http_connector(connector).build();
                    (store.map(|store| Arc::new(store) as _), folder())
                }
                _ => {
                    let builder = HttpBuilder::new().with_url(&url).with_retry(retry);
                    let store = builder.with_http_connector(connector).build();
                    (store.map(|store| Arc::new(store) as _), None)
                }
            };
        let store = store.map_err(|error| refuse(error.to_string()))?;
        Ok(Self { url, store, folder })
    }

    /// Its address.
    pub(in crate::data) fn url(&self) -> &str {
        &self.url
    }

    pub(in crate::data) fn file(&self, name: impl Into<String>) -> RemoteFile {
        RemoteFile { remote: self.clone(), name: name.into() }
    }
}

impl RemoteFile {
    /// Its address.
    pub(in crate::data) fn url(&self) -> String {
        format!("{}/{}", self.remote.url, self.name)
    }

    /// All of it; `None` where there is no such file.
    pub(in crate::data) fn whole(&self) -> Result<Option<Vec<u8>>, Error> {
        match self.get(GetOptions::default()) {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }

    /// Some of its bytes, and how many there are in all.
    pub(in crate::data) fn range(&self, range: Range<u64>) -> Result<(Vec<u8>, u64), Error> {
        self.part(range).map(|(bytes, version)| (bytes, version.size))
    }

    /// Some of its bytes, and what version of it they are of.
    pub(in crate::data) fn part(&self, range: Range<u64>) -> Result<(Vec<u8>, Version), Error> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        self.get(options).map_err(|error| self.error(&error))
    }

    /// What the store calls it: it encodes a key for an address once more, so that of a name in an address nothing may be encoded yet.
    fn key(&self) -> object_store::Result<Key> {
        let key = match &self.remote.folder {
            Some(folder) => Key::parse(format!("{folder}/{}", self.name)),
            None => Key::from_url_path(&self.name),
        };
        Ok(key?)
    }

    fn get(&self, options: GetOptions) -> object_store::Result<(Vec<u8>, Version)> {
        thread_local! {
            /// What counts the pauses between attempts; requests themselves wait in this thread.
            static RUNTIME: std::io::Result<tokio::runtime::Runtime> =
                tokio::runtime::Builder::new_current_thread().enable_time().build();
        }
        let key = self.key()?;
        let work = async {
            let result = self.remote.store.get_opts(&key, options).await?;
            let version = Version::of(&result.meta);
            Ok((result.bytes().await?.into(), version))
        };
        RUNTIME.with(|runtime| match runtime {
            Ok(runtime) => runtime.block_on(work),
            Err(error) => Err(object_store::Error::Generic {
                store: "runtime",
                source: error.to_string().into(),
            }),
        })
    }

    fn error(&self, error: &object_store::Error) -> Error {
        use object_store::Error as E;
        let remedy = match error {
            E::NotFound { .. } => "check the address",
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                "check the access keys in the environment"
            }
            _ => {
                "check the network, and that the server answers requests for ranges; then start again"
            }
        };
        Error::Remote { url: self.url(), problem: format!("{error}; {remedy}") }
    }
}
