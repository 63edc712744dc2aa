//! Numbers from bytes that may end too early, and buffers for the bytes of files.

use std::cell::Cell;

/// A buffer that has grown beyond this is not kept: 4 MiB; few image files are larger.
const MAX_KEPT: usize = 4 << 20;

/// Lends an empty buffer to `work`: the same one again on this thread, unless a huge file made it grow.
pub(super) fn with_buffer<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    buffer.clear();
    let result = work(&mut buffer);
    if buffer.capacity() <= MAX_KEPT {
        BUFFER.set(buffer);
    }
    result
}

/// What has not been read yet of a piece of memory, little-endian.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread<'a>(pub(super) &'a [u8]);

impl<'a> Unread<'a> {
    /// The next `length` bytes; `None`, and nothing is read, where there are fewer.
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// The next number of 32 bits.
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next number of 64 bits.
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A text behind its length.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        std::str::from_utf8(self.bytes(length as usize)?).ok()
    }

    /// Whether at least `count` records of `size` bytes are left: asked before memory is taken for them.
    pub(super) fn has(&self, count: usize, size: usize) -> bool {
        count.checked_mul(size).is_some_and(|bytes| bytes <= self.0.len())
    }
}

/// Appends a text behind its length, as [`Unread::text`] reads it.
pub(super) fn push_text(text: &str, to: &mut Vec<u8>) {
    // Longer texts do not occur: names of files and classes, messages.
    let length = u32::try_from(text.len()).unwrap_or(0);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&text.as_bytes()[..length as usize]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_lent_again_unless_it_is_huge() {
        let grow = |length: usize| {
            with_buffer(|buffer| {
                let lent = (buffer.len(), buffer.capacity());
                buffer.resize(length, 1);
                lent
            })
        };
        assert_eq!(grow(1000).0, 0);
        let (length, capacity) = grow(MAX_KEPT + 1);
        assert!(length == 0 && capacity >= 1000);
        assert_eq!(grow(1), (0, 0));
        // One within another is another one.
        with_buffer(|outer| {
            outer.push(7);
            assert_eq!(with_buffer(|inner| inner.len()), 0);
            assert_eq!(outer, &[7]);
        });
    }
}
