//! What is packed is what comes out, however many threads pack it.

use super::*;

#[test]
fn original_files_come_back_byte_for_byte() {
    let root = folder();
    let to = packed(root.path(), Pixels::Original);
    let files: Vec<_> = contents(to.path()).into_keys().collect();
    assert_eq!(files[0], "blobs-00000");
    assert!(files.len() > 3 && files.ends_with(&["index".into(), "names".into()]), "{files:?}");
    for split in SPLITS {
        let (from, got) = (set(root.path(), split), set(to.path(), split));
        assert_eq!((got.len(), got.num_classes()), (from.len(), Some(2)));
        assert_eq!(got.class_names(), from.class_names());
        for i in 0..from.len() {
            assert!(file(&*from, i).is_some());
            assert_eq!(file(&*got, i), file(&*from, i));
            assert_eq!((image(&*got, i), got.label(i)), (image(&*from, i), from.label(i)));
            assert!(from.relative_path(i).is_some());
            assert_eq!(got.relative_path(i), from.relative_path(i));
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

#[test]
fn test_images_that_cannot_be_used_are_not_left_out_in_silence() {
    let root = folder();
    let mistake = |path: &str, words: [&str; 2]| {
        let path = root.path().join(path);
        let error = PackInput::open(Format::Auto, root.path()).unwrap_err();
        assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        fs::remove_dir_all(path).unwrap();
    };
    write(root.path(), &[("val/bird/1.png", png(&picture(2, 2, 2)))]);
    mistake("val/bird", ["'bird'", "rename or remove it"]);
    fs::remove_dir_all(root.path().join("val/cat")).unwrap();
    fs::create_dir(root.path().join("val/cat")).unwrap();
    mistake("val/cat", ["'cat'", "remove it"]);
    fs::remove_dir_all(root.path().join("val/dog")).unwrap();
    write(root.path(), &[("val/1.png", png(&picture(2, 2, 2)))]);
    mistake("val", ["no class folder", "remove it"]);
    // Without any, there are none.
    assert!(input(root.path()).test.is_none());
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
