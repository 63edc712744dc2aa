//! [`Nccl`]: ranks that exchange through NVIDIA's library, from device to device.

mod api;
mod communicator;

use std::fmt;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cudarc::driver::result::event;
use cudarc::driver::sys::{CUresult, CUstreamCaptureStatus};
use cudarc::driver::{
    CudaEvent, CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DriverError,
};
use mira_core::{Collective, CollectiveError};

use self::api::{Api, SUCCESS, UniqueId};
use self::communicator::Communicator;
use crate::Error;
use crate::collective::DeviceCollective;
use crate::matrix::fetched;

/// What the ranks of one world have in common: one rank makes it and gives its bytes to the others, by whatever way they have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NcclId([u8; NcclId::LEN]);

impl NcclId {
    /// Bytes of an id.
    pub const LEN: usize = 128;

    /// A new one.
    ///
    /// # Errors
    /// [`Error::NoNccl`], and what NCCL reports, as when it finds no network interface.
    pub fn new() -> Result<Self, Error> {
        let api = Api::load()?;
        let mut id = UniqueId([0; Self::LEN]);
        // SAFETY: written by the call.
        let status = unsafe { (api.get_unique_id)(&raw mut id) };
        if status != SUCCESS {
            return Err(CollectiveError::Transport(api.describe(status, ptr::null_mut())).into());
        }
        Ok(Self(id.0))
    }

    /// From another rank's bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// For the other ranks.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for NcclId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NcclId")
    }
}

/// One rank of a world that exchanges over NCCL (2.17 or later, loaded at run time), a device each.
///
/// An exchange is enqueued and not waited for. Neither assigners nor workspaces wait for ever, nor does dropping them (copies of matrices to the host do,
/// so ask for the report first): where a rank is missing for longer than the timeout, counted from when this rank's
/// device has come to the exchange, the communicator is aborted, which frees the device from it, and every later call says so.
///
/// It is a [`Collective`], too, for vectors in the host's memory.
///
/// **Has not run on a device yet.**
///
/// # Example
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
/// use mira_core::{Assigner, Mira};
/// use mira_cuda::{CudaAssigner, Nccl, NcclId, device};
///
/// let (rank, world_size) = (0, 1); // as whoever started the processes has it
/// let stream = device(rank)?.new_stream()?;
/// let id = NcclId::new()?; // on rank 0; the others get its bytes
/// let ranks = Nccl::new(&stream, id, rank, world_size, Duration::from_secs(60))?;
/// let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream)?.with_collective(Arc::new(ranks));
/// # Ok::<(), mira_cuda::Error>(())
/// ```
pub struct Nccl {
    shared: Mutex<Shared>,
    stream: Arc<CudaStream>,
    rank: usize,
    world_size: usize,
}

struct Shared {
    communicator: Communicator,
    /// On the stream right before the first exchange that nobody has waited for yet, if there is one.
    begin: CudaEvent,
    outstanding: bool,
    /// For vectors in the host's memory: this rank's, and those of all.
    scratch: Option<[CudaSlice<f64>; 2]>,
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, world_size, .. } = self;
        f.debug_struct("Nccl")
            .field("rank", rank)
            .field("world_size", world_size)
            .finish_non_exhaustive()
    }
}

impl Nccl {
    /// Joins the world of `id` as `rank` of `world_size`, on the stream's device; returns when all ranks have.
    ///
    /// # Errors
    /// [`Error::NoNccl`]; [`Error::Core`] with [`CollectiveError::Transport`] if not all ranks have come within `timeout`, and for
    /// what NCCL reports, as for two ranks on one device.
    pub fn new(
        stream: &Arc<CudaStream>,
        id: NcclId,
        rank: usize,
        world_size: usize,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let api = Api::load()?;
        stream.context().bind_to_thread()?;
        let communicator = Communicator::join(api, UniqueId(id.0), (rank, world_size), timeout)?;
        let begin = stream.context().new_event(None)?;
        let shared = Shared { communicator, begin, outstanding: false, scratch: None };
        let shared = Mutex::new(shared);
        Ok(Self { shared, stream: stream.clone(), rank, world_size })
    }

