//! The multi-threaded CPU backend.

use mira_core::{Assigner, Shape};
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::{Solved, timed};
use crate::Error;

/// `log_weights` reads a workspace's; the trait has no business with them.
pub(super) fn solve<S, L, A>(
    solver: &S,
    log_weights: fn(&S::Workspace) -> &[f64],
    shape: Shape,
    logits: &[L],
) -> Result<Solved<A>, Error>
where
    L: 'static,
    A: Copy + 'static,
    S: for<'a> Assigner<
            Logits<'a> = ArrayView2<'a, L>,
            Assignment<'a> = ArrayViewMut2<'a, A>,
            Output = Array2<A>,
            Error = mira_cpu::Error,
        >,
{
    let logits = ArrayView2::from_shape((shape.batch(), shape.num_prototypes()), logits)
        .map_err(|e| Error::Backend { backend: "cpu", source: Box::new(e) })?;
    let mut workspace = solver.workspace(shape).map_err(backend_error)?;
    let mut output = solver.output(shape).map_err(backend_error)?;
    let (result, seconds) = timed(|| solver.assign_into(logits, output.view_mut(), &mut workspace));
    result.map_err(backend_error)?;
    Ok(Solved {
        log_weights: log_weights(&workspace).to_vec(),
        report: solver.report(&workspace).map_err(backend_error)?,
        assignment: output.into_raw_vec_and_offset().0,
        seconds,
    })
}

fn backend_error(error: mira_cpu::Error) -> Error {
    match error {
        mira_cpu::Error::Core(error) => Error::Core(error),
        other => Error::Backend { backend: "cpu", source: Box::new(other) },
    }
}
