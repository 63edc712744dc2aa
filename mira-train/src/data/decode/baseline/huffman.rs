//! Huffman codes as tables of what the next bits mean.

/// Bits that are looked up at once.
pub(super) const LOOKUP: u32 = 11;

/// Bits of a code, at most.
pub(super) const MAX_CODE: u32 = 16;

/// Bits of a first coefficient's difference, and of another coefficient, at most (ITU-T T.81, F.1.2).
pub(super) const MAX_DIFFERENCE: u32 = 11;
pub(super) const MAX_COEFFICIENT: u32 = 10;

/// Beyond all coefficients of a block, also of one that a damaged file makes too long: what its end skips.
pub(super) const END: u32 = 128;

/// The codes of first coefficients, or of the others.
#[derive(Debug)]
pub(super) struct Table {
    /// The bytes that it is made of, so that it is not made again for the next file.
    made_from: Vec<u8>,
    entries: Box<[Entry; 1 << LOOKUP]>,
    /// For each length the end of its codes, in 16 bits with zeros after the code; exclusive.
    ends: [u32; 17],
    /// What, for each length, is to be added to a code to have the place of its symbol.
    offsets: [u32; 17],
    symbols: [u8; 256],
}

/// What bits begin with, in the table.
///
/// | bits | one or two coefficients | a code only | a code longer than [`LOOKUP`], or none |
/// |---|---|---|---|
/// | 0–7 | bits of all | bits of the code | 0 |
/// | 8–15 | bits of the first one | 0 | 0 |
/// | 16–23 | how far from the place that is next the first one is | symbol | 0 |
/// | 24–31 | how far the second one is; where there is only one, the same | 0 | 0 |
/// | 32–47 | the first one, not 0 | 0 | 0 |
/// | 48–63 | the second one; where there is only one, the same | 0 | 0 |
///
/// A block's end is a coefficient with a value beyond all places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry(u64);

impl Entry {
    const fn code(num_bits: u32, symbol: u32) -> Self {
        Self(num_bits as u64 | (symbol as u64) << 16)
    }

    const fn coefficient(num_bits: u32, skip: u32, value: i16) -> Self {
        let value = value.cast_unsigned() as u64;
        Self((num_bits * 0x101) as u64 | (skip * 0x0101_0000) as u64 | value << 32 | value << 48)
    }

    /// The first coefficient of this one and then the first one of another.
    const fn and(self, next: Self) -> Self {
        let [num_bits, place] =
            [self.num_bits_of_first() + next.num_bits_of_first(), self.first() + 1 + next.first()];
        let kept = self.0 & 0x0000_FFFF_00FF_FF00;
        let value = next.value().cast_unsigned() as u64;
        Self(kept | num_bits as u64 | (place as u64) << 24 | value << 48)
    }

    #[inline(always)]
    pub(super) const fn num_bits(self) -> u32 {
        (self.0 & 0xFF) as u32
    }

    #[inline(always)]
    pub(super) const fn num_bits_of_first(self) -> u32 {
        (self.0 >> 8 & 0xFF) as u32
    }

    /// How far the first coefficient is; or the symbol.
    #[inline(always)]
    pub(super) const fn first(self) -> u32 {
        (self.0 >> 16 & 0xFF) as u32
    }

    /// How far the second coefficient is.
    #[inline(always)]
    pub(super) const fn second(self) -> u32 {
        (self.0 >> 24 & 0xFF) as u32
    }

    /// The first coefficient, 0 where the bits do not have it all.
    #[inline(always)]
    pub(super) const fn value(self) -> i16 {
        (self.0 >> 32) as i16
    }

    /// The second coefficient.
    #[inline(always)]
    pub(super) const fn second_value(self) -> i16 {
        (self.0 >> 48) as i16
    }
}

/// The value in the first `size` of `bits`: of those that begin with 0 the negative ones. No bits are 0.
#[inline(always)]
pub(super) const fn extended(bits: u64, size: u32) -> i16 {
    let is_negative = (!bits.cast_signed() >> 63) as i32;
    let absolute = (bits >> 1 >> (63 - size)) as i32;
    (absolute + (((-1 << size) + 1) & is_negative)) as i16
}

/// Zeros before a coefficient, and bits of its value, which a symbol stands for. Without a value it is 0, as after sixteen zeros and at a block's end.
#[inline(always)]
pub(super) const fn skip_and_size(symbol: u32) -> (u32, u32) {
    match (symbol >> 4, symbol & 15) {
        (0..15, 0) => (END, 0),
        skip_and_size => skip_and_size,
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            made_from: Vec::new(),
            entries: Box::new([Entry::default(); 1 << LOOKUP]),
            ends: [0; 17],
            offsets: [0; 17],
            symbols: [0; 256],
        }
    }
}

