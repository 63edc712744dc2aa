//! A number that tells one pack from another: what goes in, and how.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

use super::input::{PackInput, PackOptions};
use super::{Pixels, VERSION};

/// What is counted below; another number for another choice, so that what was begun with another one is not gone on with.
const CONTENT: u64 = 2;

/// Settings that decide over the bytes, and every image's label, length and file name without its folder, so that a set may be moved.
pub(super) fn fingerprint(input: &PackInput, options: &PackOptions) -> u64 {
    let mut hasher = XxHash3_64::new();
    hasher.write(&VERSION.to_le_bytes());
    let (tag, short_side, quality) = match options.pixels {
        Pixels::Original => (0, 0, 0),
        Pixels::Jpeg { short_side, quality } => (1, short_side, quality),
        Pixels::Raw { short_side } => (2, short_side, 0),
    };
    let number = |hasher: &mut XxHash3_64, n: u64| hasher.write(&n.to_le_bytes());
    for n in [CONTENT, tag, short_side as u64, quality.into(), options.shard_bytes] {
        number(&mut hasher, n);
    }
    for source in input.splits().map(|(_, source)| source) {
        number(&mut hasher, source.len() as u64);
        for name in source.class_names() {
            text(&mut hasher, name);
        }
        for index in 0..source.len() {
            number(&mut hasher, source.label(index).map_or(u64::MAX, u64::from));
            // Sets that are numbered alike have the same names.
            number(&mut hasher, source.num_bytes(index).unwrap_or(u64::MAX));
            let name = source.name(index);
            text(&mut hasher, name.rsplit(['/', '\\']).next().unwrap_or_default());
        }
    }
    hasher.finish()
}

fn text(hasher: &mut XxHash3_64, text: &str) {
    hasher.write(&(text.len() as u64).to_le_bytes());
    hasher.write(text.as_bytes());
}
