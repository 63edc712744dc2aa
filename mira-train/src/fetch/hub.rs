//! The hub's interface: the list of a repository's files, and their addresses.

use std::collections::HashSet;
use std::io::Read as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::HeaderMap;

use super::client::{Client, Options};
use super::digest::Digest;
use super::retry::{Fault, retry};
use super::{DataSet, Error, Progress};
use crate::run_folder::StopRequest;

/// A page of the list is a few hundred KiB.
const MAX_PAGE: u64 = 16 << 20;

/// More than the hub allows in one repository.
const MAX_FILES: usize = 1_000_000;

/// The largest file that is believed: 1 TiB.
const MAX_SIZE: u64 = 1 << 40;

/// What stays as it is in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A hub that is spoken to: the list of a set's files comes from here, and the files.
#[derive(Debug)]
pub struct Hub {
    client: Client,
}

/// A file as the hub lists it; its path is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) digest: Digest,
}

/// A line of the list.
#[derive(Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<LargeFile>,
}

/// What large-file storage says; the entry's own checksum is then that of a pointer.
#[derive(Deserialize)]
struct LargeFile {
    oid: String,
    size: u64,
}

impl Hub {
    /// Speaks to the hub of `options` until `stop` is requested.
    ///
    /// # Errors
    /// [`Error::Endpoint`], [`Error::Token`], [`Error::Certificates`].
    pub fn new(options: Options, stop: StopRequest) -> Result<Self, Error> {
        Ok(Self { client: Client::new(options, stop)? })
    }

    /// The hub's address, as it was given.
    pub fn endpoint(&self) -> &str {
        &self.client.options().endpoint
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// All files of a set's repository, without regard to its subset.
    pub(super) fn list(
        &self,
        set: &DataSet,
        progress: &Progress,
    ) -> Result<Vec<RemoteFile>, Error> {
        let revision = utf8_percent_encode(set.revision(), PLAIN);
        let first = format!(
            "{}/api/datasets/{}/tree/{revision}?recursive=true",
            self.endpoint(),
            set.repo()
        );
        let what = format!("the list of files of {set}");
        let (mut files, mut seen) = (Vec::new(), HashSet::new());
        let mut next = Some(first);
        while let Some(url) = next {
            let (entries, following) = retry(&self.client, &what, progress, |_| self.page(&url))
                .map_err(|e| self.stopped(e))?;
            for entry in entries {
                files.push(remote_file(&url, entry)?);
            }
            let refuse =
                |problem: &str| Error::Listing { url: url.clone(), problem: problem.into() };
            if files.len() > MAX_FILES {
                return Err(refuse("more than a million files"));
            }
            if following
                .as_ref()
                .is_some_and(|following| *following == url || seen.contains(following))
            {
                return Err(refuse("its pages go round in circles"));
            }
            seen.insert(url);
            next = following;
        }
        Ok(files)
    }

    /// One page of the list, and the address of the next.
    fn page(&self, url: &str) -> Result<(Vec<Entry>, Option<String>), Fault> {
        let refuse = |problem: String| Error::Listing { url: url.into(), problem };
        let mut response = self.client.get(url, &[("Accept", "application/json")])?;
        let next = next_page(response.headers());
        let mut body = Vec::new();
        let reader = response.body_mut().as_reader();
        reader.take(MAX_PAGE + 1).read_to_end(&mut body).map_err(|e| self.client.broken(&e))?;
        if body.len() as u64 > MAX_PAGE {
            return Err(refuse(format!("a page has more than {MAX_PAGE} bytes")).into());
        }
        Ok((entries(url, &body)?, next))
    }

    /// A signal rather than its consequence.
    fn stopped(&self, error: Error) -> Error {
        match (self.client.signal(), error) {
            (Some(signal), Error::Cancelled) => Error::Interrupted { signal },
            (_, error) => error,
        }
    }

    /// Where a file is.
    pub(super) fn url(&self, set: &DataSet, path: &str) -> String {
        let revision = utf8_percent_encode(set.revision(), PLAIN);
        let parts: Vec<_> =
            path.split('/').map(|part| utf8_percent_encode(part, PLAIN).to_string()).collect();
        let (endpoint, repo) = (self.endpoint(), set.repo());
        format!("{endpoint}/datasets/{repo}/resolve/{revision}/{}", parts.join("/"))
    }
}

/// The files of a page of the list.
pub(super) fn entries(url: &str, body: &[u8]) -> Result<Vec<Entry>, Error> {
    let mut entries: Vec<Entry> = serde_json::from_slice(body)
        .map_err(|e| Error::Listing { url: url.into(), problem: e.to_string() })?;
    entries.retain(|entry| entry.kind == "file");
    Ok(entries)
}

pub(super) fn remote_file(url: &str, entry: Entry) -> Result<RemoteFile, Error> {
    let (size, digest) = match &entry.lfs {
        Some(lfs) => {
            (lfs.size, Digest::sha256(lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid)))
        }
        None => (entry.size, Digest::git_blob(&entry.oid)),
    };
    let Some(digest) = digest else {
        let problem = format!("{} has no checksum", entry.path);
        return Err(Error::Listing { url: url.into(), problem });
    };
    if size > MAX_SIZE {
        return Err(Error::TooLarge { path: entry.path, size, limit: MAX_SIZE });
    }
    Ok(RemoteFile { path: entry.path, size, digest })
}

/// From `Link: <https://…>; rel="next"`.
pub(super) fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
    links.flat_map(|value| value.split(',')).find_map(|link| {
        let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters
            .split(';')
            .any(|parameter| matches!(parameter.trim(), r#"rel="next""# | "rel=next"));
        is_next.then(|| url.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_in_the_link_header() {
        for (links, expected) in [
            (&[r#"<https://h/x?cursor=a%3D>; rel="next""#][..], Some("https://h/x?cursor=a%3D")),
            (
                &[r#"<https://h/0>; rel="prev", <https://h/2>; title=x; rel=next"#],
                Some("https://h/2"),
            ),
            (
                &[r#"<https://h/0>; rel="first""#, r#"<https://h/2>;rel="next""#],
                Some("https://h/2"),
            ),
            (&[r#"<https://h/0>; rel="prev""#, "nonsense"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for link in links {
                headers.append("link", link.parse().unwrap());
            }
            assert_eq!(next_page(&headers).as_deref(), expected);
        }
    }

    #[test]
    fn addresses_are_encoded() {
        let options = Options { endpoint: "http://h/hub/".into(), ..Options::default() };
        let hub = Hub::new(options, StopRequest::never()).unwrap();
        let set: DataSet = "hf:o/n@refs/convert/parquet".parse().unwrap();
        assert_eq!(
            hub.url(&set, "a b/ü?#%.parquet"),
            "http://h/hub/datasets/o/n/resolve/refs%2Fconvert%2Fparquet/a%20b/%C3%BC%3F%23%25.parquet"
        );
    }
}
