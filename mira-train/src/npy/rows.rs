//! Arrays whose number of rows is known only when the last has been written.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use super::header;

/// A `.npy` file that grows row by row, in little-endian numbers, and may be larger than memory.
#[derive(Debug)]
pub(crate) struct Rows<W: Write + Seek> {
    out: BufWriter<W>,
    dtype: &'static str,
    /// Of a row; `None` for an array of one axis.
    columns: Option<u64>,
    /// Of rows.
    count: u64,
    row: Vec<u8>,
}

impl<W: Write + Seek> Rows<W> {
    /// Begins an array of `NumPy`'s type `dtype` (`f4`, `i8`): rows of so many columns, or of one number and no second axis.
    pub(crate) fn new(out: W, dtype: &'static str, columns: Option<u64>) -> io::Result<Self> {
        let mut rows = Self { out: BufWriter::new(out), dtype, columns, count: 0, row: Vec::new() };
        let header = rows.header();
        rows.out.write_all(&header)?;
        Ok(rows)
    }

    /// Appends a row: as many bytes as its numbers take.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = u8>) -> io::Result<()> {
        self.row.clear();
        self.row.extend(row);
        self.count += 1;
        self.out.write_all(&self.row)
    }

    /// Says in the header how many rows there are, and gives the writer back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.seek(SeekFrom::Start(0))?;
        let header = self.header();
        self.out.write_all(&header)?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn header(&self) -> Vec<u8> {
        let shape: Vec<u64> = std::iter::once(self.count).chain(self.columns).collect();
        header::bytes(self.dtype, &shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::{Npy, Values};

    #[test]
    fn headers_are_of_one_length_whatever_the_number_of_rows() {
        let length = |shape: &[u64]| header::bytes("f4", shape).len();
        for shape in [&[0][..], &[u64::MAX], &[0, 1], &[1_281_167, 2048], &[u64::MAX, u64::MAX]] {
            assert_eq!(length(shape), 128, "{shape:?}");
        }
    }

    #[test]
    fn rows_read_back_and_labels_have_one_axis() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut rows = Rows::new(std::fs::File::create(&path).unwrap(), "f4", Some(3)).unwrap();
        for row in 0..1100_u16 {
            let numbers = [0, 1, 2].map(|column| f32::from(3 * row + column));
            rows.push(numbers.into_iter().flat_map(f32::to_le_bytes)).unwrap();
        }
        rows.finish().unwrap();
        let npy = Npy::open(&path).unwrap();
        assert_eq!((npy.shape().batch(), npy.shape().num_prototypes()), (1100, 3));
        assert_eq!(npy.read().unwrap(), Values::F32((0..3300_u16).map(f32::from).collect()));

        let mut labels = Rows::new(std::io::Cursor::new(Vec::new()), "i8", None).unwrap();
        labels.push((-1_i64).to_le_bytes()).unwrap();
        let bytes = labels.finish().unwrap().into_inner();
        let text = String::from_utf8_lossy(&bytes[..128]);
        assert!(text.contains("'<i8'") && text.contains("'shape': (1,),"), "{text}");
        assert_eq!(bytes[128..], [0xff; 8]);
    }
}
