//! Named f32 tensors in safetensors files: encoders as other programs know them.
//!
//! Files are written whole or not at all, with equal contents as equal bytes. Files are read without trusting their header; f64, f16 and
//! bf16 become f32, and integers (`num_batches_tracked`) are passed over unless asked for.

mod file;
mod layout;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use layout::{hwio_from_oihw, oihw_from_hwio};

/// A tensor: row-major values, the last axis the fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extent of every axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many values as the product of the extents.
    pub values: Vec<f32>,
}

/// Tensors by name, and notes about them such as the recipe's name and the step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// The file's `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Tensor>,
    /// Tensors of types that do not convert to f32, with the type's name.
    others: BTreeMap<String, String>,
}

impl Weights {
    /// Adds a tensor, in place of one of the same name.
    ///
    /// # Errors
    /// [`Error::NumValues`] if the values are not as many as the shape says, [`Error::NotFinite`], [`Error::ReservedName`].
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: Vec<f32>,
    ) -> Result<(), Error> {
        let name = name.into();
        if name == METADATA {
            return Err(Error::ReservedName { name });
        }
        if num_values(shape) != Some(values.len()) {
            return Err(Error::NumValues { name, shape: shape.into(), got: values.len() });
        }
        if let Some(position) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite { value: values[position], position, name });
        }
        self.others.remove(&name);
        self.tensors.insert(name, Tensor { shape: shape.into(), values });
        Ok(())
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::DType`].
    pub fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        if let Some(tensor) = self.tensors.get(name) {
            return Ok(tensor);
        }
        let name = name.to_owned();
        Err(match self.others.get(&name) {
            Some(dtype) => Error::DType { name, dtype: dtype.clone() },
            None => Error::Missing { nearest: self.nearest(&name), name },
        })
    }

    /// The values of a tensor that must have this shape.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::DType`], [`Error::Shape`].
    pub fn values(&self, name: &str, expected: &[usize]) -> Result<&[f32], Error> {
        let Tensor { shape, values } = self.tensor(name)?;
        if shape != expected {
            let (name, expected) = (name.into(), expected.into());
            return Err(Error::Shape { name, expected, got: shape.clone() });
        }
        Ok(values)
    }

    /// All tensors that are or became f32, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors that are or became f32.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The name that shares the most with `name`, from the end or from the start: a prefix such as `module.` is the usual difference.
    fn nearest(&self, name: &str) -> Option<String> {
        let alike = |other: &&String| {
            let from_end = other.bytes().rev().zip(name.bytes().rev());
            let from_start = other.bytes().zip(name.bytes());
            let ends = from_end.take_while(|(a, b)| a == b).count();
            ends.max(from_start.take_while(|(a, b)| a == b).count())
        };
        self.tensors.keys().max_by_key(alike).cloned()
    }
}

/// The key of a header that is not a tensor.
const METADATA: &str = "__metadata__";

fn num_values(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1, |n: usize, &extent| n.checked_mul(extent))
}

/// What can be wrong with a file of weights, or with what is asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A directory, a pipe, a device.
    #[error("expected a .safetensors file, got something else at {}; name the file itself", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// More bytes than any encoder has.
    #[error("expected at most {limit} bytes in {}, got {got}; export the encoder alone", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
        /// The file's size.
        got: u64,
    },
    /// Bytes that are not safetensors.
    #[error("{} is damaged or no safetensors file ({problem}); export or copy it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor that is not there.
    #[error(
        "expected a tensor {name}, got none{}; take weights of the same architecture with torchvision's key names",
        nearest.as_ref().map(|nearest| format!(" (the nearest name is {nearest})")).unwrap_or_default()
    )]
    Missing {
        /// Its name.
        name: String,
        /// The most similar name there is.
        nearest: Option<String>,
    },
    /// A tensor of another architecture, width or stem.
    #[error(
        "expected shape {expected:?} for {name}, got {got:?}; take weights of the same architecture, width and stem"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// A tensor of integers, booleans, or quantised numbers.
    #[error(
        "expected f32, f64, f16 or bf16 values in {name}, got {dtype}; convert them before saving"
    )]
    DType {
        /// The tensor.
        name: String,
        /// Its type, as safetensors names it.
        dtype: String,
    },
    /// NaN or infinity among the weights.
    #[error(
        "expected finite values in {name}, got {value} at position {position}; take weights from before the run diverged"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// Index of the first such value.
        position: usize,
        /// What stands there.
        value: f32,
    },
    /// Values that do not fill a shape.
    #[error(
        "expected as many values as shape {shape:?} has for {name}, got {got}; give every value once"
    )]
    NumValues {
        /// The tensor.
        name: String,
        /// The shape.
        shape: Vec<usize>,
        /// The number of values.
        got: usize,
    },
    /// A name that means something else in a header.
    #[error("expected a tensor's name, got {name}, which the format reserves; choose another name")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// A failure to write.
    #[error(transparent)]
    Write(Box<crate::Error>),
}

#[cfg(test)]
mod tests;
