//! [`CandleAssigner`]: the trait's face of this crate. What runs where is decided in `storage.rs`.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use mira_core::{Assigner, Collective, FixedPoint, Method, Report, Shape, SingleProcess};

use crate::operation::{Options, arithmetic};
use crate::storage::Backend;
use crate::workspace::Memory;
use crate::{Error, Workspace, storage};

/// Assigns candle tensors: logits (B × K; f32, f16, bf16 or f64) in, an assignment (B × K; f32, or f64 for f64 logits) out.
///
/// `W_ij ∝ e^{a_j + S_ij/ε}`, where the column weights `a` are the method's fixed point (MIRA: Lee et al., `NeurIPS` 2022, Eq. 4–7).
/// Tensors are used where they lie; see the [crate's documentation](crate) for the layouts. The assignment takes no part in autograd.
///
/// Results on the CPU have the same bits as [`mira_cpu::CpuAssigner`]'s, on any number of threads. On CUDA (feature `cuda`), which **has not
/// run on a device yet**, they are `mira_cuda`'s: [`assign_into`](Assigner::assign_into) enqueues one launch on candle's stream and returns,
/// [`report`](Assigner::report) waits, and tells of invalid logits.
///
/// # Example
/// A training loop makes workspace and output once. Both are for f32, f16 and bf16 logits on the CPU unless
/// [`with_dtype`](Self::with_dtype) says F64 or [`with_device`](Self::with_device) says where.
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use mira_candle::CandleAssigner;
/// use mira_core::{Assigner, Mira, Shape};
///
/// let assigner = CandleAssigner::new(Mira::default()).with_warm_start(true);
/// let shape = Shape::new(32, 8)?;
/// let (mut workspace, targets) = (assigner.workspace(shape)?, assigner.output(shape)?);
/// for _step in 0..3 {
///     let logits = Tensor::rand(-1f32, 1., (32, 8), &Device::Cpu)?.to_dtype(DType::BF16)?;
///     assigner.assign_into(&logits, &targets, &mut workspace)?;
///     let report = assigner.report(&workspace)?;
///     assert!(report.certificate.log_ratio_bound < 1e-5);
/// }
/// # Ok::<(), mira_candle::Error>(())
/// ```
/// Tensors are shared by reference, so whoever holds a clone of `targets` sees the next assignment: call `backward` on a loss
/// before its targets are overwritten.
#[derive(Clone, Debug)]
pub struct CandleAssigner {
    options: Options,
    dtype: DType,
    /// One there is a backend for.
    device: Device,
}

impl CandleAssigner {
    /// An assigner for `method`, on this process's rows alone, without warm start.
    pub fn new(method: impl Into<Method>) -> Self {
        let options = Options {
            method: method.into(),
            warm_start: false,
            objective: false,
            collective: Arc::new(SingleProcess),
        };
        Self { options, dtype: DType::F32, device: Device::Cpu }
    }

    /// The arithmetic of workspaces and outputs made by this assigner: F32 (the default) for f32, f16 and bf16 logits, F64 for f64
    /// logits. [`assign`](Assigner::assign) finds it out from the logits.
    ///
    /// # Errors
    /// [`Error::ArithmeticDType`] for any other type.
    ///
    /// # Example
    /// ```
    /// use candle_core::DType;
    /// use mira_candle::CandleAssigner;
    /// use mira_core::{Assigner, Mira, Shape};
    /// let assigner = CandleAssigner::new(Mira::default()).with_dtype(DType::F64)?;
    /// assert_eq!(assigner.output(Shape::new(4, 3)?)?.dtype(), DType::F64);
    /// # Ok::<(), mira_candle::Error>(())
    /// ```
    pub fn with_dtype(self, dtype: DType) -> Result<Self, Error> {
        match dtype {
            DType::F32 | DType::F64 => Ok(Self { dtype, ..self }),
            got => Err(Error::ArithmeticDType { got }),
        }
    }

    /// Where workspaces and outputs made by this assigner are: the CPU (the default), or the CUDA device of the logits.
    /// [`assign`](Assigner::assign) finds it out from the logits.
    ///
    /// # Errors
    /// [`Error::NoCuda`] without the feature `cuda`, [`Error::Metal`].
    ///
    /// # Example
    /// ```no_run
    /// use candle_core::{DType, Device, Tensor};
    /// use mira_candle::CandleAssigner;
    /// use mira_core::{Assigner, Mira, Shape};
    /// let device = Device::cuda_if_available(0)?;
    /// let assigner = CandleAssigner::new(Mira::default()).with_device(&device)?;
    /// let shape = Shape::new(4096, 3000)?;
    /// let (mut workspace, targets) = (assigner.workspace(shape)?, assigner.output(shape)?);
    /// let logits = Tensor::rand(-1f32, 1., (4096, 3000), &device)?.to_dtype(DType::BF16)?;
    /// assigner.assign_into(&logits, &targets, &mut workspace)?; // on CUDA, has only been enqueued
    /// println!("{}", assigner.report(&workspace)?.status);
    /// # Ok::<(), mira_candle::Error>(())
    /// ```
    pub fn with_device(self, device: &Device) -> Result<Self, Error> {
        Backend::of("tensors", device.location())?;
        Ok(Self { device: device.clone(), ..self })
    }

