//! The file format: by the letter, and with every byte changed or missing.

use std::path::Path;

use mira_train::run_folder::container::{encoded_len, read, read_from, read_meta, write};
use mira_train::run_folder::{Error, Snapshot, SnapshotRef, Tensor, TensorData};
use serde_json::json;
use tempfile::TempDir;
use twox_hash::XxHash3_64;

use crate::support::{forge, forge_prologue, snapshot};

fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let mut file = Vec::new();
    write(&mut file, &snapshot.into(), Path::new("out")).unwrap();
    assert_eq!(encoded_len(&snapshot.into()).unwrap(), file.len() as u64);
    file
}

fn decode(file: &[u8]) -> Result<Snapshot, Error> {
    read_from(&mut &*file, file.len() as u64, Path::new("dir/step-00000001.mira"))
}

#[test]
fn the_checksum_is_the_published_one() {
    // XXH3_64bits of nothing, from the reference implementation's sanity tests.
    assert_eq!(XxHash3_64::oneshot(b""), 0x2d06_8005_38d3_94c2);
}

#[test]
fn a_file_is_what_the_format_says() {
    let mut data = Vec::new();
    for value in [1.0_f32, -2.5] {
        data.extend_from_slice(&value.to_le_bytes());
    }
    data.resize(64, 0);
    data.extend_from_slice(&[7; 65]);
    data.resize(192, 0);
    let first = XxHash3_64::oneshot(&data[..64]);
    let second = XxHash3_64::oneshot(&data[64..]);
    let header = format!(
        r#"{{"meta":{{"step":3}},"sections":[{{"name":"a","dtype":"f32","shape":[2,1],"offset":0,"length":8,"checksum":"{first:016x}"}},{{"name":"b","dtype":"u8","shape":[65],"offset":64,"length":65,"checksum":"{second:016x}"}}]}}"#
    );
    let expected = Snapshot {
        meta: json!({ "step": 3 }),
        tensors: vec![
            Tensor { name: "a".into(), shape: vec![2, 1], data: TensorData::F32(vec![1.0, -2.5]) },
            Tensor { name: "b".into(), shape: vec![65], data: TensorData::U8(vec![7; 65]) },
        ],
    };
    let file = forge(&header, &data);
    assert_eq!(decode(&file).unwrap(), expected);
    assert_eq!(encode(&expected), file);
}

#[test]
fn numbers_keep_their_bits() {
    let floats = [0.0, -0.0, f32::NAN, f32::from_bits(0x7fc0_1234), f32::INFINITY, 1e-45, 0.1];
    // More than a block, and no multiple of one.
    let many: Vec<f32> = (0..40_001_u16).map(|i| floats[usize::from(i) % 7]).collect();
    let doubles = vec![f64::from_bits(1), f64::MIN, 0.1, f64::from_bits(0x7ff8_0000_dead_beef)];
    // Of such numbers a JSON reader without care gets some wrong by the last bit.
    let meta: Vec<f64> = (1..2000)
        .map(|i| {
            f64::from_bits(0x3fb9_9999_9999_999a / 7 * 6 + i * 0x0003_1415_9265_3589 % (1 << 52))
        })
        .collect();
    let mut snapshot = SnapshotRef::new(json!({ "numbers": meta, "large": u64::MAX }));
    snapshot.push("f32", &many[..]);
    snapshot.push("f64", &doubles[..]);
    snapshot.push("none", &[] as &[u64]);
    let mut file = Vec::new();
    write(&mut file, &snapshot, Path::new("out")).unwrap();
    let mut read = decode(&file).unwrap();
    assert_eq!(read.meta["large"].as_u64(), Some(u64::MAX));
    let numbers: Vec<f64> = serde_json::from_value(read.meta["numbers"].take()).unwrap();
    let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&numbers), bits(&meta));
    let f32_bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(f32_bits(&read.take_f32("f32", 40_001).unwrap()), f32_bits(&many));
    assert_eq!(bits(&read.take_f64("f64", 4).unwrap()), bits(&doubles));
    assert_eq!(read.take_u64("none", 0).unwrap(), [0_u64; 0]);
    assert!(read.tensors.is_empty());
}

