//! What fuzzers found, and changed seeds, read by every format.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::mutate::changed;
use super::*;
use crate::rng::{Purpose, Rng};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Changed seeds a format, where `MIRA_FUZZ_CHANGES` does not say otherwise; a fuzzer tries millions.
const fn num_changes(format: &Format) -> u32 {
    match format.name.as_bytes() {
        // Those that are read from files, or make curves.
        b"cifar" | b"npy" | b"parquet" | b"weights" | b"metrics" | b"recipe" | b"pack_set" => 400,
        _ => 2000,
    }
}

fn committed() -> [PathBuf; 2] {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    [fuzz.join("corpus"), fuzz.join("regressions")]
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.sort_unstable();
    files
}

#[test]
fn the_peak_is_what_was_held_at_once() {
    let ((), peak) = peak(|| {
        drop(std::hint::black_box(vec![1_u8; 1000]));
        drop(std::hint::black_box(vec![0_u8; 3000]));
    });
    assert_eq!(peak, 3000);
}

#[test]
fn what_our_writers_write_is_read() {
    for format in FORMATS {
        for (i, seed) in format.seeds().iter().enumerate() {
            let read = format.check(seed);
            assert_eq!(read, Ok(()), "seed {i} of {}", format.name);
        }
    }
}

/// Files that a fuzzer kept because they reach other code than those before, and files that once were read wrongly.
#[test]
fn every_file_of_the_corpus_and_every_regression_is_read() {
    let known: BTreeSet<_> = FORMATS.iter().map(|format| format.name).collect();
    for folder in committed() {
        for of_format in files(&folder).iter().filter(|path| path.is_dir()) {
            let name = of_format.file_name().unwrap().to_str().unwrap();
            let optional = ["parquet", "hub"];
            assert!(known.contains(name) || optional.contains(&name), "no format {name}");
        }
    }
    for format in FORMATS {
        let [corpus, regressions] = committed().map(|folder| files(&folder.join(format.name)));
        assert!(!corpus.is_empty(), "no corpus for {}", format.name);
        for path in corpus.iter().chain(&regressions) {
            // Only a panic names no file.
            eprintln!("{}", path.display());
            let _ = format.check(&fs::read(path).unwrap());
        }
    }
}

/// Seeds with changes are read or refused, and what is behind checksums is reached.
fn changed_bytes(format: Format) {
    let changes =
        std::env::var("MIRA_FUZZ_CHANGES").map_or(num_changes(&format), |n| n.parse().unwrap());
    let seeds = format.seeds();
    let (mut num_read, mut num_refused) = (0, 0);
    for i in 0..changes {
        let bytes = changed(&seeds, &mut Rng::new(0, Purpose::Other(1), [i, 0, 0]));
        // Shown where the check panics.
        eprintln!("{}, change {i}", format.name);
        match format.check(&bytes) {
            Ok(()) => num_read += usize::from(!seeds.contains(&bytes)),
            Err(_) => num_refused += 1,
        }
    }
    assert!(num_read > 0, "nothing that was changed is read");
    assert!(num_refused > 0, "nothing is refused");
}

macro_rules! changed_bytes {
    ($($(#[$only:meta])* $name:ident)*) => {
        /// A test a format, so that they run beside each other.
        mod changed_bytes {
            use super::*;

            $($(#[$only])* #[test] fn $name() {
                super::changed_bytes(Format::find(stringify!($name)).unwrap());
            })*

            #[test]
            fn no_format_is_without() {
                let names = [$($(#[$only])* stringify!($name)),*];
                let formats: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
                assert_eq!(formats, names);
            }
        }
    };
}
changed_bytes! {
    decode idx cifar
    #[cfg(feature = "parquet")]
    parquet
    shard shard_cache folder_index pack_index pack_journal pack_set container metrics quarantine npy weights recipe
    #[cfg(feature = "fetch")]
    hub
}
