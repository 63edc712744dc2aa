//! Sets of drawn pictures, packed in every way, interrupted everywhere, damaged everywhere.

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

fn png(image: &Image) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, image.width as u32, image.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&image.pixels).unwrap();
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

#[test]
fn original_files_come_back_byte_for_byte() {
    let root = folder();
    let to = packed(root.path(), Pixels::Original);
    let files: Vec<_> = contents(to.path()).into_keys().collect();
    assert_eq!(files[0], "blobs-00000");
    assert!(files.len() > 3 && files.last().unwrap() == "index", "{files:?}");
    for split in SPLITS {
        let (from, got) = (set(root.path(), split), set(to.path(), split));
        assert_eq!((got.len(), got.num_classes()), (from.len(), Some(2)));
        assert_eq!(got.class_names(), from.class_names());
        for i in 0..from.len() {
            assert!(file(&*from, i).is_some());
            assert_eq!(file(&*got, i), file(&*from, i));
            assert_eq!((image(&*got, i), got.label(i)), (image(&*from, i), from.label(i)));
        }
    }
}

#[test]
fn pixels_come_back_exactly_and_none_is_enlarged() {
    let root = folder();
    let to = packed(root.path(), Pixels::Raw { short_side: 26 });
    let mut num_shrunk = 0;
    for split in SPLITS {
        let (from, got) = (set(root.path(), split), set(to.path(), split));
        for i in 0..from.len() {
            let (from, got) = (image(&*from, i), image(&*got, i));
            let (width, height) = (from.width, from.height);
            if width.min(height) <= 26 {
                assert_eq!(got, from);
                continue;
            }
            num_shrunk += 1;
            let long = 26 * width.max(height) / width.min(height);
            assert_eq!((got.width.min(got.height), got.width.max(got.height)), (26, long));
            assert_eq!(got.width < got.height, width < height);
            // The ramps are still ramps.
            let middle =
                got.pixels[3 * (got.height / 2 * got.width + got.width / 2)..][..2].to_vec();
            assert!(middle.iter().all(|&v| v.abs_diff(127) < 9), "{middle:?}");
        }
        assert_eq!(file(&*got, 0), None);
    }
    assert!(num_shrunk > 3);
}

#[test]
fn jpeg_files_are_made_small_and_small_ones_are_kept() {
    let root = folder();
    let to = packed(root.path(), Pixels::Jpeg { short_side: 25, quality: 90 });
    let (mut num_kept, mut num_made) = (0, 0);
    for split in SPLITS {
        let (from, got) = (set(root.path(), split), set(to.path(), split));
        for i in 0..from.len() {
            let (old, new) = (file(&*from, i).unwrap(), file(&*got, i).unwrap());
            let original = image(&*from, i);
            let is_small = original.width.min(original.height) <= 25;
            let is_jpeg = old.starts_with(&[0xFF, 0xD8]);
            assert_eq!(new == old, is_small && is_jpeg, "{i}");
            assert!(new.starts_with(&[0xFF, 0xD8]));
            let image = image(&*got, i);
            assert_eq!(image.width.min(image.height), original.width.min(original.height).min(25));
            if new == old {
                num_kept += 1;
            } else if is_small {
                num_made += 1;
                let differences = image.pixels.iter().zip(&original.pixels);
                let total: usize = differences.map(|(a, b)| usize::from(a.abs_diff(*b))).sum();
                assert!(total < 3 * image.pixels.len(), "{total} for {}", image.pixels.len());
            }
        }
    }
    assert!(num_kept > 2 && num_made > 0, "{num_kept} {num_made}");
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let root = folder();
    for pixels in [Pixels::Original, Pixels::Jpeg { short_side: 25, quality: 80 }] {
        let one = tempfile::tempdir().unwrap();
        for num_threads in [1, 2, 8] {
            let to = tempfile::tempdir().unwrap();
            let to = if num_threads == 1 { &one } else { &to };
            let options = PackOptions { num_threads, ..options(pixels) };
            pack_to(&input(root.path()), to.path(), &options).unwrap();
            assert!(contents(to.path()) == contents(one.path()), "{num_threads} threads");
        }
    }
}

/// A source whose file turns out to be damaged at one image.
struct Failing {
    source: Arc<dyn Source>,
    at: usize,
    num_loads: AtomicUsize,
}

