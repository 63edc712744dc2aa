//! Bytes made by hand from the format's description, and what must be refused.

use std::path::Path;

use super::*;

fn bytes(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Weights, Error> {
    Weights::parse(bytes, Path::new("x.safetensors"))
}

#[test]
fn every_float_becomes_f32_and_integers_wait_until_asked_for() {
    let header = r#"{"__metadata__":{"recipe":"tiny"},
        "d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},
        "f":{"dtype":"F32","shape":[],"data_offsets":[16,20]},
        "h":{"dtype":"F16","shape":[1,1],"data_offsets":[20,22]},
        "b":{"dtype":"BF16","shape":[1],"data_offsets":[22,24]},
        "n":{"dtype":"I64","shape":[],"data_offsets":[24,32]},
        "e":{"dtype":"F32","shape":[0,3],"data_offsets":[32,32]}}"#;
    let mut data = Vec::new();
    data.extend(0.1_f64.to_le_bytes());
    data.extend((-1e-300_f64).to_le_bytes());
    data.extend(2.5_f32.to_le_bytes());
    data.extend([0x00, 0x3e]); // f16: 1.5
    data.extend([0xc0, 0xbf]); // bf16: −1.5
    data.extend(7_i64.to_le_bytes());
    let weights = parse(&bytes(header, &data)).unwrap();
    assert_eq!(weights.values("d", &[2]).unwrap(), [0.1_f32, -0.0]);
    assert_eq!(weights.values("f", &[]).unwrap(), [2.5]);
    assert_eq!(weights.values("h", &[1, 1]).unwrap(), [1.5]);
    assert_eq!(weights.values("b", &[1]).unwrap(), [-1.5]);
    assert!(weights.values("e", &[0, 3]).unwrap().is_empty());
    assert_eq!((weights.len(), weights.metadata["recipe"].as_str()), (5, "tiny"));
    let refused = weights.tensor("n").unwrap_err();
    assert!(matches!(&refused, Error::DType { dtype, .. } if dtype == "I64"), "{refused}");
}

#[test]
fn what_is_asked_for_and_not_there_is_named() {
    let mut weights = Weights::default();
    weights.insert("module.conv1.weight", &[2, 3], vec![0.0; 6]).unwrap();
    weights.insert("fc.bias", &[2], vec![0.0; 2]).unwrap();
    let missing = weights.values("conv1.weight", &[2, 3]).unwrap_err().to_string();
    assert!(missing.contains("expected a tensor conv1.weight"), "{missing}");
    assert!(missing.contains("nearest name is module.conv1.weight"), "{missing}");
    let shape = weights.values("fc.bias", &[3]).unwrap_err().to_string();
    assert!(shape.contains("expected shape [3] for fc.bias, got [2]"), "{shape}");
    assert!(weights.values("fc.bias", &[2, 1]).is_err());
    let empty = Weights::default().tensor("a").unwrap_err().to_string();
    assert!(empty.contains("expected a tensor a, got none;"), "{empty}");
}

#[test]
fn damaged_files_are_refused() {
    let entry = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    let good = bytes(&entry("F32", "[2]", 0, 8), &[0; 8]);
    assert_eq!(parse(&good).unwrap().values("a", &[2]).unwrap(), [0.0, 0.0]);
    let cases = [
        vec![],
        good[..7].to_vec(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), &[0]].concat(),
        u64::MAX.to_le_bytes().to_vec(),
        (1_u64 << 40).to_le_bytes().to_vec(),
        bytes("{", &[]),
        bytes("\u{fffd}", &[]),
        bytes(&entry("F32", "[3]", 0, 8), &[0; 8]),
        bytes(&entry("F32", "[2]", 4, 12), &[0; 12]),
        bytes(&entry("F32", "[2]", 8, 0), &[0; 8]),
        bytes(&entry("F32", "[2]", 0, 1 << 60), &[0; 8]),
        bytes(&entry("F32", "[4611686018427387904,4]", 0, 0), &[]),
        bytes(&entry("F33", "[2]", 0, 8), &[0; 8]),
        bytes(&entry("F32", "[-2]", 0, 8), &[0; 8]),
        bytes(&"[".repeat(100_000), &[]),
    ];
    for (i, case) in cases.iter().enumerate() {
        assert!(matches!(parse(case), Err(Error::Damaged { .. })), "case {i}");
    }
    for value in [f32::NAN, f32::NEG_INFINITY] {
        let data = [1.0_f32.to_le_bytes(), value.to_le_bytes()].concat();
        let refused = parse(&bytes(&entry("F32", "[2]", 0, 8), &data));
        assert!(matches!(refused, Err(Error::NotFinite { position: 1, .. })));
    }
    let beyond = parse(&bytes(&entry("F64", "[1]", 0, 8), &1e39_f64.to_le_bytes()));
    assert!(matches!(beyond, Err(Error::NotFinite { position: 0, .. })));
}

