//! Threads that work on pieces of batches; the pieces come back in order, whichever thread was quicker.
//!
//! Pieces wait for a thread in a queue and for their turn in a ring, both of a size fixed at the start and under one lock. Every piece
//! that a thread takes comes back, with an error where the work failed or panicked, so nobody waits for ever; and who waits watches the
//! threads' hands, so that a read that does not end is an error, too.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Error, Source, checked};

/// Part of a batch: a job on the way there, its result on the way back.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) number: u64,
    pub(super) epoch: u32,
    /// Images drawn; on the way back, images used.
    pub(super) indices: Vec<u32>,
    pub(super) labels: Vec<Option<u32>>,
    /// One buffer a view.
    pub(super) crops: Vec<Vec<u8>>,
    /// Images that could not be read, and why.
    pub(super) bad: Vec<(u32, Error)>,
    /// What ended the work on this piece.
    pub(super) error: Option<Error>,
}

impl Piece {
    pub(super) fn begin(&mut self, number: u64, epoch: u32) {
        (self.number, self.epoch, self.error) = (number, epoch, None);
        self.indices.clear();
        self.labels.clear();
        self.bad.clear();
    }
}

/// The image that a thread is at: its index + 1 in the lower half, 0 for none; the upper half counts, so that no two are the same.
#[derive(Debug, Default)]
pub(super) struct Hand(AtomicU64);

impl Hand {
    pub(super) fn take(&self, index: u32) {
        // Only the thread whose hand it is writes.
        let count = (self.0.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.0.store((count << 32) | (u64::from(index) + 1), Ordering::Relaxed);
    }

    fn put_down(&self) {
        let count = self.0.load(Ordering::Relaxed) >> 32;
        self.0.store(count << 32, Ordering::Relaxed);
    }

    pub(super) fn index(&self) -> Option<usize> {
        (self.0.load(Ordering::Relaxed) as u32).checked_sub(1).map(|index| index as usize)
    }
}

/// What is done with a piece.
pub(super) trait Work: Clone + Send + 'static {
    /// Memory of a thread.
    type Scratch: Default;

    fn source(&self) -> &Arc<dyn Source>;

    /// Loads the piece's images, each taken in hand before.
    fn fill(
        &self,
        piece: &mut Piece,
        desk: &Desk<'_>,
        scratch: &mut Self::Scratch,
    ) -> Result<(), Error>;
}

/// What a thread has beside its work: its hand, and whether to go on.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) hand: &'a Hand,
    stop: &'a AtomicBool,
}

impl Desk<'_> {
    /// Takes an image in hand, unless the pool is being stopped.
    pub(super) fn take(&self, index: u32) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        self.hand.take(index);
        Ok(())
    }
}

struct Shared {
    state: Mutex<State>,
    /// There is a piece to work on, or no more will come.
    todo: Condvar,
    /// A piece is done, or a thread has ended.
    done: Condvar,
    stop: AtomicBool,
    /// One a thread.
    hands: Box<[Hand]>,
}

struct State {
    queue: VecDeque<Piece>,
    /// Pieces that are done, each at its number modulo the length.
    done: Box<[Option<Piece>]>,
    has_failed: bool,
    num_running: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_job(&self) -> Option<Piece> {
        let mut state = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(piece) = state.queue.pop_front() {
                return Some(piece);
            }
            state = self.todo.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, piece: Piece) {
        let mut state = self.lock();
        state.has_failed |= piece.error.is_some();
        let slot = piece.number as usize % state.done.len();
        state.done[slot] = Some(piece);
        self.done.notify_one();
    }
}

/// Says that a thread has ended, and holds nothing any more, when it is dropped.
struct Presence(Arc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.lock().num_running -= 1;
        self.0.done.notify_one();
    }
}

/// `presence` is dropped after the work, and with it the source.
#[allow(clippy::needless_pass_by_value)] // that it is dropped here is what it is for
fn work_on<W: Work>(presence: Presence, id: usize, work: W) {
    let shared = &*presence.0;
    let desk = Desk { hand: &shared.hands[id], stop: &shared.stop };
    let (work, mut scratch) = (work, W::Scratch::default());
    while let Some(mut piece) = shared.next_job() {
        let fill = AssertUnwindSafe(|| work.fill(&mut piece, &desk, &mut scratch));
        piece.error = match catch_unwind(fill) {
            Ok(result) => result.err(),
            Err(panic) => {
                scratch = W::Scratch::default();
                let index = desk.hand.index();
                let name = index.map(|index| checked::name(&**work.source(), index));
                let name = name.unwrap_or_else(|| "a batch".into());
                Some(Error::Panicked { name, message: checked::message(&*panic) })
            }
        };
        desk.hand.put_down();
        shared.finish(piece);
    }
}

/// How long the hands of threads have been as they are, while somebody waits.
#[derive(Debug)]
struct Watch {
    /// When an image has been in hand for too long; never for `None`.
    limit: Option<Duration>,
    /// What each hand held when it was looked at last, and for how long it has been seen to.
    seen: Box<[(u64, Duration)]>,
}

impl Watch {
    /// Between two looks.
    fn interval(&self) -> Option<Duration> {
        Some((self.limit? / 8).clamp(Duration::from_millis(5), Duration::from_secs(1)))
    }

    fn reset(&mut self) {
        self.seen.fill_with(Default::default);
    }