impl Source for Failing {
    fn len(&self) -> usize {
        self.source.len()
    }
    fn num_classes(&self) -> Option<usize> {
        self.source.num_classes()
    }
    fn class_names(&self) -> &[String] {
        self.source.class_names()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.source.label(index)
    }
    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        self.source.load(index, into)
    }
    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        self.num_loads.fetch_add(1, Ordering::Relaxed);
        if index == self.at {
            return Err(Error::malformed("shard", "told to fail"));
        }
        self.source.encoded(index, into)
    }
    fn name(&self, index: usize) -> String {
        self.source.name(index)
    }
}

fn failing(root: &Path, at: usize) -> (PackInput, Arc<Failing>) {
    let PackInput { train, test } = input(root);
    let train = Arc::new(Failing { source: train, at, num_loads: AtomicUsize::new(0) });
    (PackInput { train: train.clone(), test }, train)
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let root = folder();
    let options = PackOptions { num_threads: 1, ..options(Pixels::Original) };
    let whole = tempfile::tempdir().unwrap();
    pack_to(&input(root.path()), whole.path(), &options).unwrap();
    let whole = contents(whole.path());
    let mut num_saved = 0;
    for at in 0..12 {
        let to = tempfile::tempdir().unwrap();
        let error = pack_to(&failing(root.path(), at).0, to.path(), &options).unwrap_err();
        assert!(matches!(error, PackError::Data(Error::Malformed { .. })), "{error}");
        let error = data::open(Format::Auto, Some(to.path()), Split::Train).err().unwrap();
        assert!(error.to_string().contains("has not been finished"), "{error}");
        let (input, source) = failing(root.path(), usize::MAX);
        let report = pack_to(&input, to.path(), &options).unwrap();
        assert!(report.num_resumed <= at);
        assert_eq!(source.num_loads.load(Ordering::Relaxed), 12 - report.num_resumed);
        num_saved += report.num_resumed;
        assert!(contents(to.path()) == whole, "stopped at {at}");
    }
    assert!(num_saved > 12, "{num_saved}");
}

/// What a kill or a power cut may leave behind: any length of the journal beyond the last sync, anything in shards behind what the
/// journal says, files of the next shard, temporary files; and the journal when the index is there already.
#[test]
fn every_state_that_a_kill_leaves_is_gone_on_from() {
    let root = folder();
    let options = PackOptions { num_threads: 1, ..options(Pixels::Original) };
    let stopped = tempfile::tempdir().unwrap();
    pack_to(&failing(root.path(), 9).0, stopped.path(), &options).unwrap_err();
    let stopped = contents(stopped.path());
    let whole = tempfile::tempdir().unwrap();
    pack_to(&input(root.path()), whole.path(), &options).unwrap();
    let whole = contents(whole.path());
    let goes_on = |files: &BTreeMap<String, Vec<u8>>, what: &str| {
        let to = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(to.path().join(name), bytes).unwrap();
        }
        let report = pack_to(&input(root.path()), to.path(), &options).unwrap();
        assert!(contents(to.path()) == whole, "{what}");
        report.num_resumed
    };
    let all = goes_on(&stopped, "as it was");
    assert!(all > 3, "{all}");
    let with = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = stopped.clone();
        change(files.entry(name.into()).or_default());
        files
    };
    let journal = stopped["journal"].len();
    let mut resumed = Vec::new();
    for length in (24..journal).step_by(17).chain([journal - 1]) {
        resumed.push(goes_on(&with("journal", &|b| b.truncate(length)), "journal cut"));
        let flipped = with("journal", &|b| b[length] ^= 0x10);
        goes_on(&flipped, "journal damaged");
    }
    assert!(resumed.is_sorted() && resumed[0] == 0 && *resumed.last().unwrap() < all);
    let last = stopped.keys().rfind(|name| name.starts_with("blobs-")).unwrap().clone();
    for length in (0..stopped[&last].len()).step_by(401) {
        goes_on(&with(&last, &|b| b.truncate(length)), "shard cut");
    }
    assert_eq!(goes_on(&with(&last, &|b| b.extend([7; 999])), "shard with a tail"), all);
    assert_eq!(goes_on(&with("blobs-00002", &|b| b.extend([7; 99])), "another shard"), all);
    assert_eq!(goes_on(&with(".mira-index.tmp", &|b| b.extend([7; 99])), "half an index"), all);
    let mut files = stopped.clone();
    files.remove("blobs-00000");
    assert_eq!(goes_on(&files, "no shard"), 0);
    files = whole.clone();
    files.insert("journal".into(), stopped["journal"].clone());
    assert_eq!(goes_on(&files, "finished but for the journal"), 15);
    assert_eq!(goes_on(&BTreeMap::from([("lock".into(), b"{}".to_vec())]), "the lock alone"), 0);
}

