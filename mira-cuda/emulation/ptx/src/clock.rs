//! How long a launch would take: a rough clock, which runs beside the interpreter and changes nothing that it does.
//!
//! Each warp has a time of its own. An instruction begins when what it reads is there, and what it makes is there a latency later; jumps and barriers
//! begin after everything before them, at one instruction a cycle. The block's barrier ends when its last warp comes, and not before the multiprocessor
//! has carried out all that its warps asked of it since the last one: of its four schedulers, their pipes, shared memory, the way to L2. A word that
//! a warp polls for is found when it has been stored, whatever order the interpreter took: looks in vain are not counted, and what is looked at again
//! before the block's next barrier is the same word. So words that are polled for one after the other seem to take no longer than those looked at together,
//! which on a device they do: a way to memory and back each.
//!
//! It is a model, and nobody has held it against a device. It knows neither caches nor DRAM (all global memory is as far as L2), nor
//! what the driver's compiler makes of PTX, nor warps that get in each other's way between barriers.

use std::collections::HashMap;

use crate::costs::{Cost, Pipe, Timing};
use crate::error::Place;
use crate::program::{Named, Operation, Program};

// Of an H200, by published measurements of Hopper; cycles.
/// From a load to its value, in L2; half of it is the way there.
const L2: u64 = 270;
/// From a store until others can load what it stores.
const STORED: u64 = 200;
/// From one look at a word to the next.
const POLL: u64 = 330;
/// From when it is there until it is found, by who polls: half of the way back, and half of the time between looks.
const FOUND: u64 = u64::midpoint(L2, POLL);
const SHARED: u64 = 29;
const BARRIER: u64 = 20;
const JUMP: u64 = 6;
/// Bytes a cycle between a multiprocessor and L2 when all of them read: 5.5 TB/s over 132 of them at 1.755 GHz.
const L2_BYTES: u64 = 24;
const SCHEDULERS: usize = 4;

/// What a launch would take of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Time {
    /// Until its last thread ends.
    pub cycles: u64,
    /// From each barrier of blocks to the next, in order.
    pub phases: Vec<Phase>,
    /// Of the warp that was asked for: whenever it was held up longer than ever before.
    pub waits: Vec<Wait>,
}

/// A barrier of all blocks' threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phase {
    /// Of the PTX.
    pub line: u32,
    /// When the first block, half of the blocks and the last one passed it; cycles.
    pub passed: [u64; 3],
    /// What most blocks waited for.
    pub limit: &'static str,
}

/// An instruction that began later than any before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// When it began; cycles.
    pub cycles: u64,
    /// Cycles since the latest before it.
    pub waited: u64,
    /// Which one.
    pub place: Place,
}

/// What a warp has asked for since the last barrier, in cycles but for the bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    issues: u64,
    pipes: [u64; Pipe::COUNT],
    /// Of the multiprocessor's one unit for shuffles and accesses.
    exchanges: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Now {
    /// Nothing begins before it.
    from: u64,
    /// The end of what was issued latest.
    latest: u64,
    /// Instructions since the last jump.
    issued: u64,
    asked: Asked,
}

impl Now {
    /// Everything before is issued.
    fn catch_up(&mut self, at: u64) {
        self.from = at.max(self.from + std::mem::take(&mut self.issued));
        self.latest = self.latest.max(self.from);
    }
}

#[derive(Clone, Debug)]
struct Warp {
    now: Now,
    /// As it was at the last branch, which may have led to polling.
    before: Now,
    /// Where it waits, if it does: each time that it looked in vain is as if it had not been.
    waits: Option<Poll>,
    /// When the instruction at hand began.
    began: u64,
    registers: Vec<u64>,
    predicates: Vec<u64>,
    /// When each word that others write was first looked at since the last barrier.
    looks: HashMap<u64, u64>,
}

/// A warp that polls: where, and how it came there.
#[derive(Clone, Debug)]
struct Poll {
    index: u32,
    now: Now,
    /// They say which words are still missing, and came of the last look.
    predicates: Vec<u64>,
    /// So do some of these; not those that words were looked at into since.
    registers: Vec<u64>,
    loaded: Vec<u32>,
}

#[derive(Debug)]
struct Block {
    warps: Vec<Warp>,
    since: u64,
    passed: Vec<(u32, u64, &'static str)>,
}

/// Where an instruction is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) block: u32,
    pub(crate) warp: usize,
}

/// What an access does, as far as the clock is concerned.
pub(crate) struct Touch<'a> {
    pub(crate) memory: Named,
    /// Of each lane, and its bytes.
    pub(crate) addresses: &'a [u64],
    pub(crate) bytes: u32,
    /// Registers, where it loads.
    pub(crate) loads: &'a [u32],
    pub(crate) stores: bool,
    pub(crate) is_strong: bool,
}

