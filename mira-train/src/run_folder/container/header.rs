//! The header: what a file says of itself, and whether that can be true.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ALIGNMENT, MAX_HEADER, PROLOGUE, SnapshotRef};

/// Element types of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Single precision.
    F32,
    /// Bytes.
    U8,
    /// 64-bit unsigned integers.
    U64,
    /// Double precision.
    F64,
}

impl Dtype {
    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::U8 => "u8",
            Self::U64 => "u64",
            Self::F64 => "f64",
        }
    }

    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::U8 => 1,
            Self::U64 | Self::F64 => 8,
        }
    }
}

/// A tensor's place in the data.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<u64>,
    pub(super) offset: u64,
    pub(super) length: u64,
    #[serde(with = "hexadecimal")]
    pub(super) checksum: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) meta: Value,
    pub(super) sections: Vec<Section>,
}

impl Header {
    /// Parses the JSON and holds its claims against `data_len`, the bytes there are behind the header.
    pub(super) fn parse(json: &[u8], data_len: u64) -> Result<Self, String> {
        let header: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let mut names = HashSet::new();
        let mut end = 0_u64;
        for section in &header.sections {
            let refuse = |problem: &str| Err(format!("section {:?} {problem}", section.name));
            if !names.insert(section.name.as_str()) {
                return refuse("appears twice");
            }
            let num_bytes =
                section.shape.iter().try_fold(section.dtype.bytes(), |n, &d| n.checked_mul(d));
            if num_bytes != Some(section.length) {
                return refuse("has a length that is not that of its shape");
            }
            if section.offset != end {
                return refuse("does not begin where the one before it ends");
            }
            match section.length.checked_next_multiple_of(ALIGNMENT as u64) {
                Some(padded) if padded <= data_len - end => end += padded,
                _ => return refuse("reaches beyond the end of the file"),
            }
        }
        if end != data_len {
            return Err(format!("the sections have {end} bytes, and the file {data_len} for them"));
        }
        Ok(header)
    }

    /// The JSON of a header for `snapshot`.
    pub(super) fn json(snapshot: &SnapshotRef, checksums: &[u64]) -> Result<Vec<u8>, String> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            meta: &'a Value,
            sections: Vec<Section>,
        }
        let mut offset = 0_u64;
        let mut sections = Vec::with_capacity(snapshot.tensors.len());
        for (tensor, &checksum) in snapshot.tensors.iter().zip(checksums) {
            let len = tensor.data.len();
            let product = tensor.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
            if product != Some(len) {
                let (name, shape) = (&tensor.name, &tensor.shape);
                return Err(format!(
                    "tensor {name:?} has {len} elements, expected shape {shape:?}"
                ));
            }
            let length = len as u64 * tensor.data.dtype().bytes();
            sections.push(Section {
                name: tensor.name.to_string(),
                dtype: tensor.data.dtype(),
                shape: tensor.shape.iter().map(|&d| d as u64).collect(),
                offset,
                length,
                checksum,
            });
            offset += length.next_multiple_of(ALIGNMENT as u64);
        }
        let json = serde_json::to_vec(&Borrowed { meta: &snapshot.meta, sections })
            .map_err(|e| e.to_string())?;
        if json.len() > MAX_HEADER {
            let got = json.len();
            return Err(format!(
                "names and meta take {got} bytes, expected at most {MAX_HEADER}; keep arrays as tensors"
            ));
        }
        // Whatever no reader would take (two tensors of one name, nesting too deep) is found here, not on resume.
        Self::parse(&json, offset)?;
        Ok(json)
    }
}

/// Where the data begins behind `num_json` bytes of header.
pub(super) const fn data_start(num_json: usize) -> usize {
    (PROLOGUE + num_json).next_multiple_of(ALIGNMENT)
}

mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    // By reference, as serde's `with` demands.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<u64, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let value = (digits.len() == 16).then(|| u64::from_str_radix(&digits, 16).ok()).flatten();
        value.ok_or_else(|| D::Error::custom("a checksum has 16 hexadecimal digits"))
    }
}
