//! Which accesses nothing orders: what a device's threads may see in either order, or half of.
//!
//! Time is counted as in PTX's memory model. A block's barrier orders all that its threads did before it before all that they do after it: so
//! each block counts its barriers, and each warp its `bar.warp.sync`. Between blocks, what a thread knows of others' barriers comes with the words
//! that it acquires and they released, by instructions that say so or by fences around relaxed ones. Words that are only relaxed order nothing, but may meet.

use std::collections::HashMap;

use crate::lanes::LANES;
use crate::program::Strength;

/// Two bytes are watched at a time; single bytes are not.
const GRAIN: u64 = 2;
/// Grains that are found together. No access is larger than 16 bytes, or across a multiple of its size.
const PAGE: usize = 1024;

/// For each block, how many of its barriers are known to be over.
type Clock = Vec<u32>;

/// An access that happened.
#[derive(Clone, Copy, Debug, Default)]
struct Access {
    /// Of the grid, from 1; 0 if none.
    thread: u32,
    /// Barriers of its block, and of its warp, that were over.
    barriers: u32,
    warp_barriers: u32,
    is_strong: bool,
}

/// What happened to a grain since it was last written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Grain {
    write: Access,
    /// The last one.
    read: Access,
    /// The last one by another warp than that.
    other_read: Access,
}

#[derive(Debug, Default)]
struct Block {
    barriers: u32,
    known: Clock,
    /// Of single threads, since the last barrier.
    acquired: HashMap<u32, Clock>,
    /// What a thread has seen by relaxed accesses, and what it would make known by them: it takes a fence for either.
    seen: HashMap<u32, Clock>,
    fenced: HashMap<u32, Clock>,
}

/// Who accesses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) block: u32,
    pub(crate) thread: u32,
    pub(crate) warp_barriers: u32,
}

/// Somebody else's access that is not ordered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Other {
    pub(crate) block: u32,
    pub(crate) thread: u32,
    pub(crate) writes: bool,
}

/// Of a block's shared memory of so many bytes.
pub(crate) fn watched(bytes: usize) -> Vec<Grain> {
    vec![Grain::default(); bytes.div_ceil(GRAIN as usize)]
}

/// The device's memory as it is watched: pages by number, and the one that was last asked for.
#[derive(Debug, Default)]
struct Global {
    numbers: HashMap<u64, usize>,
    pages: Vec<Box<[Grain]>>,
    recent: Option<(u64, usize)>,
}

impl Global {
    fn grains(&mut self, first: u64) -> &mut [Grain] {
        let number = first / PAGE as u64;
        let page = match self.recent {
            Some((recent, page)) if recent == number => page,
            _ => {
                let page = *self.numbers.entry(number).or_insert(self.pages.len());
                if page == self.pages.len() {
                    self.pages.push(vec![Grain::default(); PAGE].into_boxed_slice());
                }
                self.recent = Some((number, page));
                page
            }
        };
        &mut self.pages[page][first as usize % PAGE..]
    }
}

#[derive(Debug)]
pub(crate) struct Races {
    threads: u32,
    blocks: Vec<Block>,
    /// What those learn who acquire a word.
    words: HashMap<u64, Clock>,
    global: Global,
}

