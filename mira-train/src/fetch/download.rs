//! One file: what there is of it is kept, the rest is asked for, and it gets its name when the checksum is right.

use std::io::Read as _;
use std::path::Path;

use ureq::http::HeaderMap;

use super::part::{self, Part};
use super::retry::{Fault, retry};
use super::{Error, Hub, Plan, PlannedFile, Progress};
use crate::text::bytes;

/// Bytes read at once.
const BLOCK: usize = 128 << 10;

/// This many bytes beyond the farthest point so far are progress: the failures before are forgiven. Farthest, so that a server which
/// can only start over cannot keep a client busy for ever.
const PROGRESS: u64 = 1 << 20;

/// How a file came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was fetched.
    Fetched,
    /// It was there.
    Present,
}

/// Brings one file into the folder `out`.
pub(super) fn file(
    hub: &Hub,
    plan: &Plan,
    planned: &PlannedFile,
    out: &Path,
    progress: &Progress,
) -> Result<Ending, Error> {
    let target = out.join(&planned.local);
    let failed = |source| Error::WriteFailed { path: target.clone(), source };
    if part::is_complete(&target, planned).map_err(failed)? {
        progress.add(planned.size);
        return Ok(Ending::Present);
    }
    let mut transfer = Transfer {
        hub,
        url: hub.url(&plan.set, &planned.path),
        target: &target,
        part: Part::open(&target, planned).map_err(failed)?,
        planned,
        progress,
    };
    progress.add(transfer.part.len());
    let mut farthest = transfer.part.len();
    let mut was_wrong = false;
    retry(hub.client(), &planned.path, progress, |progressed| {
        let result = transfer.rest();
        if transfer.part.len() >= farthest.saturating_add(PROGRESS) {
            farthest = transfer.part.len();
            *progressed = true;
        }
        result?;
        let Err(mismatch) = transfer.part.finish().map_err(failed)? else { return Ok(()) };
        transfer.restart(None)?;
        if was_wrong {
            let (expected, got) = (mismatch.expected, mismatch.got);
            return Err(Error::Checksum { path: planned.path.clone(), expected, got }.into());
        }
        // Once more, from the beginning: a part may have been damaged here.
        was_wrong = true;
        Err(Fault::transient("the checksum is wrong"))
    })?;
    progress.say(&format!("{}  {}", planned.local.display(), bytes(planned.size)));
    Ok(Ending::Fetched)
}

struct Transfer<'a> {
    hub: &'a Hub,
    url: String,
    target: &'a Path,
    part: Part,
    planned: &'a PlannedFile,
    progress: &'a Progress,
}

impl Transfer<'_> {
    /// Gets what is missing; on success the part has the listed length.
    fn rest(&mut self) -> Result<(), Fault> {
        let (have, size) = (self.part.len(), self.planned.size);
        if have == size {
            return Ok(());
        }
        let range = format!("bytes={have}-");
        let etag = self.part.etag().map(String::from);
        let mut headers = Vec::new();
        if have > 0 {
            headers.push(("Range", range.as_str()));
            // If the content is another by now, the server sends all of it.
            headers.extend(etag.as_deref().map(|etag| ("If-Range", etag)));
        }
        let client = self.hub.client();
        let mut response = client.get(&self.url, &headers)?;
        let answered = response.headers();
        match response.status().as_u16() {
            200 => {
                let offered = header(answered, "content-length").and_then(|n| n.parse().ok());
                if offered.is_some_and(|offered: u64| offered != size) {
                    let offered = offered.unwrap_or_default();
                    return Err(Fault::transient(format!(
                        "{offered} bytes are offered, {size} are listed"
                    )));
                }
                // From the beginning, whether that was asked for or not.
                self.restart(strong_etag(answered))?;
            }
            206 if have > 0 => {
                let is_same =
                    etag.as_deref().zip(strong_etag(answered)).is_none_or(|(a, b)| a == b);
                let begins = header(answered, "content-range").and_then(beginning);
                if !is_same
                    || begins.is_none_or(|(first, total)| {
                        first != have || total.is_some_and(|t| t != size)
                    })
                {
                    self.restart(None)?;
                    return Err(Fault::transient(
                        "it changed on the server, or another part was sent",
                    ));
                }
            }
            416 if have > 0 => {
                self.restart(None)?;
                return Err(Fault::transient("the server has no such part"));
            }
            status => return Err(Fault::transient(format!("unexpected status {status}"))),
        }
        let mut reader = response.body_mut().as_reader();
        let mut block = vec![0; BLOCK];
        loop {
            if client.is_cancelled() {
                return Err(Error::Cancelled.into());
            }
            let n = reader.read(&mut block).map_err(|e| client.broken(&e))?;
            if n == 0 {
                break;
            }
            if n as u64 > size - self.part.len() {
                self.restart(None)?;
                return Err(Fault::transient(format!("more than the listed {size} bytes came")));
            }
            self.part.append(&block[..n]).map_err(|source| self.failed(source))?;
            self.progress.add(n as u64);
        }
        if self.part.len() < size {
            let problem = format!("the connection ended after {} of {size} bytes", self.part.len());
            return Err(Fault::transient(problem));
        }
        Ok(())
    }

    fn restart(&mut self, etag: Option<&str>) -> Result<(), Error> {
        self.progress.take_back(self.part.len());
        self.part.restart(etag).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::WriteFailed { path: part::path(self.target), source }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Weak ones do not promise the same bytes, and may not stand in `If-Range`.
fn strong_etag(headers: &HeaderMap) -> Option<&str> {
    header(headers, "etag").filter(|etag| etag.starts_with('"'))
}

/// The first byte and the total of `bytes 100-199/200`; a total of `*` is not known.
fn beginning(range: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let first = range.split_once('-')?.0.trim().parse().ok()?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes */10", None),
            ("bytes 5-9/x", None),
            ("items 5-9/10", None),
        ] {
            assert_eq!(beginning(text), expected, "{text}");
        }
    }
}
