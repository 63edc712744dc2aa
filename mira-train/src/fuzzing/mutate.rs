//! Changed bytes: flips, cuts, splices, and numbers at their limits.

use crate::rng::Rng;

/// One of the seeds after one to four changes.
pub(super) fn changed(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seeds[below(rng, seeds.len())].clone();
    for _ in 0..=below(rng, 4) {
        change(&mut bytes, seeds, rng);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let at = below(rng, bytes.len() + 1);
    let length = 1 + below(rng, 16).min(bytes.len().saturating_sub(at));
    let end = (at + length).min(bytes.len());
    match below(rng, 8) {
        0 => bytes.truncate(at),
        1 => bytes.drain(at..end).for_each(drop),
        2 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        3 => {
            let other = &seeds[below(rng, seeds.len())];
            let from = below(rng, other.len() + 1);
            bytes.splice(at.., other[from..].iter().copied());
        }
        4 => put(bytes, at, &number(rng)),
        5 => bytes[at..end].fill_with(|| rng.next_u32().to_le_bytes()[0]),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << below(rng, 8);
            }
        }
    }
}

/// A number near a limit, of any width and order of bytes, or in digits.
fn number(rng: &mut Rng) -> Vec<u8> {
    let bit = below(rng, 64);
    let value = (1_u64 << bit).wrapping_sub(below(rng, 3) as u64);
    match below(rng, 5) {
        0 => value.to_string().into_bytes(),
        1 => value.to_be_bytes()[4..].into(),
        2 => value.to_le_bytes()[..4].into(),
        3 => value.to_be_bytes().into(),
        _ => value.to_le_bytes().into(),
    }
}

/// In place of what is there, as far as there is anything.
fn put(bytes: &mut [u8], at: usize, number: &[u8]) {
    for (to, from) in bytes[at..].iter_mut().zip(number) {
        *to = *from;
    }
}

fn below(rng: &mut Rng, n: usize) -> usize {
    rng.below(u32::try_from(n).expect("short bytes")) as usize
}
