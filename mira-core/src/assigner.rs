//! The seam between methods and backends.

use crate::{Error, Method, Report, Shape};

/// Something that turns logits (B × K) into a pseudo-label assignment (B × K, rows on the simplex), and certifies it.
///
/// The method is data ([`Method`]), the backend is the implementing type. A workspace is made once per shape and reused; it
/// also holds what a method carries from batch to batch (MIRA's warm start, DINO's centre), so keep one per stream of
/// batches. The second [`assign_into`](Self::assign_into) on a workspace allocates nothing and, on a device, waits for nothing;
/// [`report`](Self::report) is the only call that does.
///
/// # Example
/// ```
/// use mira_core::{Assigner, Matrix, Mira, Reference, Shape};
/// let logits = [0.9, 0.1, -0.3, 0.8, 0.2, 0.0];
/// let assigner = Reference::<f64>::new(Mira::default());
/// let (assignment, report) = assigner.assign(Matrix::new(&logits, Shape::new(2, 3)?)?)?;
/// assert!((assignment[..3].iter().sum::<f64>() - 1.0).abs() < 1e-12);
/// assert!(report.certificate.log_ratio_bound < 1e-10);
/// # Ok::<(), mira_core::Error>(())
/// ```
///
/// # Writing a backend
/// Implement the types and required methods, then run the suite over it: the crate `mira-conformance` is all that every backend must do, as tests. For a
/// backend driven from the host, [`FixedPoint`](crate::FixedPoint) provides the iteration: only one pass over the rows is left to write
/// ([`Sweep`](crate::Sweep)).
pub trait Assigner {
    /// Borrowed logits, B × K.
    type Logits<'a>;
    /// Borrowed output, B × K.
    type Assignment<'a>;
    /// Owned output, as returned by [`assign`](Self::assign).
    type Output;
    /// Scratch memory and the state carried between batches.
    type Workspace;
    /// The backend's error.
    type Error: std::error::Error + From<Error> + Send + Sync + 'static;

    /// The method computed.
    fn method(&self) -> &Method;

    /// Memory for problems of one shape.
    ///
    /// # Errors
    /// When the backend cannot provide it.
    fn workspace(&self, shape: Shape) -> Result<Self::Workspace, Self::Error>;

    /// Computes the assignment of `logits` into `assignment`.
    ///
    /// # Errors
    /// Shapes that differ from the workspace's, NaN or +∞ logits (naming the first row and column), a row without a finite logit,
    /// a failed collective. After an error the contents of `assignment` are unspecified and the workspace can be used again.
    fn assign_into(
        &self,
        logits: Self::Logits<'_>,
        assignment: Self::Assignment<'_>,
        workspace: &mut Self::Workspace,
    ) -> Result<(), Self::Error>;

    /// Status, certificate and statistics of the last assignment made with `workspace`.
    ///
    /// # Errors
    /// When none was made, or a device failed meanwhile.
    fn report(&self, workspace: &Self::Workspace) -> Result<Report, Self::Error>;

    /// The shape of `logits`.
    ///
    /// # Errors
    /// [`Error::EmptyShape`] and the like.
    fn shape(logits: &Self::Logits<'_>) -> Result<Shape, Self::Error>;

    /// An output for [`assign_into`](Self::assign_into) to fill.
    ///
    /// # Errors
    /// When the backend cannot provide it.
    fn output(&self, shape: Shape) -> Result<Self::Output, Self::Error>;

    /// Borrows an owned output.
    fn as_assignment(output: &mut Self::Output) -> Self::Assignment<'_>;

    /// For a rank of a batch over several that cannot call [`assign_into`](Self::assign_into), because it has no rows, say: takes part in
    /// the others' assignment with a refusal, so that they end with [`Error::PeerFailed`] instead of waiting. What
    /// [`assign`](Self::assign) and [`assign_into`](Self::assign_into) refuse they have told already.
    ///
    /// As provided, it does nothing: for backends that spread no batch over ranks, or (`mira-cuda`) compare ranks when workspaces are made.
    fn refuse(&self) {}

    /// One line for those who want one: allocates, assigns, reports.
    ///
    /// # Errors
    /// As [`assign_into`](Self::assign_into).
    fn assign(&self, logits: Self::Logits<'_>) -> Result<(Self::Output, Report), Self::Error> {
        let made = || {
            let shape = Self::shape(&logits)?;
            Ok((self.workspace(shape)?, self.output(shape)?))
        };
        let (mut workspace, mut output) = made().inspect_err(|_: &Self::Error| self.refuse())?;
        self.assign_into(logits, Self::as_assignment(&mut output), &mut workspace)?;
        let report = self.report(&workspace)?;
        Ok((output, report))
    }
}
