//! A launch: which blocks and warps go on when.

use crate::clock::{Clock, Time};
use crate::error::{Fault, Misdeed, Place};
use crate::execute::{Block, Machine, Outcome};
use crate::memory::Memory;
use crate::program::Program;
use crate::warp::{Polled, State};

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Blocks in both directions.
    pub grid: (u32, u32),
    /// Of a block, 1024 at most.
    pub threads: u32,
    /// Of dynamic shared memory.
    pub shared_bytes: usize,
    /// Blocks that are on the device at once; all of them where blocks wait for each other.
    pub resident: u32,
    /// The kernel's parameters, each from a multiple of 8 bytes on.
    pub params: &'a [u64],
    /// Which of the orders that a device may choose is taken.
    pub seed: u64,
    /// Whether to look for accesses that nothing orders.
    pub watch_races: bool,
    /// Whether to count time, for [`Stats::time`].
    pub watch_time: bool,
    /// The block and its warp of which [`Time::waits`] tell.
    pub trace: Option<(u32, u32)>,
}

/// What a launch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Instructions of warps.
    pub instructions: u64,
    /// Barriers of blocks.
    pub barriers: u64,
    /// `nanosleep`s: how often a warp polled in vain.
    pub sleeps: u64,
    /// Where it was counted.
    pub time: Option<Time>,
}

/// Runs a kernel to its end.
///
/// # Errors
/// The first [`Fault`]. Memory is as the kernel left it.
///
/// # Safety
/// Memory that `memory` knows must be there, and nothing else may use what of it the kernel uses.
///
/// # Panics
/// If `params` are fewer than the kernel takes.
pub unsafe fn run(
    program: &Program,
    launch: &Launch<'_>,
    memory: &dyn Memory,
) -> Result<Stats, Fault> {
    let mut machine = Machine::new(program, launch, memory);
    let total = launch.grid.0 * launch.grid.1;
    let mut waiting = (0..total).rev().collect::<Vec<u32>>();
    let mut blocks: Vec<Block> = vec![];
    // At times one begins only when all others have ended or wait.
    let mut late = machine.draw().is_multiple_of(2).then(|| machine.draw() as u32 % total.max(1));
    loop {
        while blocks.len() < launch.resident.max(1) as usize && !waiting.is_empty() {
            // A device may begin with any of them.
            let at = machine.draw() as usize % waiting.len();
            let number = waiting.swap_remove(at);
            blocks.push(Block::new(program, launch, number));
        }
        if blocks.is_empty() {
            return Ok(Stats { time: machine.clock.map(Clock::time), ..machine.stats });
        }
        let at = machine.draw() as usize % blocks.len();
        if late == Some(blocks[at].number) {
            let polls = |block: &Block| Some(block.number) == late || is_idle(&machine, block);
            if !blocks.iter().all(polls) {
                continue;
            }
            late = None;
        }
        // Some warps of it, one after another.
        for _ in 0..=machine.draw() % 32 {
            if !turn(&mut machine, &mut blocks[at])? {
                break;
            }
        }
        if blocks[at].is_over() {
            let block = blocks.swap_remove(at);
            if let Some(clock) = &mut machine.clock {
                clock.end(block.number);
            }
        } else if machine.idle > 4 {
            machine.idle = 0;
            // Those that wait for room on the device will not help.
            if let Some(block) = blocks.iter().find(|block| block.can_run())
                && blocks.iter().all(|block| is_idle(&machine, block))
            {
                return Err(deadlock(&machine, block));
            }
        }
    }
}

/// Whether all of a block's threads wait or have ended.
fn is_idle(machine: &Machine<'_>, block: &Block) -> bool {
    let mut running = block.warps.iter().filter(|warp| warp.can_run());
    running.all(|warp| warp.polled.in_vain(machine.stores))
}

/// Lets a warp of the block go on, if one can; whether one could.
fn turn(machine: &mut Machine<'_>, block: &mut Block) -> Result<bool, Fault> {
    let count = block.warps.len();
    let start = machine.draw() as usize;
    let can_run = |block: &Block, i: usize| block.warps[i].can_run();
    let in_vain = |block: &Block, i: usize| block.warps[i].polled.in_vain(machine.stores);
    let order = (0..count).map(|i| (start + i) % count).filter(|i| can_run(block, *i));
    let mut order = order.collect::<Vec<_>>();
    // Those that poll for what has not come may wait.
    order.sort_by_key(|i| in_vain(block, *i));
    let Some(&warp) = order.first() else {
        return if block.is_over() { Ok(false) } else { Err(stuck(machine, block)) };
    };
    machine.idle += u32::from(in_vain(block, warp));
    let budget = 8 << (machine.draw() % 9);
    match machine.go_on(block, warp, budget)? {
        Outcome::Slept => block.warps[warp].has_polled(machine.stores),
        Outcome::Waits => block.warps[warp].polled = Polled::default(),
        // Maybe in the midst of looking. Who has found what it looked for has been told by a store since.
        Outcome::Ran => {}
    }
    if block.count(State::AtBarrier) == block.threads {
        machine.barrier(block)?;
    }
    Ok(true)
}

/// Nobody of a block can go on.
fn stuck(machine: &Machine<'_>, block: &Block) -> Fault {
    let waits = |state| {
        block
            .warps
            .iter()
            .find_map(move |warp| Some((warp, warp.groups.iter().find(|g| g.state == state)?)))
    };
    let exchange = waits(State::AtExchange);
    let of_warp = exchange.is_some();
    let (warp, group) = exchange.or_else(|| waits(State::AtBarrier)).expect("a group is left");
    let others: Box<dyn Iterator<Item = &_>> = if of_warp {
        Box::new(warp.groups.iter())
    } else {
        Box::new(block.warps.iter().flat_map(|warp| &warp.groups))
    };
    let (mut waiting, mut elsewhere) = (0, 0);
    for other in others {
        let here = other.at == group.at && other.state == group.state;
        *(if here { &mut waiting } else { &mut elsewhere }) += other.mask.count_ones();
    }
    let ended = if of_warp {
        warp.ended.count_ones()
    } else {
        block.warps.iter().map(|warp| warp.ended.count_ones()).sum()
    };
    let thread = warp.number * 32 + group.mask.trailing_zeros();
    machine.fault(
        block,
        thread,
        group.at,
        Misdeed::Divergent { of_warp, waiting, elsewhere, ended },
    )
}

fn deadlock(machine: &Machine<'_>, block: &Block) -> Fault {
    let warp = block.warps.iter().find(|warp| warp.can_run()).expect("one can");
    let group = warp.groups.iter().find(|g| g.state != State::AtBarrier).expect("that can");
    let thread = warp.number * 32 + group.mask.trailing_zeros();
    machine.fault(block, thread, group.at.saturating_sub(1), Misdeed::Deadlock)
}

impl Machine<'_> {
    pub(crate) fn fault(&self, block: &Block, thread: u32, at: u32, what: Misdeed) -> Fault {
        let place = self.program.places.get(at as usize).cloned();
        Fault {
            kernel: self.program.kernel.clone(),
            block: block.index,
            thread,
            place: place.unwrap_or(Place { line: 0, text: String::new() }),
            what,
        }
    }
}
