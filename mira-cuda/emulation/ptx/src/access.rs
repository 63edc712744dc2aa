//! Loads, stores and atomic additions.

use crate::clock::{Spot, Touch};
use crate::error::{Misdeed, Space};
use crate::execute::{Block, Machine, lanes_of};
use crate::lanes::{LANES, Lanes};
use crate::memory::{inside, resolve};
use crate::program::{Address, Element, Named, Register, Source, Strength};

type Accessed<T = ()> = Result<T, (u32, Misdeed)>;

/// What the lanes of a warp access.
struct Access {
    warp: usize,
    mask: u32,
    memory: Named,
    addresses: [u64; LANES],
    /// Elements side by side, of so many bytes.
    count: u32,
    element: u32,
    reads: bool,
    writes: bool,
    strength: Strength,
}

const fn space(memory: Named) -> Space {
    match memory {
        Named::Shared => Space::Shared,
        Named::Kernel | Named::Thread => Space::Param,
        Named::Global | Named::Generic => Space::Global,
    }
}

impl Access {
    fn new(
        block: &Block,
        (warp, mask): (usize, u32),
        of: Address,
        (element, count): (u32, usize),
        (reads, writes): (bool, bool),
        strength: Strength,
    ) -> Self {
        let offset = of.offset as u64;
        let addresses = match of.base {
            Some(base) => {
                block.warps[warp].registers[base as usize].0.map(|x| x.wrapping_add(offset))
            }
            None => [offset; LANES],
        };
        let (memory, count) = (of.memory, count as u32);
        Self { warp, mask, memory, addresses, count, element, reads, writes, strength }
    }

    /// Where a lane's first element is.
    const fn place(&self, lane: usize) -> (Named, u64) {
        resolve(self.memory, self.addresses[lane])
    }
}

