//! The device's memory: allocations by address, those that were freed kept for a while and watched.

use std::collections::{BTreeMap, VecDeque};

use mira_cuda_emulation::Guarded;

use crate::stream::Moment;

/// Bytes of freed memory that are kept.
const KEPT: usize = 256 << 20;
/// What freed memory is filled with: NaN in every type, and not the 0xff of fresh memory.
const FREED: u8 = 0xfd;

#[derive(Debug)]
pub(crate) struct Allocation {
    bytes: Guarded<u8>,
    len: usize,
    /// Where its stream stands once it is there for other streams.
    pub(crate) since: Option<Moment>,
}

impl Allocation {
    fn new(len: usize, since: Option<Moment>) -> Self {
        Self { bytes: Guarded::poisoned(len), len, since }
    }

    fn base(&self) -> u64 {
        self.bytes.as_ptr().addr() as u64
    }
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    live: BTreeMap<u64, Allocation>,
    freed: VecDeque<Allocation>,
}

impl Memory {
    pub(crate) fn allocate(&mut self, len: usize, since: Option<Moment>) -> u64 {
        let allocation = Allocation::new(len, since);
        let base = allocation.base();
        self.live.insert(base, allocation);
        base
    }

    /// The start of an allocation, as the driver wants it to free one.
    pub(crate) fn is_base(&self, base: u64) -> bool {
        self.live.contains_key(&base)
    }

    pub(crate) fn free(&mut self, base: u64) -> Result<(), String> {
        let Some(mut allocation) = self.live.remove(&base) else {
            return Err(format!("{base:#x} is freed, but no allocation starts there"));
        };
        allocation.bytes.check().map_err(|overrun| overrun.to_string())?;
        allocation.bytes.as_mut_slice().fill(FREED);
        self.freed.push_back(allocation);
        while self.freed.iter().map(|a| a.len).sum::<usize>() > KEPT {
            let Some(mut oldest) = self.freed.pop_front() else { break };
            let whole = oldest.bytes.as_slice().iter().all(|byte| *byte == FREED);
            if !whole || oldest.bytes.check().is_err() {
                return Err(format!("{} bytes were written to after they were freed", oldest.len));
            }
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

    /// Whether an address of a launch's parameters is one of memory that was freed.
    pub(crate) fn is_freed(&self, address: u64) -> bool {
        let inside = |a: &Allocation| (a.base()..a.base() + a.len as u64).contains(&address);
        self.freed.iter().any(inside) && self.around(address, 0).is_err()
    }

    /// The guards of the allocation around `address`, if one is.
    pub(crate) fn check(&mut self, address: u64) -> Result<(), String> {
        let Some((_, allocation)) = self.live.range_mut(..=address).next_back() else {
            return Ok(());
        };
        allocation.bytes.check().map_err(|overrun| overrun.to_string())
    }

    pub(crate) fn num_bytes(&self) -> usize {
        self.live.values().map(|a| a.len).sum()
    }
}
