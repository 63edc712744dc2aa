//! [`CrossEntropy`]: a plan with its kernel and workspace on a stream.

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr};
use mira_core::{Error as CoreError, Shape};

use super::{CrossEntropyBuffers, CrossEntropyParams, CrossEntropyPlan, Matrix};
use crate::kernels::{Kernels, Launch, Operation};
use crate::matrix::{Leaving, Logit, Probability, Rows, RowsMut, fetched};
use crate::{Error, plan::Dtype};

// SAFETY: plain numbers, `#[repr(C)]`, field by field what the kernels take.
unsafe impl DeviceRepr for CrossEntropyParams {}

/// The cross-entropy of one shape: student logits of type `L` against assignments of type `A`, on one stream. Memory that other streams read, too, is
/// [another matter](crate::CudaAssigner#several-streams). Dropping this waits for what it has been given.
///
/// ```no_run
/// use mira_core::Shape;
/// use mira_cuda::{DeviceMatrix, cross_entropy::CrossEntropy, device};
///
/// let stream = device(0)?.default_stream();
/// let shape = Shape::new(2, 3)?;
/// let logits = DeviceMatrix::from_host(&stream, shape, &[0.9f32, 0.1, -0.3, 0.8, 0.2, 0.0])?;
/// let labels = DeviceMatrix::from_host(&stream, shape, &[1.0f32, 0.0, 0.0, 0.0, 0.5, 0.5])?;
/// let mut gradient = DeviceMatrix::zeros(&stream, shape)?;
/// let mut mean = CrossEntropy::<f32>::new(&stream, shape, 0.1, 0.5)?; // τ = 0.1, scale = 1/B
/// mean.launch(&logits.rows(), &labels.rows(), Some(&mut gradient.rows_mut()))?;
/// println!("{} {:?}", mean.loss()?, gradient.to_host()?);
/// # Ok::<(), mira_cuda::Error>(())
/// ```
#[derive(Debug)]
pub struct CrossEntropy<L = f32, A = f32> {
    _leaving: Leaving,
    plan: CrossEntropyPlan,
    shape: Shape,
    workspace: CudaSlice<u8>,
    loss: CudaSlice<f64>,
    stream: Arc<CudaStream>,
    kernels: Arc<Kernels>,
    elements: PhantomData<fn(L, A)>,
}

impl<L: Logit, A: Probability> CrossEntropy<L, A> {
    /// For logits and assignments of `shape`, `temperature` τ > 0 and a `scale` of loss and gradient (`1 / batch` for the mean).
    ///
    /// # Errors
    /// As [`CrossEntropyPlan::new`]; [`Error::UnsupportedDevice`], [`Error::OldDriver`], [`Error::OutOfMemory`], [`Error::Driver`].
    pub fn new(
        stream: &Arc<CudaStream>,
        shape: Shape,
        temperature: f64,
        scale: f64,
    ) -> Result<Self, Error> {
        let kernels = Kernels::of(stream.context(), Operation::CrossEntropy)?;
        let dtypes: (Dtype, Dtype) = (L::DTYPE, A::DTYPE);
        let plan = CrossEntropyPlan::new(shape, dtypes, temperature, scale, kernels.hardware)?;
        kernels.prepare(plan.kernel)?;
        let workspace = stream.alloc_zeros(plan.workspace_bytes)?;
        let loss = stream.alloc_zeros(1)?;
        Ok(Self {
            _leaving: Leaving::waiting(stream, None),
            plan,
            shape,
            workspace,
            loss,
            stream: stream.clone(),
            kernels,
            elements: PhantomData,
        })
    }

    /// Enqueues the loss and, if wanted, the gradient by the logits; allocates nothing and waits for nothing.
    ///
    /// # Errors
    /// Shapes that differ from the one given, [`Error::Driver`].
    pub fn launch(
        &mut self,
        logits: &Rows<'_, L>,
        assignment: &Rows<'_, A>,
        gradient: Option<&mut RowsMut<'_, L>>,
    ) -> Result<(), Error> {
        let shapes = [
            ("logits", logits.shape),
            ("assignment", assignment.shape),
            ("gradient", gradient.as_ref().map_or(self.shape, |g| g.shape)),
        ];
        for (what, got) in shapes {
            if got != self.shape {
                let expected = self.shape;
                return Err(CoreError::ShapeMismatch { what, expected, got }.into());
            }
        }
        // Guards record, when dropped after the launch, that the stream uses the memory.
        let (workspace, _workspace) = self.workspace.device_ptr_mut(&self.stream);
        let (loss, _loss) = self.loss.device_ptr_mut(&self.stream);
        let (address, _logits) = logits.view.device_ptr(&self.stream);
        let logits = Matrix { address, stride: logits.stride };
        let (address, _assignment) = assignment.view.device_ptr(&self.stream);
        let assignment = Matrix { address, stride: assignment.stride };
        let gradient = gradient.map(|g| (g.stride, g.view.device_ptr_mut(&self.stream)));
        let buffers = CrossEntropyBuffers {
            logits,
            assignment,
            gradient: gradient
                .as_ref()
                .map(|(stride, (address, _))| Matrix { address: *address, stride: *stride }),
            row_losses: None,
            loss,
            workspace,
        };
        let params = self.plan.params(&buffers)?;
        let launch = Launch {
            kernel: self.plan.kernel,
            grid: (self.plan.blocks, 1),
            threads: self.plan.threads,
            shared_bytes: self.plan.shared_bytes,
            cooperative: false,
        };
        // SAFETY: the kernel takes these parameters; shapes, strides and addresses were checked, and the guards keep the memory alive
        // as long as the stream uses it.
        unsafe { self.kernels.launch(&self.stream, &launch, &params) }
    }

    /// `L` of the last launch; waits for the stream.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub fn loss(&self) -> Result<f64, Error> {
        Ok(fetched(&self.stream, &self.loss)?[0])
    }
}
