//! Packed sets from any bytes: the index, the journal, and a whole set.

use std::fs;

use twox_hash::XxHash3_64;

use super::index::{Entry, Index, Kind};
use super::journal::{Record, Skipped, checksum, commit, replay};
use super::{INDEX as INDEX_FILE, SHARD_HEADER, open, shard_header, shard_path};
use crate::data::{Split, fuzzing};
use crate::fuzzing::{Format, file, folder, halves, joined};

/// An index: entries are a little larger than their bytes, names of classes six times.
pub(crate) const INDEX: Format =
    Format { name: "pack_index", read: index, memory: |n| 16 * n, seeds: index_seeds };

fn index(bytes: &[u8]) -> Result<(), String> {
    let _ = Index::parse(bytes);
    let parsed = Index::parse(&forged(bytes))?;
    assert!(parsed.num_train <= parsed.entries.len());
    for entry in &parsed.entries {
        assert!(entry.end() <= parsed.shards[entry.shard as usize]);
        assert!(entry.label.is_none_or(|label| (label as usize) < parsed.class_names.len()));
    }
    assert_eq!(Index::parse(&parsed.to_bytes()).as_ref(), Ok(&parsed));
    Ok(())
}

/// With the magic, the version, the length and the checksums right.
fn forged(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    if file.len() >= 64 {
        let length = file.len() as u64;
        file[..8].copy_from_slice(&super::index::MAGIC);
        file[16..24].copy_from_slice(&length.to_le_bytes());
        let body = XxHash3_64::oneshot(&file[64..]);
        file[24..32].copy_from_slice(&body.to_le_bytes());
        let prologue = XxHash3_64::oneshot(&file[..56]);
        file[56..64].copy_from_slice(&prologue.to_le_bytes());
    }
    file
}

fn example() -> Index {
    let entry = |offset, length, width, label, kind| Entry {
        shard: 0,
        offset: SHARD_HEADER as u64 + offset,
        length,
        checksum: 0,
        label,
        width,
        height: 2,
        kind,
    };
    Index {
        fingerprint: 9,
        class_names: vec!["cat".into(), "dog".into()],
        shards: vec![SHARD_HEADER as u64 + 30],
        entries: vec![
            entry(0, 12, 2, Some(1), Kind::Raw),
            entry(12, 12, 7, None, Kind::File),
            entry(24, 6, 1, Some(0), Kind::Raw),
        ],
        num_train: 2,
    }
}

fn index_seeds() -> Vec<Vec<u8>> {
    vec![example().to_bytes(), Index::default().to_bytes()]
}

/// What is behind a journal's header: records, and JSON in some.
pub(crate) const JOURNAL: Format =
    Format { name: "pack_journal", read: journal, memory: |n| 64 * n, seeds: journal_seeds };

fn journal(bytes: &[u8]) -> Result<(), String> {
    let _ = replay(bytes, |_| true);
    let mut commits = bytes.to_vec();
    let mut at = 0;
    // Checksums are made right.
    while let Some(fields) = commits.get(at..at + 12) {
        let length = [fields[0], fields[1], fields[2], fields[3]];
        let end = at + 12 + u32::from_le_bytes(length) as usize;
        let Some(payload) = commits.get(at + 12..end) else { break };
        let right = checksum(&length, payload);
        commits[at + 4..at + 12].copy_from_slice(&right.to_le_bytes());
        at = end;
    }
    let (records, good) = replay(&commits, |_| true);
    assert!(good <= commits.len());
    assert_eq!(replay(&commits[..good], |_| true), (records.clone(), good));
    let (_, none) = replay(&commits, |_| false);
    // Only commits without records are before the first that is refused.
    assert!(none == 0 || none <= good);
    let again = commit(&records);
    let length = again.len();
    assert_eq!(replay(&again, |_| true), (records, length));
    if good < commits.len() { Err(format!("it ends at byte {good}")) } else { Ok(()) }
}

fn journal_seeds() -> Vec<Vec<u8>> {
    let packed: Vec<_> = example().entries.into_iter().map(Record::Packed).collect();
    let skipped = Record::Skipped(Skipped {
        split: "test".into(),
        index: 3,
        name: "\u{fc}.jpg".into(),
        problem: "it is empty".into(),
    });
    vec![[commit(&packed), commit(&[skipped])].concat(), commit(&[])]
}

/// A set of one shard: an index, then the shard, of which what the index claims is made true as far as it can be.
pub(crate) const SET: Format =
    Format { name: "pack_set", read: set, memory: |n| 64 * n + 4 * SHARD, seeds: set_seeds };

/// The longest shard that is made.
const SHARD: usize = 1 << 16;

fn set(bytes: &[u8]) -> Result<(), String> {
    let (index, shard) = halves(bytes);
    let mut index = Index::parse(&forged(index))?;
    let folder = folder();
    if let [length] = index.shards[..]
        && (SHARD_HEADER as u64..SHARD as u64).contains(&length)
    {
        let mut shard = [&shard_header(index.fingerprint), shard].concat();
        shard.resize(length as usize, 0);
        for entry in &mut index.entries {
            let image = &shard[entry.offset as usize..entry.end() as usize];
            entry.checksum = XxHash3_64::oneshot(image);
        }
        fs::write(shard_path(&folder, 0), &shard).map_err(|e| e.to_string())?;
    }
    file(INDEX_FILE, &index.to_bytes());
    let mut last = Ok(());
    for split in [Split::Train, Split::Test] {
        match open(&folder, split) {
            Ok(set) => fuzzing::examine(&set),
            Err(error) => last = Err(error.to_string()),
        }
    }
    last
}

fn set_seeds() -> Vec<Vec<u8>> {
    let pixels: Vec<u8> = (0..30).collect();
    vec![joined(&example().to_bytes(), &pixels)]
}
