//! The interpreter's heart: a warp's next instruction, of all lanes that are at it together, on registers, memory, barriers and the clock.

use std::ops::Range;

use crate::arithmetic::{Arithmetic, insert};
use crate::clock::{Clock, Spot};
use crate::error::{Fault, Misdeed};
use crate::lanes::{LANES, Lanes};
use crate::launch::{Launch, Stats};
use crate::memory::{Memory, Regions, generic};
use crate::program::{Condition, Logic, Operation, Program, Source, Special};
use crate::races::{Grain, Races, Who, watched};
use crate::warp::{Group, State, Warp};

/// A block on the device.
pub(crate) struct Block {
    pub(crate) number: u32,
    pub(crate) index: (u32, u32),
    pub(crate) threads: u32,
    pub(crate) warps: Vec<Warp>,
    pub(crate) shared: Vec<u8>,
    /// Which bytes of it have been, since the block began.
    pub(crate) written: Vec<bool>,
    pub(crate) watched: Vec<Grain>,
}

impl Block {
    pub(crate) fn new(program: &Program, launch: &Launch<'_>, number: u32) -> Self {
        let bytes = program.shared_bytes + launch.shared_bytes;
        let warps = 0..launch.threads.div_ceil(LANES as u32);
        Self {
            number,
            index: (number % launch.grid.0, number / launch.grid.0),
            threads: launch.threads,
            warps: warps.map(|warp| Warp::new(program, warp, launch.threads)).collect(),
            shared: vec![0xff; bytes], // NaN
            written: vec![false; bytes],
            watched: if launch.watch_races { watched(bytes) } else { vec![] },
        }
    }

    pub(crate) fn can_run(&self) -> bool {
        self.warps.iter().any(Warp::can_run)
    }

    /// Whether all its threads have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.warps.iter().all(|warp| warp.groups.is_empty())
    }

    pub(crate) fn who(&self, warp: usize, lane: usize) -> Who {
        let warp = &self.warps[warp];
        let thread = warp.number * LANES as u32 + lane as u32;
        Who { block: self.number, thread, warp_barriers: warp.barriers }
    }

    pub(crate) fn count(&self, state: State) -> u32 {
        self.warps.iter().map(|warp| warp.count(state)).sum()
    }
}

/// How a turn of a warp ended.
pub(crate) enum Outcome {
    /// It could go on.
    Ran,
    /// It polled, and found nothing.
    Slept,
    /// For others, or it is over.
    Waits,
}

/// What happens after an instruction.
pub(crate) enum Next {
    Step,
    Jump(u32),
    /// Groups have changed.
    Choose,
}

