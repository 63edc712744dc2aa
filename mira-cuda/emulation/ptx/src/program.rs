//! A kernel as the interpreter runs it.

use std::ops::Range;

use crate::arithmetic::{Arithmetic, Comparison};
use crate::costs::Timing;
use crate::error::Place;

/// A register of a warp, by number; functions that are called have numbers of their own.
pub(crate) type Register = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    ThreadX,
    ThreadsX,
    BlockX,
    BlockY,
    BlocksX,
    BlocksY,
    Lane,
    /// Cycles, by the clock that may run beside; or else instructions.
    Clock,
    /// 0 or 1: of what has one dimension only.
    Constant(u32),
}

/// What an instruction reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Register(Register),
    Constant(u64),
    Special(Special),
}

/// Memories that an instruction can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Generic,
    Global,
    Shared,
    /// The kernel's parameters.
    Kernel,
    /// A thread's parameters of functions that are called.
    Thread,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) memory: Named,
    pub(crate) base: Option<Register>,
    pub(crate) offset: i64,
}

/// What an access orders, or whether it may meet others at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

/// One element of an access.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    pub(crate) bytes: u32,
    /// For loads into a wider register.
    pub(crate) is_signed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Butterfly,
    Index,
    Up,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
    /// Of the first alone.
    Not,
    Copy,
}

/// A predicate as an operand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    Predicate(Register, bool),
    Constant(bool),
}

/// Bytes of a thread's parameters that a call hands over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) bytes: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Compute {
        what: Arithmetic,
        to: Register,
        from: [Source; 4],
    },
    Compare {
        how: Comparison,
        to: Register,
        from: [Source; 2],
    },
    Select {
        to: Register,
        from: [Source; 2],
        by: Condition,
    },
    Combine {
        how: Logic,
        to: Register,
        from: [Condition; 2],
    },
    /// `mov.b64 %rd1, {%r1, %r2}`
    Pack {
        to: Register,
        from: Vec<Source>,
        bits: u32,
    },
    Unpack {
        to: Vec<Option<Register>>,
        from: Source,
        bits: u32,
    },
    /// The address of something, of the window of its memory.
    Window {
        to: Register,
        from: Source,
        of: Named,
    },
    Load {
        to: Vec<(Register, u64)>,
        from: Address,
        element: Element,
        strength: Strength,
    },
    Store {
        to: Address,
        from: Vec<Source>,
        element: Element,
        strength: Strength,
    },
    Add {
        old: Option<Register>,
        to: Address,
        value: Source,
        strength: Strength,
    },
    Shuffle {
        how: Shuffle,
        to: Register,
        inside: Option<Register>,
        from: [Source; 4],
    },
    WarpBarrier {
        mask: Source,
    },
    BlockBarrier,
    Fence,
    Sleep,
    Branch {
        to: u32,
    },
    Call {
        to: u32,
        arguments: Vec<Handed>,
        results: Vec<Handed>,
    },
    Return,
    Trap,
}

#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) guard: Option<(Register, bool)>,
    pub(crate) operation: Operation,
}

/// A kernel with the functions it calls, ready to run.
#[derive(Debug)]
pub struct Program {
    pub(crate) kernel: String,
    pub(crate) code: Vec<Instruction>,
    pub(crate) places: Vec<Place>,
    pub(crate) timings: Vec<Timing>,
    pub(crate) num_registers: usize,
    pub(crate) num_predicates: usize,
    /// Of each thread, for functions that are called.
    pub(crate) thread_bytes: usize,
    /// Of static shared memory.
    pub(crate) shared_bytes: usize,
    /// Where each parameter stands among all of them.
    pub(crate) params: Vec<Range<usize>>,
}
