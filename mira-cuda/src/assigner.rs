//! [`CudaAssigner`]: the trait's face of this backend.

mod report;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr};
use mira_core::{Assigner, Error as CoreError, Method, Report, Shape, StopRule};

use crate::Error;
use crate::collective::DeviceCollective;
use crate::kernels::{Kernels, Launch, Operation};
use crate::matrix::{DeviceMatrix, Leaving, Logit, Probability, Rows, RowsMut, fetched};
use crate::params::{MAX_PROBLEMS, Params};
use crate::plan::{CERTIFY, Dtype, Hardware, LOG_PARTITION, NUM_TERMS, Plan, Ranks};

// SAFETY: plain numbers, `#[repr(C)]`, field by field what the kernels take.
unsafe impl DeviceRepr for Params {}

/// Assigns on a CUDA device: logits of type `L` (`f32`, [`half::f16`], [`half::bf16`]) in, assignment of type `A` (`f32`,
/// [`half::bf16`]) out, both in device memory; f32 arithmetic on the rows, f64 between them.
///
/// [`assign_into`](Assigner::assign_into) enqueues one cooperative launch on the stream and returns: the passes, the
/// acceleration and the stop rule run on the device. It allocates nothing and waits for nothing, and can be captured in
/// a graph (on a stream of its own, for CUDA captures no `default_stream()`; disable event tracking first, see [`cudarc::driver::CudaContext::disable_event_tracking`]). Whether it starts warm is decided when it is captured: with
/// [`with_warm_start`](Self::with_warm_start), assign once before; weights that are restored later have no part in replays of what was captured cold. [`report`](Assigner::report)
/// has the device compute the certificate, waits, and fetches it; so it is there that invalid logits are told. The same device gives the same bits for the same batch. Over ranks
/// ([`with_collective`](Self::with_collective)) it enqueues a launch and an exchange for every pass instead.
///
/// # Several streams
/// cudarc has streams wait for each other where they use the same memory, with two gaps that are the caller's. It knows the last reader only: where two streams read the
/// same logits and a third writes or frees them afterwards, have that one wait for the first reader by
/// [`CudaStream::join`](cudarc::driver::CudaStream::join). And memory that was allocated before the context's first
/// [`new_stream`](cudarc::driver::CudaContext::new_stream) is not watched at all: make streams first. (Workspaces are: their streams wait for each other, but for
/// captured ones.)
///
/// # In a training step
/// A launch takes every multiprocessor unless [told otherwise](Self::with_multiprocessors), so use one stream for assignments. `assign` allocates from the driver's pool, which by default gives memory back whenever somebody waits: in a loop,
/// `assign_into`. The last assigner and workspace of a context wait for all of it when they are dropped, since only then may code be unloaded: drop them neither during a capture, which that
/// would end, nor behind another library's collective that hangs.
///
/// # Example
/// ```no_run
/// use mira_core::{Assigner, Mira, Shape};
/// use mira_cuda::{CudaAssigner, DeviceMatrix, device};
///
/// let stream = device(0)?.default_stream();
/// let shape = Shape::new(2, 3)?;
/// let logits = [0.9f32, 0.1, -0.3, 0.8, 0.2, 0.0];
/// let logits = DeviceMatrix::from_host(&stream, shape, &logits)?;
/// let assigner = CudaAssigner::<f32>::new(Mira::default(), &stream)?;
/// let (assignment, report) = assigner.assign(logits.rows())?;
/// assert!(report.certificate.log_ratio_bound < 1e-5);
/// println!("{:?}", assignment.to_host()?);
/// # Ok::<(), mira_cuda::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CudaAssigner<L = f32, A = f32> {
    method: Method,
    warm_start: bool,
    objective: bool,
    collective: Option<Arc<dyn DeviceCollective>>,
    max_passes: usize,
    stream: Arc<CudaStream>,
    /// Of the whole assignment in one launch.
    kernels: Arc<Kernels>,
    /// Of what follows it.
    afterwards: Arc<Kernels>,
    /// What a launch may take of the device.
    hardware: Hardware,
    elements: PhantomData<fn(L) -> A>,
}

