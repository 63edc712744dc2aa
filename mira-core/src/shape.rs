//! The two sizes every assignment has.

use crate::Error;

/// Batch size `B` and number of prototypes `K` of one assignment problem.
///
/// Both are at least 1, and `B·K` fits in memory's address range, so code that holds a `Shape` need not check again.
///
/// ```
/// let shape = mira_core::Shape::new(512, 3000)?;
/// assert_eq!((shape.batch(), shape.num_prototypes(), shape.len()), (512, 3000, 1_536_000));
/// assert!(mira_core::Shape::new(512, 0).is_err());
/// # Ok::<(), mira_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    batch: usize,
    num_prototypes: usize,
}

impl Shape {
    /// A shape of `batch` rows (samples) and `num_prototypes` columns.
    ///
    /// # Errors
    /// [`Error::EmptyShape`] if either is 0, [`Error::ShapeTooLarge`] if `batch · num_prototypes · 8` bytes overflow.
    pub fn new(batch: usize, num_prototypes: usize) -> Result<Self, Error> {
        if batch == 0 || num_prototypes == 0 {
            return Err(Error::EmptyShape { batch, num_prototypes });
        }
        match batch.checked_mul(num_prototypes).and_then(|n| n.checked_mul(8)) {
            Some(bytes) if isize::try_from(bytes).is_ok() => Ok(Self { batch, num_prototypes }),
            _ => Err(Error::ShapeTooLarge { batch, num_prototypes }),
        }
    }

    /// Number of rows `B`.
    pub const fn batch(self) -> usize {
        self.batch
    }

    /// Number of columns `K`.
    pub const fn num_prototypes(self) -> usize {
        self.num_prototypes
    }

    /// Number of elements `B·K`; never 0.
    #[allow(clippy::len_without_is_empty)] // a shape is never empty, by construction
    pub const fn len(self) -> usize {
        self.batch * self.num_prototypes
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}", self.batch, self.num_prototypes)
    }
}
