//! Interrupted everywhere, and gone on from.

use super::*;
use crate::data::forward::forward;

/// A source whose file turns out to be damaged at one image.
struct Failing {
    source: Arc<dyn Source>,
    at: usize,
    num_loads: AtomicUsize,
}

impl Source for Failing {
    forward!(len num_classes class_names label load name relative_path num_bytes);

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, Error> {
        self.num_loads.fetch_add(1, Ordering::Relaxed);
        if index == self.at {
            return Err(Error::malformed("shard", "told to fail"));
        }
        self.source.encoded(index, into)
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

/// Names of files say little, above all where sets number their images.
#[test]
fn other_images_of_the_same_names_are_another_set() {
    let set = |side: usize| {
        let root = tempfile::tempdir().unwrap();
        for (i, class) in ["cat", "dog"].into_iter().enumerate() {
            let file = format!("train/{class}/{i}.jpg");
            write(root.path(), &[(&file, jpeg(&picture(side, 16 + i, 7)))]);
        }
        root
    };
    let (one, other) = (set(30), set(31));
    let options = options(Pixels::Original);
    let complete = packed(one.path(), Pixels::Original);
    let stopped = tempfile::tempdir().unwrap();
    pack_to(&failing(one.path(), 1).0, stopped.path(), &options).unwrap_err();
    for to in [complete, stopped] {
        let error = pack_to(&input(other.path()), to.path(), &options).unwrap_err();
        assert!(matches!(error, PackError::Occupied { .. }), "{error}");
        pack_to(&input(one.path()), to.path(), &options).unwrap();
    }
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
    let far = Entry {
        shard: u32::MAX,
        offset: 16,
        length: 1,
        checksum: 0,
        label: None,
        width: 1,
        height: 1,
        kind: Kind::File,
    };
    let far = journal::commit(&[Record::Packed(far)]);
    assert_eq!(goes_on(&with("journal", &|b| b.extend(&far)), "a shard that is not there"), all);
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