/// Device memory for up to four problems of one shape, and what the method carries from batch to batch: log weights, DINO's centre.
///
/// Besides 18 K-vectors of f64 it holds one K-vector of f32 for each block of at most 64 rows; there is no array of B × K. Dropping it waits
/// for the last assignment.
#[derive(Debug)]
pub struct CudaWorkspace {
    pub(crate) leaving: Leaving,
    pub(crate) plan: Plan,
    pub(crate) kernels: Arc<Kernels>,
    hardware: Hardware,
    /// Graphs have launches of them, too.
    _afterwards: Arc<Kernels>,
    pub(crate) memory: CudaSlice<u8>,
    exchange: Option<Exchange>,
    pub(crate) num_problems: usize,
    /// Whether log weights of a run are there, or restored ones.
    pub(crate) assigned: bool,
    /// Whether what the objective needs of the rows is there.
    objective: bool,
}

/// What this rank tells the others after a pass, and what all of them told.
#[derive(Debug)]
struct Exchange {
    ranks: Ranks,
    mine: CudaSlice<f64>,
    all: CudaSlice<f64>,
}

impl CudaWorkspace {
    /// Bytes of device memory it holds.
    pub fn num_bytes(&self) -> usize {
        let exchange = self.exchange.as_ref();
        self.memory.num_bytes() + exchange.map_or(0, |e| e.mine.num_bytes() + e.all.num_bytes())
    }
}

/// Enough for MIRA from any start at the default tolerance.
const MAX_PASSES: usize = 32;

impl<L: Logit, A: Probability> CudaAssigner<L, A> {
    /// An assigner for `method` that works on `stream`.
    ///
    /// # Errors
    /// [`Error::UnsupportedDevice`], [`Error::OldDriver`], [`Error::NoCompiler`], [`Error::Driver`].
    pub fn new(method: impl Into<Method>, stream: &Arc<CudaStream>) -> Result<Self, Error> {
        let afterwards = Kernels::of(stream.context(), Operation::Certify)?;
        afterwards.prepare(CERTIFY)?;
        let kernels = Kernels::of(stream.context(), Operation::Assign)?;
        Ok(Self {
            method: method.into(),
            warm_start: false,
            objective: false,
            collective: None,
            max_passes: MAX_PASSES,
            stream: stream.clone(),
            hardware: kernels.hardware,
            kernels,
            afterwards,
            elements: PhantomData,
        })
    }

    /// Whether to start from the workspace's previous weights: saves sweeps when batches resemble each other. Ignored by
    /// [`StopRule::Sweeps`].
    #[must_use]
    pub fn with_warm_start(self, warm_start: bool) -> Self {
        Self { warm_start, ..self }
    }

    /// Whether [`Report::objective`] is wanted for MIRA: one more time through the logits, in a launch of its own. Not of a batch over ranks, where
    /// there is none. (For the other methods it is free.)
    #[must_use]
    pub fn with_objective(self, objective: bool) -> Self {
        Self { objective, ..self }
    }

    /// Treats the logits as this rank's rows of a batch spread over the collective's ranks.
    ///
    /// All ranks must then make workspaces and assignments, and restore log weights and centres, alike and in the same order: making a workspace
    /// compares what they are about to do (but no weights or centres later on). Each pass over the rows is a launch, followed by one exchange of a K-vector for each problem and rank.
    #[must_use]
    pub fn with_collective(self, collective: Arc<dyn DeviceCollective>) -> Self {
        Self { collective: Some(collective), ..self }
    }

    /// Passes over the rows that are enqueued for a batch over ranks when the method stops at a tolerance (default 32): at most so
    /// many are made, and those after the stop cost an exchange each, for which NCCL may start a thread of the host. Ignored without a collective and by [`StopRule::Sweeps`].
    #[must_use]
    pub fn with_max_passes(self, max_passes: usize) -> Self {
        Self { max_passes, ..self }
    }

    /// Multiprocessors that an assignment's launch takes at most, from 1 (default: all of the device, and never more; what the [objective](Self::with_objective) needs has no such limit, for its
    /// blocks wait for nobody). The others are left to what runs beside it, as NCCL's
    /// kernels do. Another number may round differently; workspaces are for one. Some 25,000 prototypes find place on each.
    #[must_use]
    pub fn with_multiprocessors(mut self, multiprocessors: u32) -> Self {
        let all = self.kernels.hardware.multiprocessors;
        self.hardware.multiprocessors = multiprocessors.clamp(1, all);
        self
    }