#[test]
fn a_file_comes_back_as_it_was_and_equal_contents_are_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.safetensors");
    let mut weights = Weights::default();
    weights.insert("bn1.weight", &[3], vec![1.0, f32::MIN_POSITIVE, -0.1]).unwrap();
    weights.insert("conv1.weight", &[1, 2, 1, 1], vec![f32::MAX, 0.5]).unwrap();
    weights.insert("ü \"quoted\"\n", &[], vec![4.0]).unwrap();
    for i in 0..20 {
        weights.metadata.insert(format!("key {i}"), format!("value {i} \\ \" é"));
    }
    weights.write(&path).unwrap();
    assert_eq!(Weights::read(&path).unwrap(), weights);
    let first = std::fs::read(&path).unwrap();
    weights.clone().write(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // Aligned as readers that map the file expect.
    assert_eq!(first[0] % 8, 0);
    Weights::default().write(&path).unwrap();
    assert!(Weights::read(&path).unwrap().is_empty());
}

#[test]
fn paths_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Weights::read(folder.path()), Err(Error::NotAFile { .. })));
    let absent = folder.path().join("absent");
    assert!(matches!(Weights::read(&absent), Err(Error::Unreadable { .. })));
    let refused = Weights::default().write(&absent.join("x")).unwrap_err();
    assert!(matches!(refused, Error::Write(_)));
    assert!(!absent.exists());
    let large = folder.path().join("large");
    std::fs::File::create(&large).unwrap().set_len((4 << 30) + 1).unwrap();
    assert!(matches!(Weights::read(&large), Err(Error::TooLarge { .. })));
}

#[test]
fn tensors_that_cannot_be_kept_are_refused() {
    let mut weights = Weights::default();
    let bad_count = weights.insert("a", &[2, 2], vec![0.0; 3]);
    assert!(matches!(bad_count, Err(Error::NumValues { .. })));
    let overflow = weights.insert("a", &[usize::MAX, 3], vec![0.0; 3]);
    assert!(matches!(overflow, Err(Error::NumValues { .. })));
    let nan = weights.insert("a", &[1], vec![f32::NAN]);
    assert!(matches!(nan, Err(Error::NotFinite { position: 0, .. })));
    let reserved = weights.insert("__metadata__", &[1], vec![0.0]);
    assert!(matches!(reserved, Err(Error::ReservedName { .. })));
    assert!(weights.is_empty());
}

#[test]
fn files_of_the_python_library_are_understood() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let weights = Weights::read(&golden.join("resnet_tiny_basic.safetensors")).unwrap();
    // float16, by the header
    assert_eq!(weights.values("parameter.conv1.weight", &[8, 3, 3, 3]).unwrap().len(), 216);
    let config: serde_json::Value = serde_json::from_str(&weights.metadata["config"]).unwrap();
    assert_eq!(config["blocks"], serde_json::json!([2, 2, 1, 1]));
    // NumPy's norm of all values, and ours of those that were stored in full.
    let mut num_compared = 0;
    for (name, norm) in
        weights.iter().filter_map(|(name, t)| Some((name.strip_prefix("norm.")?, t)))
    {
        let gradient = &weights.tensor(&format!("gradient.{name}")).unwrap().values;
        let squares: f64 = gradient.iter().map(|&x| f64::from(x).powi(2)).sum();
        let (ours, theirs) = (squares.sqrt(), f64::from(norm.values[0]));
        let in_full = name != "input"
            && weights.tensor(&format!("parameter.{name}")).unwrap().values.len() <= 1000;
        assert!(if in_full { (ours / theirs - 1.0).abs() < 1e-6 } else { ours < theirs }, "{name}");
        num_compared += usize::from(in_full);
    }
    assert!(num_compared > 20);
}
