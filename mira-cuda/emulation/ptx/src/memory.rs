//! Where addresses lead: windows of the generic address space, and allocations of global memory, outside of which every access is a fault.

use std::ops::Range;

use crate::error::{Misdeed, Space};
use crate::program::Named;

/// Generic addresses of shared memory and parameters; those of global memory are the host's own.
const SHARED_WINDOW: u64 = 0xf000_0000_0000_0000;
const PARAM_WINDOW: u64 = 0xe000_0000_0000_0000;
const WINDOW_BYTES: u64 = 1 << 32;

/// The device's memory, as the one who launches knows it.
pub trait Memory {
    /// The bounds of the allocation that an address lies in.
    ///
    /// # Errors
    /// Why there is none.
    fn around(&self, address: u64) -> Result<Range<u64>, String>;
}

/// The generic address of an address in a window.
pub(crate) const fn generic(of: Named, address: u64) -> u64 {
    match of {
        Named::Shared => SHARED_WINDOW + address,
        Named::Kernel => PARAM_WINDOW + address,
        _ => address,
    }
}

/// Which memory a generic address is of, and where in it.
pub(crate) const fn resolve(memory: Named, address: u64) -> (Named, u64) {
    match memory {
        Named::Generic if address.wrapping_sub(SHARED_WINDOW) < WINDOW_BYTES => {
            (Named::Shared, address - SHARED_WINDOW)
        }
        Named::Generic if address.wrapping_sub(PARAM_WINDOW) < WINDOW_BYTES => {
            (Named::Kernel, address - PARAM_WINDOW)
        }
        Named::Generic => (Named::Global, address),
        named => (named, address),
    }
}

/// What was last found of the device's memory: accesses stay in few allocations.
pub(crate) struct Regions<'a> {
    memory: &'a dyn Memory,
    recent: [Range<u64>; 8],
    next: usize,
}

impl<'a> Regions<'a> {
    pub(crate) fn new(memory: &'a dyn Memory) -> Self {
        Self { memory, recent: [const { 0..0 }; 8], next: 0 }
    }

    pub(crate) fn check(&mut self, address: u64, bytes: u32) -> Result<(), Misdeed> {
        let end = address.saturating_add(u64::from(bytes));
        if self.recent.iter().any(|region| region.start <= address && end <= region.end) {
            return Ok(());
        }
        let outside = |why| Misdeed::Outside { space: Space::Global, address, bytes, why };
        let region = self.memory.around(address).map_err(outside)?;
        if region.start <= address && end <= region.end {
            self.recent[self.next] = region;
            self.next = (self.next + 1) % self.recent.len();
            return Ok(());
        }
        let (start, size) = (region.start, region.end - region.start);
        Err(outside(format!("the allocation there has {size} bytes from {start:#x} on")))
    }
}

/// Whether `bytes` at `offset` lie in memory of `size` bytes.
pub(crate) fn inside(space: Space, offset: u64, bytes: u32, size: usize) -> Result<(), Misdeed> {
    if offset.checked_add(u64::from(bytes)).is_some_and(|end| end <= size as u64) {
        return Ok(());
    }
    let why = format!("there are {size} bytes");
    Err(Misdeed::Outside { space, address: offset, bytes, why })
}