pub(crate) struct Machine<'a> {
    pub(crate) program: &'a Program,
    pub(crate) stats: Stats,
    /// Stores to global memory.
    pub(crate) stores: u64,
    /// Turns of warps that polled in vain before.
    pub(crate) idle: u32,
    launch: Launch<'a>,
    pub(crate) params: Vec<u8>,
    pub(crate) regions: Regions<'a>,
    pub(crate) races: Option<Races>,
    pub(crate) clock: Option<Clock>,
    random: u64,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(program: &'a Program, launch: &Launch<'a>, memory: &'a dyn Memory) -> Self {
        let mut params = vec![0; program.params.last().map_or(0, |last: &Range<usize>| last.end)];
        let mut words = launch.params;
        for range in &program.params {
            let (own, rest) = words.split_at(range.len().div_ceil(8));
            let bytes = own.iter().flat_map(|word| word.to_le_bytes());
            for (to, byte) in params[range.clone()].iter_mut().zip(bytes) {
                *to = byte;
            }
            words = rest;
        }
        let blocks = launch.grid.0 * launch.grid.1;
        Self {
            program,
            stats: Stats::default(),
            stores: 0,
            idle: 0,
            launch: *launch,
            params,
            regions: Regions::new(memory),
            races: launch.watch_races.then(|| Races::new(blocks, launch.threads)),
            clock: launch.watch_time.then(|| Clock::new(launch.threads, launch.trace)),
            random: launch.seed,
        }
    }

    pub(crate) fn draw(&mut self) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) const fn grid_width(&self) -> u32 {
        self.launch.grid.0
    }

    /// All threads of a block have arrived.
    pub(crate) fn barrier(&mut self, block: &mut Block) -> Result<(), Fault> {
        let at = block.warps[0].groups[0].at;
        for warp in &block.warps {
            if let Some(group) = warp.groups.iter().find(|group| group.at != at) {
                let groups = block.warps.iter().flat_map(|warp| &warp.groups);
                let here = groups.filter(|group| group.at == at).map(|g| g.mask.count_ones()).sum();
                let elsewhere = block.threads - here;
                let thread = warp.number * 32 + group.mask.trailing_zeros();
                let what =
                    Misdeed::Divergent { of_warp: false, waiting: here, elsewhere, ended: 0 };
                return Err(self.fault(block, thread, at, what));
            }
        }
        for warp in &mut block.warps {
            for group in &mut warp.groups {
                group.at += 1;
                group.state = State::Ready;
            }
            warp.merge();
        }
        self.stats.barriers += 1;
        if let Some(races) = &mut self.races {
            races.barrier(block.number);
        }
        if let Some(clock) = &mut self.clock {
            clock.barrier(block.number, self.program.places[at as usize].line);
        }
        Ok(())
    }

    /// Lets a warp execute so many instructions, or fewer.
    pub(crate) fn go_on(
        &mut self,
        block: &mut Block,
        warp: usize,
        mut budget: u32,
    ) -> Result<Outcome, Fault> {
        let program = self.program;
        loop {
            block.warps[warp].merge();
            // On a device lanes that went apart mostly meet where their ways do, so none goes ahead of those that poll when time is counted.
            let next = block.warps[warp].next();
            let slept = |warp: &Warp| warp.groups.iter().any(|group| group.state == State::Slept);
            let wait = self.clock.is_some() && slept(&block.warps[warp]);
            let Some((mut current, mut limit)) = next.filter(|_| !wait) else {
                let groups = &mut block.warps[warp].groups;
                let mut slept = groups.iter_mut().filter(|g| g.state == State::Slept).peekable();
                if slept.peek().is_none() {
                    return Ok(Outcome::Waits);
                }
                slept.for_each(|group| group.state = State::Ready);
                return Ok(Outcome::Slept);
            };
            // Threads of a warp may go on in any order; at times another than the usual one.
            if limit != u32::MAX && self.draw().is_multiple_of(64) {
                let groups = &block.warps[warp].groups;
                let ready = |i: &usize| groups[*i].state == State::Ready;
                let ready: Vec<usize> = (0..groups.len()).filter(ready).collect();
                current = ready[self.draw() as usize % ready.len()];
                limit = groups[current].at + 1 + (self.draw() % 16) as u32;
            }
            loop {
                if budget == 0 {
                    return Ok(Outcome::Ran);
                }
                budget -= 1;
                self.stats.instructions += 1;
                let group = &block.warps[warp].groups[current];
                let (at, mut mask) = (group.at, group.mask);
                let instruction = &program.code[at as usize];
                if let Some((predicate, holds)) = instruction.guard {
                    let value = block.warps[warp].predicates[predicate as usize];
                    mask &= if holds { value } else { !value };
                }
                let spot = Spot { block: block.number, warp };
                if let Some(clock) = &mut self.clock {
                    clock.issue(program, spot, at);
                }
                let next = self
                    .execute(block, warp, current, mask, &instruction.operation)
                    .map_err(|(thread, what)| self.fault(block, thread, at, what))?;
                let to = match next {
                    Next::Step => at + 1,
                    Next::Jump(to) => {
                        if let Some(clock) = &mut self.clock {
                            clock.jump(spot);
                        }
                        to
                    }
                    Next::Choose => break,
                };
                block.warps[warp].groups[current].at = to;
                if to >= limit {
                    break;
                }
            }
        }
    }

    /// What a source is; `scratch` has room for what is no register.
    pub(crate) fn read<'b>(
        &self,
        block: &'b Block,
        warp: usize,
        source: Source,
        scratch: &'b mut Lanes,
    ) -> &'b Lanes {
        match source {
            Source::Register(register) => return &block.warps[warp].registers[register as usize],
            Source::Constant(bits) => *scratch = Lanes::all(bits),
            Source::Special(special) => *scratch = self.special(block, warp, special),
        }
        scratch
    }

    fn special(&self, block: &Block, warp: usize, special: Special) -> Lanes {
        let lanes = |first: u32| Lanes(std::array::from_fn(|i| u64::from(first) + i as u64));
        if special == Special::Clock {
            let clock = self.clock.as_ref();
            let cycles = clock.map(|clock| clock.read(Spot { block: block.number, warp }));
            return Lanes::all(cycles.unwrap_or(self.stats.instructions));
        }
        Lanes::all(u64::from(match special {
            Special::ThreadX => return lanes(block.warps[warp].number * LANES as u32),
            Special::Lane => return lanes(0),
            Special::ThreadsX => self.launch.threads,
            Special::BlockX => block.index.0,
            Special::BlockY => block.index.1,
            Special::BlocksX => self.launch.grid.0,
            Special::BlocksY => self.launch.grid.1,
            Special::Constant(value) => value,
            Special::Clock => unreachable!("seen to above"),
        }))
    }

    fn execute(
        &mut self,
        block: &mut Block,
        warp: usize,
        current: usize,
        mask: u32,
        operation: &Operation,
    ) -> Result<Next, (u32, Misdeed)> {
        let has_all = block.warps[warp].groups[current].mask == mask;
        if mask == 0 {
            return Ok(Next::Step);
        }
        match operation {
            Operation::Branch { to } => {
                if has_all {
                    return Ok(Next::Jump(*to));
                }
                let groups = &mut block.warps[warp].groups;
                let stack = groups[current].stack.clone();
                groups.push(Group { at: *to, mask, stack, state: State::Ready });
                groups[current].mask &= !mask;
                groups[current].at += 1;
                return Ok(Next::Choose);
            }
            Operation::Compute { .. }
            | Operation::Compare { .. }
            | Operation::Select { .. }
            | Operation::Combine { .. }
            | Operation::Pack { .. }
            | Operation::Unpack { .. }
            | Operation::Window { .. } => self.compute(block, warp, mask, operation),
            Operation::Load { to, from, element, strength } => {
                self.load(block, (warp, mask), (to, *from), *element, *strength)?;
            }
            Operation::Store { to, from, element, strength } => {
                self.store(block, (warp, mask), (*to, from), *element, *strength)?;
            }
            Operation::Add { old, to, value, strength } => {
                self.add(block, (warp, mask), (*old, *to), *value, *strength)?;
            }
            Operation::Fence => {
                for lane in lanes_of(mask) {
                    let who = block.who(warp, lane);
                    if let Some(races) = &mut self.races {
                        races.fence(who);
                    }
                }
            }
            Operation::Trap => {
                let thread = warp as u32 * LANES as u32 + mask.trailing_zeros();
                return Err((thread, Misdeed::Trap));
            }
            _ => {
                if !has_all {
                    // Those that the guard leaves out go on by themselves.
                    let groups = &mut block.warps[warp].groups;
                    let others = groups[current].mask & !mask;
                    let (at, stack) = (groups[current].at + 1, groups[current].stack.clone());
                    groups.push(Group { at, mask: others, stack, state: State::Ready });
                    groups[current].mask = mask;
                }
                return self.control(block, warp, current, operation);
            }
        }
        Ok(Next::Step)
    }

    fn compute(&mut self, block: &mut Block, warp: usize, mask: u32, operation: &Operation) {
        let condition = |block: &Block, condition: Condition| match condition {
            Condition::Predicate(predicate, holds) => {
                let value = block.warps[warp].predicates[predicate as usize];
                if holds { value } else { !value }
            }
            Condition::Constant(holds) => {
                if holds {
                    u32::MAX
                } else {
                    0
                }
            }
        };
        let mut scratch = [Lanes::all(0); 4];
        let (to, result) = match operation {
            Operation::Compute { what, to, from } => {
                let [s0, s1, s2, s3] = &mut scratch;
                let a = self.read(block, warp, from[0], s0);
                let result = match what {
                    Arithmetic::One(f) => f(a),
                    Arithmetic::Two(f) => f(a, self.read(block, warp, from[1], s1)),
                    Arithmetic::Three(f) => {
                        let b = self.read(block, warp, from[1], s1);
                        f(a, b, self.read(block, warp, from[2], s2))
                    }
                    Arithmetic::Insert { bits } => {
                        let b = self.read(block, warp, from[1], s1);
                        let position = self.read(block, warp, from[2], s2);
                        let length = self.read(block, warp, from[3], s3);
                        Lanes(std::array::from_fn(|i| {
                            insert(*bits, a.0[i], b.0[i], position.0[i], length.0[i])
                        }))
                    }
                };
                (*to, result)
            }
            Operation::Compare { how, to, from } => {
                let [s0, s1, ..] = &mut scratch;
                let a = self.read(block, warp, from[0], s0);
                let result = how(a, self.read(block, warp, from[1], s1));
                let to = &mut block.warps[warp].predicates[*to as usize];
                *to = (*to & !mask) | (result & mask);
                return;
            }
            Operation::Combine { how, to, from } => {
                let [a, b] = from.map(|source| condition(block, source));
                let result = match how {
                    Logic::And => a & b,
                    Logic::Or => a | b,
                    Logic::Xor => a ^ b,
                    Logic::Not => !a,
                    Logic::Copy => a,
                };
                let to = &mut block.warps[warp].predicates[*to as usize];
                *to = (*to & !mask) | (result & mask);
                return;
            }
            Operation::Select { to, from, by } => {
                let [s0, s1, ..] = &mut scratch;
                let mut result = *self.read(block, warp, from[1], s1);
                let by = condition(block, *by);
                result.replace(self.read(block, warp, from[0], s0), by);
                (*to, result)
            }
            Operation::Pack { to, from, bits } => {
                let mut result = Lanes::all(0);
                for (i, part) in from.iter().enumerate() {
                    let part = self.read(block, warp, *part, &mut scratch[0]);
                    for (result, part) in result.0.iter_mut().zip(part.0) {
                        *result |= (part & u64::MAX >> (64 - bits)) << (i as u32 * bits);
                    }
                }
                (*to, result)
            }
            Operation::Unpack { to, from, bits } => {
                let whole = *self.read(block, warp, *from, &mut scratch[0]);
                for (i, to) in to.iter().enumerate() {
                    let Some(to) = to else { continue };
                    let part = whole.0.map(|x| x >> (i as u32 * bits) & u64::MAX >> (64 - bits));
                    block.warps[warp].registers[*to as usize].replace(&Lanes(part), mask);
                }
                return;
            }
            Operation::Window { to, from, of } => {
                let from = self.read(block, warp, *from, &mut scratch[0]);
                (*to, Lanes(from.0.map(|address| generic(*of, address))))
            }
            _ => unreachable!("not of these"),
        };
        block.warps[warp].registers[to as usize].replace(&result, mask);
    }
}

pub(crate) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
}
