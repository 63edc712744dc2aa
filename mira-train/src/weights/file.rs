//! Reading and writing: <https://github.com/huggingface/safetensors#format>, namely the header's length as 8 bytes little-endian, a JSON
//! header, the tensors one after the other.

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use super::{Error, METADATA, Weights};
use crate::output::Destination;

/// The most that is read, in bytes: several times the largest encoder in f64.
const MAX_BYTES: u64 = 4 << 30;

impl Weights {
    /// Reads a file.
    ///
    /// # Errors
    /// Anything but a regular file of at most 4 GiB; a header that does not describe exactly the file's bytes; NaN or infinite values.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { path: path.into(), source };
        // Before opening: a pipe would wait for a writer.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(Error::NotAFile { path: path.into() });
        }
        let file = File::open(path).map_err(unreadable)?;
        let got = file.metadata().map_err(unreadable)?.len();
        if got > MAX_BYTES {
            return Err(Error::TooLarge { path: path.into(), limit: MAX_BYTES, got });
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        Self::parse(&bytes, path)
    }

    /// From a file's bytes; `path` is for messages.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let damaged = |e: safetensors::SafeTensorError| Error::Damaged {
            path: path.into(),
            problem: e.to_string(),
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let mut weights = Self::default();
        weights.metadata.extend(header.metadata().clone().unwrap_or_default());
        for (name, view) in SafeTensors::deserialize(bytes).map_err(damaged)?.tensors() {
            match values(&view) {
                Some(values) => weights.insert(name, view.shape(), values)?,
                None => {
                    weights.others.insert(name, format!("{:?}", view.dtype()));
                }
            }
        }
        Ok(weights)
    }

    /// Writes a file, whole or not at all; tensors stand in the order of their names.
    ///
    /// # Errors
    /// [`Error::Write`] where no file can be made or finished.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let write = || {
            let destination = Destination::new("the weights", path)?;
            destination.stage(|out| self.serialise(out))?.publish()
        };
        write().map(|_| ()).map_err(|e| Error::Write(Box::new(e)))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// None that is expected: memory takes everything.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let written = self.serialise(&mut bytes);
        written.map_err(|source| Error::Unreadable { path: "memory".into(), source })?;
        Ok(bytes)
    }

    pub(super) fn serialise(&self, out: &mut impl Write) -> io::Result<()> {
        let mut header = Map::new();
        if !self.metadata.is_empty() {
            header.insert(METADATA.into(), json!(self.metadata));
        }
        let mut end = 0;
        for (name, tensor) in &self.tensors {
            let start = end;
            end += 4 * tensor.values.len();
            let entry =
                json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end]});
            header.insert(name.clone(), entry);
        }
        let mut header = Value::from(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' '); // tensors are aligned
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in self.tensors.values() {
            for value in &tensor.values {
                out.write_all(&value.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

/// The values as f32; `None` for types that are not floating-point numbers of 16 bits or more.
fn values(view: &TensorView<'_>) -> Option<Vec<f32>> {
    fn map<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|&chunk| value(chunk)).collect()
    }
    #[allow(clippy::cast_possible_truncation)]
    // rounding is meant; beyond f32 it is infinite, and refused
    let rounded = |bytes| f64::from_le_bytes(bytes) as f32;
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => map(bytes, f32::from_le_bytes),
        Dtype::F64 => map(bytes, rounded),
        Dtype::F16 => map(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => map(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        _ => return None,
    })
}