    /// Looks at the hands, `elapsed` after the last time; the image that one has held for too long. Of a look that came late, as after
    /// the process was stopped for a while, only two intervals count: the threads did not work in that time, either.
    fn look(&mut self, hands: &[Hand], elapsed: Duration) -> Option<usize> {
        let (limit, interval) = (self.limit?, self.interval()?);
        for (hand, (seen, time)) in hands.iter().zip(&mut self.seen) {
            let (now, index) = (hand.0.load(Ordering::Relaxed), hand.index());
            if now != *seen || index.is_none() {
                (*seen, *time) = (now, Duration::ZERO);
                continue;
            }
            *time += elapsed.min(2 * interval);
            if *time >= limit {
                return index;
            }
        }
        None
    }
}

/// The threads, and what they have done.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    watch: Watch,
    source: Arc<dyn Source>,
    /// How long the threads have to end when the pool is dropped.
    grace: Duration,
}

/// Longer than any image takes, unless its file cannot be read.
const GRACE: Duration = Duration::from_secs(10);
/// Where one of them is known not to.
const SHORT_GRACE: Duration = Duration::from_millis(500);

impl Pool {
    /// For at most `capacity` pieces at a time, with consecutive numbers; an image that is waited for longer than `read_timeout` is an
    /// error.
    pub(super) fn start<W: Work>(
        work: &W,
        num_threads: usize,
        capacity: usize,
        read_timeout: Option<Duration>,
    ) -> Result<Self, Error> {
        let state = State {
            queue: VecDeque::with_capacity(capacity),
            done: (0..capacity).map(|_| None).collect(),
            has_failed: false,
            num_running: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            todo: Condvar::new(),
            done: Condvar::new(),
            stop: AtomicBool::new(false),
            hands: (0..num_threads).map(|_| Hand::default()).collect(),
        });
        let seen = (0..num_threads).map(|_| Default::default()).collect();
        let mut pool = Self {
            shared,
            threads: Vec::with_capacity(num_threads),
            watch: Watch { limit: read_timeout, seen },
            source: Arc::clone(work.source()),
            grace: GRACE,
        };
        for id in 0..num_threads {
            pool.shared.lock().num_running += 1;
            let (presence, work) = (Presence(Arc::clone(&pool.shared)), work.clone());
            let thread = std::thread::Builder::new()
                .name(format!("mira-data-{id}"))
                .spawn(move || work_on(presence, id, work))
                .map_err(|source| Error::Thread { source })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Hands out a piece.
    pub(super) fn send(&self, piece: Piece) {
        self.shared.lock().queue.push_back(piece);
        self.shared.todo.notify_one();
    }

    /// A piece when it is done, or the error of whichever piece from it up to `end` fails first.
    pub(super) fn wait_for(&mut self, number: u64, end: u64) -> Result<Piece, Error> {
        self.watch.reset();
        let mut last_look = Instant::now();
        let mut state = self.shared.lock();
        loop {
            let capacity = state.done.len();
            if state.has_failed {
                let failed = (number..end).find_map(|number| {
                    state.done[number as usize % capacity].as_mut()?.error.take()
                });
                if let Some(error) = failed {
                    return Err(error);
                }
            }
            if let Some(piece) = state.done[number as usize % capacity].take() {
                debug_assert_eq!(piece.number, number);
                return Ok(piece);
            }
            if state.num_running == 0 {
                return Err(Error::Stopped);
            }
            let Some(interval) = self.watch.interval() else {
                state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let woken = self.shared.done.wait_timeout(state, interval);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            let elapsed = last_look.elapsed();
            if elapsed >= interval {
                last_look += elapsed;
                if let Some(index) = self.watch.look(&self.shared.hands, elapsed) {
                    self.grace = SHORT_GRACE;
                    let name = checked::name(&*self.source, index);
                    return Err(Error::Stuck { name, limit: self.watch.limit.unwrap_or_default() });
                }
            }
        }
    }

    /// No thread begins another image.
    pub(super) fn stop(&self) {
        // Under the lock, or a thread that has just looked would sleep through it.
        let _state = self.shared.lock();
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.todo.notify_all();
    }
}

impl Drop for Pool {
    /// Waits for the images that the threads have in hand, not for their pieces. A thread that does not come back from a read is left to
    /// itself: it ends when the read does, or with the process.
    fn drop(&mut self) {
        self.stop();
        let state = self.shared.lock();
        let waited =
            self.shared.done.wait_timeout_while(state, self.grace, |state| state.num_running > 0);
        let is_over = waited.unwrap_or_else(PoisonError::into_inner).0.num_running == 0;
        for thread in self.threads.drain(..) {
            if is_over || thread.is_finished() {
                // What a thread panics on has been caught; there is nothing to add here.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_stuck_when_one_look_after_another_finds_it_in_the_same_hand() {
        let hands = [Hand::default(), Hand::default()];
        let limit = Some(Duration::from_secs(8));
        let mut watch = Watch { limit, seen: [Default::default(); 2].into() };
        let second = Duration::from_secs(1);
        hands[0].take(0);
        hands[1].take(7);
        for _ in 0..8 {
            assert_eq!(watch.look(&hands, second), None);
            // The first one goes on, if only to the same image again.
            hands[0].take(0);
        }
        assert_eq!(watch.look(&hands, second), Some(7));
        hands[1].put_down();
        for _ in 0..20 {
            hands[0].take(0);
            assert_eq!(watch.look(&hands, second), None, "empty hands are not stuck");
        }
        // The process was stopped meanwhile, the hand with it.
        hands[1].take(3);
        hands[0].put_down();
        assert_eq!(watch.look(&hands, second), None);
        assert_eq!(watch.look(&hands, 3600 * second), None);
        assert_eq!(watch.look(&hands, 5 * second), None);
        watch.reset();
        assert_eq!(watch.look(&hands, 5 * second), None);
        assert_eq!((0..4).find_map(|_| watch.look(&hands, 5 * second)), Some(3));
        watch.limit = None;
        assert!((0..100).all(|_| watch.look(&hands, second).is_none()));
    }
}
