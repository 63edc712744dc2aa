//! CPU tensors through [`mira_cpu`], where they lie.
//!
//! candle hands out the memory of a tensor to be written only inside an in-place operation, so the assignment is one
//! ([`AssignInto`]): candle locks the output for writing and the logits for reading, and gives both storages to `cpu_fwd`, which views
//! them as arrays.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Tensor};
use mira_core::{Assigner as _, Collective, Method};
use mira_cpu::{CpuAssigner, CpuWorkspace, Logit, Real};
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder as _};

use crate::workspace::Memory;
use crate::{Error, Workspace};

/// What an assigner was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) method: Method,
    pub(crate) warm_start: bool,
    pub(crate) objective: bool,
    pub(crate) collective: Arc<dyn Collective>,
}

impl Options {
    /// The CPU backend's assigner for logits of type `L` and assignments of type `A`.
    pub(crate) fn assigner<L: Logit, A: Real>(&self) -> CpuAssigner<L, A> {
        CpuAssigner::new(self.method)
            .with_warm_start(self.warm_start)
            .with_objective(self.objective)
            .with_collective(self.collective.clone())
    }
}

/// The type logits of type `logits` are assigned in.
pub(crate) fn arithmetic(logits: DType) -> Result<DType, Error> {
    match logits {
        DType::F32 | DType::F16 | DType::BF16 => Ok(DType::F32),
        DType::F64 => Ok(DType::F64),
        got => Err(Error::LogitsDType { got }),
    }
}

/// Assigns `logits` into the memory of `assignment`: B × K tensors on the CPU, in memory apart from each other.
pub(crate) fn assign(
    options: &Options,
    logits: &Tensor,
    assignment: &Tensor,
    workspace: &mut Workspace,
) -> Result<(), Error> {
    let expected = arithmetic(logits.dtype())?;
    if workspace.dtype() != expected {
        let got = workspace.dtype();
        return Err(Error::WorkspaceDType { logits: logits.dtype(), expected, got });
    }
    if assignment.dtype() != expected {
        let got = assignment.dtype();
        return Err(Error::AssignmentDType { logits: logits.dtype(), expected, got });
    }
    // candle refuses such outputs, too, but its message names no remedy.
    if assignment.layout().has_internal_overlap() || row_stride(assignment.layout()).is_none() {
        return Err(Error::Layout { what: "assignment", strides: assignment.stride().to_vec() });
    }
    workspace.copied_bytes = 0;
    let copy;
    let logits = if row_stride(logits.layout()).is_some() {
        logits
    } else {
        workspace.copied_bytes = logits.elem_count() * logits.dtype().size_in_bytes();
        copy = logits.contiguous()?;
        &copy
    };
    let operation = AssignInto {
        options,
        memory: RefCell::new(&mut workspace.memory),
        outcome: RefCell::new(Ok(())),
    };
    assignment.inplace_op2(logits, &operation)?;
    operation.outcome.into_inner()
}

/// Distance between rows, in elements, if each row is one run of memory.
fn row_stride(layout: &Layout) -> Option<usize> {
    match (layout.dims(), layout.stride()) {
        // The strides of a single row or column are never walked.
        ([1, 1], _) => Some(1),
        ([1, columns], [_, 1]) => Some(*columns),
        ([_, 1], [row, _]) | (_, [row, 1]) => Some(*row),
        _ => None,
    }
}

/// One assignment as candle's in-place operation. candle passes it by shared reference and knows its own errors only, hence the cells.
struct AssignInto<'a> {
    options: &'a Options,
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
        use CpuStorage::{BF16, F16, F32, F64};
        let (to_l, from_l) = (to_layout, from_layout);
        let outcome = match (&mut **self.memory.borrow_mut(), from, to) {
            (Memory::F32(memory), F32(s), F32(w)) => self.run(s, from_l, w, to_l, memory),
            (Memory::F32(memory), F16(s), F32(w)) => self.run(s, from_l, w, to_l, memory),
            (Memory::F32(memory), BF16(s), F32(w)) => self.run(s, from_l, w, to_l, memory),
            (Memory::F64(memory), F64(s), F64(w)) => self.run(s, from_l, w, to_l, memory),
            _ => unreachable!("types have been checked before the tensors were locked"),
        };
        self.outcome.replace(outcome).expect("set once");
        Ok(())
    }
}

impl AssignInto<'_> {
    fn run<L: Logit, A: Real>(
        &self,
        from: &[L],
        from_layout: &Layout,
        to: &mut [A],
        to_layout: &Layout,
        memory: &mut CpuWorkspace<A>,
    ) -> Result<(), Error> {
        let logits = view(from, from_layout)?;
        let assignment = view_mut(to, to_layout)?;
        Ok(self.options.assigner().assign_into(logits, assignment, memory)?)
    }
}

/// A tensor's elements as an array, where they are.
fn view<'a, T>(elements: &'a [T], layout: &Layout) -> Result<ArrayView2<'a, T>, Error> {
    let (&[rows, columns], Some(stride)) = (layout.dims(), row_stride(layout)) else {
        return Err(refused("logits", layout));
    };
    let shape = (rows, columns).strides((stride, 1));
    ArrayView2::from_shape(shape, &elements[layout.start_offset()..])
        .map_err(|_| refused("logits", layout))
}

/// The same to be written to.
fn view_mut<'a, T>(elements: &'a mut [T], layout: &Layout) -> Result<ArrayViewMut2<'a, T>, Error> {
    let (&[rows, columns], Some(stride)) = (layout.dims(), row_stride(layout)) else {
        return Err(refused("assignment", layout));
    };
    let shape = (rows, columns).strides((stride, 1));
    ArrayViewMut2::from_shape(shape, &mut elements[layout.start_offset()..])
        .map_err(|_| refused("assignment", layout))
}

fn refused(what: &'static str, layout: &Layout) -> Error {
    Error::Layout { what, strides: layout.stride().to_vec() }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Storage};

    use super::*;

    /// What the backend is lent is the tensor's own memory, for slices of larger tensors, too.
    #[test]
    fn views_are_the_storage_itself() {
        let whole = Tensor::arange(0f32, 35., &Device::Cpu).unwrap().reshape((5, 7)).unwrap();
        let rows = whole.narrow(0, 2, 3).unwrap();
        let columns = whole.narrow(1, 3, 4).unwrap();
        let both = rows.narrow(1, 3, 4).unwrap();
        for (tensor, offset, stride) in
            [(&whole, 0, 7), (&rows, 14, 7), (&columns, 3, 7), (&both, 17, 7)]
        {
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Cpu(CpuStorage::F32(elements)) = &*storage else {
                panic!("f32 on the CPU")
            };
            let view = view(elements, layout).unwrap();
            assert_eq!(view.as_ptr(), elements[offset..].as_ptr());
            assert_eq!(view.strides(), [stride, 1]);
            assert_eq!(view.dim(), tensor.dims2().unwrap());
            assert_eq!(f64::from(view[[1, 2]]), (offset + 9) as f64);
        }
    }

    #[test]
    fn outputs_are_the_storage_itself() {
        let mut elements = vec![0.0f32; 35];
        let first = elements.as_ptr();
        let layout = Layout::new((3, 4).into(), vec![7, 1], 17);
        let mut view = view_mut(&mut elements, &layout).unwrap();
        assert_eq!(view.as_ptr(), first.wrapping_add(17));
        view.fill(1.0);
        let written: Vec<usize> = (0..35).filter(|i| elements[*i] == 1.0).collect();
        assert_eq!(written, [17, 18, 19, 20, 24, 25, 26, 27, 31, 32, 33, 34]);
    }

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
