//! Shards written here by the `tar` library and by hand, damaged and cut short everywhere.

mod archives;
mod batches;
mod shards;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;
use tempfile::TempDir;

use super::samples::Problem;
use super::tar::{BLOCK, records};
use super::*;
use crate::data::bytes::Unread;
use crate::data::fixtures::grey_png;
use crate::data::{self, Batch, Format, Loader, LoaderConfig, PackInput, PackOptions, ViewSpec};

fn header(format: fn() -> Header, size: usize) -> Header {
    let mut header = format();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header
}

fn archive(format: fn() -> Header, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in files {
        // A name too long for the format gets GNU's extension.
        tar.append_data(&mut header(format, bytes.len()), name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn scan(archive: &[u8]) -> Result<Samples, String> {
    samples::scan(Cursor::new(archive), archive.len() as u64).map_err(|problem| match problem {
        Problem::Io(error) => panic!("{error}"),
        Problem::Malformed(problem) => problem,
    })
}

/// Images and labels.
fn found(archive: &[u8]) -> Vec<(&[u8], Option<u32>)> {
    let bytes = |s: &Sample| &archive[s.offset as usize..s.offset as usize + s.length as usize];
    scan(archive).unwrap().places.iter().map(|sample| (bytes(sample), sample.label)).collect()
}

fn write(root: &Path, name: &str, archive: &[u8]) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, archive).unwrap();
    path
}

fn greys(first: u8, labels: &[&str]) -> Vec<u8> {
    let mut files = Vec::new();
    for (i, label) in (first..).zip(labels) {
        files.push((format!("{i:03}.png"), grey_png(i)));
        files.push((format!("{i:03}.cls"), label.as_bytes().to_vec()));
    }
    let files: Vec<_> = files.iter().map(|(name, file)| (name.as_str(), &file[..])).collect();
    archive(Header::new_ustar, &files)
}

fn grey(source: &dyn Source, index: usize) -> u8 {
    let mut image = Image::default();
    source.load(index, &mut image).unwrap();
    image.pixels[0]
}