    /// Bytes of shared memory that a block takes at most, for comparisons: rows that find no place there are computed anew.
    #[doc(hidden)]
    #[must_use]
    pub fn with_shared_memory(mut self, bytes: u32) -> Self {
        self.hardware.shared_memory = bytes.min(self.kernels.hardware.shared_memory);
        self
    }

    /// Memory for `num_problems` problems of `shape` that [`assign_all_into`](Self::assign_all_into) computes in one launch. A context's first of its
    /// width waits for the driver to compile the kernel.
    ///
    /// # Errors
    /// [`Error::Problems`] for none or more than four, [`Error::TooFewMultiprocessors`], [`Error::OutOfMemory`], [`Error::Driver`]; with a collective, those of an exchange:
    /// [`mira_core::CollectiveError::Mismatch`] where ranks are about to do different things.
    pub fn workspace_for(&self, shape: Shape, num_problems: usize) -> Result<CudaWorkspace, Error> {
        if !(1..=MAX_PROBLEMS).contains(&num_problems) {
            let what = "problems of one launch, at most";
            return Err(Error::Problems { what, expected: MAX_PROBLEMS, got: num_problems });
        }
        let (ranks, kernels) = match &self.collective {
            Some(collective) => (
                Some(self.agree(&**collective, shape, num_problems)?),
                Kernels::of(self.stream.context(), Operation::AssignOverRanks)?,
            ),
            None => (None, self.kernels.clone()),
        };
        let plan = self.plan(shape, num_problems, ranks)?;
        kernels.prepare(plan.kernel)?;
        if self.objective && ranks.is_none() {
            self.afterwards.prepare(LOG_PARTITION)?;
        }
        let memory = self.stream.alloc_zeros(plan.workspace_bytes * num_problems)?;
        let exchange = match ranks {
            Some(ranks) => {
                let len = plan.contribution_len() * num_problems;
                let [mine, all] = [len, ranks.world_size * len].map(|n| self.stream.alloc_zeros(n));
                Some(Exchange { ranks, mine: mine?, all: all? })
            }
            None => None,
        };
        Ok(CudaWorkspace {
            leaving: Leaving::waiting(&self.stream, self.collective.clone()),
            plan,
            kernels,
            hardware: self.hardware,
            _afterwards: self.afterwards.clone(),
            memory,
            exchange,
            num_problems,
            assigned: false,
            objective: false,
        })
    }

    /// What the ranks agree on before their first run.
    fn agree(
        &self,
        collective: &dyn DeviceCollective,
        shape: Shape,
        num_problems: usize,
    ) -> Result<Ranks, Error> {
        let ranks = Ranks {
            rank: collective.rank(),
            world_size: collective.world_size(),
            multiprocessors: self.hardware.multiprocessors,
            max_passes: self.max_passes,
        };
        let columns = shape.num_prototypes();
        let mine = ranks.terms(&self.method, columns, num_problems, self.warm_start);
        let mine = self.stream.clone_htod(&mine)?;
        let mut all = self.stream.alloc_zeros::<f64>(ranks.world_size * NUM_TERMS)?;
        collective.gather(&self.stream, &mine.as_view(), &mut all.as_view_mut())?;
        collective.wait(&self.stream)?;
        Ok(ranks.agree(&fetched(&self.stream, &all)?)?)
    }

    fn plan(&self, shape: Shape, num_problems: usize, ranks: Option<Ranks>) -> Result<Plan, Error> {
        let dtypes: (Dtype, Dtype) = (L::DTYPE, A::DTYPE);
        let (all, part) = (self.kernels.hardware, self.hardware);
        let plan = |part| Plan::over_ranks(self.method, shape, dtypes, num_problems, part, ranks);
        plan(part).map_err(|error| match error {
            CoreError::ShapeTooLarge { num_prototypes, .. } if part != all && plan(all).is_ok() => {
                let (got, all) = (part.multiprocessors, all.multiprocessors);
                Error::TooFewMultiprocessors { num_prototypes, got, all }
            }
            error => error.into(),
        })
    }

