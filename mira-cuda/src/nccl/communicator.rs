//! A communicator of NCCL's that never holds its caller for ever and closes whatever happened.

use std::ffi::c_int;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use cudarc::driver::sys::{CUdeviceptr, CUstream};
use mira_core::CollectiveError;

use super::api::{Api, Comm, Config, FLOAT64, IN_PROGRESS, SUCCESS, Status, UniqueId};

/// How long it may take to close.
const GOODBYE: Duration = Duration::from_secs(5);

/// One rank's end; null once aborted. The device's context must be current for every call.
pub(super) struct Communicator {
    api: &'static Api,
    comm: Comm,
    pub(super) world_size: usize,
    timeout: Duration,
}

// SAFETY: NCCL's communicators may be used from any thread, by one at a time; calls that use it take `&mut self`.
unsafe impl Send for Communicator {}

impl Communicator {
    /// Joins the others.
    pub(super) fn join(
        api: &'static Api,
        id: UniqueId,
        (rank, world_size): (usize, usize),
        timeout: Duration,
    ) -> Result<Self, CollectiveError> {
        if rank >= world_size {
            return Err(CollectiveError::Transport(format!(
                "rank {rank} of a world of {world_size}: ranks count from 0; check how the processes were started"
            )));
        }
        let int = |n: usize| {
            c_int::try_from(n).map_err(|_| {
                CollectiveError::Transport(format!("a world of {n} ranks is too large"))
            })
        };
        let (number, ranks) = (int(rank)?, int(world_size)?);
        let mut comm = ptr::null_mut();
        let mut config = Config::non_blocking();
        // SAFETY: written by the call; the config is read during it.
        let status = unsafe { (api.init_rank)(&raw mut comm, ranks, id, number, &raw mut config) };
        let mut this = Self { api, comm, world_size, timeout };
        this.finish(status, timeout)?;
        Ok(this)
    }

    /// Enqueues: every rank's `len` numbers at `mine`, in rank order, to `all`.
    ///
    /// # Safety
    /// Both must be device memory, of `len` and `world_size · len` f64, until the stream is past it.
    pub(super) unsafe fn all_gather(
        &mut self,
        mine: CUdeviceptr,
        all: CUdeviceptr,
        len: usize,
        stream: CUstream,
    ) -> Result<(), CollectiveError> {
        self.check_open()?;
        let (from, to) = (mine as *const _, all as *mut _);
        // SAFETY: by this function's contract.
        let status = unsafe { (self.api.all_gather)(from, to, len, FLOAT64, self.comm, stream) };
        self.finish(status, self.timeout)
    }

    /// Looks, until `is_done`, whether the other ranks are still there. Nobody is late before `has_begun`: until then this device is
    /// busy with something else.
    pub(super) fn watch<E: From<CollectiveError>>(
        &mut self,
        mut has_begun: impl FnMut() -> Result<bool, E>,
        mut is_done: impl FnMut() -> Result<bool, E>,
    ) -> Result<(), E> {
        self.check_open()?;
        let mut before = Patience::new(Duration::MAX);
        while !has_begun()? {
            self.check_progress()?;
            before.wait();
        }
        let mut patience = Patience::new(self.timeout);
        while !is_done()? {
            self.check_progress()?;
            if !patience.wait() {
                return Err(self.give_up(None).into());
            }
        }
        Ok(())
    }

    /// Gives up where something has failed.
    fn check_progress(&mut self) -> Result<(), CollectiveError> {
        match self.progress() {
            SUCCESS | IN_PROGRESS => Ok(()),
            status => Err(self.give_up(Some(status))),
        }
    }

    /// Waits until a call that returned `status` has been carried out by the host.
    fn finish(&mut self, mut status: Status, timeout: Duration) -> Result<(), CollectiveError> {
        let mut patience = Patience::new(timeout);
        while status == IN_PROGRESS {
            if !patience.wait() {
                return Err(self.give_up(None));
            }
            status = self.progress();
        }
        if status == SUCCESS { Ok(()) } else { Err(self.give_up(Some(status))) }
    }

    /// Where the communicator stands.
    fn progress(&self) -> Status {
        let mut status = SUCCESS;
        // SAFETY: it is open; written by the call.
        let asked = unsafe { (self.api.async_error)(self.comm, &raw mut status) };
        if asked == SUCCESS { status } else { asked }
    }

