//! Many short names in two allocations: a million `String`s of a file's name would take thrice as much.

use std::borrow::Cow;

use super::bytes::Unread;

/// Names by position; bytes, since a file's name need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Strings {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Strings {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.bytes.get(start..*self.ends.get(index)?)
    }

    /// A name as text, with replacements for what is none.
    pub(super) fn text(&self, index: usize) -> Option<Cow<'_, str>> {
        self.get(index).map(String::from_utf8_lossy)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Gives back what growing took too much.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Appends their number and their lengths, all u32, and then the names.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        to.extend_from_slice(&number(self.len()));
        self.iter().for_each(|name| to.extend_from_slice(&number(name.len())));
        to.extend_from_slice(&self.bytes);
    }

    /// What [`write`](Self::write) wrote. Memory is taken for what is there, never for what is claimed.
    pub(super) fn read(from: &mut Unread) -> Option<Self> {
        let count = from.u32()? as usize;
        if !from.has(count, 4) {
            return None;
        }
        let (mut ends, mut end) = (Vec::with_capacity(count), 0_usize);
        for _ in 0..count {
            end = end.checked_add(from.u32()? as usize)?;
            ends.push(end);
        }
        Some(Self { bytes: from.bytes(end)?.to_vec(), ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_memory_and_from_bytes() {
        let names: [&[u8]; 4] = [b"a.png", b"", b"\xff.jpg", "é".as_bytes()];
        let mut strings = Strings::default();
        for name in names {
            strings.push(name);
        }
        assert_eq!(strings.iter().collect::<Vec<_>>(), names);
        assert_eq!((strings.len(), strings.get(4)), (4, None));
        assert_eq!(strings.text(2).unwrap(), "\u{fffd}.jpg");
        let mut bytes = Vec::new();
        strings.write(&mut bytes);
        let mut unread = Unread(&bytes);
        assert_eq!(Strings::read(&mut unread), Some(strings));
        assert!(unread.0.is_empty());
        for length in 0..bytes.len() {
            assert_eq!(Strings::read(&mut Unread(&bytes[..length])), None);
        }
        // A count that nothing stands behind takes no memory.
        assert_eq!(Strings::read(&mut Unread(&[0xff; 8])), None);
    }
}
