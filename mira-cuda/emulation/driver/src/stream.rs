//! Streams: what was enqueued and has not been done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::ThreadId;

use mira_ptx::{Kernel, Program};

/// A stream: its handle, and for the per-thread default stream whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) usize, pub(crate) Option<ThreadId>);

impl Key {
    /// The default stream, which waits for all blocking streams, and they for it.
    pub(crate) const LEGACY: Self = Self(0, None);
}

/// The end of the first `count` things that were enqueued on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) stream: Key,
    pub(crate) count: u64,
}

/// A launch as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) kernel: Kernel,
    pub(crate) program: Arc<Program>,
    pub(crate) module: usize,
    pub(crate) grid: (u32, u32),
    pub(crate) threads: u32,
    pub(crate) shared_bytes: usize,
    pub(crate) cooperative: bool,
    /// Each from a multiple of 8 bytes on.
    pub(crate) params: Vec<u64>,
}

/// Something enqueued.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Launch(Launch),
    Fill {
        at: u64,
        byte: u8,
        len: usize,
    },
    /// Host to device; the host's bytes as they were when it was enqueued, as for memory that is not page-locked.
    Upload {
        at: u64,
        bytes: Arc<[u8]>,
    },
    /// Device to host.
    Download {
        from: u64,
        to: usize,
        len: usize,
    },
    Copy {
        from: u64,
        to: u64,
        len: usize,
    },
    Allocated,
    Free {
        base: u64,
    },
    /// For the time of an event.
    Record {
        event: usize,
        number: u64,
    },
    After(Moment),
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) queue: VecDeque<Work>,
    /// Enqueued and done, since it was made.
    pub(crate) enqueued: u64,
    pub(crate) done: u64,
    /// Whether it waits for the default stream, and the other way round.
    pub(crate) is_blocking: bool,
    pub(crate) capture: Option<Capture>,
    /// Destroyed, though what was enqueued will be done.
    pub(crate) is_destroyed: bool,
}

/// What a stream that captures has seen.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    pub(crate) work: Vec<Work>,
    pub(crate) is_invalid: bool,
}
