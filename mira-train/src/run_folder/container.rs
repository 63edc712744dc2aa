//! Checkpoint files: a JSON header and typed tensors, every byte under a checksum.
//!
//! # Format, version 1
//! Integers are little-endian. Checksums are XXH3-64 with seed 0.
//!
//! | bytes      | what                                                                                      |
//! |------------|-------------------------------------------------------------------------------------------|
//! | 0–7        | magic `\x89MIRA\r\n\x1a`, which a transfer in text mode would break                       |
//! | 8–11       | format version, u32                                                                       |
//! | 12–15      | length H of the header's JSON, u32, at most 1 MiB                                         |
//! | 16–23      | length of the whole file, u64                                                             |
//! | 24–31      | checksum of the header: bytes 40 to the start of the data                                 |
//! | 32–39      | checksum of the prologue: bytes 8–31                                                      |
//! | 40–(40+H)  | header: `{"meta": …, "sections": [{"name", "dtype", "shape", "offset", "length", "checksum"}, …]}` |
//! | …          | zeros up to a multiple of 64: the start of the data                                       |
//! | data       | the sections in the header's order, each followed by zeros up to a multiple of 64         |
//!
//! `dtype` is `f32`, `u8`, `u64` or `f64`; `length` is in bytes, without padding; `offset` counts from the start of the data and
//! follows from the lengths before it, so that sections neither overlap nor leave gaps; `checksum` is 16 hexadecimal digits over the
//! section with its padding. The prologue keeps its layout in every version, so that a newer file is told from a damaged one.
//!
//! XXH3 because a checkpoint is guarded against disks and transfers, not against forgers: it runs at memory speed, where a
//! cryptographic hash would cost as much as writing the file. The implementation is `twox-hash` (MIT, no `unsafe` interface, streaming).
//!
//! # Reading
//! Nothing is allocated for a section before its length has been found to lie within the file as it is on disk. The header's JSON may
//! take some 40 times its own length while it is parsed, hence its limit.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod header;
mod read;
pub(super) mod write;

use std::borrow::Cow;

use serde_json::Value;

use super::Error;
pub use header::Dtype;
pub use read::{read, read_from, read_meta};
pub use write::{encoded_len, write};

/// The newest format version that is read, and the one that is written.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"\x89MIRA\r\n\x1a";
const PROLOGUE: usize = 40;
const ALIGNMENT: usize = 64;
const MAX_HEADER: usize = 1 << 20;
/// Bytes converted, hashed or moved at a time: within the L2 cache.
const BLOCK: usize = 1 << 16;

/// The state of a training run, owned.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Everything that is not a tensor: step, recipe hash, counters. A number keeps its bits; NaN and infinities become null.
    pub meta: Value,
    /// The tensors, in the file's order; names are unique.
    pub tensors: Vec<Tensor>,
}

/// A named array of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Unique within a snapshot.
    pub name: String,
    /// Its product is the number of elements; empty for one number.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub data: TensorData,
}

/// Elements of a [`Tensor`]; floating-point numbers keep their bits, NaN payloads too.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Single precision.
    F32(Vec<f32>),
    /// Bytes.
    U8(Vec<u8>),
    /// Counters.
    U64(Vec<u64>),
    /// Double precision.
    F64(Vec<f64>),
}

/// The state of a training run, borrowed, to be written without a copy of it.
#[derive(Clone, Debug)]
pub struct SnapshotRef<'a> {
    /// As in [`Snapshot::meta`].
    pub meta: Cow<'a, Value>,
    /// As in [`Snapshot::tensors`].
    pub tensors: Vec<TensorRef<'a>>,
}

/// A named array of a [`SnapshotRef`].
#[derive(Clone, Debug)]
pub struct TensorRef<'a> {
    /// As in [`Tensor::name`].
    pub name: Cow<'a, str>,
    /// As in [`Tensor::shape`].
    pub shape: Cow<'a, [usize]>,
    /// The elements, row-major.
    pub data: DataRef<'a>,
}

