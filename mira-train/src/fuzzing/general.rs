//! Logits, weights and recipes.

use std::fs::File;
use std::io::BufWriter;

use super::{Format, file, folder};
use crate::npy::{self, Element, Npy, Values};
use crate::recipe::{Basis, Pace, Recipe, builtins, dry_run};
use crate::train::{NumImages, cost};
use crate::weights::Weights;

/// A `.npy` file of logits: an array, and a block that is decoded.
pub(super) const NPY: Format =
    Format { name: "npy", read: logits, memory: |n| 8 * n + (2 << 20), seeds: logits_seeds };

fn logits(bytes: &[u8]) -> Result<(), String> {
    let opened = Npy::open(&file("logits.npy", bytes)).map_err(|e| e.to_string())?;
    let (shape, dtype) = (opened.shape(), opened.dtype());
    let values = opened.read().map_err(|e| e.to_string())?;
    let path = folder().join("again.npy");
    match &values {
        Values::F16(values) => write(&path, shape, values),
        Values::F32(values) => write(&path, shape, values),
        Values::F64(values) => write(&path, shape, values),
    }
    let again = Npy::open(&path).expect("what is written opens");
    assert_eq!((again.shape(), again.dtype()), (shape, dtype));
    let again = again.read().expect("what is written reads");
    let is_same = match (&values, &again) {
        (Values::F16(a), Values::F16(b)) => {
            a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        (Values::F32(a), Values::F32(b)) => {
            a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        (Values::F64(a), Values::F64(b)) => {
            a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        _ => false,
    };
    assert!(is_same, "other numbers than were written");
    Ok(())
}

fn write<T: Element>(path: &std::path::Path, shape: mira_core::Shape, values: &[T]) {
    assert_eq!(values.len(), shape.len());
    let out = BufWriter::new(File::create(path).expect("a temporary file"));
    npy::write(out, shape, values).expect("a temporary file can be written");
}

fn logits_seeds() -> Vec<Vec<u8>> {
    let shape = mira_core::Shape::new(2, 3).expect("a shape");
    let bytes = |write: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut bytes = Vec::new();
        write(&mut bytes).expect("memory takes everything");
        bytes
    };
    let singles = bytes(&|out| npy::write(out, shape, &[0.5_f32, -1.0, 2.0, 0.0, 1e9, -0.0]));
    let doubles = bytes(&|out| npy::write(out, shape, &[0.5_f64, -1.0, 2.0, 0.0, 1e9, f64::NAN]));
    let halves = bytes(&|out| npy::write(out, shape, &[half::f16::ONE; 6]));
    let replaced = |from: &str, to: &str| {
        let at =
            singles.windows(from.len()).position(|w| w == from.as_bytes()).expect("it is there");
        [&singles[..at], to.as_bytes(), &singles[at + from.len()..]].concat()
    };
    let columns_first = replaced("False", "True ");
    let big_endian = replaced("<f4", ">f4");
    let mut version_2 = singles.clone();
    version_2[6] = 2;
    version_2.splice(10..10, [0, 0]);
    vec![singles, doubles, halves, columns_first, big_endian, version_2]
}

/// A safetensors file: the file, its tensors, and its header as the library reads it, twice.
pub(super) const WEIGHTS: Format =
    Format { name: "weights", read: weights, memory: |n| 64 * n, seeds: weights_seeds };

fn weights(bytes: &[u8]) -> Result<(), String> {
    let read = Weights::read(&file("weights.safetensors", bytes)).map_err(|e| e.to_string())?;
    for (name, tensor) in read.iter() {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len(), "{name}");
        assert!(tensor.values.iter().all(|value| value.is_finite()), "{name}");
    }
    let written = read.to_bytes().expect("memory takes everything");
    let again = Weights::read(&file("again.safetensors", &written)).expect("what is written reads");
    assert!(again.iter().eq(read.iter()) && again.metadata == read.metadata);
    Ok(())
}

fn weights_seeds() -> Vec<Vec<u8>> {
    let mut weights = Weights::default();
    weights.metadata.insert("recipe".into(), "default".into());
    weights.insert("conv1.weight", &[1, 3, 1, 1], vec![0.5, -1.0, 2.0]).expect("three values");
    weights.insert("fc.bias", &[], vec![1e-9]).expect("a value");
    let file = |header: &str, data: &[u8]| {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    };
    let halves = r#"{"a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]}}"#;
    let others = r#"{"__metadata__":{"x":"y"},"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"d":{"dtype":"F64","shape":[1],"data_offsets":[8,16]}}"#;
    vec![
        weights.to_bytes().expect("memory takes everything"),
        file(halves, &[0; 8]),
        file(others, &[0; 16]),
        Weights::default().to_bytes().expect("memory takes everything"),
    ]
}

/// A recipe, and behind a zero byte settings that change it, one a line; and what a run of it would cost.
pub(super) const RECIPE: Format =
    Format { name: "recipe", read: recipe, memory: |n| 400 * n + (4 << 20), seeds: recipe_seeds };

fn recipe(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let (text, settings) = text.split_once('\0').unwrap_or((text, ""));
    let settings: Vec<String> = settings.lines().map(Into::into).collect();
    let recipe = Recipe::from_toml(text, "the recipe").map_err(|e| e.to_string())?;
    let recipe = recipe.with_overrides(&settings).map_err(|e| e.to_string())?;
    let written = recipe.to_toml();
    let again = Recipe::from_toml(&written, "again").expect("what is written reads");
    assert_eq!(again, recipe);
    assert_eq!(again.hash(), recipe.hash());
    let num_images = NumImages { train: 1_281_167, labelled: 1_281_167, test: 50_000 };
    let cost = cost(&recipe, num_images).map_err(|e| e.to_string())?;
    let pace = Pace { seconds_per_step: 1.5, basis: Basis::Pass { num_images: 2 } };
    let text = dry_run(&recipe, &cost, Some(&pace));
    assert_eq!(Recipe::from_toml(&text, "a dry run"), Ok(recipe));
    Ok(())
}

fn recipe_seeds() -> Vec<Vec<u8>> {
    let plain = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.collect::<Vec<_>>().join("\n").into_bytes()
    };
    let mut seeds: Vec<_> = builtins().iter().map(|builtin| plain(builtin.text)).collect();
    let changed =
        b"\0train.seed=3\nviews.0.flip=0.1\nassignment.method=softmax\noptimizer.kind = \"adamw\"";
    seeds.push([&seeds[0][..], changed].concat());
    seeds
}