    /// Refuses a workspace for other parts of a device, or for other exchanges; its plan beside this assigner's.
    fn check_workspace(&self, its: Hardware, plan: &Plan, ours: &Plan) -> Result<(), Error> {
        let mine = self.hardware;
        let [processors, memory] = [
            "multiprocessors of the workspace (make it with this assigner)",
            "shared memory of the workspace (make it with this assigner)",
        ];
        for (what, expected, got) in [
            (processors, mine.multiprocessors, its.multiprocessors),
            (memory, mine.shared_memory, its.shared_memory),
        ] {
            if expected != got {
                let (expected, got) = (expected as usize, got as usize);
                return Err(Error::Problems { what, expected, got });
            }
        }
        let is_over_ranks = plan.num_exchanges() > 0;
        if ours.num_exchanges() != plan.num_exchanges()
            || is_over_ranks != self.collective.is_some()
        {
            let what = "exchanges between the ranks (make a workspace for this method and collective on all of them)";
            let (expected, got) = (plan.num_exchanges(), ours.num_exchanges());
            return Err(Error::Problems { what, expected, got });
        }
        Ok(())
    }

    /// Computes several problems of one shape and row stride, as the two views of a batch are, in one launch. Each has its own blocks, its own
    /// stop and its own report.
    ///
    /// # Errors
    /// [`Error::Problems`], shapes that differ from the workspace's, [`Error::Driver`].
    pub fn assign_all_into(
        &self,
        logits: &[Rows<'_, L>],
        assignments: &mut [RowsMut<'_, A>],
        workspace: &mut CudaWorkspace,
    ) -> Result<(), Error> {
        let CudaWorkspace {
            leaving,
            plan,
            kernels,
            hardware,
            memory,
            exchange,
            num_problems,
            assigned,
            objective,
            ..
        } = workspace;
        let strides = strides_of(logits, assignments, plan.shape(), *num_problems)?;
        // The memory's layout is of shape and device alone, so whatever made it, this assigner's method and element types are computed.
        let ranks = exchange.as_ref().map(|exchange| exchange.ranks);
        let ours = self.plan(plan.shape(), *num_problems, ranks)?;
        self.check_workspace(*hardware, plan, &ours)?;
        let mut params = ours.params;
        #[allow(clippy::cast_possible_wrap)] // checked when the rows were made
        {
            params.logits_stride = strides.0 as i64;
            params.assignment_stride = strides.1 as i64;
        }
        let warm =
            self.warm_start && *assigned && !matches!(self.method.stop(), StopRule::Sweeps(_));
        params.warm = i32::from(warm);
        leaving.hand_over_to(&self.stream)?;
        // Guards record on drop, after the launch, that the stream uses the memory; arrays of them, for nothing may be allocated here.
        let (address, _workspace) = memory.device_ptr_mut(&self.stream);
        params.workspace = address;
        let mut reads = [const { None }; MAX_PROBLEMS];
        for ((logits, guard), to) in logits.iter().zip(&mut reads).zip(&mut params.logits) {
            let (address, sync) = logits.view.device_ptr(&self.stream);
            (*to, *guard) = (address, Some(sync));
        }
        let mut writes = [const { None }; MAX_PROBLEMS];
        for ((out, guard), to) in
            assignments.iter_mut().zip(&mut writes).zip(&mut params.assignment)
        {
            let (address, sync) = out.view.device_ptr_mut(&self.stream);
            (*to, *guard) = (address, Some(sync));
        }
        let launch = Launch {
            kernel: ours.kernel,
            grid: (ours.blocks, u32::try_from(*num_problems).unwrap_or(1)),
            threads: kernels.hardware.threads,
            shared_bytes: ours.shared_bytes,
            cooperative: true,
        };
        // The exchange's memory is guarded launch by launch, for between them the collective has it.
        let enqueue = |params: &mut Params, exchange: &mut Option<Exchange>| {
            let guarded = exchange.as_mut().map(|Exchange { mine, all, .. }| {
                (mine.device_ptr_mut(&self.stream), all.device_ptr_mut(&self.stream))
            });
            if let Some(((contribution, _), (gathered, _))) = &guarded {
                (params.contribution, params.gathered) = (*contribution, *gathered);
            }
            // SAFETY: the kernel takes `Params`; the plan's sizes are those of the workspace, shapes and strides were checked against
            // the matrices, and all of them outlive the stream's use of them by the guards.
            unsafe { kernels.launch(&self.stream, &launch, params) }
        };
        enqueue(&mut params, exchange)?;
        // From here on the workspace is no longer the last batch's, and until all is enqueued nobody's.
        leaving.follow(&self.stream);
        *plan = ours;
        (*assigned, *objective) = (false, false);
        if self.objective && matches!(self.method, Method::Mira(_)) && ranks.is_none() {
            // SAFETY: as above; it reads the logits and writes a number a row in the workspace.
            unsafe { self.launch_log_partition(plan, launch.grid.1, &params) }?;
            *objective = true;
        }
        let Some(collective) = &self.collective else {
            *assigned = true;
            return Ok(());
        };
        params.resume = 1;
        for _ in 0..plan.num_exchanges() {
            if let Some(Exchange { mine, all, .. }) = exchange {
                collective.gather(&self.stream, &mine.as_view(), &mut all.as_view_mut())?;
            }
            enqueue(&mut params, exchange)?;
        }
        *assigned = true;
        Ok(())
    }

    /// [`CudaWorkspace::log_weights`].
    ///
    /// # Errors
    /// As there.
    pub fn log_weights(
        &self,
        workspace: &CudaWorkspace,
        problem: usize,
    ) -> Result<Vec<f64>, Error> {
        workspace.log_weights(problem)
    }
}

/// The row strides of problems that fit together: so many, of one shape, alike.
fn strides_of<L, A>(
    logits: &[Rows<'_, L>],
    assignments: &[RowsMut<'_, A>],
    shape: Shape,
    num_problems: usize,
) -> Result<(usize, usize), Error> {
    for (what, got) in [("logits", logits.len()), ("assignments", assignments.len())] {
        if got != num_problems {
            return Err(Error::Problems { what, expected: num_problems, got });
        }
    }
    let strides = (logits[0].stride, assignments[0].stride);
    for (logits, assignment) in logits.iter().zip(assignments) {
        for (what, got) in [("logits", logits.shape), ("assignment", assignment.shape)] {
            if got != shape {
                return Err(CoreError::ShapeMismatch { what, expected: shape, got }.into());
            }
        }
        let pairs = [
            ("row stride of the logits", strides.0, logits.stride),
            ("row stride of the assignments", strides.1, assignment.stride),
        ];
        for (what, expected, got) in pairs {
            if expected != got {
                return Err(Error::Problems { what, expected, got });
            }
        }
    }
    Ok(strides)
}

impl<L: Logit, A: Probability> Assigner for CudaAssigner<L, A> {
    type Logits<'a> = Rows<'a, L>;
    type Assignment<'a> = RowsMut<'a, A>;
    type Output = DeviceMatrix<A>;
    type Workspace = CudaWorkspace;
    type Error = Error;

    fn method(&self) -> &Method {
        &self.method
    }

    fn workspace(&self, shape: Shape) -> Result<CudaWorkspace, Error> {
        self.workspace_for(shape, 1)
    }

    fn assign_into(
        &self,
        logits: Rows<'_, L>,
        mut assignment: RowsMut<'_, A>,
        workspace: &mut CudaWorkspace,
    ) -> Result<(), Error> {
        let assignments = std::slice::from_mut(&mut assignment);
        self.assign_all_into(std::slice::from_ref(&logits), assignments, workspace)
    }

    fn report(&self, workspace: &CudaWorkspace) -> Result<Report, Error> {
        self.report_of(workspace, 0)
    }

    fn shape(logits: &Rows<'_, L>) -> Result<Shape, Error> {
        Ok(logits.shape)
    }

    fn output(&self, shape: Shape) -> Result<DeviceMatrix<A>, Error> {
        DeviceMatrix::zeros(&self.stream, shape)
    }

    fn as_assignment(output: &mut DeviceMatrix<A>) -> RowsMut<'_, A> {
        output.rows_mut()
    }
}