impl Table {
    /// Makes it of the counts of codes of each length and their symbols; `None` if there are more codes than bits can tell apart, or symbols that
    /// mean nothing. With `is_ac` symbols are a number of zeros and the bits of a value, otherwise they are the bits of a value. It is either for all
    /// of its life.
    pub(super) fn set(&mut self, codes: &[u8], is_ac: bool) -> Option<()> {
        if self.made_from == codes {
            return Some(());
        }
        self.made_from.clear();
        let (counts, symbols) = codes.split_first_chunk::<16>()?;
        self.symbols.get_mut(..symbols.len())?.copy_from_slice(symbols);
        self.entries.fill(Entry::default());
        let (mut code, mut place) = (0_u32, 0_u32);
        for (length, &count) in (1_u32..).zip(counts) {
            self.offsets[length as usize] = place.wrapping_sub(code);
            for &symbol in &symbols[place as usize..][..usize::from(count)] {
                let is_possible = if is_ac {
                    u32::from(symbol) & 15 <= MAX_COEFFICIENT
                } else {
                    u32::from(symbol) <= MAX_DIFFERENCE
                };
                if code >> length != 0 || !is_possible {
                    return None;
                }
                if let Some(num_rest) = LOOKUP.checked_sub(length) {
                    let first = (code as usize) << num_rest;
                    fill(&mut self.entries[first..][..1 << num_rest], length, symbol.into(), is_ac);
                }
                (code, place) = (code + 1, place + 1);
            }
            // What has come so far is below, also where a length has no codes.
            self.ends[length as usize] = code << (MAX_CODE - length);
            code <<= 1;
        }
        for i in 0..1 << LOOKUP {
            let entry = self.entries[i];
            let next = self.entries[i << entry.num_bits_of_first() & ((1 << LOOKUP) - 1)];
            let num_bits = entry.num_bits_of_first() + next.num_bits_of_first();
            if entry.value() != 0 && entry.first() != END && next.value() != 0 && num_bits <= LOOKUP
            {
                self.entries[i] = entry.and(next);
            }
        }
        self.made_from.extend_from_slice(codes);
        Some(())
    }

    /// What the first of `bits` are.
    #[inline(always)]
    pub(super) fn look_up(&self, bits: u64) -> Entry {
        self.entries[(bits >> (64 - LOOKUP)) as usize]
    }

    /// Length and symbol of the code that `bits` begin with, where the entry does not have its value; `None` if there is no such code.
    #[inline(always)]
    pub(super) fn code(&self, bits: u64) -> Option<(u32, u32)> {
        let entry = self.look_up(bits);
        match entry.num_bits() {
            0 => self.search(bits),
            length => Some((length, entry.first())),
        }
    }

    #[cold]
    fn search(&self, bits: u64) -> Option<(u32, u32)> {
        let code = (bits >> 48) as u32;
        let length = (LOOKUP + 1..=MAX_CODE).find(|length| code < self.ends[*length as usize])?;
        let place = (code >> (MAX_CODE - length)).wrapping_add(self.offsets[length as usize]);
        self.symbols.get(place as usize).map(|symbol| (length, u32::from(*symbol)))
    }
}

