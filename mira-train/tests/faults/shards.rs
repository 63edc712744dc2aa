//! Headers of packed sets and tar shards made to do harm: typed errors, no panics, and memory by the file's true size.

use std::fs;
use std::path::Path;

use mira_train::data::{self, Error, Format, PackInput, PackOptions, Split, pack};
use proptest::prelude::*;
use tempfile::TempDir;
use twox_hash::XxHash3_64;

use crate::allocation::peak;

/// Opens a set on one thread alone, and says how much memory it took.
fn open(path: &Path, format: Format) -> (Result<usize, Error>, usize) {
    let open = || data::open(format, Some(path), Split::Train).map(|set| set.len());
    let alone = || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
        pool.build().unwrap().install(|| peak(open))
    };
    std::thread::scope(|scope| scope.spawn(alone).join().unwrap())
}

/// What is not for images: names, messages, the library of the file system.
const SOME: usize = 20_000;

fn packed() -> TempDir {
    let folder = TempDir::new().unwrap();
    let train = data::open(Format::Embedded, None, Split::Train).unwrap();
    let input = PackInput { train, test: None };
    pack(&input, folder.path(), &PackOptions::default(), &mut |_| {}).unwrap();
    folder
}

#[test]
fn an_index_takes_memory_for_what_is_there() {
    let folder = packed();
    let path = folder.path().join("index");
    let good = fs::read(&path).unwrap();
    let (opened, most) = open(folder.path(), Format::Packed);
    // An image is 40 bytes in the file; beside them in memory there is a slot for its pixels only where they are decoded.
    assert!(opened.unwrap() == 6000 && most < 2 * good.len() + SOME, "{most}");
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let number = prop_oneof![any::<u32>(), 0..300_u32, Just(u32::MAX), Just(1 << 31)];
    let changes = prop::collection::vec((0..600_usize, number), 1..4);
    runner
        .run(&changes, |changes| {
            let mut file = good.clone();
            for (at, value) in changes {
                // The fields of the prologue, the shards, the names, and the first and last images.
                let at = if at < 500 { at } else { good.len() - (at - 500) - 4 };
                file[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            file[16..24].copy_from_slice(&(good.len() as u64).to_le_bytes());
            let body = XxHash3_64::oneshot(&file[64..]);
            file[24..32].copy_from_slice(&body.to_le_bytes());
            let prologue = XxHash3_64::oneshot(&file[..56]);
            file[56..64].copy_from_slice(&prologue.to_le_bytes());
            fs::write(&path, &file).unwrap();
            let (opened, most) = open(folder.path(), Format::Packed);
            prop_assert!(most < 2 * good.len() + SOME, "{} bytes: {:?}", most, opened);
            if let Err(error) = opened {
                let text = error.to_string();
                prop_assert!(text.contains(folder.path().to_str().unwrap()), "{}", text);
            }
            Ok(())
        })
        .unwrap();
}

/// A header with a size in base 256, and its checksum.
fn header(kind: u8, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..5].copy_from_slice(b"1.jpg");
    block[124] = 0x80;
    block[128..136].copy_from_slice(&size.to_be_bytes());
    block[156] = kind;
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn a_tar_header_takes_memory_for_what_is_there() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("train.tar");
    for kind in *b"0LKxg5S" {
        for size in [1, 1 << 16, (1 << 16) + 1, 1 << 20, 1 << 31, 1 << 40, u64::MAX - 511, u64::MAX]
        {
            // Two megabytes, so that what is claimed may be there.
            let mut file = header(kind, size).to_vec();
            file.resize(2 << 20, b'7');
            fs::write(&path, &file).unwrap();
            let (opened, most) = open(&path, Format::WebDataset);
            let text = opened.unwrap_err().to_string();
            assert!(text.contains("train.tar"), "{text}");
            // A name as bytes and as text.
            assert!(most < 2 * (1 << 16) + SOME, "{most} bytes for {size}: {text}");
        }
    }
}
