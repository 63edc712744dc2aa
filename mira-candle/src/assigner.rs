//! [`CandleAssigner`]: the trait's face of this crate. What runs where is decided in `storage.rs`.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use mira_core::{Assigner, Collective, Method, Report, Shape, SingleProcess};

use crate::cpu::{Options, arithmetic};
use crate::workspace::Memory;
use crate::{Error, Workspace, storage};

/// Assigns candle tensors: logits (B × K; f32, f16, bf16 or f64) in, an assignment (B × K; f32, or f64 for f64 logits) out.
///
/// `W_ij ∝ e^{a_j + S_ij/ε}`, where the column weights `a` are the method's fixed point (MIRA: Lee et al., `NeurIPS` 2022, Eq. 4–7).
/// On the CPU tensors are used where they lie; see the [crate's documentation](crate) for the layouts. The assignment takes no
/// part in autograd.
///
/// Results have the same bits as [`mira_cpu::CpuAssigner`]'s, on any number of threads.
///
/// # Example
/// A training loop makes workspace and output once. Both are for f32, f16 and bf16 logits unless
/// [`with_dtype`](Self::with_dtype) says F64.
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
        Self { options, dtype: DType::F32 }
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

    /// Whether to start from the workspace's previous weights: saves sweeps when batches resemble each other. Ignored by
    /// [`StopRule::Sweeps`](mira_core::StopRule::Sweeps).
    #[must_use]
    pub fn with_warm_start(mut self, warm_start: bool) -> Self {
        self.options.warm_start = warm_start;
        self
    }

    /// Treats the logits as this rank's rows of a batch spread over the collective's ranks.
    ///
    /// Ranks that are threads of one process need assignments with memory of their own: a tensor is locked while it is written,
    /// so ranks that write slices of one tensor would wait for each other for ever.
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

/// The shape of a matrix of logits or assignments.
fn shape_of(what: &'static str, tensor: &Tensor) -> Result<Shape, Error> {
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
        let memory = match self.dtype {
            DType::F64 => Memory::F64(self.options.assigner::<f64, f64>().workspace(shape)?),
            _ => Memory::F32(self.options.assigner::<f32, f32>().workspace(shape)?),
        };
        Ok(Workspace { memory, copied_bytes: 0 })
    }

    fn assign_into(
        &self,
        logits: &Tensor,
        assignment: &Tensor,
        workspace: &mut Workspace,
    ) -> Result<(), Error> {
        for (what, tensor) in [("logits", logits), ("assignment", assignment)] {
            let (expected, got) = (workspace.shape(), shape_of(what, tensor)?);
            if got != expected {
                return Err(mira_core::Error::ShapeMismatch { what, expected, got }.into());
            }
        }
        storage::assign(&self.options, logits, assignment, workspace)
    }

    fn report(&self, workspace: &Workspace) -> Result<Report, Error> {
        // Type parameters are those of the workspace; a report does not depend on the logits' storage.
        match &workspace.memory {
            Memory::F32(memory) => Ok(self.options.assigner::<f32, f32>().report(memory)?),
            Memory::F64(memory) => Ok(self.options.assigner::<f64, f64>().report(memory)?),
        }
    }

    fn shape(logits: &&Tensor) -> Result<Shape, Error> {
        shape_of("logits", logits)
    }

    fn output(&self, shape: Shape) -> Result<Tensor, Error> {
        let dims = (shape.batch(), shape.num_prototypes());
        // The backend's own arrays: large ones ask for huge pages. The tensor takes their memory over.
        let tensor = if self.dtype == DType::F64 {
            let zeros = self.options.assigner::<f64, f64>().output(shape)?;
            Tensor::from_vec(zeros.into_raw_vec_and_offset().0, dims, &Device::Cpu)
        } else {
            let zeros = self.options.assigner::<f32, f32>().output(shape)?;
            Tensor::from_vec(zeros.into_raw_vec_and_offset().0, dims, &Device::Cpu)
        };
        Ok(tensor?)
    }

    fn as_assignment(output: &mut Tensor) -> &Tensor {
        output
    }

    fn assign(&self, logits: &Tensor) -> Result<(Tensor, Report), Error> {
        let shape = shape_of("logits", logits)?;
        let assigner = self.clone().with_dtype(arithmetic(logits.dtype())?)?;
        let (mut workspace, output) = (assigner.workspace(shape)?, assigner.output(shape)?);
        assigner.assign_into(logits, &output, &mut workspace)?;
        Ok((output, assigner.report(&workspace)?))
    }
}
