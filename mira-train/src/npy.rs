//! 2-D floating-point `.npy` files (`NumPy` format versions 1 to 3), read and written without trusting the header.
//!
//! A header is a Python literal of at most 64 KiB with the keys `descr`, `fortran_order` and `shape`. Its claims are compared with
//! the file's size before anything is allocated for the data.

mod header;
mod rows;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use half::f16;
use mira_core::{Arithmetic, Shape};
use num_traits::{AsPrimitive, Float};

use crate::Error;
use header::Header;
pub(crate) use rows::Rows;

/// Element types of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// IEEE half precision, `NumPy`'s `float16`.
    F2,
    /// Single precision, `float32`.
    F4,
    /// Double precision, `float64`.
    F8,
}

impl DType {
    /// `NumPy`'s short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F2 => "f2",
            Self::F4 => "f4",
            Self::F8 => "f8",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::F2 => 2,
            Self::F4 => 4,
            Self::F8 => 8,
        }
    }

    /// The type of an assignment made of such logits: f4, or f8 for f8.
    #[must_use]
    pub const fn of_assignment(self) -> Self {
        match self {
            Self::F2 | Self::F4 => Self::F4,
            Self::F8 => Self::F8,
        }
    }

    /// The default stop tolerance of the arithmetic such logits are assigned in.
    pub const fn default_tolerance(self) -> f64 {
        match self {
            Self::F2 | Self::F4 => Arithmetic::F32.default_tolerance,
            Self::F8 => Arithmetic::F64.default_tolerance,
        }
    }
}

/// A number that can stand in a file.
pub trait Element: Float + AsPrimitive<f64> {
    /// Its type in a file.
    const DTYPE: DType;
    /// From as many little-endian bytes as it has.
    fn from_le(bytes: &[u8]) -> Self;
    /// From as many big-endian bytes as it has.
    fn from_be(bytes: &[u8]) -> Self;
    /// Appends its little-endian bytes.
    fn put_le(self, bytes: &mut Vec<u8>);
}

macro_rules! element {
    ($($ty:ty => $dtype:ident),*) => {$(
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
            fn from_le(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("as many bytes as the element has"))
            }
            fn from_be(bytes: &[u8]) -> Self {
                Self::from_be_bytes(bytes.try_into().expect("as many bytes as the element has"))
            }
            fn put_le(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
element!(f16 => F2, f32 => F4, f64 => F8);

/// What can be wrong with a file of logits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A directory, a pipe, a device.
    #[error("expected a .npy file, got {0}")]
    NotAFile(&'static str),
    /// No `.npy` magic.
    #[error("not a .npy file (it does not begin with \\x93NUMPY); save the logits with numpy.save")]
    NotNpy,
    /// A format version from the future.
    #[error("expected .npy format version 1, 2 or 3, got {0}; save the logits with numpy.save")]
    Version(u8),
    /// A header that does not parse, or ends early.
    #[error("the .npy header is damaged ({0}); save the logits again with numpy.save")]
    Header(String),
    /// Integers, complex numbers, objects, records.
    #[error(
        "expected float16, float32 or float64 logits, got dtype {0}; convert them with array.astype('float32')"
    )]
    DType(String),
    /// Not two axes.
    #[error(
        "expected a 2-D array (batch × prototypes), got a {}-D array of shape {}; reshape it so that each row is a sample",
        .0.len(),
        header::python_tuple(.0)
    )]
    Rank(Vec<u64>),
    /// Truncated, or followed by something else.
    #[error(
        "expected {expected} bytes of data for {rows}×{columns} {}, got {got}; the file {}",
        dtype.name(),
        if u128::from(*got) < *expected { "is truncated" } else { "has more after its array" }
    )]
    Length {
        /// Rows the header claims.
        rows: u64,
        /// Columns the header claims.
        columns: u64,
        /// The element type.
        dtype: DType,
        /// Bytes of such an array.
        expected: u128,
        /// Bytes after the header.
        got: u64,
    },
    /// More than memory can hold.
    #[error("the array needs {0} bytes of memory, which are not to be had; split the batch")]
    Memory(usize),
}

/// Row-major numbers of a file, in its own precision.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// `f2`.
    F16(Vec<f16>),
    /// `f4`.
    F32(Vec<f32>),
    /// `f8`.
    F64(Vec<f64>),
}

/// A file whose header has been read and found true.
#[derive(Debug)]
pub struct Npy {
    path: PathBuf,
    reader: BufReader<File>,
    header: Header,
    shape: Shape,
}

