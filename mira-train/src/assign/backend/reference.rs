//! The f64 oracle; its answer is rounded to the label's type at the end.

use mira_core::{Assigner, Matrix, Method, Reference, Shape};
use num_traits::AsPrimitive;

use super::{Solved, timed};
use crate::Error;
use crate::npy::Element;

pub(super) fn solve<L, A>(method: &Method, shape: Shape, logits: &[L]) -> Result<Solved<A>, Error>
where
    L: Element,
    A: Element,
    f64: AsPrimitive<A>,
{
    let solver = Reference::<L>::new(*method);
    let mut workspace = solver.workspace(shape)?;
    let mut exact = solver.output(shape)?;
    let logits = Matrix::new(logits, shape)?;
    let (result, seconds) = timed(|| solver.assign_into(logits, &mut exact, &mut workspace));
    result?;
    Ok(Solved {
        assignment: exact.iter().map(|w| w.as_()).collect(),
        log_weights: workspace.log_weights().to_vec(),
        report: solver.report(&workspace)?,
        seconds,
    })
}
