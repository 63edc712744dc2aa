//! The device's memory: allocations by address, those that were freed kept for a while and watched.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::stream::Moment;

/// Bytes of freed memory that are kept, so that nothing else comes to lie there.
const KEPT: usize = 256 << 20;
/// What fresh memory is filled with: NaN in every type.
const FRESH: u8 = 0xff;

/// As the driver aligns allocations.
#[derive(Clone, Copy, Debug)]
#[repr(align(256))]
struct Line(#[allow(dead_code)] [u8; 256]);

#[derive(Debug)]
pub(crate) struct Allocation {
    lines: Vec<Line>,
    len: usize,
    /// Where its stream stands once it is there for other streams.
    pub(crate) since: Option<Moment>,
}

impl Allocation {
    fn new(len: usize, since: Option<Moment>, byte: u8) -> Self {
        Self { lines: vec![Line([byte; 256]); len.div_ceil(256) + 2], len, since }
    }

    /// Behind a line that is nobody's, as there is one at the end: what leads beside an allocation is in no other.
    fn base(&self) -> u64 {
        self.lines[1..].as_ptr().expose_provenance() as u64
    }

    pub(crate) fn bounds(&self) -> Range<u64> {
        self.base()..self.base() + self.len as u64
    }
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    live: BTreeMap<u64, Allocation>,
    freed: VecDeque<Allocation>,
}

impl Memory {
    pub(crate) fn allocate(&mut self, len: usize, since: Option<Moment>) -> u64 {
        self.insert(Allocation::new(len, since, FRESH))
    }

    /// A module's variable.
    pub(crate) fn allocate_zeros(&mut self, len: usize) -> u64 {
        self.insert(Allocation::new(len, None, 0))
    }

    fn insert(&mut self, allocation: Allocation) -> u64 {
        let base = allocation.base();
        self.live.insert(base, allocation);
        base
    }

    /// The start of an allocation, as the driver wants it to free one.
    pub(crate) fn is_base(&self, base: u64) -> bool {
        self.live.contains_key(&base)
    }

    pub(crate) fn free(&mut self, base: u64) -> Result<(), String> {
        let Some(allocation) = self.live.remove(&base) else {
            return Err(format!("{base:#x} is freed, but no allocation starts there"));
        };
        self.freed.push_back(allocation);
        while self.freed.iter().map(|a| a.len).sum::<usize>() > KEPT {
            self.freed.pop_front();
        }
        Ok(())
    }

    /// The allocation around `len` bytes at `at`.
    pub(crate) fn around(&self, at: u64, len: usize) -> Result<&Allocation, String> {
        let inside = |a: &Allocation| at >= a.base() && at + len as u64 <= a.base() + a.len as u64;
        if let Some(found) = self.live.range(..=at).next_back().map(|(_, a)| a)
            && inside(found)
        {
            return Ok(found);
        }
        let was = self.freed.iter().any(inside);
        let what = if was { "lie in freed memory" } else { "are not inside one allocation" };
        Err(format!("{len} bytes at {at:#x} {what}"))
    }

    pub(crate) fn num_bytes(&self) -> usize {
        self.live.values().map(|a| a.len).sum()
    }
}
