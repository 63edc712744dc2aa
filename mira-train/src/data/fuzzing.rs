//! Images and sets of them from any bytes.

use std::io::Cursor;
use std::path::Path;

use serde::Deserialize;

use super::cifar::{self, Variant};
use super::{Image, Source, Split, decode, idx};
use crate::fuzzing::{Format, file, folder, halves, joined};

/// Images of more pixels are refused here, so that a second has room for thousands of them; [`decode::MAX_PIXELS`] is the limit otherwise.
const PIXELS: usize = 1 << 18;

/// An image file. Beside the pixels there are samples of four channels, a decoder's coefficients (16 bits of up to four channels, and rows of
/// blocks), and what a chunk or a marker holds;
/// the codes of a lossless WebP file may take tens of MiB.
pub(crate) const DECODE: Format = Format {
    name: "decode",
    read: image,
    memory: |n| 32 * PIXELS + 64 * n + (64 << 20),
    seeds: files,
};

fn image(bytes: &[u8]) -> Result<(), String> {
    let mut image = Image::default();
    decode::decode_within(bytes, PIXELS, &mut image)?;
    assert!((1..=PIXELS).contains(&(image.width * image.height)));
    assert_eq!(image.pixels.len(), image.width * image.height * 3);
    if let [0x89, b'P', b'N', b'G', ..] = bytes {
        let number =
            |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i])) as usize;
        assert_eq!((image.width, image.height), (number(16), number(20)));
    }
    // What a buffer held before is not seen in the next image.
    let mut used = Image { width: 1, height: 1, pixels: vec![0x5A; image.pixels.len() + 9] };
    decode::decode_within(bytes, PIXELS, &mut used).expect("it was decoded before");
    assert!(used == image, "a picture depends on the one before it");
    Ok(())
}