#[test]
fn folders_of_something_else_are_left_alone() {
    let root = folder();
    let refused = |folder: &Path, options: &PackOptions, words: &str| {
        let before = contents(folder);
        let error = pack_to(&input(root.path()), folder, options).unwrap_err();
        assert!(error.to_string().contains(words) && error.exit_code() == 2, "{error}");
        let mut after = contents(folder);
        if !before.contains_key("lock") {
            after.remove("lock");
        }
        assert!(after == before, "{error}");
    };
    let original = options(Pixels::Original);
    let to = packed(root.path(), Pixels::Original);
    refused(to.path(), &options(Pixels::Raw { short_side: 9 }), "another packed set");
    refused(to.path(), &options(Pixels::Raw { short_side: 0 }), "shorter side is 0");
    assert_eq!(pack_to(&input(root.path()), to.path(), &original).unwrap().num_resumed, 15);

    let to = tempfile::tempdir().unwrap();
    pack_to(&failing(root.path(), 9).0, to.path(), &original).unwrap_err();
    refused(to.path(), &options(Pixels::Raw { short_side: 9 }), "with other settings, was begun");
    fs::write(root.path().join("train/cat/new.png"), png(&picture(3, 3, 3))).unwrap();
    refused(to.path(), &original, "packing another source");
    let journal = to.path().join("journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[9] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    refused(to.path(), &original, "journal is damaged");

    let to = tempfile::tempdir().unwrap();
    fs::write(to.path().join("thesis.tex"), "x").unwrap();
    refused(to.path(), &original, "not empty (thesis.tex)");

    let to = tempfile::tempdir().unwrap();
    let lock = crate::run_folder::Lock::acquire(to.path(), LOCK).unwrap();
    refused(to.path(), &original, "being packed into by another process");
    drop(lock);
    pack_to(&input(root.path()), to.path(), &original).unwrap();
}

#[test]
fn bad_images_are_left_out_and_listed_up_to_a_limit() {
    let root = folder();
    let broken = jpeg(&picture(30, 30, 0));
    write(
        root.path(),
        &[
            ("train/cat/05.jpg", broken[..broken.len() / 2].to_vec()),
            ("val/dog/99.png", b"<html>".to_vec()),
        ],
    );
    let options = PackOptions { max_bad_fraction: 0.2, ..options(Pixels::Original) };
    let to = tempfile::tempdir().unwrap();
    let mut last = None;
    let report = pack(&input(root.path()), to.path(), &options, &mut |at| last = Some(at)).unwrap();
    let split = |num_packed| SplitReport { num_packed, num_skipped: 1 };
    assert_eq!((report.train, report.test), (split(12), Some(split(3))));
    let last = last.unwrap();
    assert_eq!((last.num_done, last.num_images, last.num_skipped), (17, 17, 2));
    let (train, test) = (set(to.path(), Split::Train), set(to.path(), Split::Test));
    assert_eq!((train.len(), test.len()), (12, 3));
    let from = set(root.path(), Split::Train);
    // Without the third image, as names are sorted.
    assert_eq!(file(&*train, 3), file(&*from, 4));
    let skipped = fs::read_to_string(to.path().join(SKIPPED)).unwrap();
    let skipped: Vec<Skipped> =
        skipped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((skipped[0].split.as_str(), skipped[1].split.as_str()), ("train", "test"));
    assert_eq!(skipped[0].name, from.name(skipped[0].index as usize));
    assert!(skipped[0].name.ends_with("05.jpg") && skipped[0].problem.contains("JPEG"));
    assert!(skipped[1].name.ends_with("99.png") && skipped[1].problem.contains("neither"));

    let to = tempfile::tempdir().unwrap();
    let strict = PackOptions { max_bad_fraction: 0.1, ..options };
    let error = pack_to(&input(root.path()), to.path(), &strict).unwrap_err();
    assert!(error.to_string().contains("2 of 17 images cannot be read"), "{error}");
    assert!(fs::read_to_string(to.path().join(SKIPPED)).unwrap().lines().count() == 2);
}

#[test]
fn an_estimate_writes_nothing_and_is_near() {
    let root = folder();
    let to = packed(root.path(), Pixels::Original);
    let true_bytes: usize = contents(to.path()).values().map(Vec::len).sum();
    let estimate = estimate(&input(root.path()), &options(Pixels::Original), 15).unwrap();
    assert_eq!((estimate.num_looked_at, estimate.num_bad), (15, 0));
    let error = estimate.num_bytes.abs_diff(true_bytes as u64);
    assert!(error < 200, "{} and {true_bytes}", estimate.num_bytes);
}

fn damaged_index(folder: &Path, bytes: &[u8]) -> String {
    fs::write(folder.join(INDEX), bytes).unwrap();
    let error = data::open(Format::Packed, Some(folder), Split::Train).err().unwrap();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    error.to_string()
}

#[test]
fn every_flipped_byte_and_every_cut_of_the_index_is_found() {
    let to = packed(folder().path(), Pixels::Original);
    let good = fs::read(to.path().join(INDEX)).unwrap();
    for position in 0..good.len() {
        for bit in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[position] ^= bit;
            assert!(Index::parse(&bad).is_err(), "byte {position}");
        }
        assert!(Index::parse(&good[..position]).is_err(), "cut to {position}");
    }
    assert!(Index::parse(&[&good[..], &[0]].concat()).is_err());
    assert!(damaged_index(to.path(), &good[..63]).contains("63 bytes, expected at least 64"));
    assert!(damaged_index(to.path(), &good[..70]).contains("it has 70 bytes, expected"));
    assert_eq!(Index::parse(&good).unwrap().to_bytes(), good);
}