#[derive(Debug)]
pub(crate) struct Clock {
    threads: u32,
    traced: Option<(u32, u32)>,
    blocks: HashMap<u32, Block>,
    /// When words that others may wait for are there.
    stored: HashMap<u64, u64>,
    ended: Vec<Vec<(u32, u64, &'static str)>>,
    time: Time,
}

impl Clock {
    pub(crate) fn new(threads: u32, traced: Option<(u32, u32)>) -> Self {
        Self {
            threads,
            traced,
            blocks: HashMap::new(),
            stored: HashMap::new(),
            ended: vec![],
            time: Time::default(),
        }
    }

    fn block(&mut self, program: &Program, block: u32) -> &mut Block {
        let warps = self.threads.div_ceil(32) as usize;
        self.blocks.entry(block).or_insert_with(|| {
            let warp = Warp {
                now: Now::default(),
                before: Now::default(),
                waits: None,
                began: 0,
                registers: vec![0; program.num_registers],
                predicates: vec![0; program.num_predicates],
                looks: HashMap::new(),
            };
            Block { warps: vec![warp; warps], since: 0, passed: vec![] }
        })
    }

    fn warp(&mut self, at: Spot) -> &mut Warp {
        let block = self.blocks.get_mut(&at.block).expect("its instructions were issued");
        &mut block.warps[at.warp]
    }

    /// The instruction at `index` is next.
    pub(crate) fn issue(&mut self, program: &Program, at: Spot, index: u32) {
        let Timing { cost, reads, writes, tests, decides } = &program.timings[index as usize];
        let traced = self.traced == Some((at.block, at.warp as u32));
        let warp = &mut self.block(program, at.block).warps[at.warp];
        let registers = reads.iter().map(|r| warp.registers[*r as usize]);
        let predicates = tests.iter().map(|p| warp.predicates[*p as usize]);
        let begins = registers.chain(predicates).fold(warp.now.from, u64::max);
        let Cost { issues, pipe, busy, latency } = *cost;
        let operation = &program.code[index as usize].operation;
        if matches!(operation, Operation::Branch { .. }) {
            warp.before = warp.now;
        }
        let waited = begins.saturating_sub(warp.now.latest);
        warp.began = begins;
        warp.now.latest = warp.now.latest.max(begins + u64::from(issues));
        warp.now.issued += u64::from(issues);
        warp.now.asked.issues += u64::from(issues);
        warp.now.asked.pipes[pipe as usize] += u64::from(busy);
        let there = begins + u64::from(latency);
        for register in writes {
            warp.registers[*register as usize] = there;
        }
        if let Some(predicate) = decides {
            warp.predicates[*predicate as usize] = there;
        }
        match operation {
            Operation::Branch { .. }
            | Operation::Call { .. }
            | Operation::Return
            | Operation::WarpBarrier { .. }
            | Operation::BlockBarrier => warp.now.catch_up(begins),
            Operation::Shuffle { .. } => warp.now.asked.exchanges += 1,
            _ => {}
        }
        if traced && waited > 0 {
            let place = program.places[index as usize].clone();
            self.time.waits.push(Wait { cycles: begins, waited, place });
        }
    }

    /// What a warp reads of it: all that comes before has begun.
    pub(crate) fn read(&self, at: Spot) -> u64 {
        let now = self.blocks.get(&at.block).map(|block| block.warps[at.warp].now);
        now.map_or(0, |now| now.latest.max(now.from + now.issued))
    }

    /// A branch was taken.
    pub(crate) fn jump(&mut self, at: Spot) {
        self.warp(at).now.from += JUMP;
    }

    /// What was polled for had not come, in the interpreter's order; `index` is where it sleeps.
    pub(crate) fn poll(&mut self, at: Spot, index: u32) {
        let warp = self.warp(at);
        if warp.waits.as_ref().is_none_or(|poll| poll.index != index) {
            let (predicates, registers) = (warp.predicates.clone(), warp.registers.clone());
            let (now, loaded) = (warp.before, vec![]);
            warp.waits = Some(Poll { index, now, predicates, registers, loaded });
        }
        if let Some(poll) = &mut warp.waits {
            warp.now = poll.now;
            warp.predicates.copy_from_slice(&poll.predicates);
            for register in poll.loaded.drain(..) {
                poll.registers[register as usize] = warp.registers[register as usize];
            }
            warp.registers.copy_from_slice(&poll.registers);
        }
    }