#[test]
fn a_tensor_of_another_network_is_refused() {
    let mut snapshot = snapshot(1, 10);
    for (error, words) in [
        (
            snapshot.take_f32("parameters", 11).unwrap_err(),
            ["parameters is 10 × f32", "expected 11 × f32"],
        ),
        (
            snapshot.take_f32("momentum", 10).unwrap_err(),
            ["momentum is 10 × f64", "expected 10 × f32"],
        ),
        (snapshot.take_u8("queue", 1).unwrap_err(), ["queue is missing", "expected 1 × u8"]),
    ] {
        let message = error.to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    assert_eq!(snapshot.take_f32("parameters", 10).unwrap().len(), 10);
}

#[test]
fn every_flipped_byte_is_found_and_its_section_named() {
    let file = encode(&snapshot(5, 30));
    let num_json = u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let start = (40 + num_json).next_multiple_of(64);
    // 30 × 4, 30 × 8, 2 × 8 and 3 bytes, each rounded up to 64.
    let ends = [40, start, start + 128, start + 384, start + 448, start + 512];
    let names = [
        "the prologue",
        "the header",
        "\"parameters\"",
        "\"momentum\"",
        "\"counters\"",
        "\"bytes\"",
    ];
    assert_eq!(file.len(), ends[5]);
    for at in 0..file.len() {
        let name = names[ends.iter().position(|&end| at < end).unwrap()];
        for flip in [0x01, 0x80, 0xff, 0x20] {
            let mut damaged = file.clone();
            damaged[at] ^= flip;
            let error = decode(&damaged).unwrap_err();
            assert!(matches!(error, Error::Checksum { .. }), "byte {at}: {error}");
            let message = error.to_string();
            assert!(message.contains("dir/step-00000001.mira"), "{message}");
            assert!(message.contains(name), "byte {at}: {message}");
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let file = encode(&snapshot(5, 30));
    for got in 0..file.len() {
        let error = decode(&file[..got]).unwrap_err();
        let Error::Truncated { expected, got: said, .. } = error else { panic!("{got}: {error}") };
        let least = if got < 40 { 40 } else { file.len() };
        assert_eq!((expected, said), (least as u64, got as u64));
        // A file that shrinks after its size was asked for.
        let error = read_from(&mut &file[..got], file.len() as u64, Path::new("f")).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{got}: {error}");
    }
    let mut longer = file;
    longer.push(0);
    assert!(matches!(decode(&longer), Err(Error::Trailing { .. })));
}

#[test]
fn versions_from_the_future_are_told_from_damage() {
    for version in [2, 7, u32::MAX] {
        // Whatever comes after the prologue then.
        let file = forge_prologue(version, 5, 1 << 40, b"cbor!", b"anything");
        let error = decode(&file).unwrap_err();
        let Error::NewerVersion { got, supported: 1, .. } = error else { panic!("{error}") };
        assert_eq!(got, version);
        assert!(error.to_string().contains(&format!("version {version}, newer than")), "{error}");
        assert!(!error.is_damage());
    }
    assert!(matches!(decode(&forge_prologue(0, 0, 40, b"", b"")), Err(Error::Header { .. })));
    let error = decode(&[b'x'; 100]).unwrap_err();
    assert!(matches!(error, Error::NotACheckpoint { .. }), "{error}");
}

#[test]
fn snapshots_that_could_not_be_read_are_not_written() {
    let with = |tensors: Vec<Tensor>| Snapshot { meta: json!({}), tensors };
    let tensor = |shape| Tensor { name: "a".into(), shape, data: TensorData::U8(vec![0; 6]) };
    let mut deep = json!(0);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    for (snapshot, words) in [
        (with(vec![tensor(vec![2, 2])]), "6 elements, expected shape [2, 2]"),
        (with(vec![tensor(vec![usize::MAX, 2])]), "6 elements"),
        (with(vec![tensor(vec![2, 3]), tensor(vec![6])]), "\"a\" appears twice"),
        (Snapshot { meta: deep, tensors: Vec::new() }, "recursion"),
        (
            Snapshot { meta: json!("x".repeat(1 << 20)), tensors: Vec::new() },
            "keep arrays as tensors",
        ),
    ] {
        let mut file = Vec::new();
        let error = write(&mut file, &(&snapshot).into(), Path::new("out")).unwrap_err();
        assert!(matches!(error, Error::Snapshot { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(file.is_empty());
    }
}

#[test]
fn files_and_their_meta_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.mira");
    let snapshot = snapshot(9, 100);
    let mut file = encode(&snapshot);
    std::fs::write(&path, &file).unwrap();
    assert_eq!(read(&path).unwrap(), snapshot);
    // The meta does not depend on the data being sound.
    *file.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &file).unwrap();
    assert!(matches!(read(&path), Err(Error::Checksum { .. })));
    assert_eq!(read_meta(&path).unwrap(), snapshot.meta);
    assert!(matches!(read(folder.path()), Err(Error::NotACheckpoint { .. })));
    assert!(matches!(read(&folder.path().join("b")), Err(Error::Unreadable { .. })));
}
