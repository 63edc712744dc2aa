//! Which columns of a Parquet file are the images and the labels, and reading them.

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::file::metadata::FileMetaData;
use serde_json::Value;

const IMAGES: [&str; 4] = ["img", "image", "img.bytes", "image.bytes"];
const PATHS: [&str; 2] = ["img.path", "image.path"];
const LABELS: [&str; 3] = ["label", "fine_label", "labels"];

/// Rows decoded at once.
const ROWS: usize = 256;

/// Positions of the columns, and what the metadata say of the labels.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) image: usize,
    pub(super) path: Option<usize>,
    pub(super) label: Option<usize>,
    /// Empty where there are none.
    pub(super) class_names: Vec<String>,
}

impl Columns {
    pub(super) fn find(metadata: &FileMetaData) -> Result<Self, String> {
        let columns = metadata.schema_descr().columns();
        let position = |names: &[&str], types: &[Type]| {
            names.iter().find_map(|name| {
                columns.iter().position(|column| {
                    column.path().string() == *name
                        && types.contains(&column.physical_type())
                        && column.max_rep_level() == 0
                })
            })
        };
        let Some(image) = position(&IMAGES, &[Type::BYTE_ARRAY]) else {
            let found: Vec<_> = columns.iter().take(20).map(|c| c.path().string()).collect();
            return Err(format!(
                "it has no column 'img' or 'image' of bytes, only {}",
                found.join(", ")
            ));
        };
        let path = position(&PATHS, &[Type::BYTE_ARRAY]);
        let label = position(&LABELS, &[Type::INT32, Type::INT64]);
        let features = metadata.key_value_metadata().and_then(|pairs| {
            let pair = pairs.iter().find(|pair| pair.key == "huggingface")?;
            serde_json::from_str::<Value>(pair.value.as_deref()?).ok()
        });
        let class_names = features.zip(label).and_then(|(features, label)| {
            names(features.pointer("/info/features")?.get(columns[label].name())?.get("names")?)
        });
        Ok(Self { image, path, label, class_names: class_names.unwrap_or_default() })
    }
}

/// A list of names, or an object from "0", "1", … to names.
fn names(value: &Value) -> Option<Vec<String>> {
    let name = |value: &Value| value.as_str().map(String::from);
    match value {
        Value::Array(names) => names.iter().map(name).collect(),
        Value::Object(names) => {
            (0..names.len()).map(|i| name(names.get(&i.to_string())?)).collect()
        }
        _ => None,
    }
}

/// Hands over each row's bytes; `None` where there are none.
pub(super) fn read_bytes(
    reader: ColumnReader,
    num_rows: usize,
    mut each: impl FnMut(Option<&[u8]>) -> Result<(), String>,
) -> Result<(), String> {
    let ColumnReader::ByteArrayColumnReader(reader) = reader else {
        return Err("the column of images is not one of bytes".into());
    };
    read::<ByteArrayType>(reader, num_rows, |value: Option<&ByteArray>| {
        each(value.map(ByteArray::data))
    })
}

/// Appends each row's label.
pub(super) fn read_labels(
    reader: ColumnReader,
    num_rows: usize,
    labels: &mut Vec<Option<u32>>,
) -> Result<(), String> {
    let mut push = |label: Option<i64>| {
        labels.push(match label {
            None | Some(-1) => None,
            Some(label) => Some(
                u32::try_from(label)
                    .map_err(|_| format!("label {label} is no number of a class"))?,
            ),
        });
        Ok(())
    };
    match reader {
        ColumnReader::Int64ColumnReader(reader) => {
            read(reader, num_rows, |label: Option<&i64>| push(label.copied()))
        }
        ColumnReader::Int32ColumnReader(reader) => {
            read(reader, num_rows, |label: Option<&i32>| push(label.copied().map(i64::from)))
        }
        _ => Err("the column of labels is not one of whole numbers".into()),
    }
}

fn read<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    num_rows: usize,
    mut each: impl FnMut(Option<&T::T>) -> Result<(), String>,
) -> Result<(), String> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut left = num_rows;
    while left > 0 {
        values.clear();
        levels.clear();
        let (num_records, ..) = reader
            .read_records(left.min(ROWS), Some(&mut levels), None, &mut values)
            .map_err(|e| e.to_string())?;
        if num_records == 0 {
            return Ok(());
        }
        left -= num_records.min(left);
        if levels.is_empty() {
            values.iter().try_for_each(|value| each(Some(value)))?;
        } else {
            // Only rows defined to the full depth have a value.
            let full = levels.iter().copied().max().unwrap_or(0);
            let mut present = values.iter();
            for &level in &levels {
                let has_value = level == full && !values.is_empty();
                each(if has_value { present.next() } else { None })?;
            }
        }
    }
    Ok(())
}
