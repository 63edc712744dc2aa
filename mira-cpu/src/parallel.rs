//! Blocks of rows over threads: a team that stays together for one assignment.
//!
//! An assignment is tens of passes of a tenth of a millisecond; waking threads for each would cost as much as the passes. So rayon
//! starts the helpers once per assignment, and they wait for the next pass spinning. Blocks are claimed from a counter by whoever is
//! free: the leader never waits for a helper that has not started, only for blocks a helper has claimed. Results go to
//! places fixed by the block, so they do not depend on who computes what.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The type-erased work of one pass.
#[derive(Clone, Copy)]
struct Task {
    work: *const (),
    call: unsafe fn(*const (), usize),
    num_blocks: usize,
}

/// Threads working on one assignment: a leader, and helpers that may come late or not at all.
pub(crate) struct Team {
    /// Pass number in the upper half, next unclaimed block in the lower.
    claim: AtomicU64,
    /// Blocks of this pass not yet done.
    open: AtomicUsize,
    task: UnsafeCell<Task>,
    closed: AtomicBool,
}

// SAFETY: `task` is written by the leader only while no block is open, and read only by threads that hold a claim on an open one.
unsafe impl Sync for Team {}

/// Busy rounds before a waiting thread starts giving up its time slices.
const SPINS: u32 = 4000;

/// Runs `lead` with helpers on the threads of the current rayon pool.
///
/// `may_block` says that the leader may wait for other leaders (ranks that are threads of this process): it then stays on the calling
/// thread, where it cannot take the place of one that it waits for. That costs a small allocation per helper.
pub(crate) fn with_team<R: Send>(may_block: bool, lead: impl FnOnce(&Team) -> R + Send) -> R {
    let team = Team {
        claim: AtomicU64::new(0),
        open: AtomicUsize::new(0),
        task: UnsafeCell::new(Task { work: std::ptr::null(), call: |_, _| {}, num_blocks: 0 }),
        closed: AtomicBool::new(false),
    };
    let num_helpers = rayon::current_num_threads() - 1;
    if num_helpers == 0 {
        return lead(&team);
    }
    let lead = || {
        // Also when `lead` panics: helpers would wait for ever.
        let _close = CloseOnDrop(&team);
        lead(&team)
    };
    if may_block {
        rayon::in_place_scope(|scope| {
            for _ in 0..num_helpers {
                scope.spawn(|_| team.help());
            }
            lead()
        })
    } else {
        rayon::join(lead, || help(&team, num_helpers)).0
    }
}

struct CloseOnDrop<'a>(&'a Team);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

fn help(team: &Team, num_helpers: usize) {
    if num_helpers > 1 {
        rayon::join(|| team.help(), || help(team, num_helpers - 1));
    } else {
        team.help();
    }
}

impl Team {
    /// Calls `work(block)` once for every block, in parallel, and returns when all are done.
    pub(crate) fn for_each_block<W: Fn(usize) + Sync>(&self, num_blocks: usize, work: W) {
        unsafe fn call<W: Fn(usize)>(work: *const (), block: usize) {
            // SAFETY: `work` is the `W` this instance was paired with, alive until every block is done.
            unsafe { (*work.cast::<W>())(block) }
        }
        if num_blocks == 1 {
            return work(0);
        }
        // SAFETY: no block is open, so no helper reads the task.
        unsafe {
            *self.task.get() =
                Task { work: std::ptr::from_ref(&work).cast(), call: call::<W>, num_blocks };
        }
        self.open.store(num_blocks, Ordering::Relaxed);
        let pass = (self.claim.load(Ordering::Relaxed) >> 32) + 1;
        // Publishes the task and `open`; blocks are claimed downwards, so that 0 left means none, whatever `num_blocks` is.
        self.claim.store(pass << 32 | num_blocks as u64, Ordering::Release);
        let mut panicked = None;
        while let Some(block) = self.claim_block() {
            // A panic may not unwind past `work` while helpers use it.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(block)));
            self.open.fetch_sub(1, Ordering::AcqRel);
            if let Err(panic) = done {
                panicked = Some(panic);
            }
        }
        let mut spins = 0;
        while self.open.load(Ordering::Acquire) > 0 {
            pause(&mut spins);
        }
        if let Some(panic) = panicked {
            std::panic::resume_unwind(panic);
        }
        assert!(!self.closed.load(Ordering::Acquire), "a helper panicked; its message is above");
    }

    fn claim_block(&self) -> Option<usize> {
        let mut seen = self.claim.load(Ordering::Acquire);
        loop {
            let left = seen & u64::from(u32::MAX);
            if left == 0 {
                return None;
            }
            match self.claim.compare_exchange_weak(
                seen,
                seen - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                // First blocks first: memory is walked upwards. SAFETY: this thread holds a claim on an open block.
                #[allow(clippy::cast_possible_truncation)] // was a usize
                Ok(_) => return Some(unsafe { (*self.task.get()).num_blocks } - left as usize),
                Err(now) => seen = now,
            }
        }
    }

    fn help(&self) {
        let mut spins = 0;
        while !self.closed.load(Ordering::Acquire) {
            let Some(block) = self.claim_block() else {
                pause(&mut spins);
                continue;
            };
            spins = 0;
            // SAFETY: this thread holds a claim on an open block, so the task stands until `open` is counted down.
            let task = unsafe { *self.task.get() };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                // SAFETY: as above, `work` is alive.
                unsafe { (task.call)(task.work, block) }
            }));
            if done.is_err() {
                self.closed.store(true, Ordering::Release);
            }
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn pause(spins: &mut u32) {
    if *spins < SPINS {
        *spins += 1;
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// A slice whose disjoint parts different blocks write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disjoint<T> {
    first: *mut T,
    len: usize,
}

// SAFETY: parts are only handed out through an unsafe method whose contract is disjointness.
unsafe impl<T: Send> Send for Disjoint<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<T> {}

impl<T> Disjoint<T> {
    /// The caller keeps the borrow: parts must not be used after `slice` is gone.
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self { first: slice.as_mut_ptr(), len: slice.len() }
    }

    /// Elements `start..min(start + len, end of slice)`.
    ///
    /// # Safety
    /// The slice given to `new` must still be borrowed, and no other part that overlaps this one be alive.
    pub(crate) unsafe fn part<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        let end = (start + len).min(self.len);
        assert!(start <= end, "part {start}..{end} of {}", self.len);
        // SAFETY: in bounds by the assertion, exclusive by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), end - start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_done_once_in_every_pass() {
        for may_block in [false, true] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("threads");
            let total = pool.install(|| {
                with_team(may_block, |team| {
                    let mut total = 0;
                    for pass in 0..500usize {
                        let num_blocks = 1 + pass % 17;
                        let mut counts = vec![0u32; num_blocks];
                        let parts = Disjoint::new(&mut counts);
                        // SAFETY: each block has its own element.
                        team.for_each_block(num_blocks, |b| unsafe { parts.part(b, 1)[0] += 1 });
                        assert!(counts.iter().all(|c| *c == 1), "pass {pass}: {counts:?}");
                        total += num_blocks;
                    }
                    total
                })
            });
            assert_eq!(total, (0..500).map(|p| 1 + p % 17).sum::<usize>());
        }
    }

    #[test]
    fn a_panic_ends_the_team_instead_of_hanging_it() {
        for panicking_block in [0, 7] {
            let result = std::panic::catch_unwind(|| {
                with_team(false, |team| {
                    team.for_each_block(8, |b| {
                        assert!(b != panicking_block, "expected in this test")
                    });
                });
            });
            assert!(result.is_err());
        }
    }
}