impl Npy {
    /// Opens a file and checks its header against its size; reads none of its data.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Npy`], [`Error::Logits`] for an array without elements.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { path: path.into(), source };
        let refuse = |problem| Error::Npy { path: path.into(), problem };
        // Asked before opening, which would wait for the writer of a pipe.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(refuse(Problem::NotAFile("a directory")));
        }
        if !metadata.is_file() {
            return Err(refuse(Problem::NotAFile("a pipe or device, whose size is not known")));
        }
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut reader = BufReader::new(file);
        let header = Header::read(&mut reader).map_err(unreadable)?.map_err(refuse)?;
        let [rows, columns] = header.shape;
        let elements = u128::from(rows).saturating_mul(u128::from(columns));
        let expected = elements.saturating_mul(header.dtype.bytes() as u128);
        let got = size.saturating_sub(header.length);
        if expected != u128::from(got) {
            let dtype = header.dtype;
            return Err(refuse(Problem::Length { rows, columns, dtype, expected, got }));
        }
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let shape = Shape::new(count(rows), count(columns))
            .map_err(|source| Error::Logits { path: path.into(), source })?;
        Ok(Self { path: path.into(), reader, header, shape })
    }

    /// Rows and columns.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// The element type.
    pub const fn dtype(&self) -> DType {
        self.header.dtype
    }

    /// Reads the data, whatever its order and endianness, into row-major native numbers.
    ///
    /// # Errors
    /// [`Error::Unreadable`], also if the file shrinks meanwhile; [`Error::Npy`] if memory does not suffice.
    pub fn read(mut self) -> Result<Values, Error> {
        Ok(match self.dtype() {
            DType::F2 => Values::F16(self.elements()?),
            DType::F4 => Values::F32(self.elements()?),
            DType::F8 => Values::F64(self.elements()?),
        })
    }

    fn elements<T: Element>(&mut self) -> Result<Vec<T>, Error> {
        let size = T::DTYPE.bytes();
        let total = self.shape.len();
        let mut values = Vec::new();
        if values.try_reserve_exact(total).is_err() {
            let problem = Problem::Memory(total * size);
            return Err(Error::Npy { path: self.path.clone(), problem });
        }
        let decode = if self.header.big_endian { T::from_be } else { T::from_le };
        let mut columns = ColumnMajor::new(self.shape);
        if self.header.fortran_order {
            values.resize(total, T::zero());
        }
        let mut buffer = vec![0; size * total.min(1 << 17)];
        let mut left = total;
        while left > 0 {
            let bytes = &mut buffer[..size * left.min(1 << 17)];
            self.reader
                .read_exact(bytes)
                .map_err(|source| Error::Unreadable { path: self.path.clone(), source })?;
            let decoded = bytes.chunks_exact(size).map(decode);
            left -= decoded.len();
            if self.header.fortran_order {
                for value in decoded {
                    values[columns.next_index()] = value;
                }
            } else {
                values.extend(decoded);
            }
        }
        Ok(values)
    }
}

/// Row-major positions in column-major order.
struct ColumnMajor {
    shape: Shape,
    row: usize,
    column: usize,
}

impl ColumnMajor {
    const fn new(shape: Shape) -> Self {
        Self { shape, row: 0, column: 0 }
    }

    const fn next_index(&mut self) -> usize {
        let index = self.row * self.shape.num_prototypes() + self.column;
        self.row += 1;
        if self.row == self.shape.batch() {
            (self.row, self.column) = (0, self.column + 1);
        }
        index
    }
}

/// Writes a row-major array, little-endian, in format version 1.
///
/// # Errors
/// The writer's.
pub fn write<T: Element>(mut out: impl Write, shape: Shape, values: &[T]) -> io::Result<()> {
    let axes = [shape.batch() as u64, shape.num_prototypes() as u64];
    out.write_all(&header::bytes(T::DTYPE.name(), &axes))?;
    let mut buffer = Vec::with_capacity(T::DTYPE.bytes() << 14);
    for chunk in values.chunks(1 << 14) {
        buffer.clear();
        for value in chunk {
            value.put_le(&mut buffer);
        }
        out.write_all(&buffer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        // More elements than one chunk of the reader or the writer holds.
        let shape = Shape::new(301, 500).unwrap();
        let values: Vec<f32> = (0..150_500).map(|i: i32| i as f32 - 0.5).collect();
        write(File::create(&path).unwrap(), shape, &values).unwrap();
        let npy = Npy::open(&path).unwrap();
        assert_eq!((npy.shape(), npy.dtype()), (shape, DType::F4));
        assert_eq!(npy.read().unwrap(), Values::F32(values));
    }
}
