//! Headers made to do harm: typed errors, no panics, and memory by the file's true size.

use std::path::Path;

use mira_train::run_folder::container::read_from;
use mira_train::run_folder::{Error, Snapshot};
use proptest::prelude::*;
use serde_json::json;
use twox_hash::XxHash3_64;

use crate::allocation::peak;
use crate::support::{forge, forge_prologue, snapshot};

/// Reads a file and holds the memory that takes against its size. JSON of `n` bytes may become `n / 2` values of 32 bytes, in a vector that
/// has doubled its capacity and has the old one beside it.
fn read(file: &[u8], num_json: usize) -> Result<Snapshot, Error> {
    let (result, peak) = peak(|| read_from(&mut &*file, file.len() as u64, Path::new("hostile")));
    let allowed = 2 * file.len() + 56 * num_json + 4096;
    assert!(peak <= allowed, "{peak} bytes for a file of {}: {result:?}", file.len());
    if let Err(error) = &result {
        assert!(error.to_string().contains("hostile"), "{error}");
    }
    result
}

/// Numbers that overflow when they are multiplied, added or rounded up.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..200_u64,
        Just(64),
        any::<u64>(),
        (0..64_u32, 0..3_u64).prop_map(|(bit, less)| (1_u64 << bit).wrapping_sub(less)),
        (0..70_u64).prop_map(|less| u64::MAX - less),
    ]
}

fn section() -> impl Strategy<Value = serde_json::Value> {
    let dtype = prop_oneof![Just("f32"), Just("u8"), Just("u64"), Just("f64"), Just("f16")];
    let shape = prop::collection::vec(number(), 0..4);
    let checksum = prop_oneof![
        Just(format!("{:016x}", XxHash3_64::oneshot(&[0; 64]))),
        Just(format!("{:016x}", XxHash3_64::oneshot(b""))),
        "[0-9a-f+]{0,17}",
    ];
    ("[ab]", dtype, shape, number(), number(), checksum, any::<bool>()).prop_map(
        |(name, dtype, shape, offset, length, checksum, consistent)| {
            // Half of them with the length their shape asks for, to come past the first check.
            let bytes = match dtype {
                "u8" => 1,
                "f32" => 4,
                _ => 8_u64,
            };
            let product = shape.iter().fold(bytes, |n, &d| n.wrapping_mul(d));
            let length = if consistent { product } else { length };
            json!({ "name": name, "dtype": dtype, "shape": shape, "offset": offset, "length": length, "checksum": checksum })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn headers_with_hostile_sections(
        mut sections in prop::collection::vec(section(), 0..4),
        first_fits in any::<bool>(),
        num_blocks in 0..5_usize,
    ) {
        if let (true, Some(first)) = (first_fits, sections.first_mut()) {
            first["offset"] = json!(0);
        }
        let data = vec![0; 64 * num_blocks];
        let header = json!({ "meta": {}, "sections": sections }).to_string();
        match read(&forge(&header, &data), header.len()) {
            // What is believed must add up.
            Ok(snapshot) => {
                let num_bytes: usize = snapshot
                    .tensors
                    .iter()
                    .map(|t| t.data.as_ref().len())
                    .sum();
                prop_assert!(num_bytes <= data.len());
            }
            Err(Error::Header { .. } | Error::Checksum { .. }) => {}
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn hostile_prologues(
        version in 0..3_u32,
        num_json in prop_oneof![any::<u32>(), 0..300_u32],
        total in prop_oneof![number(), Just(296_u64)],
        right_total in any::<bool>(),
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let total = if right_total { 40 + rest.len() as u64 } else { total };
        let (header, data) = rest.split_at(rest.len().min(216));
        let file = forge_prologue(version, num_json, total, header, data);
        prop_assert!(read(&file, file.len()).is_err());
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        prop_assert!(read(&bytes, 0).is_err());
    }

    #[test]
    fn random_headers(text in r#"[\[\]{}":,0-9a-z \\]{0,300}"#, data in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&forge(&text, &data), text.len()).is_err());
    }

    #[test]
    fn good_files_with_some_bytes_changed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..8),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let good = {
            let mut file = Vec::new();
            let snapshot = snapshot(3, 50);
            mira_train::run_folder::container::write(&mut file, &(&snapshot).into(), Path::new("o")).unwrap();
            file
        };
        let mut file = good.clone();
        for (at, flip) in changes {
            let at = at.index(file.len());
            file[at] ^= flip;
        }
        if cut {
            file.truncate(length.index(good.len()));
        }
        let same = file == good; // two changes may undo each other
        prop_assert_eq!(read(&file, file.len()).is_ok(), same);
    }
}

#[test]
fn json_that_grows_in_memory_is_bounded_by_the_headers_limit() {
    let zeros = |n: usize| format!("{{\"meta\":[0{}],\"sections\":[]}}", ",0".repeat(n));
    let header = zeros(500_000);
    let snapshot = read(&forge(&header, b""), header.len()).unwrap();
    assert_eq!(snapshot.meta.as_array().unwrap().len(), 500_001);
    let header = zeros(600_000);
    let error = read(&forge(&header, b""), 0).unwrap_err();
    assert!(matches!(error, Error::Header { .. }), "{error}");
}

#[test]
fn sections_that_overlap_repeat_or_leave_gaps() {
    let checksum = format!("{:016x}", XxHash3_64::oneshot(&[0; 64]));
    let section = |name: &str, offset: u64, length: u64| json!({ "name": name, "dtype": "u8", "shape": [length], "offset": offset, "length": length, "checksum": checksum });
    let file = |sections: &[serde_json::Value]| {
        let header = json!({ "meta": null, "sections": sections }).to_string();
        (forge(&header, &[0; 128]), header.len())
    };
    let (good, num_json) = file(&[section("a", 0, 64), section("b", 64, 1)]);
    assert_eq!(read(&good, num_json).unwrap().tensors.len(), 2);
    for (sections, words) in [
        (vec![section("a", 0, 64), section("b", 0, 64)], "does not begin"),
        (vec![section("a", 64, 64)], "does not begin"),
        (vec![section("a", 0, 64), section("a", 64, 64)], "appears twice"),
        (vec![section("a", 0, 64)], "have 64 bytes, and the file 128"),
        (vec![section("a", 0, 129)], "beyond the end"),
        (vec![section("a", 0, u64::MAX)], "beyond the end"),
    ] {
        let (file, num_json) = file(&sections);
        let error = read(&file, num_json).unwrap_err();
        assert!(matches!(error, Error::Header { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
