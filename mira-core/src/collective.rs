//! Sums over ranks: how an assignment over a batch spread over several workers is made.
//!
//! Each rank holds some rows; a sweep needs one sum of a K-vector over the ranks. Sums are taken in rank order, not in order of
//! arrival, so that results do not depend on timing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Element-wise reductions over ranks, in rank order; every rank gets the same bits.
///
/// All ranks must make the same calls with equal lengths, in the same order, and each rank one at a time: where several threads of a rank assign at once, each needs a
/// collective of its own, for nothing says which rank's call belongs to which of another's. An implementation returns an error, and never hangs, when they do
/// not or when one is gone. After that every later call of every rank is an error: some ranks have made one call more than others, so what they bring
/// next belongs to different steps, and nothing in the numbers shows it. It is the collective that must remember, and not an assigner: assigners
/// are made anew for each step, share a collective, and are not all that sums over it.
pub trait Collective: Send + Sync + std::fmt::Debug {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn world_size(&self) -> usize;

    /// Replaces `values` by their sum over the ranks.
    ///
    /// # Errors
    /// [`CollectiveError`] when ranks disagree, are gone or do not answer in time.
    fn sum(&self, values: &mut [f64]) -> Result<(), CollectiveError>;

    /// Replaces `values` by their maximum over the ranks.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    fn max(&self, values: &mut [f64]) -> Result<(), CollectiveError>;

    /// Fills `all` with every rank's `mine`, one after the other in rank order. As provided, it is a sum with zeros in the others' places.
    ///
    /// # Errors
    /// As [`sum`](Self::sum); [`CollectiveError::Length`] unless `all` is `world_size` times as long as `mine`.
    fn gather(&self, mine: &[f64], all: &mut [f64]) -> Result<(), CollectiveError> {
        let expected = self.world_size() * mine.len();
        if all.len() != expected {
            return Err(CollectiveError::Length { expected, got: all.len() });
        }
        all.fill(0.0);
        let start = self.rank() * mine.len();
        all[start..start + mine.len()].copy_from_slice(mine);
        self.sum(all)
    }
}

/// Why a collective failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectiveError {
    /// A rank was dropped while others were waiting for it.
    #[error("rank {rank} left while others were waiting for it; look for its own error")]
    RankLeft {
        /// The rank that is gone.
        rank: usize,
    },
    /// Ranks called with different lengths or operations.
    #[error(
        "ranks disagree: rank 0 called {expected}, rank {rank} called {got}; all ranks must assign with the same method and number of prototypes"
    )]
    Mismatch {
        /// The rank that differs from rank 0.
        rank: usize,
        /// Rank 0's call.
        expected: String,
        /// The other rank's call.
        got: String,
    },
    /// Ranks are about to compute different things: what they would make together would be nobody's optimum.
    #[error("ranks differ in {what}; all ranks must assign with the same method and state")]
    Differ {
        /// What differs, and between which values.
        what: String,
    },
    /// A rank did not call in time.
    #[error(
        "rank {rank} did not answer within {waited:?}; see whether it failed or hangs, or allow more time"
    )]
    Timeout {
        /// The first rank missing.
        rank: usize,
        /// The time waited.
        waited: Duration,
    },
    /// Some ranks gave up on a call that others may still make, or made another.
    #[error(
        "ranks are no longer at the same step, since an earlier call failed: {first}; make a new collective on all of them, and start from the same step"
    )]
    OutOfStep {
        /// How the first call failed.
        first: Box<CollectiveError>,
    },
    /// Two threads of a rank called at the same time: which of them meets which of another rank's calls, nobody knows.
    #[error(
        "two threads called the collective of rank {rank} at once; make one call after the other (assign a rank's views in turn), or give each thread a collective of its own"
    )]
    ConcurrentCalls {
        /// The rank.
        rank: usize,
    },
    /// The numbers of all ranks do not fit where they were to be gathered.
    #[error(
        "what all ranks give has {expected} numbers, but there is room for {got}; make room for the number of ranks times each one's"
    )]
    Length {
        /// The number of ranks times the length of what each gives.
        expected: usize,
        /// The room there is.
        got: usize,
    },
    /// A backend's transport failed.
    #[error("{0}")]
    Transport(String),
}

