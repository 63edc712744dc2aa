//! Packing that is killed, or runs out of disk, goes on to the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mira_train::data::{
    self, Format, PackError, PackInput, PackOptions, PackReport, Pixels, Split, pack,
};
use tempfile::TempDir;

#[cfg(unix)]
use crate::full_disk::{on_small_disk, run_behind};
use crate::support::{Other, say};

/// 7,000 images of 588 bytes, in 70 commits and 5 shards.
fn options() -> PackOptions {
    PackOptions {
        pixels: Pixels::Raw { short_side: 14 },
        num_threads: 2,
        shard_bytes: 1 << 20,
        commit_bytes: 60_000,
        ..PackOptions::default()
    }
}

fn pack_to(folder: &Path) -> Result<PackReport, PackError> {
    pack_saying(folder, &mut || {})
}

fn pack_saying(
    folder: &Path,
    progress: &mut (dyn FnMut() + Send),
) -> Result<PackReport, PackError> {
    let open = |split| data::open(Format::Embedded, None, split).unwrap();
    let input = PackInput { train: open(Split::Train), test: Some(open(Split::Test)) };
    pack(&input, folder, &options(), &mut |_| progress())
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files.map(|f| (f.file_name().into_string().unwrap(), fs::read(f.path()).unwrap())).collect()
}

fn uninterrupted() -> BTreeMap<String, Vec<u8>> {
    let folder = TempDir::new().unwrap();
    pack_to(folder.path()).unwrap();
    contents(folder.path())
}

/// The other process.
pub(crate) fn pack_in(folder: &Path) {
    let mut is_said = false;
    let mut under_way = || {
        if !std::mem::replace(&mut is_said, true) {
            say("under way");
        }
    };
    let report = pack_saying(folder, &mut under_way).unwrap();
    say(&report.num_resumed.to_string());
}

#[test]
fn sigkill_at_random_moments_of_packing() {
    let expected = uninterrupted();
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path().join("packed");
    let (mut num_killed, mut finished) = (0, None);
    for kill in 0..30_u64 {
        let mut other = Other::start("pack", &folder);
        // Some while the process begins, the others while it packs.
        if kill % 4 != 0 {
            other.says();
        }
        std::thread::sleep(Duration::from_micros(kill * 7919 % 23 * 2113));
        other.kill();
        while let Some(said) = other.says() {
            finished = said.parse::<usize>().ok().or(finished);
        }
        if finished.is_some() {
            break;
        }
        num_killed += 1;
    }
    // A slow machine may not have come to the end between two kills.
    let num_resumed = finished.unwrap_or_else(|| pack_to(&folder).unwrap().num_resumed);
    assert!(contents(&folder) == expected);
    assert!(num_killed > 0 && num_resumed > 0, "{num_killed} {num_resumed}");
}

#[cfg(unix)]
#[test]
fn packing_to_a_full_disk() {
    on_small_disk("size=6m", "pack on a full disk");
}

/// The other process, on 6 MB.
#[cfg(unix)]
pub(crate) fn on_a_full_disk(disk: &Path) {
    let (folder, filler) = (disk.join("packed"), disk.join("filler"));
    fs::write(&filler, vec![1; 3 << 20]).unwrap();
    let error = pack_to(&folder).unwrap_err();
    assert!(matches!(error, PackError::Write { .. }) && error.exit_code() == 1, "{error}");
    assert!(error.to_string().contains("run the same command again"), "{error}");
    let error = data::open(Format::Auto, Some(&folder), Split::Train).err().unwrap();
    assert!(error.to_string().contains("has not been finished"), "{error}");
    fs::remove_file(filler).unwrap();
    assert!(pack_to(&folder).unwrap().num_resumed > 1000);
    let set = data::open(Format::Auto, Some(&folder), Split::Train).unwrap();
    let mut image = data::Image::default();
    (0..set.len()).for_each(|i| set.load(i, &mut image).unwrap());
    say("done");
}

#[cfg(unix)]
#[test]
fn shards_that_may_not_grow() {
    let folder = TempDir::new().unwrap();
    let script = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"";
    let launcher = ["sh", "-c"];
    run_behind(&launcher, script, "pack a file that may not grow", folder.path()).unwrap();
    // Without the limit.
    assert!(pack_to(folder.path()).unwrap().num_resumed > 0);
    assert!(contents(folder.path()) == uninterrupted());
}

/// The other process, whose files may have half a megabyte, or a whole one.
#[cfg(unix)]
pub(crate) fn that_may_not_grow(folder: &Path) {
    let error = pack_to(folder).unwrap_err();
    assert!(matches!(error, PackError::Write { .. }), "{error}");
    assert!(error.to_string().contains("blobs-00000"), "{error}");
    say("done");
}
