//! Shards as a set: order, classes, changes under way, the cache.

use super::*;

#[test]
fn shards_come_in_the_order_of_names_with_their_classes() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "in1k-train-0001.tar", &greys(3, &["0"]));
    let first = write(root.path(), "in1k-train-0000.tar", &greys(1, &["2", "1"]));
    write(root.path(), "in1k-validation-00.tar", &greys(9, &["1"]));
    let all = |path: &Path, split| {
        let set = data::open(Format::Auto, Some(path), split).unwrap();
        (0..set.len()).map(|i| (grey(&*set, i), set.label(i))).collect::<Vec<_>>()
    };
    let expected = [(1, Some(2)), (2, Some(1)), (3, Some(0))];
    assert_eq!(all(root.path(), Split::Train), expected);
    assert_eq!(all(root.path(), Split::Test), [(9, Some(1))]);
    assert_eq!(all(&first, Split::Train), expected[..2]);
    let pattern = root.path().join("in1k-train-{0000..0001}.tar");
    assert_eq!(all(&pattern, Split::Train), expected);
    let set = open(root.path(), Split::Train).unwrap();
    assert_eq!(set.class_names(), ["0", "1", "2"]);
    assert!(set.name(2).contains("image at byte 512 of") && set.name(2).contains("train-0001.tar"));
    let names = [0, 1, 2, 3].map(|i| set.relative_path(i));
    assert_eq!(
        names,
        [Some("001.png".into()), Some("002.png".into()), Some("003.png".into()), None]
    );
    let mut file = Vec::new();
    assert!(set.encoded(2, &mut file).unwrap() && file == grey_png(3));
    assert!(set.load(3, &mut Image::default()).is_err());

    fs::write(root.path().join("classes.txt"), "ant\nbee\n").unwrap();
    let error = open(root.path(), Split::Train).err().unwrap().to_string();
    assert!(error.contains("label 2 is not below the 2 classes"), "{error}");
    // Editors begin files with a mark, and end them with empty lines.
    for text in ["ant\r\nbee\ncat\n", "\u{feff}ant\nbee\ncat\n\n \r\n", "ant\nbee\ncat"] {
        fs::write(root.path().join("classes.txt"), text).unwrap();
        assert_eq!(open(root.path(), Split::Train).unwrap().class_names(), ["ant", "bee", "cat"]);
    }
    fs::write(root.path().join("classes.txt"), "ant\n\ncat\n").unwrap();
    assert_eq!(open(root.path(), Split::Train).unwrap().class_names(), ["ant", "", "cat"]);

    for (pattern, words) in [
        ("x-{3..1}.tar", "counts down"),
        ("x-{0..9999999999}.tar", "is more than"),
        ("x-{a..b}.tar", "ranges are written like"),
        ("train-{0..1}.tar", "train-0.tar"),
    ] {
        let path = root.path().join(pattern);
        let error = data::open(Format::Auto, Some(&path), Split::Train).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
    let expanded = expand(Path::new("a{08..10}b{1..2}.tar")).unwrap();
    let expanded: Vec<_> = expanded.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(expanded[..3], ["a08b1.tar", "a08b2.tar", "a09b1.tar"]);
    assert_eq!((expanded.len(), expanded[5]), (6, "a10b2.tar"));
}

#[test]
fn shards_without_images_or_labels() {
    let root = tempfile::tempdir().unwrap();
    let path = write(root.path(), "0.tar", &archive(Header::new_gnu, &[("1.cls", b"1")]));
    let error = open(&path, Split::Train).err().unwrap().to_string();
    assert!(error.contains("0.tar: there is no sample with an image"), "{error}");
    write(root.path(), "0.tar", &[]);
    let error = open(&path, Split::Train).err().unwrap().to_string();
    assert!(error.contains("0.tar: at byte 0: the shard is cut short"), "{error}");
    write(root.path(), "0.tar", &archive(Header::new_gnu, &[("1.png", &grey_png(1))]));
    fs::write(root.path().join("classes.txt"), "ant\n").unwrap();
    let set = open(&path, Split::Train).unwrap();
    assert_eq!((set.num_classes(), set.label(0), set.class_names().len()), (None, None, 0));
}

