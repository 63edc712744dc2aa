//! CUDA tensors through [`mira_cuda`], where they lie and on candle's own stream: slices of candle's storage.
//!
//! Nothing here waits for the device but [`CudaMemory::report`], and a workspace that another thread used before. This file **has not run on a device**, only over a stand-in
//! for the driver.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use candle_core::cuda::CudaStorageSlice;
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaStream};
use candle_core::{CudaDevice, CudaStorage, Layout};
use mira_core::{Assigner as _, Report, Shape};
use mira_cuda::{CudaAssigner, CudaWorkspace, Logit, Probability, Rows, RowsMut};

use crate::Error;
use crate::operation::{Options, refused, row_stride};
use crate::workspace::Memory;

/// Device memory for problems of one shape, with what is needed to read it.
#[derive(Debug)]
pub(crate) struct CudaMemory {
    pub(crate) device: CudaDevice,
    workspace: CudaWorkspace,
    /// The thread that used the workspace last: the stream of `Device::new_cuda` is another one in each thread.
    user: Mutex<ThreadId>,
    /// Keeps the kernels loaded between assignments. Reports do not depend on the element types.
    assigner: CudaAssigner<f32, f32>,
}

impl CudaMemory {
    pub(crate) fn new(options: &Options, device: &CudaDevice, shape: Shape) -> Result<Self, Error> {
        let assigner = options.on_cuda(&device.cuda_stream())?;
        let (workspace, user) = (assigner.workspace(shape)?, Mutex::new(thread::current().id()));
        let device = device.clone();
        Ok(Self { device, workspace, user, assigner })
    }

    pub(crate) fn report(&self) -> Result<Report, Error> {
        Ok(self.assigner.report(self.workspace()?)?)
    }

    pub(crate) fn shape(&self) -> Shape {
        self.workspace.shape()
    }

    pub(crate) const fn has_warm_start(&self) -> bool {
        self.workspace.has_warm_start()
    }

    pub(crate) fn set_log_weights(&mut self, log_weights: &[f64]) -> Result<(), Error> {
        Ok(self.workspace_mut()?.set_log_weights(0, log_weights)?)
    }

    pub(crate) fn workspace(&self) -> Result<&CudaWorkspace, Error> {
        self.wait_for_other_threads()?;
        Ok(&self.workspace)
    }

    pub(crate) fn workspace_mut(&mut self) -> Result<&mut CudaWorkspace, Error> {
        self.wait_for_other_threads()?;
        Ok(&mut self.workspace)
    }

    /// Waits for the device if another thread was the last to use the workspace.
    fn wait_for_other_threads(&self) -> Result<(), Error> {
        let here = thread::current().id();
        let mut user = self.user.lock().unwrap_or_else(PoisonError::into_inner);
        if *user != here {
            let context = self.device.cuda_stream().context().clone();
            context.synchronize().map_err(mira_cuda::Error::from)?;
            *user = here;
        }
        Ok(())
    }
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        // Its memory goes back in this thread's order of things. What failed before is told by who waits for it.
        let _ = self.wait_for_other_threads();
    }
}

impl Options {
    /// The CUDA backend's assigner for logits of type `L` and assignments of type `A`.
    fn on_cuda<L: Logit, A: Probability>(
        &self,
        stream: &Arc<CudaStream>,
    ) -> Result<CudaAssigner<L, A>, Error> {
        let assigner = CudaAssigner::new(self.method, stream)?;
        Ok(assigner.with_warm_start(self.warm_start).with_objective(self.objective))
    }
}

/// Enqueues an assignment from one storage into the other, laid out like that; their types are known to have kernels.
pub(crate) fn assign(
    options: &Options,
    from: &CudaStorage,
    to: &mut CudaStorage,
    layouts: (&Layout, &Layout),
    memory: &mut Memory,
) -> Result<(), Error> {
    use CudaStorageSlice::{BF16, F16, F32};
    let Memory::Cuda(memory) = memory else {
        unreachable!("the workspace's device has been checked before the tensors were locked")
    };
    let workspace = memory.workspace_mut()?;
    let launch = Launch { options, stream: from.device.cuda_stream(), layouts };
    match (&from.slice, &mut to.slice) {
        (F32(s), F32(w)) => launch.run(s, w, workspace),
        (F16(s), F32(w)) => launch.run(s, w, workspace),
        (BF16(s), F32(w)) => launch.run(s, w, workspace),
        (F32(s), BF16(w)) => launch.run(s, w, workspace),
        (F16(s), BF16(w)) => launch.run(s, w, workspace),
        (BF16(s), BF16(w)) => launch.run(s, w, workspace),
        _ => unreachable!("types have been checked before the tensors were locked"),
    }
}

/// What a launch takes beside memory.
struct Launch<'a> {
    options: &'a Options,
    stream: Arc<CudaStream>,
    layouts: (&'a Layout, &'a Layout),
}

impl Launch<'_> {
    fn run<L: Logit, A: Probability>(
        &self,
        from: &CudaSlice<L>,
        to: &mut CudaSlice<A>,
        workspace: &mut CudaWorkspace,
    ) -> Result<(), Error> {
        let shape = workspace.shape();
        let logits = rows(from, self.layouts.0, shape)?;
        let assignment = rows_mut(to, self.layouts.1, shape)?;
        let assigner = self.options.on_cuda(&self.stream)?;
        Ok(assigner.assign_into(logits, assignment, workspace)?)
    }
}

/// A tensor's rows, where they are.
fn rows<'a, T>(
    elements: &'a CudaSlice<T>,
    layout: &Layout,
    shape: Shape,
) -> Result<Rows<'a, T>, Error> {
    let view = elements.try_slice(layout.start_offset()..);
    let (Some(view), Some(stride)) = (view, row_stride(layout)) else {
        return Err(refused("logits", layout));
    };
    Ok(Rows::new(view, shape, stride)?)
}

/// The same to be written to.
fn rows_mut<'a, T>(
    elements: &'a mut CudaSlice<T>,
    layout: &Layout,
    shape: Shape,
) -> Result<RowsMut<'a, T>, Error> {
    let view = elements.try_slice_mut(layout.start_offset()..);
    let (Some(view), Some(stride)) = (view, row_stride(layout)) else {
        return Err(refused("assignment", layout));
    };
    Ok(RowsMut::new(view, shape, stride)?)
}