/// The entries of all bits that begin with a code of `length` bits.
fn fill(entries: &mut [Entry], length: u32, symbol: u32, is_ac: bool) {
    let (skip, size) = skip_and_size(symbol);
    if is_ac && skip == END {
        entries.fill(Entry::coefficient(length, END, 1));
    } else if is_ac && size > 0 && length + size <= LOOKUP {
        let num_rest = LOOKUP - length - size;
        for (value, entries) in (0_u64..).zip(entries.chunks_exact_mut(1 << num_rest)) {
            let value = extended(value << (64 - size), size);
            entries.fill(Entry::coefficient(length + size, skip, value));
        }
    } else {
        entries.fill(Entry::code(length, symbol));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts of lengths and symbols, all different, of a code that is complete but for the code of all ones, or has larger gaps.
    fn codes(is_ac: bool) -> impl Strategy<Value = Vec<u8>> {
        let symbols: Vec<u8> = if is_ac {
            (0..=255).filter(|symbol| symbol & 15 <= 10).collect()
        } else {
            (0..=11).collect()
        };
        let symbols = Just(symbols).prop_shuffle();
        (prop::collection::vec(0_u8..12, 16), symbols).prop_map(|(mut counts, symbols)| {
            let (mut free, mut num_codes) = (1_usize, 0);
            for count in &mut counts {
                free *= 2;
                let most = (free - 1).min(symbols.len() - num_codes);
                *count = usize::from(*count).min(most) as u8;
                free -= usize::from(*count);
                num_codes += usize::from(*count);
            }
            [&counts[..], &symbols[..num_codes]].concat()
        })
    }

    /// The code that bits begin with, found by going through the definition (ITU-T T.81, C.2), and how long it is.
    fn definition(codes: &[u8], bits: u64) -> Option<(u32, u8)> {
        let (mut code, mut symbols) = (0_u64, codes[16..].iter());
        for length in 1..=16 {
            for symbol in symbols.by_ref().take(codes[length - 1].into()) {
                if bits >> (64 - length) == code {
                    return Some((length as u32, *symbol));
                }
                code += 1;
            }
            code *= 2;
        }
        None
    }

    proptest! {
        #[test]
        fn bits_mean_what_the_definition_says(dc in codes(false), ac in codes(true), bits: [u64; 40]) {
            for (codes, is_ac) in [(dc, false), (ac, true)] {
                let mut table = Table::default();
                prop_assert_eq!(table.set(&codes, is_ac), Some(()));
                // How many bits there are of code and value, zeros before the value, and the value.
                let expected = |bits: u64| {
                    definition(&codes, bits).map(|(length, symbol)| {
                        let size = u32::from(if is_ac { symbol & 15 } else { symbol });
                        let is_end = is_ac && size == 0 && symbol != 0xF0;
                        let zeros = if is_ac { u32::from(symbol >> 4) } else { 0 };
                        // F.2.2.1: values from 2ˢ⁻¹ on are themselves, others are 2ˢ − 1 less.
                        let raw = (0..size).fold(0, |raw, i| 2 * raw + (bits << (length + i) >> 63) as i16);
                        let value = if size == 0 || raw >= 1 << (size - 1) { raw } else { raw - ((1 << size) - 1) };
                        (length + size, if is_end { END } else { zeros }, value)
                    })
                };
                for bits in bits {
                    let entry = table.look_up(bits);
                    if entry.value() == 0 {
                        let got = table.code(bits).map(|(length, symbol)| {
                            let (skip, size) = if is_ac { skip_and_size(symbol) } else { (0, symbol) };
                            (length + size, skip, extended(bits << length, size))
                        });
                        prop_assert_eq!(got, expected(bits));
                        continue;
                    }
                    // A block's end has a value that does not count.
                    let shown = |skip: u32, value: i16| if skip == END { (END, 0) } else { (skip, value) };
                    let length = entry.num_bits_of_first();
                    let (skip, value) = shown(entry.first(), entry.value());
                    prop_assert_eq!(Some((length, skip, value)), expected(bits));
                    let next = expected(bits << length).filter(|(next_length, next_skip, value)| {
                        skip != END && length + next_length <= LOOKUP && (*next_skip == END || *value != 0)
                    });
                    if let Some((next_length, next_skip, next_value)) = next {
                        prop_assert_eq!(entry.num_bits(), length + next_length);
                        let skip = entry.second() - entry.first() - 1;
                        prop_assert_eq!(shown(skip, entry.second_value()), (next_skip, next_value));
                    } else {
                        prop_assert_eq!(
                            (entry.num_bits(), entry.second(), entry.second_value()),
                            (length, entry.first(), entry.value())
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn codes_that_cannot_be_are_refused() {
        let mut table = Table::default();
        let of = |counts: &[u8], num_symbols: u8| {
            let mut codes = [counts, &[0; 16][counts.len()..]].concat();
            codes.extend(0..num_symbols);
            codes
        };
        assert_eq!(table.set(&of(&[2], 2), true), Some(()));
        assert_eq!(table.set(&of(&[3], 3), true), None);
        assert_eq!(table.set(&of(&[1, 3], 4), true), None);
        // What failed is not taken for made.
        assert_eq!(table.set(&of(&[1, 3], 4), true), None);
        // No coefficient has eleven bits, no difference twelve.
        assert_eq!(table.set(&of(&[0, 0, 0, 0, 11], 11), true), Some(()));
        assert_eq!(table.set(&of(&[0, 0, 0, 0, 12], 12), true), None);
        assert_eq!(table.set(&of(&[0, 0, 0, 0, 12], 12), false), Some(()));
        assert_eq!(table.set(&of(&[0, 0, 0, 0, 13], 13), false), None);
    }
}