#[test]
fn shards_that_change_or_go_while_they_are_in_use_are_named() {
    let root = tempfile::tempdir().unwrap();
    let path = write(root.path(), "0.tar", &greys(0, &["0", "1", "1"]));
    let loader = || {
        let config = LoaderConfig {
            batch_size: 3,
            seed: 0,
            num_workers: 2,
            prefetch: 1,
            views: vec![ViewSpec::default()],
            max_bad_fraction: 1.0,
            ..LoaderConfig::default()
        };
        let set = Arc::new(open(root.path(), Split::Train).unwrap());
        (Loader::new(set.clone(), config, 0).unwrap(), set)
    };
    let (mut loader, set) = loader();
    loader.next_batch().unwrap();
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    let error = set.load(2, &mut Image::default()).unwrap_err().to_string();
    assert!(error.contains("0.tar: it has 3584 bytes, but had 7168"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = set.load(2, &mut Image::default()).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }) && error.to_string().contains("0.tar"));
    // No image is replaced, and nothing hangs.
    let error = (0..3).find_map(|_| loader.next_batch().err()).unwrap();
    assert!(error.to_string().contains("0.tar"), "{error}");
}

#[test]
fn the_cache_is_used_and_made_anew_when_a_shard_changes() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (greys(1, &["0", "1"]), greys(5, &["1"]));
    let path = write(root.path(), "train-a.tar", &a);
    write(root.path(), "train-b.tar", &b);
    let file = root.path().join(cache::NAME);
    let greys_of = |set: &WebDataset| (0..set.len()).map(|i| grey(set, i)).collect::<Vec<_>>();
    assert_eq!(greys_of(&open(root.path(), Split::Train).unwrap()), [1, 2, 5]);
    let cached = fs::read(&file).unwrap();
    let parse = |bytes: &[u8]| cache::KIND.parse(bytes, cache::parse);
    // A cache that says something else is believed, so it is read.
    let mut shards = parse(&cached).unwrap();
    assert_eq!(shards.len(), 2);
    let stamp = Location::Here.stamp(&path).unwrap();
    let mut other = Cache::beside(std::slice::from_ref(&path));
    assert_eq!(other.get(&path, stamp).unwrap().names.len(), 2);
    let changed = Stamp { modified: stamp.modified + 1, ..stamp };
    assert!(other.get(&path, changed).is_none());
    assert!(other.get(&path, Stamp { size: 1, ..stamp }).is_none());
    let (_, mut samples) = shards.remove("train-a.tar").unwrap();
    samples.places.truncate(1);
    let mut names = Strings::default();
    names.push(samples.names.get(0).unwrap());
    samples.names = names;
    other.put(&path, changed, &samples);
    other.save();
    assert_eq!(greys_of(&open(root.path(), Split::Train).unwrap()), [1, 2, 5]);
    // Every damage is found, and the cache replaced.
    for position in 0..cached.len() {
        let mut bad = cached.clone();
        bad[position] ^= 0x20;
        assert_eq!(parse(&bad), None, "byte {position}");
        assert_eq!(parse(&cached[..position]), None);
    }
    assert_eq!(parse(&[&cached[..], &[0]].concat()), None);
    fs::write(&file, &cached[..40]).unwrap();
    assert_eq!(greys_of(&open(root.path(), Split::Train).unwrap()), [1, 2, 5]);
    assert_eq!(fs::read(&file).unwrap(), cached);
    // Another shard of the same name.
    write(root.path(), "train-a.tar", &greys(100, &["0", "1", "0"]));
    assert_eq!(greys_of(&open(root.path(), Split::Train).unwrap()), [100, 101, 102, 5]);
}