/// Sets the checksums right again.
fn forge(mut file: Vec<u8>) -> Vec<u8> {
    let body = XxHash3_64::oneshot(&file[64..]);
    file[24..32].copy_from_slice(&body.to_le_bytes());
    let prologue = XxHash3_64::oneshot(&file[..56]);
    file[56..64].copy_from_slice(&prologue.to_le_bytes());
    file
}

#[test]
fn indexes_of_other_versions_and_impossible_ones_are_refused() {
    let to = packed(folder().path(), Pixels::Raw { short_side: 30 });
    let good = fs::read(to.path().join(INDEX)).unwrap();
    let with = |at: usize, value: u32| {
        let mut file = good.clone();
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        damaged_index(to.path(), &forge(file))
    };
    let newer = with(8, 2);
    assert!(newer.contains("version 2, expected 1; update mira-train"), "{newer}");
    let entry = good.len() - 40;
    for (at, value, words) in [
        (12, u32::MAX, "shorter"),
        (40, u32::MAX, "shorter"),
        (44, u32::MAX, "shorter"),
        (48, 2, "shorter"),
        (entry, 3, "takes bytes 3 to"),
        (entry + 4, 9, "takes bytes"),
        (entry + 16, 0, "takes bytes"),
        (entry + 16, u32::MAX, "takes bytes"),
        (entry + 20, 99, "image 14 is in shard 99"),
        (entry + 24, 2, "label 2, which is not below the 2 classes"),
        (entry + 28, 0, "0 ×"),
        (entry + 28, u32::MAX, "pixels, expected 1 to"),
        (entry + 32, 1, "bytes for 1 ×"),
        (entry + 36, 2, "unknown kind"),
    ] {
        let error = with(at, value);
        assert!(error.contains(words), "{at}: {error}");
    }
}

#[test]
fn every_flipped_byte_of_a_shard_is_found_and_the_shard_named() {
    let to = packed(folder().path(), Pixels::Raw { short_side: 4 });
    let path = shard_path(to.path(), 0);
    let good = fs::read(&path).unwrap();
    let open = || -> Result<_, Error> {
        let open = |split| data::open(Format::Packed, Some(to.path()), split);
        Ok([open(Split::Train)?, open(Split::Test)?])
    };
    let mut image = Image::default();
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x04;
        fs::write(&path, bad).unwrap();
        let error = match open() {
            Err(error) => error,
            Ok(sets) => {
                let images = sets.iter().flat_map(|set| (0..set.len()).map(move |i| (set, i)));
                let mut errors = images.filter_map(|(set, i)| set.load(i, &mut image).err());
                let error = errors.next().unwrap();
                assert!(errors.next().is_none());
                error
            }
        };
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().contains("blobs-00000"), "{error}");
    }
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        let error = open().err().unwrap().to_string();
        assert!(error.contains("blobs-00000") && error.contains("the index says"), "{error}");
    }
    fs::write(&path, [&good[..], b"more"].concat()).unwrap();
    assert!(open().is_err());
    fs::remove_file(&path).unwrap();
    let error = open().err().unwrap();
    assert!(matches!(error, Error::Unreadable { .. }) && error.to_string().contains("blobs-00000"));
    let other = packed(folder().path(), Pixels::Raw { short_side: 5 });
    fs::write(&path, &fs::read(shard_path(other.path(), 0)).unwrap()[..good.len()]).unwrap();
    assert!(open().err().unwrap().to_string().contains("another packed set"));
}

