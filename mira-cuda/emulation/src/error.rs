//! What can be wrong with a launch or a kernel.

use std::fmt;

use crate::ffi;

/// Why a launch did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No `.cu` file defines the kernel.
    #[error("no kernel is called `{name}`; there are: {}. KERNEL(name, …) in a .cu file defines one", known.join(", "))]
    UnknownKernel {
        /// What was asked for.
        name: String,
        /// All there are.
        known: Vec<String>,
    },
    /// Two `.cu` files define a kernel of this name.
    #[error(
        "two .cu files define a kernel called `{name}`; rename one, names of kernels are shared by all files"
    )]
    DuplicateKernel {
        /// The name.
        name: String,
    },
    /// The parameters are not the kernel's.
    #[error(
        "`{kernel}` takes {expected} bytes of parameters, got {got}; make the #[repr(C)] struct the same as the kernel's, field by field"
    )]
    ParamsSize {
        /// The kernel.
        kernel: String,
        /// The kernel's `sizeof`.
        expected: u64,
        /// The launch's.
        got: u64,
    },
    /// More threads than the kernel is compiled for, or none.
    #[error(
        "`{kernel}` is bound to 1 to {limit} threads a block, got {got}; launch with fewer or raise the bound in KERNEL"
    )]
    Threads {
        /// The kernel.
        kernel: String,
        /// Its launch bound.
        limit: u64,
        /// The launch's.
        got: u64,
    },
    /// A grid without blocks.
    #[error("the grid for `{kernel}` has no blocks; both of its sizes must be at least 1")]
    EmptyGrid {
        /// The kernel.
        kernel: String,
    },
    /// More shared memory than a block can have.
    #[error("`{kernel}` was given {got} bytes of shared memory; a block has at most {limit}")]
    SharedBytes {
        /// The kernel.
        kernel: String,
        /// What the largest devices have.
        limit: u64,
        /// The launch's.
        got: u64,
    },
    /// Threads of a block or warp wait for others that will not come.
    #[error(
        "divergence in block {block:?} of `{kernel}`: {waits}; every thread of a block (or lane of the mask) must reach the same one"
    )]
    Divergent {
        /// The kernel.
        kernel: String,
        /// Its index.
        block: (u32, u32),
        /// Who waits where.
        waits: Waits,
    },
    /// All threads left wait, and those that spin wait for something nobody will write.
    #[error(
        "deadlock in `{kernel}`: {waits}; is the counter set to 0 before the launch, and does every block of the grid count up?"
    )]
    Deadlock {
        /// The kernel.
        kernel: String,
        /// Who waits where.
        waits: Waits,
    },
    /// A write beside the block's shared memory.
    #[error(
        "block {block:?} of `{kernel}` wrote {} its shared memory, found at {place}; check indices against the launch's shared_bytes",
        if *behind { "behind the end of" } else { "before the start of" }
    )]
    SharedMemoryOverrun {
        /// The kernel.
        kernel: String,
        /// Its index.
        block: (u32, u32),
        /// Behind its end, or before its start.
        behind: bool,
        /// The barrier after which it was found, or the end of the kernel.
        place: String,
    },
    /// A lane shuffles with a mask that leaves it out.
    #[error(
        "thread {thread} of block {block:?} of `{kernel}` is not in the mask {mask:#010x} it passes at {place}"
    )]
    OutsideMask {
        /// The kernel.
        kernel: String,
        /// The block.
        block: (u32, u32),
        /// The thread.
        thread: u32,
        /// What it passed.
        mask: u64,
        /// Where.
        place: String,
    },
    /// A vector access at an address that is not a multiple of its size.
    #[error(
        "thread {thread} of block {block:?} of `{kernel}` accesses {bytes} bytes at {address:#x}, which is no multiple of {bytes}; take another path for unaligned rows"
    )]
    Misaligned {
        /// The kernel.
        kernel: String,
        /// The block.
        block: (u32, u32),
        /// The thread.
        thread: u32,
        /// The size of the access.
        bytes: u64,
        /// Where it went.
        address: u64,
    },
    /// A thread needs more than the emulator's stacks hold.
    #[error(
        "a thread of `{kernel}` overflowed its stack of {bytes} bytes; keep large arrays in shared memory"
    )]
    StackOverflow {
        /// The kernel.
        kernel: String,
        /// What there is.
        bytes: u64,
    },
    /// A loop that polls and never calls `spin_wait`.
    #[error(
        "thread {thread} of block {block:?} of `{kernel}` polled {polls} times at {place} without waiting; call spin_wait() in the loop"
    )]
    PollWithoutWait {
        /// The kernel.
        kernel: String,
        /// The block.
        block: (u32, u32),
        /// The thread.
        thread: u32,
        /// How often.
        polls: u64,
        /// Where.
        place: String,
    },
    /// The C++ half reports what this half does not know.
    #[error(
        "the emulator reports fault {0}, which its Rust half does not know; the two are out of step"
    )]
    Unknown(u32),
}