/// The whole batch is here: reductions do nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SingleProcess;

impl Collective for SingleProcess {
    fn rank(&self) -> usize {
        0
    }
    fn world_size(&self) -> usize {
        1
    }
    fn sum(&self, _: &mut [f64]) -> Result<(), CollectiveError> {
        Ok(())
    }
    fn max(&self, _: &mut [f64]) -> Result<(), CollectiveError> {
        Ok(())
    }
}

/// Ranks that are threads of one process.
///
/// After a [`Timeout`](CollectiveError::Timeout), a [`Mismatch`](CollectiveError::Mismatch) or [`ConcurrentCalls`](CollectiveError::ConcurrentCalls) all calls are
/// [`OutOfStep`](CollectiveError::OutOfStep), on all ranks.
///
/// ```
/// use mira_core::{Collective, ThreadCollective};
/// let ranks = ThreadCollective::world(2);
/// let sums: Vec<f64> = std::thread::scope(|scope| {
///     let handles: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(move || {
///         let mut values = [rank.rank() as f64 + 1.0];
///         rank.sum(&mut values).map(|()| values[0])
///     })).collect();
///     handles.into_iter().map(|h| h.join().unwrap()).collect::<Result<_, _>>()
/// })?;
/// assert_eq!(sums, [3.0, 3.0]);
/// # Ok::<(), mira_core::CollectiveError>(())
/// ```
#[derive(Debug)]
pub struct ThreadCollective {
    rank: usize,
    timeout: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What each rank has brought to the current round; kept allocated between rounds.
    slots: Vec<Vec<f64>>,
    calls: Vec<Option<Operation>>,
    /// Ranks with a thread in a call.
    is_calling: Vec<bool>,
    /// Ranks that were dropped, in that order.
    left: Vec<usize>,
    result: Vec<f64>,
    verdict: Option<CollectiveError>,
    /// Why there are no more rounds.
    broken: Option<CollectiveError>,
    /// Ranks that have not yet taken the result of the finished round.
    readers: usize,
    round: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Sum,
    Max,
}

impl ThreadCollective {
    /// The handles of a world of `world_size` ranks, waiting at most 60 s for each other.
    ///
    /// # Panics
    /// If `world_size` is 0.
    pub fn world(world_size: usize) -> Vec<Self> {
        Self::world_with_timeout(world_size, Duration::from_secs(60))
    }