/// However many bad images a run puts up with.
#[test]
fn a_damaged_shard_ends_training_and_packing() {
    let to = packed(folder().path(), Pixels::Original);
    let path = shard_path(to.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let train = set(to.path(), Split::Train);
    let config = LoaderConfig {
        batch_size: 12,
        seed: 0,
        num_workers: 2,
        prefetch: 1,
        views: vec![ViewSpec::default()],
        max_bad_fraction: 1.0,
    };
    let error = Loader::new(train, config, 0).unwrap().next_batch().unwrap_err();
    assert!(error.to_string().contains("blobs-00001"), "{error}");
    let options = PackOptions { max_bad_fraction: 1.0, ..options(Pixels::Original) };
    let again = tempfile::tempdir().unwrap();
    let error = pack_to(&input(to.path()), again.path(), &options).unwrap_err();
    assert!(error.to_string().contains("blobs-00001"), "{error}");
}

#[test]
fn sets_without_labels_test_images_or_files_are_packed() {
    let root = tempfile::tempdir().unwrap();
    let file = jpeg(&picture(9, 7, 5));
    write(root.path(), &[("1.jpg", file.clone())]);
    let to = packed(root.path(), Pixels::Original);
    let train = set(to.path(), Split::Train);
    assert_eq!((train.num_classes(), train.label(0)), (None, None));
    assert_eq!(super::tests::file(&*train, 0), Some(file));
    let error = data::open(Format::Auto, Some(to.path()), Split::Test).err().unwrap();
    assert!(matches!(error, Error::NotRecognised { .. }), "{error}");
    assert!(error.to_string().contains("no test images"), "{error}");

    let embedded = data::open(Format::Embedded, None, Split::Train).unwrap();
    let input = PackInput { train: embedded.clone(), test: None };
    let to = tempfile::tempdir().unwrap();
    let report = pack_to(&input, to.path(), &PackOptions::default()).unwrap();
    assert_eq!((report.train.num_packed, report.test), (6000, None));
    let got = set(to.path(), Split::Train);
    assert_eq!(got.class_names(), embedded.class_names());
    for i in (0..6000).step_by(777) {
        assert_eq!((image(&*got, i), got.label(i)), (image(&*embedded, i), embedded.label(i)));
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let label = prop_oneof![Just(None), (0..3_u32).prop_map(Some)];
    let place = (0..3_u32, any::<u64>(), any::<u32>(), any::<u64>());
    (place, label, any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
        |((shard, offset, length, checksum), label, width, height, is_raw)| Entry {
            shard,
            offset,
            length,
            checksum,
            label,
            width,
            height,
            kind: if is_raw { Kind::Raw } else { Kind::File },
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_an_index_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Index::parse(&bytes);
        let _ = replay(&bytes, |_| true);
        let mut file = index::MAGIC.to_vec();
        file.extend(VERSION.to_le_bytes());
        file.extend(&bytes);
        if file.len() >= 64 {
            let length = file.len() as u64;
            file[16..24].copy_from_slice(&length.to_le_bytes());
            let _ = Index::parse(&forge(file));
        }
    }

    #[test]
    fn entries_keep_their_numbers(entry in any_entry()) {
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        prop_assert_eq!(bytes.len(), 40);
        let mut unread = crate::data::bytes::Unread(&bytes);
        prop_assert_eq!(Entry::read(&mut unread), Some(entry));
        prop_assert!(Entry::read(&mut crate::data::bytes::Unread(&bytes[..39])).is_none());
    }
}

#[test]
fn a_journal_says_what_was_written_to_it() {
    let to = tempfile::tempdir().unwrap();
    let entry = Entry {
        shard: 0,
        offset: 16,
        length: 5,
        checksum: 7,
        label: None,
        width: 1,
        height: 1,
        kind: Kind::File,
    };
    let skipped =
        Skipped { split: "test".into(), index: 3, name: "\u{fc}".into(), problem: "x".into() };
    let records = [Record::Packed(entry), Record::Skipped(skipped)];
    let mut journal = journal::Journal::create(to.path(), 9).unwrap();
    journal.append(&records[..1]).unwrap();
    journal.append(&records[1..]).unwrap();
    drop(journal);
    let (_, found) = journal::Journal::resume(to.path(), 9, |_| true).unwrap();
    assert_eq!(found, records);
    let (_, found) =
        journal::Journal::resume(to.path(), 9, |record| *record != records[1]).unwrap();
    assert_eq!(found, records[..1]);
    assert!(journal::Journal::resume(to.path(), 8, |_| true).is_err());
}
