//! Bytes that begin at a cache line.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes whose first is at a multiple of 64 in memory, as vectors of any width and copies to devices like it; otherwise as a `Vec<u8>`.
#[derive(Default)]
pub struct AlignedBytes {
    /// The bytes, behind as many others as it takes.
    buffer: Vec<u8>,
    start: usize,
}

impl AlignedBytes {
    /// What the address of the first byte is a multiple of.
    pub const ALIGNMENT: usize = 64;

    /// Without bytes, with room for `capacity`.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Self::default();
        bytes.reserve(capacity);
        bytes
    }

    /// Makes room for `additional` more bytes.
    pub fn reserve(&mut self, additional: usize) {
        let wanted = self.len() + additional + Self::ALIGNMENT;
        if wanted <= self.buffer.capacity() {
            return;
        }
        let mut buffer = Vec::<u8>::with_capacity(wanted.max(2 * self.len()));
        // Always found, for bytes.
        let start = buffer.as_ptr().align_offset(Self::ALIGNMENT).min(Self::ALIGNMENT);
        buffer.resize(start, 0);
        buffer.extend_from_slice(self);
        *self = Self { buffer, start };
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// Removes all bytes; the room for them stays.
    pub fn clear(&mut self) {
        self.buffer.truncate(self.start);
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> Self {
        let mut bytes = Self::with_capacity(self.len());
        bytes.extend_from_slice(self);
        bytes
    }
}

impl PartialEq for AlignedBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for AlignedBytes {}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_what_they_are_and_where_they_should_be() {
        // Many buffers at a time, or all would be made at the same address.
        let mut all: Vec<(AlignedBytes, Vec<u8>)> = Vec::new();
        for i in 0..50_u8 {
            let (mut bytes, mut expected) = (AlignedBytes::default(), Vec::new());
            for n in [0, 1, 63, usize::from(i) * 7, 1000] {
                bytes.extend_from_slice(&vec![i; n]);
                expected.resize(expected.len() + n, i);
                bytes[..].reverse();
                assert_eq!(*bytes, expected);
                assert!((bytes.as_ptr() as usize).is_multiple_of(64), "{i} {n}");
            }
            let copy = bytes.clone();
            assert!(copy == bytes && (copy.as_ptr() as usize).is_multiple_of(64));
            all.extend([(bytes, expected.clone()), (copy, expected)]);
        }
        for (bytes, expected) in &mut all {
            assert_eq!(**bytes, **expected);
            let (address, len) = (bytes.as_ptr(), bytes.len());
            bytes.clear();
            assert!(bytes.is_empty());
            bytes.extend_from_slice(&vec![3; len]);
            assert_eq!((bytes.as_ptr(), bytes.len()), (address, len), "the memory is used again");
        }
        assert_ne!(all[0].0, all[10].0);
    }
}
