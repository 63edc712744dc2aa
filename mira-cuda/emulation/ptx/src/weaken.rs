//! A module with one of its barriers, fences or orders of memory less: to see whether anything notices.

use crate::syntax::{Function, Text, What};

/// What an instruction is without its order.
enum Weaker {
    Nothing,
    Relaxed(String),
}

/// For those that have one.
fn weaker(opcode: &str) -> Option<Weaker> {
    if ["bar.", "membar.", "fence."].iter().any(|name| opcode.starts_with(name)) {
        return Some(Weaker::Nothing);
    }
    let mut orders = [".acq_rel", ".acquire", ".release"].into_iter();
    let order = orders.find(|order| opcode.contains(order))?;
    Some(Weaker::Relaxed(opcode.replace(order, ".relaxed")))
}

/// The kernel and what it calls.
fn called(text: &Text, kernel: &str) -> Vec<String> {
    let mut names = vec![kernel.to_owned()];
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        next += 1;
        for function in text.functions.iter().filter(|function| function.name == name) {
            for statement in &function.body {
                let What::Instruction { opcode, operands, .. } = &statement.what else { continue };
                let is_new = |name: &&String| !name.starts_with('(') && !names.contains(name);
                if opcode.starts_with("call") {
                    names.extend(operands.iter().find(is_new).cloned());
                }
            }
        }
    }
    names
}

/// Takes the `n`-th away, counted from 1; how many there are, and which it was.
pub(crate) fn weaken(text: &mut Text, kernel: &str, n: usize) -> (usize, Option<String>) {
    let called = called(text, kernel);
    let (mut count, mut done) = (0, None);
    for Function { name, body, .. } in &mut text.functions {
        if !called.contains(name) {
            continue;
        }
        let mut is_here = false;
        for statement in body {
            let What::Instruction { opcode, operands, .. } = &mut statement.what else { continue };
            let Some(weaker) = weaker(opcode) else { continue };
            count += 1;
            if count == n + 1 && is_here {
                done = done.map(|done| format!("{done}, before {opcode}"));
            }
            if count != n {
                continue;
            }
            is_here = true;
            let text = format!("{opcode} {}", operands.join(", "));
            done = Some(format!("{} at line {} in {name}", text.trim_end(), statement.line));
            match weaker {
                Weaker::Relaxed(weaker) => *opcode = weaker,
                Weaker::Nothing => {
                    statement.what = What::Directive(".pragma \"weakened\"".to_owned());
                }
            }
        }
    }
    (count, done)
}