/// What a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitKind {
    /// `__syncthreads`.
    Barrier,
    /// A warp shuffle or `__syncwarp`.
    Warp,
    /// `spin_wait`.
    Spin,
}

/// Threads that wait at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What for.
    pub kind: WaitKind,
    /// How many of them.
    pub threads: u32,
    /// File and line.
    pub place: String,
}

/// Who waits where: of one block if that is stuck, of all blocks alive in a deadlock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// The places, at most eight of them.
    pub places: Vec<Wait>,
    /// Threads that have ended.
    pub ended: u32,
}

impl Waits {
    /// How many threads wait for this.
    pub fn threads(&self, kind: WaitKind) -> u32 {
        let matching = self.places.iter().filter(|w| w.kind == kind);
        matching.map(|w| w.threads).sum()
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for wait in &self.places {
            let what = match wait.kind {
                WaitKind::Barrier => "at the __syncthreads",
                WaitKind::Warp => "at the warp shuffle or __syncwarp",
                WaitKind::Spin => "in the spin_wait",
            };
            write!(f, "{} threads wait {what} of {}, ", wait.threads, wait.place)?;
        }
        write!(f, "{} have ended", self.ended)
    }
}

impl Error {
    /// Numbers are `Fault` in scheduler.h.
    pub(crate) fn from_failure(kernel: &str, failure: &ffi::Failure) -> Option<Self> {
        let kernel = kernel.to_owned();
        let (expected, got, thread) = (failure.expected, failure.got, failure.thread);
        let block = (failure.block[0], failure.block[1]);
        // SAFETY: `file` is null or a string literal of the C++ half.
        let place = || place(unsafe { ffi::text(failure.file) }, failure.line);
        Some(match failure.fault {
            0 => return None,
            1 => Self::UnknownKernel { name: kernel, known: crate::kernels() },
            2 => Self::ParamsSize { kernel, expected, got },
            3 => Self::Threads { kernel, limit: expected, got },
            4 => Self::SharedBytes { kernel, limit: expected, got },
            5 => Self::Divergent { kernel, block, waits: waits(failure) },
            6 => Self::Deadlock { kernel, waits: waits(failure) },
            7 => Self::SharedMemoryOverrun { kernel, block, behind: got == 1, place: place() },
            8 => Self::OutsideMask { kernel, block, thread, mask: got, place: place() },
            9 => Self::Misaligned { kernel, block, thread, bytes: expected, address: got },
            10 => Self::StackOverflow { kernel, bytes: expected },
            11 => Self::PollWithoutWait { kernel, block, thread, polls: got, place: place() },
            12 => Self::DuplicateKernel { name: kernel },
            13 => Self::EmptyGrid { kernel },
            other => Self::Unknown(other),
        })
    }
}

fn waits(failure: &ffi::Failure) -> Waits {
    let found = &failure.waits[..failure.num_waits as usize];
    let places = found.iter().map(|wait| Wait {
        kind: match wait.state {
            1 => WaitKind::Barrier,
            2 => WaitKind::Warp,
            _ => WaitKind::Spin,
        },
        threads: wait.threads,
        // SAFETY: a string literal of the C++ half.
        place: place(unsafe { ffi::text(wait.file) }, wait.line),
    });
    Waits { places: places.collect(), ended: failure.ended }
}

/// The file without its folders, and the line where there is one.
fn place(file: Option<String>, line: u32) -> String {
    let file = file.unwrap_or_default();
    let name = file.rsplit('/').next().unwrap_or_default();
    if line == 0 { name.to_owned() } else { format!("{name}:{line}") }
}
