//! A scan's bits, and the blocks of coefficients that they stand for.

use std::ops::Range;

use super::huffman::{
    END, Entry, LOOKUP, MAX_CODE, MAX_COEFFICIENT, MAX_DIFFERENCE, Table, extended, skip_and_size,
};

/// Zeros after each piece, so that eight bytes can be read wherever there is a bit to come.
const SLACK: usize = 16;

/// Where the coefficient of a place in zigzag order is in a block; beyond the last one, where it does not count.
const NATURAL: [u8; 128] = {
    let mut natural = [64; 128];
    let (mut row, mut column, mut is_up) = (0_u8, 0_u8, true);
    let mut place = 0;
    while place < 64 {
        natural[place] = 8 * row + column;
        match (is_up, row, column) {
            (true, _, 7) => (row, is_up) = (row + 1, false),
            (true, 0, _) => (column, is_up) = (column + 1, false),
            (true, ..) => (row, column) = (row - 1, column + 1),
            (false, 7, _) => (column, is_up) = (column + 1, true),
            (false, _, 0) => (row, is_up) = (row + 1, true),
            (false, ..) => (row, column) = (row + 1, column - 1),
        }
        place += 1;
    }
    natural
};

/// A scan's bytes without what tells them from markers, in pieces between restart markers.
#[derive(Debug, Default)]
pub(super) struct Scan {
    bytes: Vec<u8>,
    /// Without the zeros after each.
    pieces: Vec<Range<usize>>,
}

impl Scan {
    /// Takes a scan that is followed by the end of the image; `None` where something else follows, or nothing.
    pub(super) fn read(&mut self, mut rest: &[u8]) -> Option<()> {
        self.bytes.clear();
        self.pieces.clear();
        self.bytes.reserve(rest.len() + SLACK);
        let (mut start, mut restarts) = (0, (0xD0..=0xD7).cycle());
        loop {
            let (before, after) = rest.split_at(memchr::memchr(0xFF, rest)?);
            self.bytes.extend_from_slice(before);
            let marker = *after.get(1)?;
            rest = &after[2..];
            if marker == 0 {
                self.bytes.push(0xFF);
                continue;
            }
            self.pieces.push(start..self.bytes.len());
            self.bytes.extend_from_slice(&[0; SLACK]);
            start = self.bytes.len();
            if marker == 0xD9 {
                return Some(());
            }
            if Some(marker) != restarts.next() {
                return None;
            }
        }
    }

    /// The bits of each piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Bits<'_>> {
        self.pieces.iter().map(|piece| Bits {
            bytes: &self.bytes[piece.start..piece.end + SLACK],
            at: 0,
            ahead: 0,
            num_ahead: 0,
        })
    }
}

/// Bits that end before they should, or are no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    Cut,
    NoCode,
}

/// Bits from the first of a byte to the last.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    /// With the zeros.
    bytes: &'a [u8],
    /// The first byte of which nothing counts as read.
    at: usize,
    /// The next ones, first in front.
    ahead: u64,
    /// How many of them there are; those behind are right as well, or 0.
    num_ahead: u32,
}

/// A block's coefficients in rows, each times its step, in the lower 16 bits, and after them a place for what does not count.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Block(pub(super) [i16; 128]);

impl Block {
    pub(super) const ZEROS: Self = Self([0; 128]);

    pub(super) fn coefficients(&self) -> &[i16; 64] {
        self.0.first_chunk().expect("128 are 64 at least")
    }
}