/// Elements of a [`TensorRef`].
#[derive(Clone, Copy, Debug)]
pub enum DataRef<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Bytes.
    U8(&'a [u8]),
    /// Counters.
    U64(&'a [u64]),
    /// Double precision.
    F64(&'a [f64]),
}

macro_rules! conversions {
    ($($variant:ident $ty:ty),*) => {$(
        impl<'a> From<&'a [$ty]> for DataRef<'a> {
            fn from(data: &'a [$ty]) -> Self {
                Self::$variant(data)
            }
        }
        impl From<Vec<$ty>> for TensorData {
            fn from(data: Vec<$ty>) -> Self {
                Self::$variant(data)
            }
        }
    )*};
}
conversions!(F32 f32, U8 u8, U64 u64, F64 f64);

impl<'a> SnapshotRef<'a> {
    /// A snapshot without tensors.
    pub fn new(meta: impl Into<Value>) -> Self {
        Self { meta: Cow::Owned(meta.into()), tensors: Vec::new() }
    }

    /// Adds a one-dimensional tensor.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, data: impl Into<DataRef<'a>>) {
        let data = data.into();
        let (name, shape) = (name.into(), Cow::Owned(vec![data.len()]));
        self.tensors.push(TensorRef { name, shape, data });
    }
}

impl<'a> From<&'a Snapshot> for SnapshotRef<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        let tensors = snapshot.tensors.iter().map(|tensor| TensorRef {
            name: Cow::Borrowed(&tensor.name),
            shape: Cow::Borrowed(&tensor.shape),
            data: tensor.data.as_ref(),
        });
        Self { meta: Cow::Borrowed(&snapshot.meta), tensors: tensors.collect() }
    }
}

impl TensorData {
    /// The same, borrowed.
    pub fn as_ref(&self) -> DataRef<'_> {
        match self {
            Self::F32(data) => DataRef::F32(data),
            Self::U8(data) => DataRef::U8(data),
            Self::U64(data) => DataRef::U64(data),
            Self::F64(data) => DataRef::F64(data),
        }
    }
}

impl DataRef<'_> {
    /// The number of elements.
    pub const fn len(self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::U8(data) => data.len(),
            Self::U64(data) => data.len(),
            Self::F64(data) => data.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The elements' type.
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::U8(_) => Dtype::U8,
            Self::U64(_) => Dtype::U64,
            Self::F64(_) => Dtype::F64,
        }
    }
}

macro_rules! take {
    ($($function:ident $variant:ident $ty:ty),*) => {impl Snapshot {$(
        #[doc = concat!("Takes the ", stringify!($ty), " tensor `name` of `len` elements out of the snapshot.")]
        ///
        /// # Errors
        /// [`Error::Tensor`] where it is missing, of another type or of another size.
        pub fn $function(&mut self, name: &str, len: usize) -> Result<Vec<$ty>, Error> {
            let index = self.tensors.iter().position(|tensor| tensor.name == name);
            let got = match index.map(|index| self.tensors[index].data.as_ref()) {
                Some(data) if data.dtype() == Dtype::$variant && data.len() == len => None,
                Some(data) => Some(describe(data.dtype(), data.len())),
                None => Some("missing".into()),
            };
            if let Some(got) = got {
                let expected = describe(Dtype::$variant, len);
                return Err(Error::Tensor { name: name.into(), expected, got });
            }
            match index.map(|index| self.tensors.remove(index).data) {
                Some(TensorData::$variant(data)) => Ok(data),
                _ => Ok(Vec::new()), // the type was compared above
            }
        }
    )*}};
}
take!(take_f32 F32 f32, take_u8 U8 u8, take_u64 U64 u64, take_f64 F64 f64);

fn describe(dtype: Dtype, len: usize) -> String {
    format!("{len} × {}", dtype.name())
}
