//! A warp: its registers, and its lanes in groups that stand at the same instruction.

use crate::lanes::{LANES, Lanes};
use crate::program::Program;

/// What a group of lanes is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// Polled, and looks again once the others have gone on.
    Slept,
    AtBarrier,
    /// At a shuffle or warp barrier, whose mask is not there yet.
    AtExchange,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) at: u32,
    pub(crate) mask: u32,
    /// Where calls return to.
    pub(crate) stack: Vec<u32>,
    pub(crate) state: State,
}

impl Group {
    fn meets(&self, other: &Self) -> bool {
        self.at == other.at && self.state == other.state && self.stack == other.stack
    }
}

/// What a warp has polled for of late, and found nothing.
#[derive(Debug, Default)]
pub(crate) struct Polled {
    /// How often in a row, with its lanes at the same places and nothing stored in between.
    times: u32,
    stores: u64,
    places: Vec<(u32, u32)>,
}

impl Polled {
    /// Whether it would find nothing again.
    pub(crate) const fn in_vain(&self, stores: u64) -> bool {
        self.times > 1 && self.stores == stores
    }
}

#[derive(Debug)]
pub(crate) struct Warp {
    pub(crate) number: u32,
    pub(crate) registers: Vec<Lanes>,
    pub(crate) predicates: Vec<u32>,
    /// Of each lane, one after another.
    pub(crate) area: Vec<u8>,
    pub(crate) groups: Vec<Group>,
    /// Lanes that have ended.
    pub(crate) ended: u32,
    /// `bar.warp.sync`s that are over.
    pub(crate) barriers: u32,
    pub(crate) polled: Polled,
}

impl Warp {
    pub(crate) fn new(program: &Program, number: u32, threads: u32) -> Self {
        let here = threads - number * LANES as u32;
        let mask = if here >= 32 { u32::MAX } else { (1 << here) - 1 };
        let start = Group { at: 0, mask, stack: vec![], state: State::Ready };
        Self {
            number,
            registers: vec![Lanes::all(0); program.num_registers],
            predicates: vec![0; program.num_predicates],
            area: vec![0; program.thread_bytes * LANES],
            groups: vec![start],
            ended: 0,
            barriers: 0,
            polled: Polled::default(),
        }
    }

    pub(crate) fn can_run(&self) -> bool {
        self.groups.iter().any(|group| matches!(group.state, State::Ready | State::Slept))
    }

    /// All that can run polls, after as many stores to global memory.
    pub(crate) fn has_polled(&mut self, stores: u64) {
        let mut places: Vec<_> = self.groups.iter().map(|group| (group.at, group.mask)).collect();
        places.sort_unstable();
        let again = self.polled.stores == stores && self.polled.places == places;
        let times = if again { self.polled.times + 1 } else { 1 };
        self.polled = Polled { times, stores, places };
    }

    /// Lanes in this state.
    pub(crate) fn count(&self, state: State) -> u32 {
        self.groups.iter().filter(|g| g.state == state).map(|g| g.mask.count_ones()).sum()
    }

    /// Joins groups that stand at the same place.
    pub(crate) fn merge(&mut self) {
        let mut i = 0;
        while i < self.groups.len() {
            let mut j = i + 1;
            while j < self.groups.len() {
                if self.groups[i].meets(&self.groups[j]) {
                    let other = self.groups.swap_remove(j);
                    self.groups[i].mask |= other.mask;
                } else {
                    j += 1;
                }
            }
            i += 1;
        }
    }

    /// Whose turn it is: of those that can run, the one deepest in calls, and the least far in the code: where lanes went apart, they
    /// meet again. With it the place where another one stands.
    pub(crate) fn next(&self) -> Option<(usize, u32)> {
        let order = |group: &Group| (usize::MAX - group.stack.len(), group.at);
        let ready = || self.groups.iter().enumerate().filter(|(_, g)| g.state == State::Ready);
        let (first, group) = ready().min_by_key(|(_, group)| order(group))?;
        let others = ready().filter(|(i, g)| *i != first && g.stack.len() == group.stack.len());
        let limit = others.map(|(_, other)| other.at).min().unwrap_or(u32::MAX);
        Some((first, limit))
    }
}
