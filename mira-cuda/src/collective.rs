//! Exchanges between the devices of a batch that is spread over ranks.

use std::fmt::Debug;
use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView, CudaViewMut};
use mira_core::{Collective, CollectiveError};

use crate::Error;
use crate::matrix::fetched;

/// Gathers K-vectors that lie in the memory of several devices, one a rank.
///
/// All ranks must make the same calls with equal lengths, each on the stream its assigner works on. What was gathered lies in rank
/// order, and the kernels add it up in that order: all ranks get the same bits, whatever the timing.
pub trait DeviceCollective: Send + Sync + Debug {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn world_size(&self) -> usize;

    /// Fills `all` with every rank's `mine`, in rank order, behind what `stream` has to do. May return before it is done.
    ///
    /// # Errors
    /// [`Error::Core`] with a [`CollectiveError`] when ranks disagree, are gone or do not answer in time.
    fn gather(
        &self,
        stream: &Arc<CudaStream>,
        mine: &CudaView<'_, f64>,
        all: &mut CudaViewMut<'_, f64>,
    ) -> Result<(), Error>;

    /// Waits until `stream` has done everything it was given; never for ever, should a rank be gone.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    fn wait(&self, stream: &Arc<CudaStream>) -> Result<(), Error>;
}

/// Any [`Collective`] for devices, through the host's memory: every exchange copies a K-vector there and back and waits for the stream.
///
/// For transports without one of their own on the device, and for tests: ranks of a
/// [`ThreadCollective`](mira_core::ThreadCollective) may share a device. [`Nccl`](crate::Nccl) does neither copy nor wait.
#[derive(Clone, Debug)]
pub struct ThroughHost(pub Arc<dyn Collective>);

impl DeviceCollective for ThroughHost {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn world_size(&self) -> usize {
        self.0.world_size()
    }

    fn gather(
        &self,
        stream: &Arc<CudaStream>,
        mine: &CudaView<'_, f64>,
        all: &mut CudaViewMut<'_, f64>,
    ) -> Result<(), Error> {
        let mine = fetched(stream, mine)?;
        let mut gathered = vec![0.0; all.len()];
        self.0.gather(&mine, &mut gathered)?;
        stream.memcpy_htod(&gathered, all)?;
        // The copy may still be reading.
        Ok(stream.synchronize()?)
    }

    fn wait(&self, stream: &Arc<CudaStream>) -> Result<(), Error> {
        Ok(stream.synchronize()?)
    }
}

impl From<CollectiveError> for Error {
    fn from(error: CollectiveError) -> Self {
        Self::Core(error.into())
    }
}
