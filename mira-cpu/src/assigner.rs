//! [`CpuAssigner`]: the trait's face of this backend.

use std::marker::PhantomData;
use std::sync::Arc;

use mira_core::{Assigner, Collective, FixedPoint, Method, Report, Shape, SingleProcess};
use ndarray::{Array2, ArrayBase, ArrayView2, ArrayViewMut2, RawData};

use crate::element::{Logit, Real};
use crate::parallel::with_team;
use crate::rows::Rows;
use crate::sweep::CpuSweep;
use crate::{CpuWorkspace, Error, memory};

/// Assigns on the CPU: logits of type `L` (`f32`, `f64`, [`half::f16`], [`half::bf16`]) in, assignment of type `A` (`f32`, `f64`)
/// out, which is also the type the sweeps compute in.
///
/// Views may have any row stride; columns must be contiguous. Work is spread over as many threads as the rayon pool has that the call is
/// made in (outside of one, `RAYON_NUM_THREADS` or all cores; see the [crate's documentation](crate)), in blocks of rows whose size depends on the shape alone: results have the same bits on any number of threads.
///
/// # Example
/// ```
/// use mira_cpu::CpuAssigner;
/// use mira_core::{Assigner, Mira, Status};
/// use ndarray::array;
/// let logits = array![[0.9f32, 0.1, -0.3], [0.8, 0.2, 0.0], [0.1, 0.7, 0.2]];
/// let (assignment, report) = CpuAssigner::<f32>::new(Mira::default()).assign(logits.view())?;
/// assert_eq!(report.status, Status::Converged);
/// assert!(report.certificate.log_ratio_bound < 1e-5);
/// assert!((assignment.row(0).sum() - 1.0).abs() < 1e-6);
/// # Ok::<(), mira_cpu::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CpuAssigner<L: Logit = f32, A = <L as Logit>::Wide> {
    method: Method,
    warm_start: bool,
    objective: bool,
    collective: Arc<dyn Collective>,
    elements: PhantomData<fn(L) -> A>,
}

impl<L: Logit, A: Real> CpuAssigner<L, A> {
    /// An assigner for `method`, on this process's rows alone, without warm start.
    pub fn new(method: impl Into<Method>) -> Self {
        Self {
            method: method.into(),
            warm_start: false,
            objective: false,
            collective: Arc::new(SingleProcess),
            elements: PhantomData,
        }
    }

    /// Whether to start from the workspace's previous weights: saves sweeps when batches resemble each other. Ignored by
    /// [`StopRule::Sweeps`](mira_core::StopRule::Sweeps).
    #[must_use]
    pub fn with_warm_start(self, warm_start: bool) -> Self {
        Self { warm_start, ..self }
    }

    /// Treats the logits as this rank's rows of a batch spread over the collective's ranks. All must assign with the same method; where one
    /// starts from other weights than the others, all start cold. A rank whose arguments are refused tells the others so; one that has none to
    /// give calls [`refuse`](Assigner::refuse).
    #[must_use]
    pub fn with_collective(self, collective: Arc<dyn Collective>) -> Self {
        Self { collective, ..self }
    }

    /// Whether [`Report::objective`] is wanted for MIRA: one more exponential per element. (For the other methods it is free.)
    /// Over ranks all must ask for it, or none has it.
    #[must_use]
    pub fn with_objective(self, objective: bool) -> Self {
        Self { objective, ..self }
    }
}

/// Row stride in elements of an array with contiguous rows.
fn row_stride<S: RawData>(
    what: &'static str,
    array: &ArrayBase<S, ndarray::Ix2>,
) -> Result<isize, Error> {
    match array.strides() {
        [row, column] if *column == 1 || array.ncols() == 1 => Ok(*row),
        strides => Err(Error::ColumnStride { what, stride: strides[1] }),
    }
}

/// Row stride of the assignment, if both arrays are of the workspace's shape and have contiguous rows.
fn output_stride<L, A>(
    logits: &ArrayView2<'_, L>,
    assignment: &ArrayViewMut2<'_, A>,
    expected: Shape,
) -> Result<isize, Error> {
    for (what, got) in [("logits", logits.dim()), ("assignment", assignment.dim())] {
        if got != (expected.batch(), expected.num_prototypes()) {
            let got = Shape::new(got.0, got.1)?;
            return Err(mira_core::Error::ShapeMismatch { what, expected, got }.into());
        }
    }
    row_stride("logits", logits)?;
    row_stride("assignment", assignment)
}

impl<L: Logit, A: Real> Assigner for CpuAssigner<L, A> {
    type Logits<'a> = ArrayView2<'a, L>;
    type Assignment<'a> = ArrayViewMut2<'a, A>;
    type Output = Array2<A>;
    type Workspace = CpuWorkspace<A>;
    type Error = Error;

    fn method(&self) -> &Method {
        &self.method
    }

    fn workspace(&self, shape: Shape) -> Result<CpuWorkspace<A>, Error> {
        Ok(CpuWorkspace::new(shape)?)
    }

    fn assign_into(
        &self,
        logits: ArrayView2<'_, L>,
        mut assignment: ArrayViewMut2<'_, A>,
        ws: &mut CpuWorkspace<A>,
    ) -> Result<(), Error> {
        let stride =
            output_stride(&logits, &assignment, ws.shape).inspect_err(|_| self.refuse())?;
        // SAFETY: the view is exclusively borrowed for this call; its rows are contiguous and `stride` apart.
        let rows = unsafe { Rows::new(assignment.as_mut_ptr(), stride, ws.shape.num_prototypes()) };
        let CpuWorkspace { block_rows, fixed_point, memory, .. } = ws;
        with_team(|team| {
            let mut sweep = CpuSweep {
                team,
                logits,
                rows,
                block_rows: *block_rows,
                epsilon: self.method.scaling().epsilon,
                partition_temperature: match self.method {
                    Method::Mira(m) if self.objective => Some(m.temperature()),
                    _ => None,
                },
                memory,
                built: false,
                lowest_exponent: 0.0,
                sum_log_partition: None,
                backwards: true,
            };
            let collective = &*self.collective;
            fixed_point.run(&self.method, A::ARITHMETIC, self.warm_start, collective, &mut sweep)
        })
    }

    fn report(&self, ws: &CpuWorkspace<A>) -> Result<Report, Error> {
        ws.fixed_point.report().ok_or_else(|| mira_core::Error::NothingAssigned.into())
    }

    fn shape(logits: &ArrayView2<'_, L>) -> Result<Shape, Error> {
        Ok(Shape::new(logits.nrows(), logits.ncols())?)
    }

    fn output(&self, shape: Shape) -> Result<Array2<A>, Error> {
        let dim = (shape.batch(), shape.num_prototypes());
        let zeros = memory::zeroed(shape.len()).map_err(|_| mira_core::Error::OutOfMemory {
            what: "an assignment",
            shape,
            bytes: size_of::<A>().saturating_mul(shape.len()),
        })?;
        Ok(Array2::from_shape_vec(dim, zeros).expect("as many elements as the shape has"))
    }

    fn as_assignment(output: &mut Array2<A>) -> ArrayViewMut2<'_, A> {
        output.view_mut()
    }

    fn refuse(&self) {
        FixedPoint::refuse(&*self.collective);
    }
}
