//! Barriers, exchanges between lanes, calls and ends.

use crate::clock::Spot;
use crate::error::Misdeed;
use crate::execute::{Block, Machine, Next, lanes_of};
use crate::lanes::{LANES, Lanes};
use crate::program::{Handed, Operation, Shuffle};
use crate::warp::{Group, State, Warp};

impl Machine<'_> {
    /// What changes groups.
    pub(crate) fn control(
        &mut self,
        block: &mut Block,
        warp: usize,
        current: usize,
        operation: &Operation,
    ) -> Result<Next, (u32, Misdeed)> {
        let number = block.warps[warp].number * LANES as u32;
        match operation {
            Operation::BlockBarrier => {
                block.warps[warp].groups[current].state = State::AtBarrier;
                return Ok(Next::Choose);
            }
            Operation::Sleep => {
                self.stats.sleeps += 1;
                if let Some(clock) = &mut self.clock {
                    let at = block.warps[warp].groups[current].at;
                    clock.poll(Spot { block: block.number, warp }, at);
                }
                let group = &mut block.warps[warp].groups[current];
                group.state = State::Slept;
                group.at += 1;
                return Ok(Next::Choose);
            }
            Operation::WarpBarrier { mask } => {
                let mut scratch = Lanes::all(0);
                let expected = *self.read(block, warp, *mask, &mut scratch);
                if !is_complete(&mut block.warps[warp], current, &expected)? {
                    return Ok(Next::Choose);
                }
                block.warps[warp].barriers += 1;
            }
            Operation::Shuffle { how, to, inside, from } => {
                let [value, select, limits, expected] =
                    from.map(|from| *self.read(block, warp, from, &mut Lanes::all(0)));
                if !is_complete(&mut block.warps[warp], current, &expected)? {
                    return Ok(Next::Choose);
                }
                let mask = block.warps[warp].groups[current].mask;
                let (mut result, mut within) = (value, 0u32);
                for lane in lanes_of(mask) {
                    let (other, is_inside) =
                        partner(*how, lane as u32, select.0[lane], limits.0[lane]);
                    within |= u32::from(is_inside) << lane;
                    if mask >> other & 1 == 0 {
                        return Err((number + lane as u32, Misdeed::InactiveLane { lane: other }));
                    }
                    result.0[lane] = value.0[other as usize] & 0xffff_ffff;
                }
                let warp = &mut block.warps[warp];
                warp.registers[*to as usize].replace(&result, mask);
                if let Some(inside) = inside {
                    let inside = &mut warp.predicates[*inside as usize];
                    *inside = (*inside & !mask) | (within & mask);
                }
            }
            Operation::Call { to, arguments, results: _ } => {
                self.hand_over(block, warp, current, arguments);
                let group = &mut block.warps[warp].groups[current];
                group.stack.push(group.at);
                group.at = *to;
                return Ok(Next::Choose);
            }
            Operation::Return => {
                let Some(call) = block.warps[warp].groups[current].stack.pop() else {
                    let group = block.warps[warp].groups.swap_remove(current);
                    block.warps[warp].ended |= group.mask;
                    return Ok(Next::Choose);
                };
                let Operation::Call { results, .. } = &self.program.code[call as usize].operation
                else {
                    unreachable!("calls are returned to")
                };
                self.hand_over(block, warp, current, results);
                block.warps[warp].groups[current].at = call + 1;
                return Ok(Next::Choose);
            }
            _ => unreachable!("not of these"),
        }
        Ok(Next::Step)
    }

    fn hand_over(&self, block: &mut Block, warp: usize, current: usize, handed: &[Handed]) {
        let warp = &mut block.warps[warp];
        for lane in lanes_of(warp.groups[current].mask) {
            let first = lane * self.program.thread_bytes;
            for Handed { from, to, bytes } in handed {
                warp.area.copy_within(first + from..first + from + bytes, first + to);
            }
        }
    }
}

/// Whether all lanes are there that an exchange is for; if not, its group waits.
fn is_complete(warp: &mut Warp, current: usize, expected: &Lanes) -> Result<bool, (u32, Misdeed)> {
    let number = warp.number * LANES as u32;
    let at = warp.groups[current].at;
    // Of lanes that have ended nobody expects anything.
    let groups = &mut warp.groups;
    let alive = groups.iter().fold(0, |all, group| all | group.mask);
    let mask = groups[current].mask;
    for lane in lanes_of(mask) {
        let own = expected.0[lane] as u32;
        if own >> lane & 1 == 0 {
            return Err((number + lane as u32, Misdeed::OutsideMask { mask: own }));
        }
    }
    let first = expected.0[mask.trailing_zeros() as usize] as u32;
    let is_same = lanes_of(mask).all(|lane| expected.0[lane] as u32 == first);
    let own = first & alive;
    if is_same && own == mask {
        return Ok(true);
    }
    // Those that wait here already.
    let stack = groups[current].stack.clone();
    let there = |g: &Group| g.state == State::AtExchange && g.at == at && g.stack == stack;
    let waiting = groups.iter().filter(|g| there(g)).fold(0, |all, g| all | g.mask);
    if !is_same || own & (mask | waiting) != own || mask & !own != 0 {
        groups[current].state = State::AtExchange;
        return Ok(false);
    }
    // The last ones have come: all go on together, when they are chosen again.
    let whole = Group { at, mask: own, stack: stack.clone(), state: State::Ready };
    groups[current].mask = 0;
    groups.iter_mut().filter(|g| there(g)).for_each(|g| g.mask &= !own);
    groups.retain(|group| group.mask != 0);
    groups.push(whole);
    Ok(false)
}

/// The lane that a shuffle takes from, and whether it is within the segment; its own if not.
fn partner(how: Shuffle, lane: u32, select: u64, limits: u64) -> (u32, bool) {
    let (select, segment, clamp) =
        (select as u32 & 31, limits as u32 >> 8 & 31, limits as u32 & 31);
    let highest = (lane & segment) | (clamp & !segment);
    let lowest = lane & segment;
    let (other, is_inside) = match how {
        Shuffle::Butterfly => (lane ^ select, lane ^ select <= highest),
        Shuffle::Index => {
            let other = lowest | (select & !segment);
            (other, other <= highest)
        }
        Shuffle::Down => (lane + select, lane + select <= highest),
        Shuffle::Up => (lane.wrapping_sub(select), lane as i32 - select as i32 >= highest as i32),
    };
    if is_inside { (other, true) } else { (lane, false) }
}
