//! Blocks of rows over threads: a team that stays together for one assignment.
//!
//! An assignment is tens of passes of a tenth of a millisecond; waking threads for each would cost as much as the passes. So helpers
//! are woken once per assignment and wait for the next pass spinning (but where it takes long, as for another rank, they sleep). Blocks are claimed from a counter by whoever is free: the
//! leader never waits for a helper that has not started, only for blocks a helper has claimed. Results go to places fixed
//! by the block, so they do not depend on who computes what.
//!
//! Helpers are threads of our own rather than rayon's. Handing work to rayon's pool moves the leader to a pool thread, where it may
//! take the place of another leader it waits for (ranks that are threads), and allocates in the pool's queue; here the leader stays on
//! the calling thread and nothing is allocated. How many helpers to ask for is still the size of the rayon pool that the call is made in.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

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
    /// Helpers that hold a reference to this team.
    present: AtomicUsize,
}

// SAFETY: `task` is written by the leader only while no block is open, and read only by threads that hold a claim on an open one.
unsafe impl Sync for Team {}

/// Busy rounds before a waiting thread starts giving up its time slices.
const SPINS: u32 = 4000;
/// Rounds, those included, before it sleeps between looks: some milliseconds, longer than what lies between passes.
const YIELDS: u32 = 14_000;
/// How long it sleeps, which the next pass may come late by.
const NAP: std::time::Duration = std::time::Duration::from_micros(200);

/// Runs `lead` with helpers, [`num_threads`] in all.
pub(crate) fn with_team<R>(lead: impl FnOnce(&Team) -> R) -> R {
    let team = Team {
        claim: AtomicU64::new(0),
        open: AtomicUsize::new(0),
        task: UnsafeCell::new(Task { work: std::ptr::null(), call: |_, _| {}, num_blocks: 0 }),
        closed: AtomicBool::new(false),
        present: AtomicUsize::new(0),
    };
    let num_helpers = num_threads() - 1;
    if num_helpers == 0 {
        return lead(&team);
    }
    // Dropped also when `lead` panics: helpers hold references to the team.
    let _open = CREW.offer(&team, num_helpers);
    lead(&team)
}

/// Threads an assignment may use: as many as the rayon pool it is called in, outside of one as many as rayon's global pool has where nobody
/// sets it up (`RAYON_NUM_THREADS`, else all cores). How many that has in truth rayon tells nobody without starting it, and whoever calls
/// `build_global` later would find it started.
pub(crate) fn num_threads() -> usize {
    if rayon::current_thread_index().is_some() {
        rayon::current_num_threads()
    } else {
        *GLOBAL_THREADS
    }
}

static GLOBAL_THREADS: LazyLock<usize> = LazyLock::new(|| {
    std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|threads| threads.parse().ok())
        .filter(|threads| *threads > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
});

/// The process's helper threads, started at first use.
struct Crew {
    offers: Mutex<Vec<Offer>>,
    offered: Condvar,
}

/// A team that takes more helpers.
struct Offer {
    team: *const Team,
    wanted: usize,
}

// SAFETY: the team outlives its offer, and `Team` is Sync.
unsafe impl Send for Offer {}

static CREW: LazyLock<Crew> = LazyLock::new(|| {
    let num_threads =
        std::thread::available_parallelism().map_or(1, usize::from).max(num_threads());
    let (ready, started) = std::sync::mpsc::channel();
    for helper in 1..num_threads {
        let ready = ready.clone();
        // Without a thread there is only less help.
        let _ = std::thread::Builder::new().name(format!("mira-{helper}")).spawn(move || {
            drop(ready);
            CREW.work();
        });
    }
    // All threads have started (each has let go of its sender), so that what that allocates is no part of a later call.
    drop(ready);
    let _: Result<(), _> = started.recv();
    Crew { offers: Mutex::new(Vec::with_capacity(64)), offered: Condvar::new() }
});

impl Crew {
    fn lock(&self) -> MutexGuard<'_, Vec<Offer>> {
        // Nothing panics while holding it.
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer<'a>(&self, team: &'a Team, wanted: usize) -> Standing<'a> {
        self.lock().push(Offer { team, wanted });
        self.offered.notify_all();
        Standing(team)
    }

    fn work(&self) {
        let mut offers = self.lock();
        loop {
            if let Some(offer) = offers.iter_mut().find(|offer| offer.wanted > 0) {
                offer.wanted -= 1;
                // SAFETY: the offer stands while the lock is held, so the team is alive; being counted keeps it so.
                let team = unsafe { &*offer.team };
                team.present.fetch_add(1, Ordering::Relaxed);
                drop(offers);
                team.help();
                team.present.fetch_sub(1, Ordering::Release);
                offers = self.lock();
            } else {
                offers = self.offered.wait(offers).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// An offer in the crew's list; taken back, and the helpers waited for, when dropped.
struct Standing<'a>(&'a Team);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        CREW.lock().retain(|offer| !std::ptr::eq(offer.team, self.0));
        let mut spins = 0;
        while self.0.present.load(Ordering::Acquire) > 0 {
            pause(&mut spins);
        }
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
        assert!(!self.closed.load(Ordering::Relaxed), "a helper panicked; its message is above");
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
    *spins = spins.saturating_add(1);
    match *spins {
        0..SPINS => std::hint::spin_loop(),
        SPINS..YIELDS => std::thread::yield_now(),
        // Not for a pass: for another rank, say, which may take a minute.
        _ => std::thread::sleep(NAP),
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
        let lead = |team: &Team| {
            for pass in 0..500usize {
                let num_blocks = 1 + pass % 17;
                let mut counts = vec![0u32; num_blocks];
                let parts = Disjoint::new(&mut counts);
                // SAFETY: each block has its own element.
                team.for_each_block(num_blocks, |b| unsafe { parts.part(b, 1)[0] += 1 });
                assert!(counts.iter().all(|c| *c == 1), "pass {pass}: {counts:?}");
            }
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("threads");
        // Several teams at once share the crew.
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..20).for_each(|_| pool.install(|| with_team(lead))));
                scope.spawn(|| (0..20).for_each(|_| with_team(lead)));
            }
        });
    }

    #[test]
    fn a_panic_ends_the_team_instead_of_hanging_it() {
        for panicking_block in [0, 7] {
            let result = std::panic::catch_unwind(|| {
                with_team(|team| {
                    team.for_each_block(8, |b| {
                        assert!(b != panicking_block, "expected in this test");
                    });
                });
            });
            assert!(result.is_err());
        }
    }
}