    /// Whether to start from the workspace's previous weights: saves sweeps when batches resemble each other. Ignored by
    /// [`StopRule::Sweeps`](mira_core::StopRule::Sweeps).
    #[must_use]
    pub fn with_warm_start(mut self, warm_start: bool) -> Self {
        self.options.warm_start = warm_start;
        self
    }

    /// Treats the logits as this rank's rows of a batch spread over the collective's ranks. On the CPU only; on CUDA, more ranks than one are
    /// [`Error::CudaCollective`]. All must assign with the same method; where one starts from other weights than the others, all start cold. A rank
    /// whose tensors are refused tells the others so; one that has none to give calls [`refuse`](Assigner::refuse).
    ///
    /// Ranks that are threads of one process need assignments with memory of their own: a tensor is locked while it is written,
    /// so of ranks that write slices of one tensor, one waits for the lock and the others for that one until the collective's timeout.
    #[must_use]
    pub fn with_collective(mut self, collective: Arc<dyn Collective>) -> Self {
        self.options.collective = collective;
        self
    }

    /// Whether [`Report::objective`] is wanted for MIRA: one more exponential per element. (For the other methods it is free.)
    #[must_use]
    pub fn with_objective(mut self, objective: bool) -> Self {
        self.options.objective = objective;
        self
    }
}

impl CandleAssigner {
    /// Whether the device computes what is asked for.
    fn check(&self) -> Result<(), Error> {
        Backend::of("tensors", self.device.location())?.check(&self.options, self.dtype)
    }
}

/// The shape of a matrix of logits or assignments.
pub(crate) fn shape_of(what: &'static str, tensor: &Tensor) -> Result<Shape, Error> {
    match *tensor.dims() {
        [batch, num_prototypes] => Ok(Shape::new(batch, num_prototypes)?),
        ref dims => Err(Error::Rank { what, got: dims.to_vec() }),
    }
}

impl Assigner for CandleAssigner {
    type Logits<'a> = &'a Tensor;
    /// Written through the tensor's lock, as candle's in-place operations do.
    type Assignment<'a> = &'a Tensor;
    type Output = Tensor;
    type Workspace = Workspace;
    type Error = Error;

    fn method(&self) -> &Method {
        &self.options.method
    }

    fn workspace(&self, shape: Shape) -> Result<Workspace, Error> {
        self.check()?;
        let memory = match (&self.device, self.dtype) {
            #[cfg(feature = "cuda")]
            (Device::Cuda(device), _) => {
                Memory::Cuda(crate::cuda::CudaMemory::new(&self.options, device, shape)?)
            }
            (_, DType::F64) => Memory::F64(self.options.on_cpu::<f64, f64>().workspace(shape)?),
            _ => Memory::F32(self.options.on_cpu::<f32, f32>().workspace(shape)?),
        };
        Ok(Workspace { memory, copied_bytes: 0 })
    }

    fn assign_into(
        &self,
        logits: &Tensor,
        assignment: &Tensor,
        workspace: &mut Workspace,
    ) -> Result<(), Error> {
        storage::assign(&self.options, logits, assignment, workspace)
    }

    fn report(&self, workspace: &Workspace) -> Result<Report, Error> {
        // Type parameters are those of the workspace; a report does not depend on the logits' storage.
        match &workspace.memory {
            Memory::F32(memory) => Ok(self.options.on_cpu::<f32, f32>().report(memory)?),
            Memory::F64(memory) => Ok(self.options.on_cpu::<f64, f64>().report(memory)?),
            #[cfg(feature = "cuda")]
            Memory::Cuda(memory) => memory.report(),
        }
    }

    fn shape(logits: &&Tensor) -> Result<Shape, Error> {
        shape_of("logits", logits)
    }

    fn output(&self, shape: Shape) -> Result<Tensor, Error> {
        self.check()?;
        let dims = (shape.batch(), shape.num_prototypes());
        if !self.device.is_cpu() {
            return Ok(Tensor::zeros(dims, self.dtype, &self.device)?);
        }
        // The backend's own arrays: large ones ask for huge pages. The tensor takes their memory over.
        let tensor = if self.dtype == DType::F64 {
            let zeros = self.options.on_cpu::<f64, f64>().output(shape)?;
            Tensor::from_vec(zeros.into_raw_vec_and_offset().0, dims, &Device::Cpu)
        } else {
            let zeros = self.options.on_cpu::<f32, f32>().output(shape)?;
            Tensor::from_vec(zeros.into_raw_vec_and_offset().0, dims, &Device::Cpu)
        };
        Ok(tensor?)
    }

    fn as_assignment(output: &mut Tensor) -> &Tensor {
        output
    }

    fn refuse(&self) {
        FixedPoint::refuse(&*self.options.collective);
    }

    fn assign(&self, logits: &Tensor) -> Result<(Tensor, Report), Error> {
        let made = || -> Result<_, Error> {
            let shape = shape_of("logits", logits)?;
            let assigner = self.clone().with_dtype(arithmetic(logits.dtype())?)?;
            let assigner = assigner.with_device(logits.device())?;
            let (workspace, output) = (assigner.workspace(shape)?, assigner.output(shape)?);
            Ok((assigner, workspace, output))
        };
        let (assigner, mut workspace, output) = made().inspect_err(|_| self.refuse())?;
        assigner.assign_into(logits, &output, &mut workspace)?;
        Ok((output, assigner.report(&workspace)?))
    }
}
