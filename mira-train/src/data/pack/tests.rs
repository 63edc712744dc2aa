//! Sets of drawn pictures, packed in every way, interrupted everywhere, damaged everywhere.

mod contents;
mod damage;
mod format;
mod resume;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;
use twox_hash::XxHash3_64;

use super::index::{Entry, Index, Kind};
use super::journal::{Record, Skipped, replay};
use super::*;
use crate::data::fixtures::png;
use crate::data::{self, Error, Format, Image, Loader, LoaderConfig, Source, Split, ViewSpec};

/// Columns, rows and a third value as colours.
fn picture(width: usize, height: usize, blue: u8) -> Image {
    let mut image = Image::default();
    image.reshape(width, height);
    for (i, pixel) in image.pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        *pixel = [(i % width * 255 / width) as u8, (i / width * 255 / height) as u8, blue];
    }
    image
}

fn jpeg(image: &Image) -> Vec<u8> {
    let (width, height) = (image.width as u16, image.height as u16);
    let mut file = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut file, 95);
    encoder.encode(&image.pixels, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
    file
}

fn write(root: &Path, files: &[(&str, Vec<u8>)]) {
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Twelve training images of two classes and three test images: large and small JPEG files and PNG files.
fn folder() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let files: Vec<(String, Vec<u8>)> = (0..15)
        .map(|i| {
            let image = picture(20 + 3 * i, 44 - 2 * i, (10 * i) as u8);
            let part = if i < 12 { "train" } else { "val" };
            let (file, name) =
                if i % 3 == 2 { (png(&image), "png") } else { (jpeg(&image), "jpg") };
            (format!("{part}/{}/{i:02}.{name}", ["cat", "dog"][i % 2]), file)
        })
        .collect();
    let files: Vec<_> = files.iter().map(|(path, file)| (path.as_str(), file.clone())).collect();
    write(root.path(), &files);
    root
}

fn input(root: &Path) -> PackInput {
    PackInput::open(Format::Auto, root).unwrap()
}

/// Several shards and many commits.
fn options(pixels: Pixels) -> PackOptions {
    PackOptions {
        pixels,
        num_threads: 2,
        shard_bytes: 5000,
        commit_bytes: 1500,
        ..Default::default()
    }
}

fn pack_to(
    input: &PackInput,
    folder: &Path,
    options: &PackOptions,
) -> Result<PackReport, PackError> {
    pack(input, folder, options, &mut |_| {})
}

fn packed(root: &Path, pixels: Pixels) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    pack_to(&input(root), to.path(), &options(pixels)).unwrap();
    to
}

/// Every file of a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files.map(|f| (f.file_name().into_string().unwrap(), fs::read(f.path()).unwrap())).collect()
}

fn set(folder: &Path, split: Split) -> Arc<dyn Source> {
    data::open(Format::Auto, Some(folder), split).unwrap()
}

fn file(source: &dyn Source, index: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![1, 2, 3];
    source.encoded(index, &mut bytes).unwrap().then_some(bytes)
}

fn image(source: &dyn Source, index: usize) -> Image {
    let mut image = Image::default();
    source.load(index, &mut image).unwrap();
    image
}

const SPLITS: [Split; 2] = [Split::Train, Split::Test];

/// Sets the checksums right again.
fn forge(mut file: Vec<u8>) -> Vec<u8> {
    let body = XxHash3_64::oneshot(&file[64..]);
    file[24..32].copy_from_slice(&body.to_le_bytes());
    let prologue = XxHash3_64::oneshot(&file[..56]);
    file[56..64].copy_from_slice(&prologue.to_le_bytes());
    file
}
