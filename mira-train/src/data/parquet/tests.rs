//! Files written here by the library's own writer, and the real CIFAR-10 where it is at hand.

use std::fs;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;
use crate::data::fixtures::grey_png;
use crate::data::{self, Format, PackInput};
use crate::recipe::{self, Recipe};
use crate::train::Sources;

const GROUP: &str = "message schema {
    optional group img { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

/// Image and label.
type Row = (Option<Vec<u8>>, Option<i64>);

/// One row group a part of the rows; `None` is a null.
fn write(path: &Path, schema: &str, features: Option<&str>, groups: &[&[Row]]) {
    let pairs = features.map(|f| vec![KeyValue::new("huggingface".into(), f.to_string())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(pairs)
        .build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let depth = i16::from(schema.get_fields()[0].is_group());
    let num_columns = if depth == 1 { 3 } else { 2 };
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in groups {
        let mut group = writer.next_row_group().unwrap();
        let images: Vec<ByteArray> =
            rows.iter().filter_map(|(image, _)| image.clone().map(ByteArray::from)).collect();
        let present: Vec<i16> =
            rows.iter().map(|(image, _)| depth + i16::from(image.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, Some(&present), None).unwrap();
        column.close().unwrap();
        if num_columns == 3 {
            let mut column = group.next_column().unwrap().unwrap();
            // Every other row has a name.
            let present: Vec<i16> = (0..rows.len()).map(|i| 2 - i16::from(i % 2 == 1)).collect();
            let names: Vec<ByteArray> =
                (0..rows.len()).step_by(2).map(|i| format!("{i}.png").as_str().into()).collect();
            column.typed::<ByteArrayType>().write_batch(&names, Some(&present), None).unwrap();
            column.close().unwrap();
        }
        let labels: Vec<i64> = rows.iter().filter_map(|(_, label)| *label).collect();
        let present: Vec<i16> = rows.iter().map(|(_, label)| i16::from(label.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&present), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn row(grey: u8, label: i64) -> Row {
    (Some(grey_png(grey)), Some(label))
}

fn grey(set: &Encoded, index: usize) -> u8 {
    let mut image = Image::default();
    set.load(index, &mut image).unwrap();
    assert_eq!((image.width, image.height), (1, 1));
    image.pixels[0]
}

#[test]
fn rows_of_all_groups_and_files_come_in_order() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("plain_text");
    fs::create_dir(&folder).unwrap();
    let names = r#"{"info": {"features": {"label": {"names": ["no", "yes"]}}}}"#;
    let file = |name: &str, groups: &[&[_]]| write(&folder.join(name), GROUP, Some(names), groups);
    // More rows than are decoded at once, with nulls among them.
    let many: Vec<_> = (0..600)
        .map(|i| if i % 100 == 7 { (None, None) } else { row((i % 251) as u8, i % 2) })
        .collect();
    file("train-00000-of-00002.parquet", &[&[row(11, 0), row(12, 1)], &many]);
    file("train-00001-of-00002.parquet", &[&[row(99, -1)]]);
    file("test-00000-of-00001.parquet", &[&[row(50, 1)]]);

    let set = open(root.path(), Split::Train).unwrap();
    assert_eq!(set.len(), 603);
    assert_eq!((set.class_names(), set.num_classes()), (&["no".into(), "yes".into()][..], Some(2)));
    assert_eq!([0, 1, 2, 602].map(|i| grey(&set, i)), [11, 12, 0, 99]);
    assert_eq!([0, 1, 2, 602].map(|i| set.label(i)), [Some(0), Some(1), Some(0), None]);
    for i in (0..600).filter(|i| i % 100 != 7) {
        assert_eq!((grey(&set, i + 2), set.label(i + 2)), ((i % 251) as u8, Some(i as u32 % 2)));
    }
    let error = set.load(9, &mut Image::default()).unwrap_err().to_string();
    assert!(error.contains("row 9 of") && error.contains("empty"), "{error}");
    assert_eq!(set.label(9), None);
    let names = [0, 1, 302].map(|i| set.relative_path(i)); // the last is the 300th of its group
    assert_eq!(names, [Some("0.png".into()), None, Some("300.png".into())]);
    let stored = [0, 1, 9, 602, 603].map(|i| set.num_bytes(i));
    let length = |grey| Some(grey_png(grey).len() as u64);
    assert_eq!(stored, [length(11), length(12), Some(0), length(99), None]);
    assert!(set.name(602).contains("row 0 of") && set.name(602).contains("train-00001"));

    let set = open(root.path(), Split::Test).unwrap();
    assert_eq!((set.len(), grey(&set, 0), set.label(0)), (1, 50, Some(1)));
}

#[test]
fn plain_bytes_and_unnamed_classes_are_understood() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("train.parquet");
    let schema = "message schema { optional binary image; optional int64 fine_label; }";
    write(&file, schema, None, &[&[row(1, 4), row(2, 0)]]);
    for path in [root.path(), &file] {
        let set = open(path, Split::Train).unwrap();
        assert_eq!((grey(&set, 1), set.label(0), set.num_classes()), (2, Some(4), Some(5)));
        assert_eq!(set.relative_path(0), None);
    }
    write(&file, schema, None, &[&[row(1, -1), row(2, -1)]]);
    assert_eq!(open(&file, Split::Train).unwrap().num_classes(), None);
    assert!(
        open(root.path(), Split::Test).err().unwrap().to_string().contains("val*, validation*")
    );
}

#[test]
fn a_file_is_of_training_images_unless_its_name_says_otherwise() {
    let root = tempfile::tempdir().unwrap();
    for (name, is_of) in [
        ("images.parquet", Split::Train),
        ("train-00000-of-00002.parquet", Split::Train),
        ("test.parquet", Split::Test),
        ("in1k-validation-0.parquet", Split::Test),
    ] {
        let file = root.path().join(name);
        write(&file, GROUP, None, &[&[row(1, 0), row(2, 1)]]);
        for split in [Split::Train, Split::Test] {
            match data::open(Format::Parquet, Some(&file), split) {
                Ok(set) => assert!(split == is_of && set.len() == 2, "{name}"),
                Err(Error::NotRecognised { .. }) => assert_ne!(split, is_of, "{name}"),
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    let input = PackInput::open(Format::Auto, &root.path().join("images.parquet")).unwrap();
    assert!(input.test.is_none());
}

#[test]
fn test_images_are_those_with_labels() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str, rows: &[Row]| write(&root.path().join(name), GROUP, None, &[rows]);
    file("train.parquet", &[row(1, 0), row(2, 1)]);
    file("test.parquet", &[row(3, -1)]);
    let opened = || open(root.path(), Split::Test).unwrap();
    assert_eq!((grey(&opened(), 0), opened().num_classes()), (3, None));
    let recipe = Recipe::builtin("default").unwrap();
    let settings =
        recipe::Data { source: Format::Parquet, path: Some(root.path().into()), ..recipe.data };
    let sources = Sources::open(&settings).unwrap();
    assert!(sources.test.is_none());
    assert_eq!(sources.no_test.unwrap(), "the test images have no labels");
    file("validation.parquet", &[row(4, 1)]);
    assert_eq!((grey(&opened(), 0), opened().label(0)), (4, Some(1)));
    // Whichever of them it is.
    file("validation.parquet", &[row(5, -1)]);
    assert_eq!(grey(&opened(), 0), 5);
    file("test.parquet", &[row(6, 0)]);
    assert_eq!((grey(&opened(), 0), opened().label(0)), (6, Some(0)));
}

#[test]
fn damaged_or_foreign_files_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("train.parquet");
    let refused = |words: &str| {
        let error = open(&file, Split::Train).err().expect(words).to_string();
        assert!(error.contains(words) && error.contains("train.parquet"), "{error}");
    };
    let columns = "message schema { optional binary text; optional int64 label; }";
    write(&file, columns, None, &[&[row(1, 0)]]);
    refused("no column 'img' or 'image' of bytes, only text, label");
    let names = r#"{"info": {"features": {"label": {"names": ["no", "yes"]}}}}"#;
    write(&file, GROUP, Some(names), &[&[row(1, 2)]]);
    refused("label 2 is not below the 2 classes");
    write(&file, GROUP, None, &[&[row(1, 1 << 40)]]);
    refused("is no number of a class");
    write(&file, GROUP, None, &[&[row(1, 1 << 30)]]);
    refused("too large");
    write(&file, GROUP, None, &[]);
    refused("no row");

    // Any byte of a good file may be wrong: an error or a set, never a panic and never much memory.
    write(&file, GROUP, Some(names), &[&[row(1, 0), row(2, 1)], &[row(3, 1)]]);
    let good = fs::read(&file).unwrap();
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= [0x01, 0x80, 0xFF][position % 3];
        fs::write(&file, &bad).unwrap();
        let _ = open(&file, Split::Train);
    }
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    refused("Parquet");
}

/// The whole set against its published description; skipped where it is not at hand.
#[test]
fn the_real_cifar_10() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/datasets/cifar10");
    if !path.is_dir() {
        eprintln!("skipped: there is no {}", path.display());
        return;
    }
    let test = open(&path, Split::Test).unwrap();
    let train = open(&path, Split::Train).unwrap();
    assert_eq!((test.len(), train.len()), (10_000, 50_000));
    assert_eq!(train.class_names()[3], "cat");
    for class in 0..10 {
        assert_eq!(train.labels.iter().filter(|&&label| label == Some(class)).count(), 5000);
        assert_eq!(test.labels.iter().filter(|&&label| label == Some(class)).count(), 1000);
    }
    // The training set's channel means, known to four digits everywhere it is used.
    let (mut image, mut sums) = (Image::default(), [0_u64; 3]);
    for i in 0..train.len() {
        train.load(i, &mut image).unwrap();
        assert_eq!((image.width, image.height), (32, 32));
        for pixel in image.pixels.as_chunks::<3>().0 {
            sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u64::from(value));
        }
    }
    let means = sums.map(|sum| sum as f64 / (50_000.0 * 1024.0 * 255.0));
    for (mean, expected) in means.iter().zip([0.491_399_68, 0.482_158_41, 0.446_530_91]) {
        assert!((mean - expected).abs() < 1e-6, "{means:?}");
    }
}