fn join(clock: &mut Clock, other: &[u32]) {
    if clock.len() < other.len() {
        clock.resize(other.len(), 0);
    }
    for (mine, theirs) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

impl Races {
    pub(crate) fn new(blocks: u32, threads: u32) -> Self {
        Self {
            threads,
            blocks: (0..blocks).map(|_| Block::default()).collect(),
            words: HashMap::new(),
            global: Global::default(),
        }
    }

    /// The barrier of a block.
    pub(crate) fn barrier(&mut self, block: u32) {
        let block = &mut self.blocks[block as usize];
        block.barriers += 1;
        for (_, clock) in block.acquired.drain() {
            join(&mut block.known, &clock);
        }
    }

    /// What a thread may make known: what its block knew at its last barrier, and that barrier itself.
    fn published(&self, who: Who) -> Clock {
        let block = &self.blocks[who.block as usize];
        let mut clock = block.known.clone();
        if let Some(acquired) = block.acquired.get(&who.thread) {
            join(&mut clock, acquired);
        }
        clock.resize(clock.len().max(who.block as usize + 1), 0);
        clock[who.block as usize] = block.barriers;
        clock
    }

    pub(crate) fn fence(&mut self, who: Who) {
        let block = &mut self.blocks[who.block as usize];
        if let Some(seen) = block.seen.remove(&who.thread) {
            join(block.acquired.entry(who.thread).or_default(), &seen);
        }
        let clock = self.published(who);
        self.blocks[who.block as usize].fenced.insert(who.thread, clock);
    }

    /// A strong read of a word, before it.
    fn read_word(&mut self, address: u64, who: Who, strength: Strength) {
        let Some(clock) = self.words.get(&address) else { return };
        let block = &mut self.blocks[who.block as usize];
        let acquires = matches!(strength, Strength::Acquire | Strength::AcquireRelease);
        let of = if acquires { &mut block.acquired } else { &mut block.seen };
        join(of.entry(who.thread).or_default(), clock);
    }

    /// A strong write of a word; `is_atomic` if it hands on what it found.
    fn write_word(&mut self, address: u64, who: Who, strength: Strength, is_atomic: bool) {
        let releases = matches!(strength, Strength::Release | Strength::AcquireRelease);
        let clock = if releases {
            Some(self.published(who))
        } else {
            self.blocks[who.block as usize].fenced.get(&who.thread).cloned()
        };
        if !is_atomic {
            self.words.remove(&address);
        }
        if let Some(clock) = clock {
            join(self.words.entry(address).or_default(), &clock);
        }
    }

    /// An access to global memory; what it races with.
    pub(crate) fn access(
        &mut self,
        (address, bytes): (u64, u32),
        who: Who,
        (reads, writes): (bool, bool),
        strength: Strength,
    ) -> Option<(u64, Other)> {
        if strength != Strength::Weak {
            if reads {
                self.read_word(address, who, strength);
            }
            if writes {
                self.write_word(address, who, strength, reads);
            }
        }
        let mut global = std::mem::take(&mut self.global);
        let grains = global.grains(address / GRAIN);
        let found = self.meet(grains, (address, bytes), who, writes, strength);
        self.global = global;
        found
    }

    /// An access to a block's shared memory.
    pub(crate) fn access_shared(
        &self,
        watched: &mut [Grain],
        (address, bytes): (u64, u32),
        who: Who,
        writes: bool,
        strength: Strength,
    ) -> Option<(u64, Other)> {
        let grains = &mut watched[(address / GRAIN) as usize..];
        self.meet(grains, (address, bytes), who, writes, strength)
    }

    /// `grains` from the one at `address` on.
    fn meet(
        &self,
        grains: &mut [Grain],
        (address, bytes): (u64, u32),
        who: Who,
        writes: bool,
        strength: Strength,
    ) -> Option<(u64, Other)> {
        let now = Access {
            thread: who.block * self.threads + who.thread + 1,
            barriers: self.blocks[who.block as usize].barriers,
            warp_barriers: who.warp_barriers,
            is_strong: strength != Strength::Weak,
        };
        let mut found = None;
        let count = (bytes / GRAIN as u32) as usize;
        for (i, grain) in grains.iter_mut().enumerate().take(count) {
            let mut check = |before: Access, writes: bool| {
                if found.is_none() && before.thread != 0 && !self.is_before(before, now, who) {
                    found = Some((address + i as u64 * GRAIN, self.other(before, writes)));
                }
            };
            check(grain.write, true);
            if writes {
                check(grain.read, false);
                check(grain.other_read, false);
                *grain = Grain { write: now, ..Grain::default() };
            } else {
                let warp = |access: Access| (access.thread - 1) / LANES as u32;
                if grain.read.thread != 0 && warp(grain.read) != warp(now) {
                    grain.other_read = grain.read;
                }
                grain.read = now;
            }
        }
        found
    }

    fn other(&self, access: Access, writes: bool) -> Other {
        let number = access.thread - 1;
        Other { block: number / self.threads, thread: number % self.threads, writes }
    }

    fn is_before(&self, before: Access, now: Access, who: Who) -> bool {
        if before.thread == now.thread || (before.is_strong && now.is_strong) {
            return true;
        }
        let other = self.other(before, false);
        if other.block == who.block {
            return before.barriers < now.barriers
                || (other.thread / LANES as u32 == who.thread / LANES as u32
                    && before.warp_barriers < now.warp_barriers);
        }
        let block = &self.blocks[who.block as usize];
        let knows = |clock: &Clock| {
            clock.get(other.block as usize).is_some_and(|known| *known > before.barriers)
        };
        knows(&block.known) || block.acquired.get(&who.thread).is_some_and(knows)
    }
}
