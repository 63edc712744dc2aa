//! Damaged everywhere, and found.

use super::*;

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
fn images_of_another_size_than_the_index_says_are_refused() {
    let to = packed(folder().path(), Pixels::Original);
    let mut index = fs::read(to.path().join(INDEX)).unwrap();
    let first = index.len() - 15 * 40;
    index[first + 28] += 1;
    fs::write(to.path().join(INDEX), forge(index)).unwrap();
    let set = data::open(Format::Packed, Some(to.path()), Split::Train).unwrap();
    let mut image = Image::default();
    let error = set.load(0, &mut image).unwrap_err().to_string();
    assert!(error.contains("(20, 44) pixels, the index says (21, 44)"), "{error}");
    set.load(1, &mut image).unwrap();
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
        ..LoaderConfig::default()
    };
    let error = Loader::new(train, config, 0).unwrap().next_batch().unwrap_err();
    assert!(error.to_string().contains("blobs-00001"), "{error}");
    let options = PackOptions { max_bad_fraction: 1.0, ..options(Pixels::Original) };
    let again = tempfile::tempdir().unwrap();
    let error = pack_to(&input(to.path()), again.path(), &options).unwrap_err();
    assert!(error.to_string().contains("blobs-00001"), "{error}");
}
