//! A hub's answers from any bytes.

use std::path::Component;

use ureq::http::{HeaderMap, HeaderValue};

use super::hub::{entries, next_page, remote_file};
use super::selection::choose;
use super::{DataSet, Error};
use crate::fuzzing::{Format, halves, joined};

/// A `Link` header and a page of the list of a set's files: nothing that is planned leaves the folder it is planned for.
pub(crate) const HUB: Format = Format { name: "hub", read: page, memory: |n| 64 * n, seeds: pages };

fn page(bytes: &[u8]) -> Result<(), String> {
    let (link, body) = halves(bytes);
    if let Ok(link) = HeaderValue::from_bytes(link) {
        let mut headers = HeaderMap::new();
        headers.append("link", link);
        let _ = next_page(&headers);
    }
    let url = "https://hub/api";
    let listed = entries(url, body).map_err(|e| e.to_string())?;
    let files = listed.into_iter().map(|entry| remote_file(url, entry));
    let files = files.collect::<Result<Vec<_>, Error>>().map_err(|e| e.to_string())?;
    let set: DataSet = "hf:owner/name".parse().expect("a name");
    let planned = choose(&set, &files).map_err(|e| e.to_string())?.unwrap_or_default();
    for file in &planned {
        let is_plain = |part: Component| matches!(part, Component::Normal(_));
        assert!(file.local.components().all(is_plain), "{}", file.local.display());
        assert!(file.local.components().next().is_some());
    }
    assert!(planned.is_sorted_by(|a, b| a.local < b.local), "two files of one name");
    Ok(())
}

fn pages() -> Vec<Vec<u8>> {
    let oid = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let small = r#"{"type":"file","path":"README.md","size":6,"oid":"ce013625030ba8dba906f756967f9e9ca394464a"}"#;
    let large = |path: &str| {
        format!(
            r#"{{"type":"file","path":"{path}","size":9,"oid":"x","lfs":{{"oid":"{oid}","size":9,"pointerSize":130}}}}"#
        )
    };
    let folder = r#"{"type":"directory","oid":"x","size":0,"path":"data"}"#;
    let train = large("data/train-00000-of-00001.parquet");
    let parquet = format!("[{folder},{small},{train},{}]", large("data/test-0.parquet"));
    let pictures = format!("[{},{}]", large("train/cat/1.jpg"), large("val/cat/2.jpg"));
    let link = br#"<https://hub/x?cursor=a%3D>; rel="next""#;
    vec![joined(link, parquet.as_bytes()), joined(b"", pictures.as_bytes()), joined(b"", b"[]")]
}