    /// The same with another patience; with more than the clock can count (`Duration::MAX`), ranks wait for each other as long as all are there.
    ///
    /// # Panics
    /// If `world_size` is 0.
    pub fn world_with_timeout(world_size: usize, timeout: Duration) -> Vec<Self> {
        assert!(world_size > 0, "a world needs at least one rank");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                slots: vec![Vec::new(); world_size],
                calls: vec![None; world_size],
                is_calling: vec![false; world_size],
                left: Vec::with_capacity(world_size),
                result: Vec::new(),
                verdict: None,
                broken: None,
                readers: 0,
                round: 0,
            }),
            changed: Condvar::new(),
        });
        (0..world_size).map(|rank| Self { rank, timeout, shared: Arc::clone(&shared) }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // State is only ever changed in whole steps, so a panicking peer leaves it usable.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until `done`, or why not; the lock is held all along but while waiting.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        mut done: impl FnMut(&State) -> bool,
    ) -> (MutexGuard<'a, State>, Result<(), CollectiveError>) {
        let deadline = Instant::now().checked_add(self.timeout);
        loop {
            if done(&state) {
                return (state, Ok(()));
            }
            if let Some(error) = &state.broken {
                let error = error.clone();
                return (state, Err(error));
            }
            // Later leavers may only have left because the first one did: name that one.
            if missing(&state).any(|rank| state.left.contains(&rank)) {
                let rank = state.left[0];
                return (state, Err(CollectiveError::RankLeft { rank }));
            }
            let changed = &self.shared.changed;
            let Some(deadline) = deadline else {
                state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if now >= deadline {
                let rank = missing(&state).next().unwrap_or(self.rank);
                let error = CollectiveError::Timeout { rank, waited: self.timeout };
                // Under the same lock: the ranks that are late find it, and do not meet a later call of this one.
                state.broken = Some(error.clone());
                changed.notify_all();
                return (state, Err(error));
            }
            state = changed
                .wait_timeout(state, deadline - now)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn reduce(&self, operation: Operation, values: &mut [f64]) -> Result<(), CollectiveError> {
        let mut state = self.lock();
        if let Some(first) = &state.broken {
            return Err(CollectiveError::OutOfStep { first: Box::new(first.clone()) });
        }
        if std::mem::replace(&mut state.is_calling[self.rank], true) {
            let error = CollectiveError::ConcurrentCalls { rank: self.rank };
            state.broken = Some(error.clone());
            self.shared.changed.notify_all();
            return Err(error);
        }
        let result = self.meet(state, operation, values);
        self.lock().is_calling[self.rank] = false;
        result
    }

    fn meet(
        &self,
        state: MutexGuard<'_, State>,
        operation: Operation,
        values: &mut [f64],
    ) -> Result<(), CollectiveError> {
        // A round ends when every rank has read its result; only then may the next one begin.
        let (mut state, ready) = self.wait(state, |s| s.readers == 0);
        ready?;
        let slot = &mut state.slots[self.rank];
        slot.clear();
        slot.extend_from_slice(values);
        state.calls[self.rank] = Some(operation);
        let round = state.round;
        if state.calls.iter().all(Option::is_some) {
            state.finish_round();
            self.shared.changed.notify_all();
        } else {
            let over;
            (state, over) = self.wait(state, |s| s.round != round);
            if let Err(error) = over {
                // Under the same lock: nobody may finish a round with a rank that has given up.
                state.calls[self.rank] = None;
                return Err(error);
            }
        }
        state.readers -= 1;
        if state.readers == 0 {
            self.shared.changed.notify_all();
        }
        if let Some(error) = &state.verdict {
            return Err(error.clone());
        }
        values.copy_from_slice(&state.result);
        Ok(())
    }
}

/// Ranks the current round still waits for.
fn missing(state: &State) -> impl Iterator<Item = usize> + '_ {
    (0..state.calls.len()).filter(|&rank| state.calls[rank].is_none())
}

impl State {
    fn finish_round(&mut self) {
        let describe = |rank: usize| {
            format!("{:?} of {} values", self.calls[rank].expect("present"), self.slots[rank].len())
        };
        self.verdict = (1..self.slots.len())
            .find(|&rank| {
                self.slots[rank].len() != self.slots[0].len() || self.calls[rank] != self.calls[0]
            })
            .map(|rank| CollectiveError::Mismatch {
                rank,
                expected: describe(0),
                got: describe(rank),
            });
        self.broken.clone_from(&self.verdict);
        if self.verdict.is_none() {
            let operation = self.calls[0].expect("present");
            self.result.clear();
            self.result.extend_from_slice(&self.slots[0]);
            for slot in &self.slots[1..] {
                for (total, &value) in self.result.iter_mut().zip(slot) {
                    *total = match operation {
                        Operation::Sum => *total + value,
                        Operation::Max => total.max(value),
                    };
                }
            }
        }
        self.readers = self.slots.len();
        self.calls.fill(None);
        self.round += 1;
    }
}

impl Collective for ThreadCollective {
    fn rank(&self) -> usize {
        self.rank
    }
    fn world_size(&self) -> usize {
        self.lock().slots.len()
    }
    fn sum(&self, values: &mut [f64]) -> Result<(), CollectiveError> {
        self.reduce(Operation::Sum, values)
    }
    fn max(&self, values: &mut [f64]) -> Result<(), CollectiveError> {
        self.reduce(Operation::Max, values)
    }
}

impl Drop for ThreadCollective {
    fn drop(&mut self) {
        self.lock().left.push(self.rank);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