impl Machine<'_> {
    /// Whether the access may be made, and what it meets.
    fn check(&mut self, block: &mut Block, access: &Access) -> Accessed {
        for lane in lanes_of(access.mask) {
            let (memory, at) = access.place(lane);
            self.check_lane(block, access, lane, (memory, at)).map_err(|what| {
                (block.warps[access.warp].number * LANES as u32 + lane as u32, what)
            })?;
        }
        Ok(())
    }

    fn check_lane(
        &mut self,
        block: &mut Block,
        access: &Access,
        lane: usize,
        (memory, at): (Named, u64),
    ) -> Result<(), Misdeed> {
        let bytes = access.element * access.count;
        if !at.is_multiple_of(u64::from(bytes)) {
            return Err(Misdeed::Misaligned { space: space(memory), address: at, bytes });
        }
        match memory {
            Named::Shared => {
                inside(Space::Shared, at, bytes, block.shared.len())?;
                let written = &mut block.written[at as usize..][..bytes as usize];
                if access.reads && written.contains(&false) {
                    return Err(Misdeed::Unwritten { address: at, bytes });
                }
                if access.writes {
                    written.fill(true);
                }
            }
            Named::Kernel if access.writes => {
                let why = "a kernel cannot write them".to_owned();
                return Err(Misdeed::Outside { space: Space::Param, address: at, bytes, why });
            }
            Named::Kernel => return inside(Space::Param, at, bytes, self.params.len()),
            Named::Thread => return Ok(()),
            Named::Global | Named::Generic => {
                self.regions.check(at, bytes)?;
                self.stores += u64::from(access.writes);
            }
        }
        let Some(races) = &mut self.races else { return Ok(()) };
        let who = block.who(access.warp, lane);
        // Each of several side by side is strong for itself.
        let is_weak = access.strength == Strength::Weak;
        let (step, steps) = if is_weak { (bytes, 1) } else { (access.element, access.count) };
        for i in 0..steps {
            let part = (at + u64::from(i * step), step);
            let met = if memory == Named::Shared {
                races.access_shared(&mut block.watched, part, who, access.writes, access.strength)
            } else {
                races.access(part, who, (access.reads, access.writes), access.strength)
            };
            if let Some((address, other)) = met {
                let width = self.grid_width();
                return Err(Misdeed::Race {
                    space: space(memory),
                    address,
                    writes: access.writes,
                    other_block: (other.block % width, other.block / width),
                    other_thread: other.thread,
                    other_writes: other.writes,
                });
            }
        }
        Ok(())
    }

    fn count_time(&mut self, block: &Block, access: &Access, loads: &[Register]) {
        let Some(clock) = &mut self.clock else { return };
        let addresses: Vec<u64> = lanes_of(access.mask).map(|lane| access.place(lane).1).collect();
        let touch = Touch {
            memory: access.place(access.mask.trailing_zeros() as usize).0,
            addresses: &addresses,
            bytes: access.element * access.count,
            loads,
            stores: access.writes,
            is_strong: access.strength != Strength::Weak,
        };
        clock.touch(Spot { block: block.number, warp: access.warp }, &touch);
    }

    /// What is there of a lane's `i`-th element, after [`check`](Self::check).
    fn peek(&self, block: &Block, access: &Access, lane: usize, i: usize) -> u64 {
        let (memory, at) = access.place(lane);
        let at = at + u64::from(access.element) * i as u64;
        let (bytes, start) = (access.element, at as usize);
        match memory {
            Named::Shared => get(&block.shared, start, bytes),
            Named::Kernel => get(&self.params, start, bytes),
            Named::Thread => {
                let first = lane * self.program.thread_bytes;
                get(&block.warps[access.warp].area, first + start, bytes)
            }
            Named::Global | Named::Generic => {
                // SAFETY: `check` found it in memory that is there, by the contract of `run`.
                get(unsafe { std::slice::from_raw_parts(pointer(at), bytes as usize) }, 0, bytes)
            }
        }
    }

    fn poke(&self, block: &mut Block, access: &Access, lane: usize, i: usize, value: u64) {
        let (memory, at) = access.place(lane);
        let at = at + u64::from(access.element) * i as u64;
        let (bytes, start) = (access.element, at as usize);
        match memory {
            Named::Shared => put(&mut block.shared, start, bytes, value),
            Named::Thread => {
                let first = lane * self.program.thread_bytes;
                put(&mut block.warps[access.warp].area, first + start, bytes, value);
            }
            Named::Kernel => unreachable!("`check` refuses it"),
            Named::Global | Named::Generic => {
                // SAFETY: `check` found it in memory that is there, by the contract of `run`.
                let there = unsafe { std::slice::from_raw_parts_mut(pointer(at), bytes as usize) };
                put(there, 0, bytes, value);
            }
        }
    }

    pub(crate) fn load(
        &mut self,
        block: &mut Block,
        (warp, mask): (usize, u32),
        (to, from): (&[(Register, u64)], Address),
        element: Element,
        strength: Strength,
    ) -> Accessed {
        let size = (element.bytes, to.len());
        let mut access = Access::new(block, (warp, mask), from, size, (true, false), strength);
        let is_same = from.base.is_none() && from.memory == Named::Kernel;
        if is_same {
            access.mask = 1 << mask.trailing_zeros();
        }
        self.check(block, &access)?;
        let registers: Vec<Register> = to.iter().map(|(register, _)| *register).collect();
        self.count_time(block, &access, &registers);
        let above = 64 - 8 * element.bytes;
        for (i, (register, width)) in to.iter().enumerate() {
            let mut result = block.warps[warp].registers[*register as usize];
            for lane in lanes_of(access.mask) {
                let value = self.peek(block, &access, lane, i);
                let extended = ((value << above) as i64 >> above) as u64;
                result.0[lane] = if element.is_signed { extended } else { value } & width;
            }
            if is_same {
                let value = result.0[mask.trailing_zeros() as usize];
                result = block.warps[warp].registers[*register as usize];
                result.replace(&Lanes::all(value), mask);
            }
            block.warps[warp].registers[*register as usize] = result;
        }
        Ok(())
    }

    pub(crate) fn store(
        &mut self,
        block: &mut Block,
        (warp, mask): (usize, u32),
        (to, from): (Address, &[Source]),
        element: Element,
        strength: Strength,
    ) -> Accessed {
        let size = (element.bytes, from.len());
        let access = Access::new(block, (warp, mask), to, size, (false, true), strength);
        self.check(block, &access)?;
        self.count_time(block, &access, &[]);
        for (i, source) in from.iter().enumerate() {
            let values = *self.read(block, warp, *source, &mut Lanes::all(0));
            for lane in lanes_of(mask) {
                self.poke(block, &access, lane, i, values.0[lane]);
            }
        }
        Ok(())
    }

    /// One lane after another.
    pub(crate) fn add(
        &mut self,
        block: &mut Block,
        (warp, mask): (usize, u32),
        (old, to): (Option<Register>, Address),
        value: Source,
        strength: Strength,
    ) -> Accessed {
        let values = *self.read(block, warp, value, &mut Lanes::all(0));
        let access = Access::new(block, (warp, mask), to, (4, 1), (true, true), strength);
        self.check(block, &access)?;
        self.count_time(block, &access, old.as_slice());
        let mut before = Lanes::all(0);
        for lane in lanes_of(mask) {
            before.0[lane] = self.peek(block, &access, lane, 0);
            let sum = (before.0[lane] as u32).wrapping_add(values.0[lane] as u32);
            self.poke(block, &access, lane, 0, u64::from(sum));
        }
        if let Some(old) = old {
            block.warps[warp].registers[old as usize].replace(&before, mask);
        }
        Ok(())
    }
}

fn get(from: &[u8], at: usize, bytes: u32) -> u64 {
    macro_rules! number {
        ($type:ty) => {{
            let bytes = from[at..].first_chunk().expect("checked before");
            u64::from(<$type>::from_le_bytes(*bytes))
        }};
    }
    match bytes {
        1 => number!(u8),
        2 => number!(u16),
        4 => number!(u32),
        _ => number!(u64),
    }
}

fn put(to: &mut [u8], at: usize, bytes: u32, value: u64) {
    macro_rules! number {
        ($type:ty) => {
            *to[at..].first_chunk_mut().expect("checked before") = (value as $type).to_le_bytes()
        };
    }
    match bytes {
        1 => number!(u8),
        2 => number!(u16),
        4 => number!(u32),
        _ => number!(u64),
    }
}

fn pointer(address: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address as usize)
}
