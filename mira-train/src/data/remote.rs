//! Files of a data set that lie on a server: read whole, or a range at a time.
//!
//! `https://`, `http://`, `s3://` and `gs://` by the crate `object_store`, whose requests go through our HTTP client ([`client`]). What may
//! help is tried again with growing pauses, and every wait has an end. Access keys are those of the environment
//! (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `GOOGLE_APPLICATION_CREDENTIALS`, …).
//!
//! Without the feature `object-store` there is only [`is_url`], so that an address is refused by what it is.

use std::path::Path;

#[cfg(feature = "object-store")]
mod client;
#[cfg(feature = "object-store")]
mod store;
#[cfg(all(test, feature = "object-store", feature = "fetch"))]
mod tests;

#[cfg(feature = "object-store")]
pub(super) use store::{Limits, Remote, RemoteFile, Version};

const SCHEMES: [&str; 4] = ["https", "http", "s3", "gs"];

/// What to say of a path that is an address, but of no kind that is read: its scheme, and what is supported.
pub(super) fn unsupported(path: &Path) -> Option<String> {
    let (scheme, rest) = path.to_str()?.split_once("://")?;
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if scheme.is_empty() || !scheme.chars().all(is_scheme) || is_url(path) {
        return None;
    }
    Some(if scheme.eq_ignore_ascii_case("file") {
        format!("files of this machine are given without file://, as {rest}")
    } else {
        format!(
            "addresses of {scheme}:// are not read; give one of https, http, s3 or gs, or copy the data here and give their path"
        )
    })
}

/// Whether a path is the address of something on a server.
pub(crate) fn is_url(path: &Path) -> bool {
    let text = path.to_str().unwrap_or_default();
    text.split_once("://")
        .is_some_and(|(scheme, _)| SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)))
}
