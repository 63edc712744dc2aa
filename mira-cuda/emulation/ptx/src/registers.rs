//! Registers that are never needed at the same time share one: PTX has thousands, each written once, and few of them matter at any instruction.

use std::ops::Range;

use crate::program::{Address, Instruction, Operation, Register, Source};

/// What an instruction does with a register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
}

pub(crate) fn visit(operation: &mut Operation, mut found: impl FnMut(&mut Register, Use)) {
    let mut sources: Vec<&mut Source> = vec![];
    let mut addresses: Vec<&mut Address> = vec![];
    let mut targets: Vec<&mut Register> = vec![];
    match operation {
        Operation::Compute { to, from, .. } | Operation::Shuffle { to, from, .. } => {
            sources.extend(from);
            targets.push(to);
        }
        Operation::Compare { from, .. } => sources.extend(from),
        Operation::Select { to, from, .. } => {
            sources.extend(from);
            targets.push(to);
        }
        Operation::Pack { to, from, .. } => {
            sources.extend(from);
            targets.push(to);
        }
        Operation::Unpack { to, from, .. } => {
            sources.push(from);
            targets.extend(to.iter_mut().flatten());
        }
        Operation::Window { to, from, .. } => {
            sources.push(from);
            targets.push(to);
        }
        Operation::Load { to, from, .. } => {
            addresses.push(from);
            targets.extend(to.iter_mut().map(|(register, _)| register));
        }
        Operation::Store { to, from, .. } => {
            addresses.push(to);
            sources.extend(from);
        }
        Operation::Add { old, to, value, .. } => {
            addresses.push(to);
            sources.push(value);
            targets.extend(old);
        }
        Operation::WarpBarrier { mask } => sources.push(mask),
        Operation::Combine { .. }
        | Operation::BlockBarrier
        | Operation::Fence
        | Operation::Sleep
        | Operation::Branch { .. }
        | Operation::Call { .. }
        | Operation::Return
        | Operation::Trap => {}
    }
    for source in sources {
        if let Source::Register(register) = source {
            found(register, Use::Read);
        }
    }
    for address in addresses {
        if let Some(register) = &mut address.base {
            found(register, Use::Read);
        }
    }
    for register in targets {
        found(register, Use::Write);
    }
}

/// A set of registers.
#[derive(Clone, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn insert(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn contains(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let bits = |(i, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 64 * i + bit)
        };
        self.0.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(bits)
    }
}

/// Instructions one after another, with what is needed before and after them.
struct Stretch {
    range: Range<usize>,
    follow: Vec<usize>,
    read_first: Set,
    written: Set,
    before: Set,
    after: Set,
}

/// Gives the `count` registers from `old` on, of the function at `range` of the code, new numbers from `new` on; how many there are.
pub(crate) fn share(
    code: &mut [Instruction],
    range: Range<usize>,
    (old, count): (usize, usize),
    new: usize,
) -> usize {
    let mut stretches = stretches(code, range);
    for stretch in &mut stretches {
        (stretch.read_first, stretch.written) = (Set::new(count), Set::new(count));
        (stretch.before, stretch.after) = (Set::new(count), Set::new(count));
        for instruction in &mut code[stretch.range.clone()] {
            let is_guarded = instruction.guard.is_some();
            visit(&mut instruction.operation, |register, what| {
                let register = *register as usize - old;
                // What a guard keeps from being written is needed as it was.
                if (what == Use::Read || is_guarded) && !stretch.written.contains(register) {
                    stretch.read_first.insert(register);
                } else if what == Use::Write {
                    stretch.written.insert(register);
                }
            });
        }
        stretch.before = stretch.read_first.clone();
    }
    let mut has_changed = true;
    while has_changed {
        has_changed = false;
        for i in (0..stretches.len()).rev() {
            let mut after = stretches[i].after.clone();
            for follower in &stretches[i].follow {
                for (after, before) in after.0.iter_mut().zip(&stretches[*follower].before.0) {
                    *after |= before;
                }
            }
            if after != stretches[i].after {
                has_changed = true;
                let stretch = &mut stretches[i];
                for (word, after) in after.0.iter().enumerate() {
                    stretch.before.0[word] |= after & !stretch.written.0[word];
                }
                stretch.after = after;
            }
        }
    }
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; count];
    let mut extend = |register: usize, at: usize| {
        let span = spans[register].get_or_insert((at, at));
        *span = (span.0.min(at), span.1.max(at));
    };
    for stretch in &stretches {
        stretch.before.iter().for_each(|register| extend(register, stretch.range.start));
        stretch.after.iter().for_each(|register| extend(register, stretch.range.end - 1));
        for at in stretch.range.clone() {
            visit(&mut code[at].operation, |register, _| extend(*register as usize - old, at));
        }
    }
    let (numbers, total) = numbers(&spans);
    for stretch in &stretches {
        for instruction in &mut code[stretch.range.clone()] {
            visit(&mut instruction.operation, |register, _| {
                *register = (new + numbers[*register as usize - old]) as Register;
            });
        }
    }
    total
}

/// Where branches lead and leave, the code is cut.
fn stretches(code: &[Instruction], range: Range<usize>) -> Vec<Stretch> {
    let mut starts = vec![range.start];
    for at in range.clone() {
        match code[at].operation {
            Operation::Branch { to } => starts.extend([to as usize, at + 1]),
            Operation::Return | Operation::Trap => starts.push(at + 1),
            _ => {}
        }
    }
    starts.retain(|start| *start < range.end);
    starts.sort_unstable();
    starts.dedup();
    let index = |at: usize| starts.binary_search(&at).ok();
    let ends = starts[1..].iter().copied().chain([range.end]);
    let empty = || Set::new(0);
    let stretches = starts.iter().zip(ends).map(|(start, end)| {
        let last = &code[end - 1];
        let mut follow = vec![];
        if let Operation::Branch { to } = last.operation {
            follow.extend(index(to as usize));
        }
        let leaves = matches!(
            last.operation,
            Operation::Branch { .. } | Operation::Return | Operation::Trap
        );
        if !leaves || last.guard.is_some() {
            follow.extend(index(end));
        }
        Stretch {
            range: *start..end,
            follow,
            read_first: empty(),
            written: empty(),
            before: empty(),
            after: empty(),
        }
    });
    stretches.collect()
}

/// Numbers such that spans of equal ones do not meet, and how many those are.
fn numbers(spans: &[Option<(usize, usize)>]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..spans.len()).filter(|i| spans[*i].is_some()).collect();
    order.sort_by_key(|i| spans[*i]);
    let mut numbers = vec![0; spans.len()];
    // Where each one's last span ends.
    let mut ends: Vec<usize> = vec![];
    for i in order {
        let Some((start, end)) = spans[i] else { continue };
        let free = ends.iter().position(|last| *last < start);
        let number = free.unwrap_or(ends.len());
        if number == ends.len() {
            ends.push(end);
        } else {
            ends[number] = end;
        }
        numbers[i] = number;
    }
    let total = ends.len();
    (numbers, total)
}