    /// Aborts, so that the device is not left waiting for the others. No status: time has run out.
    fn give_up(&mut self, status: Option<Status>) -> CollectiveError {
        let what = match status {
            Some(status) => self.api.describe(status, self.comm),
            // Which of them is missing NCCL does not tell.
            None => format!(
                "NCCL: not all of {} ranks answered within {} s; look for another rank's error, or start all of them",
                self.world_size,
                self.timeout.as_secs_f64()
            ),
        };
        if !self.comm.is_null() {
            // SAFETY: open until here.
            unsafe { (self.api.abort)(self.comm) };
            self.comm = ptr::null_mut();
        }
        CollectiveError::Transport(what)
    }

    fn check_open(&self) -> Result<(), CollectiveError> {
        if self.comm.is_null() {
            let what = "NCCL: the communicator was aborted after an earlier error; make a new one";
            return Err(CollectiveError::Transport(what.into()));
        }
        Ok(())
    }
}

impl Drop for Communicator {
    /// Closes it with the other ranks if they are there, and without them if not.
    fn drop(&mut self) {
        if self.comm.is_null() {
            return;
        }
        // SAFETY: open until here.
        let status = unsafe { (self.api.finalize)(self.comm) };
        if self.finish(status, GOODBYE.min(self.timeout)).is_ok() {
            // SAFETY: finalised, and not used afterwards.
            unsafe { (self.api.destroy)(self.comm) };
        }
    }
}

/// Looking again and again at what takes microseconds or, when things go wrong, seconds.
struct Patience {
    /// None where the clock cannot count as far.
    end: Option<Instant>,
    looks: u32,
}

impl Patience {
    fn new(timeout: Duration) -> Self {
        Self { end: Instant::now().checked_add(timeout), looks: 0 }
    }

