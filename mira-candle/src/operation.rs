//! One assignment as an in-place operation of candle, whatever the device.
//!
//! candle hands out the memory of a tensor to be written only inside such an operation ([`AssignInto`]): it locks the output for writing
//! and the logits for reading, and gives both storages to the function of their device, which lends them to its backend.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Tensor};
use mira_core::{Collective, Method};

use crate::storage::Backend;
use crate::workspace::Memory;
use crate::{Error, Workspace, cpu};

/// What an assigner was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) method: Method,
    pub(crate) warm_start: bool,
    pub(crate) objective: bool,
    pub(crate) collective: Arc<dyn Collective>,
}

/// The type logits of type `logits` are assigned in.
pub(crate) fn arithmetic(logits: DType) -> Result<DType, Error> {
    match logits {
        DType::F32 | DType::F16 | DType::BF16 => Ok(DType::F32),
        DType::F64 => Ok(DType::F64),
        got => Err(Error::LogitsDType { got }),
    }
}

/// Assigns `logits` into the memory of `assignment`: B × K tensors on the workspace's device, in memory apart from each other.
pub(crate) fn assign(
    backend: Backend,
    options: &Options,
    logits: &Tensor,
    assignment: &Tensor,
    workspace: &mut Workspace,
    has_begun: &Cell<bool>,
) -> Result<(), Error> {
    let expected = arithmetic(logits.dtype())?;
    backend.check(options, expected)?;
    if workspace.dtype() != expected {
        let got = workspace.dtype();
        return Err(Error::WorkspaceDType { logits: logits.dtype(), expected, got });
    }
    if assignment.dtype() != expected && !backend.also_writes(assignment.dtype()) {
        let got = assignment.dtype();
        return Err(Error::AssignmentDType { logits: logits.dtype(), expected, got });
    }
    // candle refuses such outputs, too, but its message names no remedy.
    if assignment.layout().has_internal_overlap() || row_stride(assignment.layout()).is_none() {
        return Err(refused("assignment", assignment.layout()));
    }
    workspace.copied_bytes = 0;
    let copy;
    let logits = if row_stride(logits.layout()).is_some_and(|s| backend.reads(logits.dims(), s)) {
        logits
    } else {
        workspace.copied_bytes = logits.elem_count() * logits.dtype().size_in_bytes();
        copy = logits.contiguous()?;
        &copy
    };
    let operation = AssignInto {
        options,
        has_begun,
        memory: RefCell::new(&mut workspace.memory),
        outcome: RefCell::new(Ok(())),
    };
    assignment.inplace_op2(logits, &operation)?;
    operation.outcome.into_inner()
}

/// Distance between rows, in elements, if each row is one run of memory.
pub(crate) fn row_stride(layout: &Layout) -> Option<usize> {
    match (layout.dims(), layout.stride()) {
        // The strides of a single row or column are never walked.
        ([1, 1], _) => Some(1),
        ([1, columns], [_, 1]) => Some(*columns),
        ([_, 1], [row, _]) | (_, [row, 1]) => Some(*row),
        _ => None,
    }
}

pub(crate) fn refused(what: &'static str, layout: &Layout) -> Error {
    Error::Layout { what, strides: layout.stride().to_vec() }
}

/// Whether the backend was called: tensors that it cannot read are refused before.
fn has_begun(outcome: &Result<(), Error>) -> bool {
    !matches!(outcome, Err(Error::Layout { .. }))
}

/// candle passes an operation by shared reference and knows its own errors only, hence the cells.
struct AssignInto<'a> {
    options: &'a Options,
    /// Set where the backend was called.
    has_begun: &'a Cell<bool>,
    memory: RefCell<&'a mut Memory>,
    outcome: RefCell<Result<(), Error>>,
}

impl InplaceOp2 for AssignInto<'_> {
    fn name(&self) -> &'static str {
        "mira-assign"
    }

    fn cpu_fwd(
        &self,
        to: &mut CpuStorage,
        to_layout: &Layout,
        from: &CpuStorage,
        from_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (layouts, memory) = ((from_layout, to_layout), &mut **self.memory.borrow_mut());
        let outcome = cpu::assign(self.options, from, to, layouts, memory);
        self.has_begun.set(has_begun(&outcome));
        self.outcome.replace(outcome).expect("set once");
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        to: &mut candle_core::CudaStorage,
        to_layout: &Layout,
        from: &candle_core::CudaStorage,
        from_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (layouts, memory) = ((from_layout, to_layout), &mut **self.memory.borrow_mut());
        let outcome = crate::cuda::assign(self.options, from, to, layouts, memory);
        self.has_begun.set(has_begun(&outcome));
        self.outcome.replace(outcome).expect("set once");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_contiguous_or_not() {
        let stride = |dims: (usize, usize), strides: [usize; 2]| {
            row_stride(&Layout::new(dims.into(), strides.to_vec(), 0))
        };
        assert_eq!(stride((4, 3), [3, 1]), Some(3));
        assert_eq!(stride((4, 3), [8, 1]), Some(8));
        assert_eq!(stride((4, 3), [0, 1]), Some(0));
        assert_eq!(stride((4, 3), [1, 4]), None);
        assert_eq!(stride((4, 3), [6, 2]), None);
        assert_eq!(stride((4, 1), [5, 9]), Some(5));
        assert_eq!(stride((1, 3), [99, 1]), Some(3));
        assert_eq!(stride((1, 3), [1, 2]), None);
        assert_eq!(stride((1, 1), [7, 7]), Some(1));
    }
}
