//! A borrowed row-major matrix with a row stride: just enough of one for the oracle and the verifier.

use crate::{Error, Shape};

/// `B × K` elements in row-major order, rows `row_stride` apart.
///
/// ```
/// use mira_core::{Matrix, Shape};
/// let data = [1.0, 2.0, -1.0, 3.0, 4.0];
/// let m = Matrix::with_row_stride(&data, Shape::new(2, 2)?, 3)?;
/// assert_eq!(m.row(1), [3.0, 4.0]);
/// # Ok::<(), mira_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    shape: Shape,
    row_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A contiguous matrix.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] unless `data` holds exactly `shape.len()` elements.
    pub fn new(data: &'a [T], shape: Shape) -> Result<Self, Error> {
        if data.len() != shape.len() {
            return Err(Error::LengthMismatch {
                what: "matrix",
                expected: shape.len(),
                got: data.len(),
            });
        }
        Ok(Self { data, shape, row_stride: shape.num_prototypes() })
    }

    /// A matrix whose rows start `row_stride ≥ K` elements apart.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] if the stride is below `K` or `data` ends before the last row does.
    pub fn with_row_stride(data: &'a [T], shape: Shape, row_stride: usize) -> Result<Self, Error> {
        if row_stride < shape.num_prototypes() {
            return Err(Error::LengthMismatch {
                what: "row stride",
                expected: shape.num_prototypes(),
                got: row_stride,
            });
        }
        let expected = row_stride
            .checked_mul(shape.batch() - 1)
            .and_then(|n| n.checked_add(shape.num_prototypes()))
            .ok_or(Error::ShapeTooLarge { batch: shape.batch(), num_prototypes: row_stride })?;
        if data.len() < expected {
            return Err(Error::LengthMismatch { what: "matrix", expected, got: data.len() });
        }
        Ok(Self { data, shape, row_stride })
    }

    /// Rows and columns.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Row `i` as a slice of `K` elements.
    ///
    /// # Panics
    /// If the row lies beyond the data, as it does for `i ≥ B` where the data ends with the last row.
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.data[i * self.row_stride..][..self.shape.num_prototypes()]
    }

    /// The rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [T]> + use<'a, '_, T> {
        (0..self.shape.batch()).map(|i| self.row(i))
    }
}