fn files() -> Vec<Vec<u8>> {
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        file: String,
    }
    let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/decode.json"))
        .expect("the golden files are JSON");
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(text, 16).expect("hexadecimal digits")
    };
    golden.cases.iter().map(|case| case.file.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// A set's images and labels as they were declared: all labels, the first images and the last.
pub(super) fn examine(set: &dyn Source) {
    assert!(!set.is_empty());
    assert_eq!(set.num_classes().unwrap_or(0), set.class_names().len());
    for index in 0..set.len() {
        if let Some(label) = set.label(index) {
            assert!((label as usize) < set.class_names().len(), "label {label}");
        }
    }
    assert_eq!(set.label(set.len()), None);
    let (mut image, mut bytes) = (Image::default(), Vec::new());
    for index in (0..set.len().min(8)).chain([set.len() - 1, set.len()]) {
        // Of files, whose decoding has a target of its own, the bytes.
        match set.encoded(index, &mut bytes) {
            Ok(true) => assert_eq!(set.num_bytes(index), Some(bytes.len() as u64)),
            Ok(false) => match set.load(index, &mut image) {
                Ok(()) => {
                    assert_eq!(image.pixels.len(), image.width * image.height * 3);
                    assert!(!image.pixels.is_empty());
                }
                Err(_) => assert_eq!(index, set.len()),
            },
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// Labels and images in IDX files, compressed or not. Deflate takes a byte for up to 1032; vectors grow by doubling.
pub(crate) const IDX: Format =
    Format { name: "idx", read: idx, memory: |n| 1032 * 8 * n, seeds: idx_seeds };

fn idx(bytes: &[u8]) -> Result<(), String> {
    let (labels, images) = halves(bytes);
    let open = |file| idx::unpacked(Cursor::new(file)).map_err(|e| e.to_string());
    let (images, labels) = (open(images)?, open(labels)?);
    let set = idx::read((Path::new("images"), images), (Path::new("labels"), labels), None)
        .map_err(|e| e.to_string())?;
    examine(&set);
    Ok(())
}

fn idx_seeds() -> Vec<Vec<u8>> {
    use std::io::Write as _;
    let array = |shape: &[u32], data: &[u8]| {
        let mut file = vec![0, 0, 8, shape.len() as u8];
        file.extend(shape.iter().flat_map(|n| n.to_be_bytes()));
        file.extend(data);
        file
    };
    let compressed = |file: &[u8]| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(file).expect("memory takes everything");
        gz.finish().expect("memory takes everything")
    };
    let pixels: Vec<u8> = (0..24).collect();
    let (labels, images) = (array(&[2], &[1, 3]), array(&[2, 3, 4], &pixels));
    vec![
        joined(&labels, &images),
        joined(&compressed(&labels), &compressed(&images)),
        joined(&array(&[1], &[255]), &compressed(&array(&[1, 100, 100], &[7; 10_000]))),
    ]
}

/// The records of CIFAR-100 behind a zero byte, those of CIFAR-10 behind any other.
pub(crate) const CIFAR: Format =
    Format { name: "cifar", read: cifar, memory: |n| 16 * n, seeds: cifar_seeds };

fn cifar(bytes: &[u8]) -> Result<(), String> {
    let (variant, name) = match bytes.first() {
        Some(0) => (Variant::Cifar100, "test.bin"),
        _ => (Variant::Cifar10, "test_batch.bin"),
    };
    let records = bytes.get(1..).unwrap_or_default();
    file(name, records);
    let set = cifar::open(variant, &folder(), Split::Test).map_err(|e| e.to_string())?;
    assert_eq!(set.len(), records.len() / (if variant == Variant::Cifar10 { 3073 } else { 3074 }));
    examine(&set);
    Ok(())
}

fn cifar_seeds() -> Vec<Vec<u8>> {
    let record = |labels: &[u8], value: u8| [labels, &[value; 3072][..]].concat();
    vec![
        [&[1][..], &record(&[9], 7), &record(&[0], 8)].concat(),
        [&[0][..], &record(&[19, 99], 7)].concat(),
    ]
}

/// A Parquet file. Rows that repeat an image or a name (kept in a vector that has doubled) take a few bits and hold all of it, and there are at most as many rows in a group as bytes.
#[cfg(feature = "parquet")]
pub(crate) const PARQUET: Format = Format {
    name: "parquet",
    read: parquet,
    memory: |n| 3 * n * n + 1024 * n + (1 << 20),
    seeds: parquet_seeds,
};

#[cfg(feature = "parquet")]
fn parquet(bytes: &[u8]) -> Result<(), String> {
    let path = file("train.parquet", bytes);
    let set = super::parquet::open(&path, Split::Train).map_err(|e| e.to_string())?;
    examine(&set);
    Ok(())
}

#[cfg(feature = "parquet")]
fn parquet_seeds() -> Vec<Vec<u8>> {
    use std::sync::Arc;

    use ::parquet::basic::Compression;
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::metadata::KeyValue;
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    let features = r#"{"info": {"features": {"label": {"names": ["no", "yes"]}}}}"#;
    let file = |schema: &str, compression, has_dictionary, num_groups| {
        let pair = KeyValue::new("huggingface".into(), features.to_string());
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(has_dictionary)
            .set_key_value_metadata(Some(vec![pair]))
            .build();
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let depth = i16::from(schema.get_fields()[0].is_group());
        let mut file = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).expect("a writer");
        for _ in 0..num_groups {
            let mut group = writer.next_row_group().expect("a group");
            let mut column = group.next_column().expect("a column").expect("a column");
            let images = [ByteArray::from("GIF"), ByteArray::from(&b"\x89PNG"[..])];
            let levels = [depth + 1, depth, depth + 1];
            column
                .typed::<ByteArrayType>()
                .write_batch(&images, Some(&levels), None)
                .expect("values");
            column.close().expect("a column");
            let mut column = group.next_column().expect("a column").expect("a column");
            let labels = [0, 1, -1];
            column.typed::<Int64Type>().write_batch(&labels, Some(&[1; 3]), None).expect("labels");
            column.close().expect("a column");
            group.close().expect("a group");
        }
        writer.close().expect("a file");
        file
    };
    let group =
        "message schema { optional group img { optional binary bytes; } optional int64 label; }";
    let plain = "message schema { optional binary image; optional int64 label; }";
    vec![
        file(group, Compression::SNAPPY, true, 2),
        file(plain, Compression::UNCOMPRESSED, false, 1),
        file(plain, Compression::SNAPPY, false, 1),
    ]
}
