//! Trees of files as data sets, and what is remembered of them.

use std::time::Duration;

use super::*;

/// A 2 × 1 picture of two greys.
fn png(left: u8, right: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 2, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[left, right]).unwrap();
    file
}

fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

fn names(set: &ImageFolder, root: &Path) -> Vec<String> {
    let path = |i| set.path(i).unwrap().strip_prefix(root).unwrap().to_str().unwrap().to_string();
    (0..set.len()).map(path).collect()
}

#[test]
fn classes_are_folders_in_the_order_of_names() {
    let root = tree(&[
        ("train/b/2.PNG", &png(3, 4)),
        ("train/b/10.png", &png(1, 2)),
        ("train/a/x/y.jpeg", b"?"),
        ("train/a/.hidden.png", b"?"),
        ("train/a/notes.txt", b"?"),
        ("val/b/1.webp", b"?"),
    ]);
    let set = open(root.path(), Split::Train).unwrap();
    assert_eq!(names(&set, root.path()), ["train/a/x/y.jpeg", "train/b/10.png", "train/b/2.PNG"]);
    assert_eq!((set.class_names(), set.num_classes()), (&["a".into(), "b".into()][..], Some(2)));
    assert_eq!((set.label(0), set.label(1), set.label(2)), (Some(0), Some(1), Some(1)));
    let mut image = Image::default();
    set.load(2, &mut image).unwrap();
    assert_eq!((image.width, image.height, &image.pixels[..]), (2, 1, &[3, 3, 3, 4, 4, 4][..]));
    let error = set.load(0, &mut image).unwrap_err().to_string();
    assert!(error.contains("y.jpeg: it is neither"), "{error}");

    // `a` is missing from val/, and b keeps its label.
    let set = open(root.path(), Split::Test).unwrap();
    assert_eq!((set.len(), set.label(0), set.num_classes()), (1, Some(1), Some(2)));
}

#[test]
fn class_folders_may_be_at_the_top_and_images_may_have_no_labels() {
    let root = tree(&[("cats/1.jpg", b"?"), ("dogs/1.jpg", b"?")]);
    let set = open(root.path(), Split::Train).unwrap();
    assert_eq!((set.len(), set.label(1), set.num_classes()), (2, Some(1), Some(2)));
    let error = open(root.path(), Split::Test).err().unwrap().to_string();
    assert!(error.contains("val/ or test/"), "{error}");

    let root = tree(&[("1.jpg", b"?"), ("2.jpg", b"?")]);
    let set = open(root.path(), Split::Train).unwrap();
    assert_eq!((set.len(), set.label(1), set.num_classes()), (2, None, None));
}

