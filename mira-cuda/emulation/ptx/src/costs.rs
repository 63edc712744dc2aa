//! What instructions take of a multiprocessor.

use crate::program::{Condition, Instruction, Operation, Register};
use crate::registers::{Use, visit};

/// What instructions keep busy, of each of a multiprocessor's four schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipe {
    Single,
    Integer,
    Double,
    /// Conversions from and to f64, and approximations.
    Special,
}

impl Pipe {
    pub(crate) const COUNT: usize = 4;
    pub(crate) const NAMES: [&str; Self::COUNT] = ["f32", "integers", "f64", "conversions"];
}

/// In cycles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Instructions of the machine.
    pub(crate) issues: u32,
    pub(crate) pipe: Pipe,
    /// That it keeps its pipe busy.
    pub(crate) busy: u32,
    /// Until others may use what it makes, but for loads.
    pub(crate) latency: u32,
}

/// An instruction's part in time: its cost, and what it waits for.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    pub(crate) cost: Cost,
    pub(crate) reads: Vec<Register>,
    pub(crate) writes: Vec<Register>,
    /// Predicates.
    pub(crate) tests: Vec<Register>,
    pub(crate) decides: Option<Register>,
}

impl Timing {
    /// The text begins with the opcode, or a guard.
    pub(crate) fn new(instruction: &mut Instruction, text: &str) -> Self {
        let (mut reads, mut writes) = (vec![], vec![]);
        visit(&mut instruction.operation, |register, what| {
            if what == Use::Read { &mut reads } else { &mut writes }.push(*register);
        });
        let mut tests: Vec<_> = instruction.guard.iter().map(|(predicate, _)| *predicate).collect();
        let mut test = |condition: &Condition| {
            if let Condition::Predicate(predicate, _) = condition {
                tests.push(*predicate);
            }
        };
        let mut decides = None;
        match &instruction.operation {
            Operation::Compare { to, .. } => decides = Some(*to),
            Operation::Combine { to, from, .. } => {
                from.iter().for_each(&mut test);
                decides = Some(*to);
            }
            Operation::Select { by, .. } => test(by),
            _ => {}
        }
        let opcode = text.split(' ').find(|word| !word.starts_with('@')).unwrap_or_default();
        Self { cost: cost(opcode), reads, writes, tests, decides }
    }
}

/// Rates by the tables of CUDA's programming guide for compute capability 9.0, latencies by published measurements of Hopper.
fn cost(opcode: &str) -> Cost {
    let parts: Vec<&str> = opcode.split('.').collect();
    let has = |part: &str| parts[1..].contains(&part);
    let last = parts[parts.len() - 1];
    let is_double = has("f64");
    let is_wide = last.ends_with("64") && !is_double;
    let (issues, pipe, busy, latency) = match parts[0] {
        // Renamed or folded into others by the driver's compiler.
        "mov" | "cvta" => (0, Pipe::Single, 0, 0),
        "neg" | "abs" if has("f32") => (0, Pipe::Single, 0, 0),
        "ld" | "st" if has("param") => (0, Pipe::Single, 0, 0),
        // Halves of 64 bits are registers of their own.
        "bfi" | "and" | "or" if is_wide => (0, Pipe::Single, 0, 0),
        "shr" if last == "u64" => (0, Pipe::Single, 0, 0),
        "cvt" if !is_double && (is_wide || has("u64") || has("s64")) => (0, Pipe::Single, 0, 0),
        "div" | "rcp" | "sqrt" if is_double && has("rn") => (30, Pipe::Double, 40, 180),
        "div" | "rcp" | "sqrt" if has("rn") => (9, Pipe::Special, 8, 45),
        "ex2" | "lg2" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" => (1, Pipe::Special, 8, 24),
        "cvt" if is_double => (1, Pipe::Special, 8, 24),
        "min" | "max" if is_double => (3, Pipe::Double, 4, 18),
        "selp" if is_double => (2, Pipe::Integer, 4, 6),
        _ if is_double => (1, Pipe::Double, 2, 8),
        "mul" | "mad" if is_wide && !has("wide") => (4, Pipe::Integer, 8, 14),
        "bra" | "bar" | "barrier" | "nanosleep" | "fence" | "membar" => (1, Pipe::Single, 1, 6),
        "call" | "ret" => (1, Pipe::Single, 1, 10),
        "ld" | "st" | "atom" | "red" | "shfl" => (1, Pipe::Single, 1, 24),
        "add" | "sub" | "mul" | "fma" | "mad" if has("f32") => (1, Pipe::Single, 1, 4),
        _ if is_wide => (2, Pipe::Integer, 4, 8),
        _ => (1, Pipe::Integer, 2, 5),
    };
    Cost { issues, pipe, busy, latency }
}