    /// The shared state, with the stream's context current.
    fn lock(&self, stream: &CudaStream) -> Result<MutexGuard<'_, Shared>, Error> {
        stream.context().bind_to_thread()?;
        Ok(self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every rank's `values`, through this rank's device.
    fn gather_host(&self, values: &[f64]) -> Result<Vec<f64>, Error> {
        let mut shared = self.lock(&self.stream)?;
        let lengths = [values.len(), self.world_size * values.len()];
        let [mut kept_mine, mut kept_all] = match shared.scratch.take() {
            Some(scratch) if scratch[0].len() >= values.len() => scratch,
            _ => {
                let [mine, all] = lengths.map(|n| self.stream.alloc_zeros(n));
                [mine?, all?]
            }
        };
        let (mut mine, mut all) =
            (kept_mine.slice_mut(..lengths[0]), kept_all.slice_mut(..lengths[1]));
        self.stream.memcpy_htod(values, &mut mine)?;
        shared.enqueue(&self.stream, &mine.as_view(), &mut all)?;
        shared.wait(&self.stream)?;
        let gathered = fetched(&self.stream, &all)?;
        shared.scratch = Some([kept_mine, kept_all]);
        Ok(gathered)
    }

    fn reduce(
        &self,
        values: &mut [f64],
        join: impl Fn(f64, f64) -> f64,
    ) -> Result<(), CollectiveError> {
        if values.is_empty() {
            return Ok(());
        }
        let all = self.gather_host(values).map_err(|error| match error {
            Error::Core(mira_core::Error::Collective(error)) => error,
            other => CollectiveError::Transport(other.to_string()),
        })?;
        let (first, others) = all.split_at(values.len());
        values.copy_from_slice(first);
        for rank in others.chunks(values.len()) {
            for (value, other) in values.iter_mut().zip(rank) {
                *value = join(*value, *other);
            }
        }
        Ok(())
    }
}

impl Shared {
    fn enqueue(
        &mut self,
        stream: &Arc<CudaStream>,
        mine: &CudaView<'_, f64>,
        all: &mut CudaViewMut<'_, f64>,
    ) -> Result<(), Error> {
        let expected = self.communicator.world_size * mine.len();
        if all.len() != expected {
            return Err(CollectiveError::Length { expected, got: all.len() }.into());
        }
        let (from, _read) = mine.device_ptr(stream);
        let (to, _written) = all.device_ptr_mut(stream);
        // An event of a captured stream could not be asked for.
        let none = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        if !self.outstanding && stream.capture_status()? == none {
            self.begin.record(stream)?;
            self.outstanding = true;
        }
        // SAFETY: the lengths were compared; the guards keep both for the stream.
        Ok(unsafe { self.communicator.all_gather(from, to, mine.len(), stream.cu_stream()) }?)
    }

    fn wait(&mut self, stream: &Arc<CudaStream>) -> Result<(), Error> {
        let end = stream.record_event(None)?;
        let Self { communicator, begin, outstanding, .. } = self;
        let has_begun = || -> Result<bool, Error> { Ok(!*outstanding || is_past(begin)?) };
        communicator.watch(has_begun, || Ok(is_past(&end)?))?;
        *outstanding = false;
        Ok(())
    }
}

/// Whether the stream is past an event.
fn is_past(event: &CudaEvent) -> Result<bool, DriverError> {
    // SAFETY: the event is alive.
    match unsafe { event::query(event.cu_event()) } {
        Ok(()) => Ok(true),
        Err(DriverError(CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
        Err(error) => Err(error),
    }
}

impl DeviceCollective for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn gather(
        &self,
        stream: &Arc<CudaStream>,
        mine: &CudaView<'_, f64>,
        all: &mut CudaViewMut<'_, f64>,
    ) -> Result<(), Error> {
        self.lock(stream)?.enqueue(stream, mine, all)
    }

    fn wait(&self, stream: &Arc<CudaStream>) -> Result<(), Error> {
        self.lock(stream)?.wait(stream)
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn sum(&self, values: &mut [f64]) -> Result<(), CollectiveError> {
        self.reduce(values, |x, y| x + y)
    }

    fn max(&self, values: &mut [f64]) -> Result<(), CollectiveError> {
        self.reduce(values, f64::max)
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // For the communicator, which is closed next. Without a context there is nothing to close.
        let _ = self.stream.context().bind_to_thread();
    }
}
