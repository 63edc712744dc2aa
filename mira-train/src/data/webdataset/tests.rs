//! Shards written here by the `tar` library and by hand, damaged and cut short everywhere.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;
use tempfile::TempDir;

use super::tar::{BLOCK, records};
use super::*;
use crate::data::{self, Batch, Format, Loader, LoaderConfig, PackInput, PackOptions, ViewSpec};

/// A 1 × 1 picture.
fn png(grey: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 1, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[grey]).unwrap();
    file
}

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

fn scan(archive: &[u8]) -> Result<Vec<Sample>, String> {
    samples::scan(Cursor::new(archive), archive.len() as u64).map_err(|problem| match problem {
        Problem::Io(error) => panic!("{error}"),
        Problem::Malformed(problem) => problem,
    })
}

/// Images and labels.
fn found(archive: &[u8]) -> Vec<(&[u8], Option<u32>)> {
    let bytes = |s: &Sample| &archive[s.offset as usize..s.offset as usize + s.length as usize];
    scan(archive).unwrap().iter().map(|sample| (bytes(sample), sample.label)).collect()
}

#[test]
fn files_of_one_key_are_a_sample_in_every_format() {
    for format in [Header::new_ustar, Header::new_gnu, Header::new_old] {
        let archive = archive(
            format,
            &[
                ("a/1.jpg", b"one"),
                ("a/1.cls", b"7\n"),
                ("a/1.txt", &[b'x'; 5000]),
                ("2.json", br#"{"caption": "a dog", "label": 3}"#),
                ("2.PNG", b"two"),
                ("3.webp", b""),
                ("3.jpg", b"a second image"),
                ("4.cls", b"1"),
                ("b/1.jpeg", &[b'f'; 513]),
                ("b/1.cls", b"-1"),
                ("b/1.json", br#"{"label": 5}"#),
                ("5.json", br#"{"cls": "12"}"#),
                ("5.jpg", b"five"),
                ("6.seg.jpg", b"a mask"),
                ("6.jpg", b"six"),
                (".hidden.jpg", b"no"),
                ("README", b"no"),
            ],
        );
        let expected: [(&[u8], _); 6] = [
            (b"one", Some(7)),
            (b"two", Some(3)),
            (b"", None),
            (&[b'f'; 513], None),
            (b"five", Some(12)),
            (b"six", None),
        ];
        assert_eq!(found(&archive), expected);
    }
    assert_eq!(scan(&[0; 1024]).unwrap(), []);
}

/// Members written by hand, so that every field may be wrong.
struct Member {
    kind: u8,
    name: Vec<u8>,
    size: [u8; 12],
    data: Vec<u8>,
}

impl Member {
    fn new(kind: u8, name: &str, data: &[u8]) -> Self {
        let size = format!("{:011o} ", data.len()).into_bytes().try_into().unwrap();
        Self { kind, name: name.into(), size, data: data.into() }
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..self.name.len()].copy_from_slice(&self.name);
        block[124..136].copy_from_slice(&self.size);
        block[156] = self.kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        checksummed(block)
    }
}

fn checksummed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn by_hand(members: &[Member]) -> Vec<u8> {
    let mut archive = Vec::new();
    for member in members {
        archive.extend(member.block());
        archive.extend(&member.data);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length =
        (rest + 1..rest + 9).find(|length| rest + length.to_string().len() == *length).unwrap();
    format!("{length} {key}={value}\n")
}

#[test]
fn long_names_of_all_kinds_are_read() {
    let key = "k".repeat(300);
    let (image, label) = (format!("{key}.jpg"), format!("{key}.cls"));
    // GNU, by the library.
    let gnu = archive(Header::new_gnu, &[(&image, b"gnu"), (&label, b"4")]);
    assert_eq!(found(&gnu), [(&b"gnu"[..], Some(4))]);
    // The first part in the header's field for it.
    let (folder, file) = ("f".repeat(120), "k".repeat(90));
    let (image, label) = (format!("{folder}/{file}.jpg"), format!("{folder}/{file}.cls"));
    let ustar = archive(Header::new_ustar, &[(&image, b"a"), (&label, b"4")]);
    assert_eq!(found(&ustar), [(&b"a"[..], Some(4))]);
    let other = format!("{}/{file}.cls", "g".repeat(120));
    let ustar = archive(Header::new_ustar, &[(&image, b"a"), (&other, b"4")]);
    assert_eq!(found(&ustar), [(&b"a"[..], None)]);

    // Extended headers: a name, a size that the header's field has not, a comment for all files, a link with a long name.
    let path =
        |name: &str| record("path", name) + &record("mtime", "1.5") + &record("comment", "=");
    let (image, label) = (format!("{key}.jpg"), format!("{key}.cls"));
    let mut large = Member::new(b'0', "short", b"large");
    large.size = *b"00000000000 ";
    let pax = by_hand(&[
        Member::new(b'g', "pax_global_header", record("comment", "0123abcd").as_bytes()),
        Member::new(b'x', "x", (path(&image) + &record("size", "5")).as_bytes()),
        large,
        Member::new(b'K', "././@LongLink", key.as_bytes()),
        Member::new(b'5', "folder.jpg", b""),
        Member::new(b'x', "x", path(&label).as_bytes()),
        Member::new(b'7', "short", b"4"),
        Member::new(b'x', "x", path("lost.jpg").as_bytes()),
        Member::new(b'2', "link.jpg", b""),
        Member::new(0, "own.jpg", b"own"),
    ]);
    assert_eq!(found(&pax), [(&b"large"[..], Some(4)), (b"own", None)]);
    // Sizes in base 256.
    let mut member = Member::new(b'0', "1.jpg", b"base");
    member.size = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
    assert_eq!(found(&by_hand(&[member])), [(&b"base"[..], None)]);
}

#[test]
fn what_cannot_be_understood_is_refused_with_its_place() {
    let file = |name, data: &[u8]| Member::new(b'0', name, data);
    let many = [b'n'].repeat(70_000);
    let sized = |size: [u8; 12]| Member { size, ..file("1.jpg", b"x") };
    for (member, words) in [
        (sized(*b"77777777777 "), "claims 8589934591 bytes, but the shard ends after"),
        (sized([0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), "claims"),
        (sized([0xFF; 12]), "size is no number"),
        (sized(*b"12345678    "), "size is no number"),
        (Member::new(b'L', "l", &many), "70000 bytes, expected at most 65536"),
        (Member::new(b'x', "x", &many), "70000 bytes, expected at most 65536"),
        (Member::new(b'x', "x", b"99 path=a\n"), "damaged record"),
        (Member::new(b'x', "x", b"0 path=a\n"), "damaged record"),
        (Member::new(b'x', "x", b"11 size=-1\n"), "size is no number"),
        (Member::new(b'g', "g", record("path", "a.jpg").as_bytes()), "all files one name"),
        (Member::new(b'S', "s.jpg", b""), "without --sparse"),
        (Member::new(b'x', "x", record("GNU.sparse.major", "1").as_bytes()), "without --sparse"),
        (file("0.cls", b"dog"), "\"0.cls\" has the label 'dog', expected a whole number"),
        (file("0.cls", b"4294967295"), "has the label"),
        (file("0.cls", b"-2"), "has the label"),
        (file("0.json", b"{"), "is no JSON"),
        (file("0.json", br#"{"label": 1.5}"#), "has the label '1.5'"),
        (file("0.cls", &[b'1'].repeat((1 << 20) + 1)), "expected at most 1048576"),
        (file("0.jpg", b"again"), "is there twice"),
    ] {
        let error =
            scan(&by_hand(&[file("0.jpg", b"x"), member, file("2.jpg", b"y")])).unwrap_err();
        assert!(error.contains(words) && error.starts_with("at byte "), "{words}: {error}");
    }
    let mut two = by_hand(&[file("0.jpg", b"x")]);
    two.extend(by_hand(&[file("1.jpg", b"y")]));
    assert!(scan(&two).unwrap_err().contains("behind the end marker"));
    let good = by_hand(&[file("0.jpg", b"x")]);
    let mut bad = good.clone();
    bad[3] ^= 1;
    assert!(scan(&bad).unwrap_err().starts_with("at byte 0: there is no tar header"));
}

#[test]
fn a_shard_cut_short_anywhere_is_refused() {
    let whole = by_hand(&[
        Member::new(b'x', "x", record("path", "1.jpg").as_bytes()),
        Member::new(b'0', "1.png", &[7; 600]),
        Member::new(b'0', "1.cls", b"3"),
        Member::new(b'0', "2.jpg", &[8; 512]),
    ]);
    assert_eq!(scan(&whole).unwrap().len(), 2);
    // One block of zeros is an end, too.
    let end = whole.len() - BLOCK;
    for length in 0..end {
        let error = scan(&whole[..length]).unwrap_err();
        assert!(error.starts_with("at byte "), "{length}: {error}");
    }
    assert_eq!(scan(&whole[..end]).unwrap().len(), 2);
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
        files.push((format!("{i:03}.png"), png(i)));
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
    let mut file = Vec::new();
    assert!(set.encoded(2, &mut file).unwrap() && file == png(3));
    assert!(set.load(3, &mut Image::default()).is_err());

    fs::write(root.path().join("classes.txt"), "ant\nbee\n").unwrap();
    let error = open(root.path(), Split::Train).err().unwrap().to_string();
    assert!(error.contains("label 2 is not below the 2 classes"), "{error}");
    fs::write(root.path().join("classes.txt"), "ant\r\nbee\ncat\n").unwrap();
    assert_eq!(open(root.path(), Split::Train).unwrap().class_names(), ["ant", "bee", "cat"]);

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
    write(root.path(), "0.tar", &archive(Header::new_gnu, &[("1.png", &png(1))]));
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
    // A cache that says something else is believed, so it is read.
    let mut shards = cache::parse(&cached).unwrap();
    assert_eq!(shards.len(), 2);
    let stamp = stamp(&path).unwrap();
    let mut other = Cache::beside(std::slice::from_ref(&path));
    assert_eq!(other.get(&path, stamp).unwrap().len(), 2);
    let changed = Stamp { modified: stamp.modified + 1, ..stamp };
    assert!(other.get(&path, changed).is_none());
    assert!(other.get(&path, Stamp { size: 1, ..stamp }).is_none());
    let (_, samples) = shards.remove("train-a.tar").unwrap();
    other.put(&path, changed, &samples[..1]);
    other.save();
    assert_eq!(greys_of(&open(root.path(), Split::Train).unwrap()), [1, 2, 5]);
    // Every damage is found, and the cache replaced.
    for position in 0..cached.len() {
        let mut bad = cached.clone();
        bad[position] ^= 0x20;
        assert_eq!(cache::parse(&bad), None, "byte {position}");
        assert_eq!(cache::parse(&cached[..position]), None);
    }
    assert_eq!(cache::parse(&[&cached[..], &[0]].concat()), None);
    fs::write(&file, &cached[..40]).unwrap();
    assert_eq!(greys_of(&open(root.path(), Split::Train).unwrap()), [1, 2, 5]);
    assert_eq!(fs::read(&file).unwrap(), cached);
    // Another shard of the same name.
    write(root.path(), "train-a.tar", &greys(100, &["0", "1", "0"]));
    assert_eq!(greys_of(&open(root.path(), Split::Train).unwrap()), [100, 101, 102, 5]);
}

proptest! {
    #[test]
    fn any_bytes_are_samples_or_an_error(
        mut blocks in prop::collection::vec(any::<[u8; 32]>(), 0..6),
        kinds in prop::collection::vec(prop_oneof![Just(b'0'), Just(b'L'), Just(b'x'), Just(b'g'), any::<u8>()], 6),
        sizes in prop::collection::vec(prop_oneof![0..3000_u64, any::<u64>()], 6),
    ) {
        // Headers whose checksums are right, over anything.
        let mut archive = Vec::new();
        for (i, noise) in blocks.iter_mut().enumerate() {
            let mut member = Member::new(kinds[i], "1.jpg", noise);
            member.size[..4].copy_from_slice(&[0x80, 0, 0, 0]);
            member.size[4..].copy_from_slice(&sizes[i].to_be_bytes());
            archive.extend(by_hand(&[member]));
            archive.truncate(archive.len() - 2 * BLOCK);
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        if let Ok(samples) = scan(&archive) {
            for sample in samples {
                prop_assert!(sample.offset + u64::from(sample.length) <= archive.len() as u64);
            }
        }
    }

    #[test]
    fn any_bytes_are_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "[0-9 =a\n]{0,40}") {
        let _ = records(&bytes);
        let _ = records(text.as_bytes());
        let _ = cache::parse(&bytes);
    }
}

/// The same images as files, in shards and packed, in the same order: `files` are names in a class folder and bytes.
fn three_sources(files: &[(String, Vec<u8>)]) -> (TempDir, [Arc<dyn Source>; 3]) {
    let root = tempfile::tempdir().unwrap();
    let mut classes = BTreeMap::new();
    for (name, _) in files {
        let next = classes.len();
        classes.entry(name.split('/').next().unwrap()).or_insert(next);
    }
    let mut members = Vec::new();
    for (i, (name, bytes)) in files.iter().enumerate() {
        write(root.path(), &format!("folder/{name}"), bytes);
        let label = classes[name.split('/').next().unwrap()].to_string();
        members.push((format!("{i:06}.jpg"), bytes.clone()));
        members.push((format!("{i:06}.cls"), label.into_bytes()));
    }
    // Several shards.
    for (i, members) in members.chunks(2 * files.len().div_ceil(3)).enumerate() {
        let members: Vec<_> = members.iter().map(|(n, bytes)| (n.as_str(), &bytes[..])).collect();
        write(root.path(), &format!("tar/{i:05}.tar"), &archive(Header::new_gnu, &members));
    }
    let names: Vec<_> = classes.keys().copied().collect();
    write(root.path(), "tar/classes.txt", names.join("\n").as_bytes());
    let input = PackInput::open(Format::Auto, &root.path().join("tar")).unwrap();
    let options = PackOptions { shard_bytes: 1 << 20, ..Default::default() };
    data::pack(&input, &root.path().join("packed"), &options, &mut |_| {}).unwrap();
    let open = |folder: &str| {
        data::open(Format::Auto, Some(&root.path().join(folder)), Split::Train).unwrap()
    };
    let sources = ["folder", "tar", "packed"].map(open);
    (root, sources)
}

fn batches(source: Arc<dyn Source>, batch_size: usize, num_workers: usize) -> Vec<Batch> {
    let config = LoaderConfig {
        batch_size,
        seed: 5,
        num_workers,
        prefetch: 2,
        views: vec![ViewSpec { size: 24, jitter: 0.8, hue: 0.1, count: 2, ..Default::default() }],
        max_bad_fraction: 0.0,
    };
    let mut loader = Loader::new(source, config, 0).unwrap();
    (0..5).map(|_| loader.next_batch().unwrap()).collect()
}

fn same_batches(files: &[(String, Vec<u8>)]) {
    let (_root, [folder, shards, packed]) = three_sources(files);
    assert_eq!(folder.len(), files.len());
    let expected = batches(folder.clone(), 6, 1);
    assert!(expected.iter().any(|batch| batch.labels.iter().any(|label| *label != Some(0))));
    for source in [shards, packed] {
        assert_eq!(source.class_names(), folder.class_names());
        assert!(batches(source.clone(), 6, 3) == expected);
    }
}

#[test]
fn folder_shards_and_packed_set_give_the_same_batches() {
    let files: Vec<_> =
        (0..14).map(|i| (format!("{}/{i:02}.png", ["ant", "bee"][i / 7]), png(i as u8))).collect();
    same_batches(&files);
}

/// Photographs, where they are at hand: an archive of an image folder is read by our own parser, and its files packed three ways.
#[test]
fn real_photographs_give_the_same_batches() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/datasets/imagenet-originals-mini.tar");
    if !path.is_file() {
        eprintln!("skipped: there is no {}", path.display());
        return;
    }
    let archive = fs::read(path).unwrap();
    let mut files = Vec::new();
    for entry in ::tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type() == EntryType::Regular {
            let name = entry.path().unwrap().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let mut parts = name.iter().rev().map(|part| part.to_str().unwrap());
            let (file, class) = (parts.next().unwrap(), parts.next().unwrap());
            files.push((format!("{class}/{file}").replace(".JPEG", ".jpg"), bytes));
        }
    }
    files.sort_unstable();
    // Two independent readers of the same archive.
    let mut ours: Vec<_> = found(&archive).into_iter().map(|(bytes, _)| bytes.to_vec()).collect();
    let mut theirs: Vec<_> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
    ours.sort_unstable();
    theirs.sort_unstable();
    assert!(ours.len() == 80 && ours == theirs);
    same_batches(&files);
}
