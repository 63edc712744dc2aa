//! What follows a run: its certificate and objective, made on the device when they are asked for, and fetched.

use cudarc::driver::DevicePtr;
use mira_core::{Error as CoreError, Report};

use super::{CudaAssigner, CudaWorkspace};
use crate::Error;
use crate::kernels::Launch;
use crate::matrix::{Logit, Probability, fetched, not_captured};
use crate::params::{Control, Params, Summary};
use crate::plan::{CERTIFY, LOG_PARTITION, Plan};

impl<L: Logit, A: Probability> CudaAssigner<L, A> {
    /// What the objective needs of the rows.
    ///
    /// # Safety
    /// `params` must be those of a run of `plan` that is enqueued on the stream, with the guards of its memory still held.
    pub(super) unsafe fn launch_log_partition(
        &self,
        plan: &Plan,
        num_problems: u32,
        params: &Params,
    ) -> Result<(), Error> {
        let hardware = self.afterwards.hardware;
        let launch = Launch {
            kernel: LOG_PARTITION,
            grid: (plan.row_blocks(hardware), num_problems),
            threads: hardware.threads,
            shared_bytes: Plan::certify_shared_bytes(hardware),
            cooperative: false,
        };
        // SAFETY: by this function's contract.
        unsafe { self.afterwards.launch(&self.stream, &launch, params) }
    }

    /// The reports of every problem of the last launch, in order.
    ///
    /// # Errors
    /// As [`report`](mira_core::Assigner::report), for the first problem that has one; [`Error::Capture`].
    pub fn reports(&self, workspace: &CudaWorkspace) -> Result<Vec<Report>, Error> {
        (0..workspace.num_problems).map(|p| self.report_of(workspace, p)).collect()
    }

    pub(super) fn report_of(
        &self,
        workspace: &CudaWorkspace,
        problem: usize,
    ) -> Result<Report, Error> {
        let CudaWorkspace { leaving, plan, memory, assigned, objective, .. } = workspace;
        if !assigned {
            return Err(CoreError::NothingAssigned.into());
        }
        not_captured(&self.stream)?;
        if let Some(collective) = &self.collective {
            collective.wait(&self.stream)?;
        }
        leaving.hand_over_to(&self.stream)?;
        // The certificate is made when it is asked for, where the K-vectors are; both structs come back in one copy.
        let base = problem * plan.workspace_bytes;
        let (mut params, hardware) = (plan.params, self.afterwards.hardware);
        params.objective = i32::from(*objective);
        let launch = Launch {
            kernel: CERTIFY,
            grid: (1, 1),
            threads: hardware.threads,
            shared_bytes: Plan::certify_shared_bytes(hardware),
            cooperative: false,
        };
        {
            let (address, _workspace) = memory.device_ptr(&self.stream);
            params.workspace = address + base as u64;
            // SAFETY: the kernel takes `Params`; it reads the problem's K-vectors and writes its summary, in the workspace of this plan,
            // after the runs that this stream has been given.
            unsafe { self.afterwards.launch(&self.stream, &launch, &params) }?;
        }
        let (start, end) = (plan.at_control(), plan.at_summary() + size_of::<Summary>());
        let bytes = fetched(&self.stream, &memory.slice(base + start..base + end))?;
        let summary = &bytes[plan.at_summary() - start..];
        // SAFETY: plain numbers, as many bytes as were fetched; read unaligned.
        let (control, summary) = unsafe {
            (
                bytes.as_ptr().cast::<Control>().read_unaligned(),
                summary.as_ptr().cast::<Summary>().read_unaligned(),
            )
        };
        Ok(plan.report(&control, summary, *objective)?)
    }
}