#[test]
fn mistakes_in_the_layout_are_named() {
    for (files, split, words) in [
        (&["train/a/1.jpg", "val/c/1.jpg"][..], Split::Test, "'c'"),
        (&["train/a/1.jpg", "train/b/readme.txt"], Split::Train, "'b' has no image"),
        (&["train/readme.txt"], Split::Train, "looked for"),
    ] {
        let files: Vec<_> = files.iter().map(|file| (*file, &b"?"[..])).collect();
        let root = tree(&files);
        let error = open(root.path(), split).err().expect(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn images_beside_class_folders_are_not_left_out_in_silence() {
    for (files, split) in [
        (&["1.jpg", "2.jpg", "thumbs/1.jpg", "v.png/1.jpg"][..], Split::Train),
        (&["train/1.jpg", "train/2.jpg", "train/a/1.jpg"], Split::Train),
        (&["train/a/1.jpg", "val/1.jpg", "val/2.jpg", "val/a/1.jpg"], Split::Test),
    ] {
        let files: Vec<_> = files.iter().map(|file| (*file, &b"?"[..])).collect();
        let root = tree(&files);
        let error = open(root.path(), split).err().expect("an error").to_string();
        let words = ["2 images of", "move them into class folders", "into one folder"];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    // Class folders may be called as images are.
    let root = tree(&[("v.png/1.jpg", b"?")]);
    assert_eq!(open(root.path(), Split::Train).unwrap().class_names(), ["v.png"]);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_above_does_not_go_round_for_ever() {
    let root = tree(&[("a/1.jpg", b"?")]);
    std::os::unix::fs::symlink(root.path().join("a"), root.path().join("a/again")).unwrap();
    let set = open(root.path(), Split::Train).unwrap();
    assert_eq!(names(&set, root.path()), ["a/1.jpg"]);
}

#[cfg(unix)]
#[test]
fn links_to_folders_above_give_no_class_the_images_of_others() {
    use std::os::unix::fs::symlink;
    let root = tree(&[("train/a/1.jpg", b"?"), ("train/b/x/2.jpg", b"?"), ("val/b/3.jpg", b"?")]);
    let elsewhere = tree(&[("4.jpg", b"?")]);
    let train = root.path().join("train");
    // To the folder itself, to that of all classes, to the set's, to the one above all, and back by a folder elsewhere.
    symlink(train.join("b/x"), train.join("b/x/same")).unwrap();
    symlink("../..", train.join("b/x/all")).unwrap();
    symlink(root.path(), train.join("a/set")).unwrap();
    symlink("/", train.join("a/root")).unwrap();
    symlink(elsewhere.path(), train.join("a/elsewhere")).unwrap();
    symlink(&train, elsewhere.path().join("back")).unwrap();
    symlink(&train, train.join("c")).unwrap();
    let set = open(root.path(), Split::Train).unwrap();
    let expected = ["a/1.jpg", "a/elsewhere/4.jpg", "b/x/2.jpg"];
    let all = [(expected[0], 0), (expected[1], 0), (expected[2], 1)];
    assert_eq!(listed(&set), all.map(|(name, label)| (name.to_owned(), Some(label))));
    assert_eq!(set.class_names(), ["a", "b"]);
    // A link to a folder beside it is none to one above.
    symlink(train.join("a"), train.join("d")).unwrap();
    assert_eq!(open(root.path(), Split::Train).unwrap().class_names(), ["a", "b", "d"]);
    assert_eq!(open(root.path(), Split::Test).unwrap().label(0), Some(1));
}

/// Keeps every list, at once.
fn options(cache: &Path, num_threads: usize) -> Options {
    Options { cache: Some(cache.into()), min_images: 1, settled: Duration::ZERO, num_threads }
}

/// Longer than a step of the file system's clock.
fn tick() {
    std::thread::sleep(Duration::from_millis(25));
}

/// What is in the one file of a cache folder.
fn kept(cache: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let path = entries(cache).ok()?.pop()?;
    Some((path.clone(), fs::read(path).unwrap()))
}

/// Every image with its label.
fn listed(set: &ImageFolder) -> Vec<(String, Option<u32>)> {
    (0..set.len()).map(|i| (set.relative_path(i).unwrap().into_owned(), set.label(i))).collect()
}

fn many_files() -> tempfile::TempDir {
    let names: Vec<String> = (0..240)
        .map(|i| match i % 4 {
            0 => format!("train/c{:02}/n{i}.jpg", i % 24),
            1 => format!("train/c{:02}/deep/n{i}.png", i % 24),
            2 => format!("train/c{:02}/n{i}.JPEG", i % 24),
            _ => format!("train/c{:02}/n1/x/n{i}.webp", i % 24),
        })
        .collect();
    tree(&names.iter().map(|name| (name.as_str(), &b"?"[..])).collect::<Vec<_>>())
}

/// Plainly: every entry in the order of names, folders where they stand.
fn plainly(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in entries(folder).unwrap() {
        if entry.is_dir() {
            plainly(&entry, into);
        } else {
            into.push(entry);
        }
    }
}

#[test]
fn threads_list_in_one_order() {
    let root = many_files();
    let cache = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    plainly(&root.path().join("train"), &mut expected);
    let without = |num_threads| Options { cache: None, ..options(cache.path(), num_threads) };
    for num_threads in [1, 2, 7, 100] {
        let set = open_with(root.path(), Split::Train, &without(num_threads)).unwrap();
        let paths: Vec<_> = (0..set.len()).map(|i| set.path(i).unwrap()).collect();
        assert_eq!(paths, expected);
        for (path, i) in expected.iter().zip(0..) {
            let class =
                path.strip_prefix(root.path().join("train")).unwrap().iter().next().unwrap();
            let label = set.label(i).unwrap() as usize;
            assert_eq!(*set.class_names()[label], *class);
        }
    }
    assert!(kept(cache.path()).is_none());
}

#[test]
fn images_of_other_formats_are_counted() {
    let image = &b"?"[..];
    let root = tree(&[
        ("a/1.jpg", image),
        ("a/2.gif", image),
        ("a/x/3.BMP", image),
        ("a/x/.4.gif", image),
        ("b/5.png", image),
        ("b/notes.txt", image),
        ("b/of.tif/6.png", image),
        ("7.tiff", image),
    ]);
    let cache = tempfile::tempdir().unwrap();
    tick();
    for kept_as in ["listed", "kept"] {
        let set = open_with(root.path(), Split::Train, &options(cache.path(), 1)).unwrap();
        assert_eq!((set.len(), set.num_unread), (3, 3), "{kept_as}");
        assert!(kept(cache.path()).is_some());
    }
    let flat = tree(&[("1.jpg", image), ("2.heic", image)]);
    assert_eq!(open(flat.path(), Split::Train).unwrap().num_unread, 1);
}

#[test]
fn lists_are_kept_and_changes_are_noticed() {
    let root = many_files();
    let train = root.path().join("train");
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("made/if/need/be");
    tick();
    let open = || open_with(root.path(), Split::Train, &options(&folder, 3)).unwrap();
    let before = listed(&open());
    assert_eq!(before.len(), 240);
    let (_, first) = kept(&folder).unwrap();
    // What is kept is believed: a list that lacks an image, but has the right checksum.
    let (path, file) = kept(&folder).unwrap();
    let mut other = file.clone();
    let at = other.windows(8).position(|bytes| bytes == b"n120.jpg").unwrap();
    other[at..at + 8].copy_from_slice(b"fake.jpg");
    let checksum = twox_hash::XxHash3_64::oneshot(&other[20..]);
    other[12..20].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &other).unwrap();
    let believed = listed(&open());
    assert!(believed.iter().any(|(name, _)| name == "c00/fake.jpg"));
    assert_eq!(fs::read(&path).unwrap(), other, "there was nothing new to keep");
    fs::write(&path, &first).unwrap();

    let changes: [(&str, &dyn Fn()); 7] = [
        ("added", &|| fs::write(train.join("c00/n0a.jpg"), b"?").unwrap()),
        ("removed", &|| fs::remove_file(train.join("c02/n2.JPEG")).unwrap()),
        ("renamed", &|| fs::rename(train.join("c04/n4.jpg"), train.join("c04/n5.jpg")).unwrap()),
        ("deep", &|| fs::write(train.join("c01/deep/a.png"), b"?").unwrap()),
        ("below new", &|| fs::create_dir(train.join("c03/n1/x/y")).unwrap()),
        ("new class", &|| {
            fs::create_dir(train.join("c001")).unwrap();
            fs::write(train.join("c001/1.jpg"), b"?").unwrap();
        }),
        ("lost class", &|| fs::remove_dir_all(train.join("c05")).unwrap()),
    ];
    let mut last = before;
    for (what, change) in changes {
        tick();
        change();
        tick();
        let now = listed(&open());
        let plain = Options { cache: None, ..options(&folder, 1) };
        assert_eq!(now, listed(&open_with(root.path(), Split::Train, &plain).unwrap()), "{what}");
        assert!(what == "below new" || now != last, "{what}");
        assert_eq!(listed(&open()), now, "{what}, kept");
        last = now;
    }
}

#[test]
fn damaged_lists_are_ignored_and_made_anew() {
    let root = tree(&[("train/a/1.jpg", b"?"), ("train/b/2.jpg", b"?")]);
    let cache = tempfile::tempdir().unwrap();
    tick();
    let open = || listed(&open_with(root.path(), Split::Train, &options(cache.path(), 2)).unwrap());
    let expected = open();
    let (path, good) = kept(cache.path()).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        for bad in [&bad[..], &good[..at]] {
            fs::write(&path, bad).unwrap();
            assert_eq!(open(), expected, "byte {at}");
            assert_eq!(fs::read(&path).unwrap(), good, "byte {at}");
        }
    }
    // The same where the root itself holds the images.
    let flat = tree(&[("1.jpg", b"?"), ("2.jpg", b"?")]);
    let cache = tempfile::tempdir().unwrap();
    tick();
    let open_flat = || open_with(flat.path(), Split::Train, &options(cache.path(), 2)).unwrap();
    let listed_flat = listed(&open_flat());
    let (path_of_flat, kept_flat) = kept(cache.path()).unwrap();
    fs::remove_file(&path_of_flat).unwrap();
    assert_eq!(listed(&open_flat()), listed_flat);
    assert_eq!(fs::read(&path_of_flat).unwrap(), kept_flat);
    let modified = fs::metadata(&path_of_flat).unwrap().modified().unwrap();
    tick();
    open_flat();
    assert_eq!(fs::metadata(&path_of_flat).unwrap().modified().unwrap(), modified, "no news");
    // A list of another root under the same name.
    let other = tree(&[("train/a/7.jpg", b"?")]);
    let elsewhere = tempfile::tempdir().unwrap();
    open_with(other.path(), Split::Train, &options(elsewhere.path(), 1)).unwrap();
    fs::write(&path, kept(elsewhere.path()).unwrap().1).unwrap();
    assert_eq!(open(), expected);
    // Nothing can be kept where a file is in the way.
    let blocked = options(&path.join("x"), 1);
    assert_eq!(listed(&open_with(root.path(), Split::Train, &blocked).unwrap()), expected);
}

#[test]
fn what_changes_unseen_is_listed_every_time() {
    let root = tree(&[("train/a/1.jpg", b"?"), ("train/b/2.jpg", b"?")]);
    let cache = tempfile::tempdir().unwrap();
    // Changed less than an hour ago: what was changed at the same time is not told from it.
    let settled = Duration::from_hours(1);
    let careful = Options { settled, ..options(cache.path(), 1) };
    open_with(root.path(), Split::Train, &careful).unwrap();
    assert!(kept(cache.path()).is_none());
    let few = Options { min_images: 3, ..options(cache.path(), 1) };
    tick();
    open_with(root.path(), Split::Train, &few).unwrap();
    assert!(kept(cache.path()).is_none());
    #[cfg(unix)]
    {
        // What a link leads to may change without a trace in the folder that the link is in.
        let there = tree(&[("x/1.jpg", b"?"), ("y/2.jpg", b"?")]);
        let link = root.path().join("train/a/link");
        std::os::unix::fs::symlink(there.path().join("x"), &link).unwrap();
        tick();
        let open = || open_with(root.path(), Split::Train, &options(cache.path(), 1)).unwrap();
        assert_eq!(listed(&open())[1].0, "a/link/1.jpg");
        fs::rename(there.path().join("x"), there.path().join("z")).unwrap();
        fs::rename(there.path().join("y"), there.path().join("x")).unwrap();
        assert_eq!(listed(&open())[1].0, "a/link/2.jpg");
    }
}

#[cfg(unix)]
#[test]
fn classes_whose_names_are_no_unicode_stay_apart() {
    use std::os::unix::ffi::OsStrExt as _;
    let root = tempfile::tempdir().unwrap();
    let class = |part: &str, name: &[u8]| {
        let folder = root.path().join(part).join(OsStr::from_bytes(name));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("1.png"), png(1, 2)).unwrap();
    };
    class("train", b"x\xfe");
    class("train", b"x\xff");
    class("val", b"x\xff");
    let train = open(root.path(), Split::Train).unwrap();
    assert_eq!([0, 1].map(|i| train.label(i)), [Some(0), Some(1)]);
    assert_eq!(train.class_names(), ["x\u{fffd}", "x\u{fffd}"]);
    assert_eq!(open(root.path(), Split::Test).unwrap().label(0), Some(1));
}

#[cfg(unix)]
#[test]
fn names_need_not_be_unicode() {
    use std::os::unix::ffi::OsStrExt as _;
    let root = tree(&[("train/a/1.jpg", b"?")]);
    let name = OsStr::from_bytes(b"\xff.png");
    fs::write(root.path().join("train/a").join(name), png(1, 2)).unwrap();
    let cache = tempfile::tempdir().unwrap();
    tick();
    for _ in 0..2 {
        let set = open_with(root.path(), Split::Train, &options(cache.path(), 1)).unwrap();
        set.load(1, &mut Image::default()).unwrap();
        assert_eq!(set.relative_path(1).unwrap(), "a/\u{fffd}.png");
    }
}
