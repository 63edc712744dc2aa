//! What can be wrong with a module, a launch or what a kernel does.

use std::fmt;

/// A text that is no PTX.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the PTX: {what}")]
pub struct Malformed {
    /// From 1.
    pub line: u32,
    /// What was found.
    pub what: String,
}

/// Why a kernel cannot be run at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The module has no such kernel.
    #[error("no kernel is called `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// An instruction, or a form of it, that the interpreter does not know.
    #[error(
        "line {line} of the PTX has what the interpreter does not know: {text}; teach it in decode.rs or arithmetic.rs"
    )]
    Unsupported {
        /// From 1.
        line: u32,
        /// The statement.
        text: String,
    },
}

/// Where a kernel stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of the PTX, from 1.
    pub line: u32,
    /// The instruction.
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the PTX ({})", self.line, self.text)
    }
}

/// A memory of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// The device's.
    Global,
    /// A block's.
    Shared,
    /// The kernel's parameters.
    Param,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global memory",
            Self::Shared => "shared memory",
            Self::Param => "parameters",
        })
    }
}

/// What a kernel did that a device forgives silently, does not survive, or never ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("thread {thread} of block {block:?} of `{kernel}`, at {place}: {what}")]
pub struct Fault {
    /// The kernel.
    pub kernel: String,
    /// Its index.
    pub block: (u32, u32),
    /// In the block.
    pub thread: u32,
    /// Where it was.
    pub place: Place,
    /// What it did.
    pub what: Misdeed,
}

/// Kinds of [`Fault`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misdeed {
    /// An access beside what there is.
    #[error("{bytes} bytes at {address:#x} of {space} are not there: {why}")]
    Outside {
        /// Of which memory.
        space: Space,
        /// The address, or offset into shared memory and parameters.
        address: u64,
        /// The size of the access.
        bytes: u32,
        /// What is there.
        why: String,
    },
    /// An access at an address that is not a multiple of its size.
    #[error(
        "an access of {bytes} bytes at {address:#x} of {space}, which is no multiple of {bytes}"
    )]
    Misaligned {
        /// Of which memory.
        space: Space,
        /// The address.
        address: u64,
        /// The size of the access.
        bytes: u32,
    },
    /// Shared memory that nobody wrote since the block began.
    #[error("reads {bytes} bytes of shared memory at {address:#x}, which were never written")]
    Unwritten {
        /// Offset into the block's shared memory.
        address: u64,
        /// The size of the access.
        bytes: u32,
    },
    /// Two accesses that nothing orders, one of them a write, not both of them relaxed, acquiring, releasing or atomic.
    #[error("{} {address:#x} of {space} while thread {other_thread} of block {other_block:?} {} it: nothing orders the two", if *writes { "writes" } else { "reads" }, if *other_writes { "writes" } else { "reads" })]
    Race {
        /// Of which memory.
        space: Space,
        /// The address.
        address: u64,
        /// Whether this thread writes.
        writes: bool,
        /// The other thread's block.
        other_block: (u32, u32),
        /// Its index in the block.
        other_thread: u32,
        /// Whether it wrote.
        other_writes: bool,
    },
    /// Threads of a block or warp wait for others that will not come.
    #[error("waits for threads of its {} that do not come: {waiting} wait here, {elsewhere} elsewhere, {ended} have ended", if *of_warp { "warp" } else { "block" })]
    Divergent {
        /// Whether a warp's exchange is waited for, not the block's barrier.
        of_warp: bool,
        /// Threads at this instruction.
        waiting: u32,
        /// Threads at others.
        elsewhere: u32,
        /// Threads that ended.
        ended: u32,
    },
    /// All threads wait, those that poll for something nobody will write.
    #[error("polls for what nobody will write: all other threads wait, too, or have ended")]
    Deadlock,
    /// A lane exchanges with one that does not take part.
    #[error("takes a value of lane {lane}, which does not take part")]
    InactiveLane {
        /// The other lane.
        lane: u32,
    },
    /// A lane that its own mask leaves out.
    #[error("is not in the mask {mask:#010x} that it passes")]
    OutsideMask {
        /// What it passed.
        mask: u32,
    },
    /// `trap`, which a kernel executes to end everything.
    #[error("gives up (trap)")]
    Trap,
}
