//! Shards and their cache from any bytes.

use std::io::Cursor;

use twox_hash::XxHash3_64;

use super::cache::{self, Cache, Stamp};
use super::samples::{Problem, Sample, Samples, scan};
use super::tar::{self, BLOCK};
use crate::fuzzing::Format;

/// A tar file. JSON of `n` bytes may become `n / 2` values of 32 bytes, in a vector that has doubled.
pub(crate) const SHARD: Format =
    Format { name: "shard", read: shard, memory: |n| 64 * n, seeds: shard_seeds };

fn shard(bytes: &[u8]) -> Result<(), String> {
    let _ = samples(bytes);
    samples(&forged(bytes))
}

fn samples(archive: &[u8]) -> Result<(), String> {
    let size = archive.len() as u64;
    let found = scan(Cursor::new(archive), size).map_err(|problem| match problem {
        Problem::Malformed(problem) => problem,
        Problem::Io(error) => panic!("memory can be read: {error}"),
    })?;
    assert_eq!(found.names.len(), found.places.len());
    for Sample { offset, length, label } in found.places {
        assert!(offset + u64::from(length) <= size && offset >= BLOCK as u64);
        assert_ne!(label, Some(u32::MAX));
    }
    Ok(())
}

/// With the checksums of all headers right.
fn forged(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..at + BLOCK) {
        let block: &mut [u8; BLOCK] = block.try_into().expect("a block");
        if block.iter().all(|&byte| byte == 0) {
            break;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let Ok(Some(header)) = tar::header(block) else { break };
        let next = header.size.checked_next_multiple_of(BLOCK as u64);
        match next.and_then(|size| usize::try_from(size).ok()?.checked_add(at + BLOCK)) {
            Some(next) => at = next,
            None => break,
        }
    }
    archive
}

fn member(kind: u8, name: &str, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..136].copy_from_slice(format!("{:011o} ", data.len()).as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block.extend(data);
    block.resize(block.len().next_multiple_of(BLOCK), 0);
    block
}

fn shard_seeds() -> Vec<Vec<u8>> {
    let end = vec![0; 2 * BLOCK];
    let plain = [
        member(b'0', "a/1.jpg", b"one"),
        member(b'0', "a/1.cls", b"7\n"),
        member(b'0', "2.json", br#"{"caption": "a dog", "label": 3}"#),
        member(b'0', "2.png", b"two"),
        end.clone(),
    ];
    let long = [
        member(b'L', "././@LongLink", b"a/long/name.jpg\0"),
        member(b'0', "a/lo", b"one"),
        member(b'K', "././@LongLink", b"to\0"),
        member(b'5', "folder/", b""),
        end.clone(),
    ];
    let extended = [
        member(b'g', "global", b"20 comment=nothing.\n"),
        member(b'x', "header", b"16 path=x/1.jpg\n9 size=3\n"),
        member(b'0', "short", b"one"),
        end,
    ];
    // Their checksums are made right when they are read.
    [plain.concat(), long.concat(), extended.concat()].map(|archive| forged(&archive)).into()
}

/// The file `.mira-webdataset`.
pub(crate) const CACHE: Format =
    Format { name: "shard_cache", read: cached, memory: |n| 64 * n, seeds: cache_seeds };

fn cached(bytes: &[u8]) -> Result<(), String> {
    let _ = cache::KIND.parse(bytes, cache::parse);
    let file = forged_cache(bytes);
    let shards = cache::KIND.parse(&file, cache::parse).ok_or("it is no cache")?;
    for (stamp, samples) in shards.values() {
        assert_eq!(samples.names.len(), samples.places.len());
        for Sample { offset, length, .. } in &samples.places {
            assert!(*length == u32::MAX || offset + u64::from(*length) <= stamp.size);
        }
    }
    let written = cache::KIND.to_bytes(&Cache::of(shards.clone()).to_bytes());
    assert_eq!(cache::KIND.parse(&written, cache::parse), Some(shards), "what is written reads");
    Ok(())
}

/// With the checksum right.
fn forged_cache(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    if file.len() >= 20 {
        let checksum = XxHash3_64::oneshot(&file[20..]);
        file[12..20].copy_from_slice(&checksum.to_le_bytes());
    }
    file
}

fn cache_seeds() -> Vec<Vec<u8>> {
    let stamp = |size| Stamp { size, modified: 5 };
    let mut samples = Samples::default();
    for (offset, label, name) in [(512, None, "a/1.jpg"), (1024, Some(7), "")] {
        samples.places.push(Sample { offset, length: 30, label });
        samples.names.push(name.as_bytes());
    }
    let shards = [
        ("0.tar".into(), (stamp(4096), samples)),
        ("1.tar".into(), (stamp(512), Samples::default())),
    ];
    [Cache::of(shards.into()), Cache::default()]
        .map(|cache| cache::KIND.to_bytes(&cache.to_bytes()))
        .into()
}