impl Bits<'_> {
    /// Makes 56 bits ready, at least, 0x38; those after the end are zeros.
    #[inline(always)]
    fn refill(&mut self) -> Result<(), Damage> {
        let Some(next) = self.bytes.get(self.at..self.at + 8) else { return Err(Damage::Cut) };
        let next = u64::from_be_bytes(next.try_into().expect("eight bytes"));
        self.ahead |= next >> self.num_ahead;
        self.at += ((63 - self.num_ahead) >> 3) as usize;
        self.num_ahead |= 0x38;
        Ok(())
    }

    #[inline(always)]
    fn skip(&mut self, num_bits: u32) {
        self.ahead <<= num_bits;
        self.num_ahead -= num_bits;
    }

    /// Takes the `size` bits of a value.
    #[inline(always)]
    fn value(&mut self, size: u32) -> i32 {
        let value = extended(self.ahead, size);
        self.skip(size);
        value
    }

    /// Takes a code that an entry does not have the value of, and gives its symbol.
    #[inline(always)]
    fn symbol(&mut self, table: &Table, entry: Entry) -> Result<u32, Damage> {
        let (length, symbol) = table.code(entry, self.ahead).ok_or(Damage::NoCode)?;
        self.skip(length);
        Ok(symbol)
    }

    /// Reads a block into zeros. `steps` are in zigzag order, `first` is the first coefficient of the channel's block before, without its step.
    /// Returns whether all coefficients but the first are 0.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        dc: &Table,
        ac: &Table,
        steps: &[i32; 128],
        first: &mut i32,
        block: &mut Block,
    ) -> Result<bool, Damage> {
        self.refill()?;
        let size = self.symbol(dc, dc.look_up(self.ahead))?;
        *first = first.wrapping_add(self.value(size));
        block.0[0] = first.wrapping_mul(steps[0]) as i16;
        let mut place = 1;
        loop {
            self.refill()?;
            // Two entries leave enough for whatever comes third.
            const { assert!(56 - 2 * LOOKUP >= MAX_CODE + MAX_COEFFICIENT) };
            const { assert!(56 >= MAX_CODE + MAX_DIFFERENCE) };
            for _ in 0..3 {
                let entry = ac.look_up(self.ahead);
                let is_complete = entry.value() != 0;
                let (skip, value) = if is_complete {
                    self.skip(entry.num_bits());
                    (entry.skip_or_symbol(), entry.value())
                } else {
                    let (skip, size) = skip_and_size(self.symbol(ac, entry)?);
                    (skip, self.value(size))
                };
                place += skip;
                let at = (place & 127) as usize;
                block.0[usize::from(NATURAL[at] & 127)] = value.wrapping_mul(steps[at]) as i16;
                place += 1;
                if place > 63 {
                    return Ok(place == 1 + END + 1);
                }
                if !is_complete {
                    break;
                }
            }
        }
    }

    /// Whether more was read than there is.
    pub(super) fn is_beyond_the_end(&self) -> bool {
        8 * self.at - self.num_ahead as usize > 8 * (self.bytes.len() - SLACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neighbours on a diagonal, from its lower left to its upper right and back.
    #[test]
    fn the_zigzag_is_the_standards() {
        let start = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5];
        let end = [58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63];
        assert_eq!(NATURAL[..16], start);
        assert_eq!(NATURAL[48..64], end);
        let mut all = NATURAL[..64].to_vec();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..64));
    }
    fn pieces(file: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut scan = Scan::default();
        // What was there before does not count.
        scan.read(&[1, 2, 0xFF, 0xD0, 3, 0xFF, 0xD9]).unwrap();
        scan.read(file)?;
        Some(scan.pieces.iter().map(|piece| scan.bytes[piece.clone()].to_vec()).collect())
    }

    #[test]
    fn scans_are_taken_apart_at_restart_markers() {
        assert_eq!(pieces(&[7, 0xFF, 0xD9, 8]), Some(vec![vec![7]]));
        assert_eq!(pieces(&[7, 0xFF, 0, 0, 0xFF, 0xD9]), Some(vec![vec![7, 0xFF, 0]]));
        let two = [1, 0xFF, 0xD0, 0xFF, 0, 0xFF, 0xD1, 0xFF, 0xD9];
        assert_eq!(pieces(&two), Some(vec![vec![1], vec![0xFF], vec![]]));
        // In another order; followed by another scan; without an end.
        assert_eq!(pieces(&[1, 0xFF, 0xD1, 2, 0xFF, 0xD9]), None);
        assert_eq!(pieces(&[1, 0xFF, 0xDA, 2, 0xFF, 0xD9]), None);
        assert_eq!(pieces(&[1, 0xFF, 0xFF, 0xD9]), None);
        for cut in [&[][..], &[1], &[1, 0xFF], &[1, 0xFF, 0]] {
            assert_eq!(pieces(cut), None);
        }
    }

    /// All bits and not one more.
    #[test]
    fn the_end_is_noticed() {
        let mut scan = Scan::default();
        let bytes: Vec<u8> = (1..30).collect();
        scan.read(&[&bytes[..], &[0xFF, 0xD9]].concat()).unwrap();
        for step in [1, 3, 7, 11, 26] {
            let mut bits = scan.pieces().next().unwrap();
            let (mut num_read, mut is_cut) = (0, false);
            while num_read < 8 * bytes.len() + 200 && !is_cut {
                is_cut = bits.refill().is_err();
                if !is_cut {
                    let expected = (num_read..num_read + 32).fold(0, |all, i| {
                        2 * all
                            + bytes.get(i / 8).map_or(0, |byte| u64::from(byte >> (7 - i % 8) & 1))
                    });
                    assert_eq!(bits.ahead >> 32, expected, "{num_read}");
                    bits.skip(step);
                    num_read += step as usize;
                    assert_eq!(bits.is_beyond_the_end(), num_read > 8 * bytes.len(), "{num_read}");
                }
            }
            assert!(is_cut, "{step}");
        }
    }
}
