//! A scan's bits, and the blocks of coefficients that they stand for.

use std::ops::Range;

use super::huffman::{
    END, LOOKUP, MAX_CODE, MAX_COEFFICIENT, MAX_DIFFERENCE, Table, extended, skip_and_size,
};
use super::transform::{Rows, TOGETHER};

/// Zeros after each piece, so that eight bytes can be read wherever there is a bit to come.
const SLACK: usize = 16;

/// Entries that are looked up before bits are made ready again.
const LOOKUPS: u32 = 4;

/// Where the coefficient of a place in zigzag order is in [`Rows`]; beyond the last one, behind them.
const NATURAL: [u16; 256] = {
    let mut natural = [64 * TOGETHER as u16; 256];
    let (mut row, mut column, mut is_up) = (0_u16, 0_u16, true);
    let mut place = 0;
    while place < 64 {
        natural[place] = 8 * TOGETHER as u16 * row + column;
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

/// Where a coefficient in zigzag order is in a block of eight rows.
pub(super) fn row_and_column(place: usize) -> usize {
    let at = usize::from(NATURAL[place]);
    at / TOGETHER / 8 * 8 + at % 8
}

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

/// Coefficients of blocks that wait for their transform.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Blocks([i16; 8 * (TOGETHER - 1) + BLOCK]);

/// Values from the first of a block on that it may write to: its rows and, behind them, what does not count. A power of two, so that places need no check.
const BLOCK: usize = 2 * 64 * TOGETHER;

impl Blocks {
    pub(super) const ZEROS: Self = Self([0; 8 * (TOGETHER - 1) + BLOCK]);

    pub(super) fn rows(&self) -> &Rows {
        self.0.first_chunk().expect("behind them is more")
    }

    /// The first coefficient of a block.
    #[inline(always)]
    pub(super) fn first(&mut self, block: usize) -> &mut i16 {
        &mut self.0[8 * block]
    }

    #[inline(always)]
    fn block(&mut self, block: usize) -> &mut [i16; BLOCK] {
        self.0[8 * block..].first_chunk_mut().expect("there is place for all")
    }

    /// Makes all coefficients 0.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.0[..64 * TOGETHER].fill(0);
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
    fn value(&mut self, size: u32) -> i16 {
        let value = extended(self.ahead, size);
        self.skip(size);
        value
    }

    /// Takes a code, where the table does not have its value, and gives its symbol.
    #[inline(always)]
    fn symbol(&mut self, table: &Table) -> Result<u32, Damage> {
        let (length, symbol) = table.code(self.ahead).ok_or(Damage::NoCode)?;
        self.skip(length);
        Ok(symbol)
    }

    /// Reads block number `block` into zeros. `last` is the first coefficient of the channel's block before.
    /// Returns whether all coefficients but the first are 0.
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        dc: &Table,
        ac: &Table,
        last: &mut i16,
        blocks: &mut Blocks,
        block: usize,
    ) -> Result<bool, Damage> {
        const { assert!(56 >= MAX_CODE + MAX_DIFFERENCE && 56 >= MAX_CODE + MAX_COEFFICIENT) };
        const { assert!(56 >= LOOKUPS * LOOKUP) };
        let coefficients = blocks.block(block);
        let mut put = |place: u32, value: i16| {
            coefficients[usize::from(NATURAL[(place & 255) as usize]) & (BLOCK - 1)] = value;
        };
        self.refill()?;
        let size = self.symbol(dc)?;
        *last = last.wrapping_add(self.value(size));
        put(0, *last);
        let mut place = 1;
        loop {
            self.refill()?;
            for _ in 0..LOOKUPS {
                let entry = ac.look_up(self.ahead);
                if entry.value() == 0 {
                    self.refill()?;
                    let (skip, size) = skip_and_size(self.symbol(ac)?);
                    place += skip;
                    put(place, self.value(size));
                    if place >= 63 {
                        return Ok(place == 1 + END);
                    }
                    place += 1;
                    break;
                }
                let (first, second) = (place + entry.first(), place + entry.second());
                put(first, entry.value());
                put(second, entry.second_value());
                if second >= 63 {
                    // What follows the last coefficient is the next block's.
                    let is_last = first >= 63;
                    self.skip(if is_last { entry.num_bits_of_first() } else { entry.num_bits() });
                    return Ok(first == 1 + END);
                }
                self.skip(entry.num_bits());
                place = second + 1;
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
        let natural: Vec<usize> = (0..64).map(row_and_column).collect();
        let start = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5];
        let end = [58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63];
        assert_eq!(natural[..16], start);
        assert_eq!(natural[48..64], end);
        let mut all = natural;
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