    /// The access of the instruction at hand.
    pub(crate) fn touch(&mut self, at: Spot, touch: &Touch<'_>) {
        let Touch { memory, addresses, bytes, loads, stores, is_strong } = *touch;
        let ends =
            |address: u64, unit: u64| address / unit..(address + u64::from(bytes)).div_ceil(unit);
        let is_atomic = stores && !loads.is_empty();
        let words = || addresses.iter().flat_map(|a| ends(*a, 8)).map(|word| 8 * word);
        let warp = self.blocks.get_mut(&at.block).expect("its instructions were issued");
        let warp = &mut warp.warps[at.warp];
        let mut there = warp.began;
        match memory {
            Named::Shared => {
                // The same word of 4 bytes is read once, each bank one a cycle.
                let mut words: Vec<u64> = addresses.iter().flat_map(|a| ends(*a, 4)).collect();
                words.sort_unstable();
                words.dedup();
                let mut banks = [0; 32];
                for word in words {
                    banks[word as usize % 32] += 1;
                }
                let cycles = banks.into_iter().max().unwrap_or(0);
                warp.now.asked.exchanges += cycles;
                there += SHARED + cycles;
            }
            Named::Global | Named::Generic => {
                let looks = is_strong && !stores;
                let again = looks && words().all(|word| warp.looks.contains_key(&word));
                if looks && !again {
                    warp.waits = None; // for something else
                }
                let mut sectors: Vec<u64> = addresses.iter().flat_map(|a| ends(*a, 32)).collect();
                sectors.sort_unstable();
                sectors.dedup();
                there += L2;
                if !again {
                    warp.now.asked.exchanges += sectors.len().div_ceil(4) as u64;
                    warp.now.asked.bytes += 32 * sectors.len() as u64;
                }
                if looks {
                    there = warp.began;
                    for word in words() {
                        let found = *warp.looks.entry(word).or_insert(warp.began) + L2;
                        let comes = self.stored.get(&word).map_or(0, |stored| stored + FOUND);
                        there = there.max(found).max(if comes > found { comes } else { 0 });
                    }
                }
            }
            Named::Kernel | Named::Thread => return,
        }
        for register in loads {
            warp.registers[*register as usize] = there;
        }
        if let Some(poll) = &mut warp.waits {
            poll.loaded.extend(loads);
        }
        if is_strong && stores && memory != Named::Shared {
            let stored = warp.began + STORED;
            for word in words() {
                let time = self.stored.entry(word).or_default();
                // Whoever comes last to a counter.
                *time = if is_atomic { stored.max(*time) } else { stored };
            }
        }
    }

    /// All threads of a block have come to the barrier at this line.
    pub(crate) fn barrier(&mut self, block: u32, line: u32) {
        let Some(block) = self.blocks.get_mut(&block) else { return };
        let of_scheduler = |what: &dyn Fn(&Asked) -> u64| {
            let warps = |first: usize| block.warps[first..].iter().step_by(SCHEDULERS);
            let schedulers = 0..SCHEDULERS.min(block.warps.len());
            let sums = schedulers.map(|first| warps(first).map(|w| what(&w.now.asked)).sum());
            sums.max().unwrap_or(0)
        };
        let of_all = |what: fn(&Asked) -> u64| -> u64 {
            block.warps.iter().map(|w| what(&w.now.asked)).sum()
        };
        let latest = block.warps.iter().map(|w| w.now.latest).max().unwrap_or(0);
        let mut limits = vec![
            (latest, "latency"),
            (block.since + of_scheduler(&|a| a.issues), "instructions"),
            (block.since + of_all(|a| a.exchanges), "shared memory"),
            (block.since + of_all(|a| a.bytes) / L2_BYTES, "L2"),
        ];
        for (i, name) in Pipe::NAMES.into_iter().enumerate() {
            limits.push((block.since + of_scheduler(&|a| a.pipes[i]), name));
        }
        let (cycles, limit) =
            limits.into_iter().max_by_key(|(cycles, _)| *cycles).unwrap_or((0, ""));
        block.passed.push((line, cycles, limit));
        block.since = cycles + BARRIER;
        let now = Now { from: block.since, latest: block.since, ..Now::default() };
        for warp in &mut block.warps {
            warp.now = now;
            warp.waits = None;
            warp.looks.clear();
        }
    }

    /// A block's threads have ended.
    pub(crate) fn end(&mut self, block: u32) {
        let Some(block) = self.blocks.remove(&block) else { return };
        let end = block.warps.iter().map(|w| w.now.latest).max().unwrap_or(0);
        self.time.cycles = self.time.cycles.max(end);
        self.ended.push(block.passed);
    }

    /// When everything has ended.
    pub(crate) fn time(mut self) -> Time {
        let Some(example) = self.ended.first() else { return self.time };
        for (i, (line, ..)) in example.iter().enumerate() {
            let here = self.ended.iter().filter_map(|passed| passed.get(i));
            let mut here: Vec<_> = here.filter(|(other, ..)| other == line).collect();
            here.sort_by_key(|(_, cycles, _)| *cycles);
            let limit = |(_, _, limit): &&(u32, u64, &'static str)| *limit;
            let count = |name: &str| here.iter().filter(|x| limit(x) == name).count();
            let most = here.iter().map(limit).max_by_key(|name| count(name)).unwrap_or("");
            let cycles = [0, here.len() / 2, here.len() - 1].map(|i| here[i].1);
            self.time.phases.push(Phase { line: *line, passed: cycles, limit: most });
        }
        self.time
    }
}
