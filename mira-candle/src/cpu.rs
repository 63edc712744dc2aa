//! CPU tensors through [`mira_cpu`], where they lie: views of candle's storage.

use candle_core::{CpuStorage, Layout};
use mira_core::Assigner as _;
use mira_cpu::{CpuAssigner, CpuWorkspace, Logit, Real};
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder as _};

use crate::Error;
use crate::operation::{Options, refused, row_stride};
use crate::workspace::Memory;

impl Options {
    /// The CPU backend's assigner for logits of type `L` and assignments of type `A`.
    pub(crate) fn on_cpu<L: Logit, A: Real>(&self) -> CpuAssigner<L, A> {
        CpuAssigner::new(self.method)
            .with_warm_start(self.warm_start)
            .with_objective(self.objective)
            .with_collective(self.collective.clone())
    }
}

/// Assigns from one storage into the other, laid out like that; their types are known to fit the workspace's.
pub(crate) fn assign(
    options: &Options,
    from: &CpuStorage,
    to: &mut CpuStorage,
    layouts: (&Layout, &Layout),
    memory: &mut Memory,
) -> Result<(), Error> {
    use CpuStorage::{BF16, F16, F32, F64};
    match (memory, from, to) {
        (Memory::F32(memory), F32(s), F32(w)) => run(options, s, w, layouts, memory),
        (Memory::F32(memory), F16(s), F32(w)) => run(options, s, w, layouts, memory),
        (Memory::F32(memory), BF16(s), F32(w)) => run(options, s, w, layouts, memory),
        (Memory::F64(memory), F64(s), F64(w)) => run(options, s, w, layouts, memory),
        _ => unreachable!("types and devices have been checked before the tensors were locked"),
    }
}

fn run<L: Logit, A: Real>(
    options: &Options,
    from: &[L],
    to: &mut [A],
    layouts: (&Layout, &Layout),
    memory: &mut CpuWorkspace<A>,
) -> Result<(), Error> {
    let (logits, assignment) = (view(from, layouts.0)?, view_mut(to, layouts.1)?);
    Ok(options.on_cpu().assign_into(logits, assignment, memory)?)
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Storage, Tensor};

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
}