    /// Pauses; false when it is at its end.
    fn wait(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        if self.looks < 1000 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(100));
        }
        self.end.is_none_or(|end| Instant::now() < end)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::ffi::{c_char, c_void};

    use super::*;

    /// A stand-in for the library, scripted for each test's thread.
    #[derive(Default)]
    struct Script {
        /// What `ncclCommGetAsyncError` tells, in turn; the last for ever.
        progress: Vec<Status>,
        /// Of every call that starts something.
        status: Status,
        calls: Vec<&'static str>,
    }

    thread_local! {
        static SCRIPT: RefCell<Script> = RefCell::default();
    }

    const BROKEN: Status = 2;

    fn called(name: &'static str) -> Status {
        SCRIPT.with_borrow_mut(|script| {
            script.calls.push(name);
            script.status
        })
    }

    unsafe extern "C" fn get_unique_id(_: *mut UniqueId) -> Status {
        called("id")
    }
    unsafe extern "C" fn init_rank(
        comm: *mut Comm,
        _: c_int,
        _: UniqueId,
        _: c_int,
        _: *mut Config,
    ) -> Status {
        // SAFETY: the caller's.
        unsafe { *comm = ptr::dangling_mut::<c_void>() };
        called("init")
    }
    unsafe extern "C" fn async_error(_: Comm, status: *mut Status) -> Status {
        SCRIPT.with_borrow_mut(|script| {
            let next = script.progress[0];
            if script.progress.len() > 1 {
                script.progress.remove(0);
            }
            // SAFETY: the caller's.
            unsafe { *status = next };
        });
        SUCCESS
    }
    unsafe extern "C" fn all_gather(
        _: *const c_void,
        _: *mut c_void,
        _: usize,
        _: c_int,
        _: Comm,
        _: CUstream,
    ) -> Status {
        called("gather")
    }
    unsafe extern "C" fn finalize(_: Comm) -> Status {
        called("finalize")
    }
    unsafe extern "C" fn destroy(_: Comm) -> Status {
        called("destroy")
    }
    unsafe extern "C" fn abort(_: Comm) -> Status {
        called("abort")
    }
    unsafe extern "C" fn error_string(status: Status) -> *const c_char {
        if status == BROKEN { c"unhandled system error".as_ptr() } else { c"other".as_ptr() }
    }
    unsafe extern "C" fn last_error(_: Comm) -> *const c_char {
        c"".as_ptr()
    }

    static API: Api = Api {
        get_unique_id,
        init_rank,
        async_error,
        all_gather,
        finalize,
        destroy,
        abort,
        error_string,
        last_error,
    };

    fn script(status: Status, progress: &[Status]) {
        SCRIPT.with_borrow_mut(|s| (s.status, s.progress) = (status, progress.to_vec()));
    }

    fn calls() -> Vec<&'static str> {
        SCRIPT.with_borrow_mut(|s| std::mem::take(&mut s.calls))
    }

    fn join() -> Result<Communicator, CollectiveError> {
        Communicator::join(&API, UniqueId([0; 128]), (1, 2), Duration::from_millis(20))
    }

    fn gather(communicator: &mut Communicator) -> Result<(), CollectiveError> {
        // SAFETY: the stand-in touches no memory.
        unsafe { communicator.all_gather(0, 0, 3, ptr::null_mut()) }
    }

    #[test]
    fn calls_in_progress_are_waited_for_and_the_end_is_orderly() {
        script(IN_PROGRESS, &[IN_PROGRESS, IN_PROGRESS, SUCCESS]);
        let mut communicator = join().unwrap();
        script(IN_PROGRESS, &[IN_PROGRESS, SUCCESS]);
        gather(&mut communicator).unwrap();
        let mut looks = 0;
        communicator
            .watch(
                || Ok(true),
                || -> Result<bool, CollectiveError> {
                    looks += 1;
                    Ok(looks == 5)
                },
            )
            .unwrap();
        drop(communicator);
        assert_eq!(calls(), ["init", "gather", "finalize", "destroy"]);
    }

    #[test]
    fn a_rank_that_does_not_come_ends_the_waiting() {
        script(IN_PROGRESS, &[IN_PROGRESS]);
        let error = join().err().expect("nobody came").to_string();
        assert!(error.contains("not all of 2 ranks answered within 0.02 s"), "{error}");
        assert_eq!(calls(), ["init", "abort"], "aborted once, neither finalised nor destroyed");
    }

    #[test]
    fn a_rank_that_goes_is_noticed_while_the_device_waits() {
        script(SUCCESS, &[SUCCESS]);
        let mut communicator = join().unwrap();
        gather(&mut communicator).unwrap();
        script(SUCCESS, &[IN_PROGRESS, SUCCESS, BROKEN]);
        let never = || Ok::<_, CollectiveError>(false);
        let error = communicator.watch(|| Ok(true), never).unwrap_err();
        assert_eq!(error.to_string(), "NCCL: unhandled system error");
        // What is asked of it afterwards is refused without a call.
        let error = gather(&mut communicator).unwrap_err().to_string();
        assert!(error.contains("make a new one"), "{error}");
        drop(communicator);
        assert_eq!(calls(), ["init", "gather", "abort"]);
    }

    #[test]
    fn what_the_device_has_to_do_before_counts_for_nobody() {
        script(SUCCESS, &[SUCCESS]);
        let mut communicator = join().unwrap();
        gather(&mut communicator).unwrap();
        let start = Instant::now();
        let twice_the_timeout = || Ok(start.elapsed() > Duration::from_millis(40));
        communicator.watch(twice_the_timeout, || Ok::<_, CollectiveError>(true)).unwrap();
        // From then on it counts, and what fails before is told at once.
        let never = || Ok::<_, CollectiveError>(false);
        let error = communicator.watch(|| Ok(true), never).unwrap_err().to_string();
        assert!(error.contains("not all of 2 ranks"), "{error}");
        let mut communicator = join().unwrap();
        script(SUCCESS, &[SUCCESS, BROKEN]);
        let error = communicator.watch(never, never).unwrap_err();
        assert_eq!(error.to_string(), "NCCL: unhandled system error");
    }

    #[test]
    fn one_that_cannot_be_closed_is_aborted() {
        script(SUCCESS, &[SUCCESS]);
        let communicator = join().unwrap();
        script(IN_PROGRESS, &[IN_PROGRESS]);
        drop(communicator);
        assert_eq!(calls(), ["init", "finalize", "abort"]);
    }

    #[test]
    fn a_rank_outside_the_world_is_refused() {
        let join = Communicator::join(&API, UniqueId([0; 128]), (2, 2), Duration::ZERO);
        assert!(join.err().expect("refused").to_string().contains("rank 2 of a world of 2"));
        assert!(calls().is_empty());
    }
}
