//! Running the binary in a directory of its own, and reading and writing `.npy` without the code under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use half::f16;
use num_traits::AsPrimitive;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Sandbox(TempDir);

/// What a run left on its streams.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self
    }

    /// Exit code 2 and one line that says `words`.
    #[track_caller]
    pub(crate) fn is_refused(&self, words: &[&str]) {
        assert_eq!(self.code, Some(2), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        assert!(self.stderr.starts_with("error: ") && self.stderr.ends_with('\n'));
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no '{word}' in: {}", self.stderr);
        }
    }
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// With good 4 × 3 logits in `s.npy`.
    pub(crate) fn with_logits() -> Self {
        let sandbox = Self::new();
        let logits = [0.9, 0.1, -0.3, 0.8, 0.2, 0.0, -0.1, 0.7, 0.2, 0.5, -0.4, 0.1];
        sandbox.write("s.npy", &npy("<f8", Order::C, (4, 3), &logits));
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Names of everything here, hidden files too.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, args: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_mira-train"))
            .args(args)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn run(&self, logits: &str, flags: &[&str]) -> Ran {
        self.command(&[&["assign", logits], flags].concat())
    }

    /// The assignment written for `logits`.
    pub(crate) fn assignment<T: Le>(
        &self,
        logits: &str,
        flags: &[&str],
        shape: (usize, usize),
    ) -> Vec<T> {
        self.run(logits, &[flags, &["--out", "w.npy"]].concat()).succeeds();
        self.values("w.npy", shape)
    }

    /// The contents of a file the way `NumPy` writes it.
    pub(crate) fn values<T: Le>(&self, name: &str, (rows, columns): (usize, usize)) -> Vec<T> {
        let bytes = self.read(name);
        assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!(start % 64, 0);
        let header = std::str::from_utf8(&bytes[10..start]).unwrap();
        let dict = format!(
            "{{'descr': '{}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}",
            T::DESCR
        );
        assert_eq!(header.trim_end_matches([' ', '\n']), dict);
        assert!(header.ends_with('\n'));
        let values: Vec<T> = bytes[start..].chunks(size_of::<T>()).map(T::le).collect();
        assert_eq!(values.len(), rows * columns);
        values
    }
}

/// What W.npy holds.
pub(crate) trait Le: Copy + AsPrimitive<f64> {
    const DESCR: &str;
    fn le(bytes: &[u8]) -> Self;
}
impl Le for f32 {
    const DESCR: &str = "<f4";
    fn le(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().unwrap())
    }
}
impl Le for f64 {
    const DESCR: &str = "<f8";
    fn le(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().unwrap())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    C,
    Fortran,
}

/// A file of row-major `logits`, rounded to `descr`'s type.
pub(crate) fn npy(
    descr: &str,
    order: Order,
    (rows, columns): (usize, usize),
    logits: &[f64],
) -> Vec<u8> {
    assert_eq!(logits.len(), rows * columns);
    let fortran = if order == Order::C { "False" } else { "True" };
    let shape = format!("({rows}, {columns})");
    let mut file = with_header(&format!(
        "{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    ));
    for n in 0..logits.len() {
        let value = logits[match order {
            Order::C => n,
            Order::Fortran => n % rows * columns + n / rows,
        }];
        let mut bytes = match &descr[1..] {
            "f2" => f16::from_f64(value).to_le_bytes().to_vec(),
            "f4" => to_f32(value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        if descr.starts_with('>') {
            bytes.reverse();
        }
        file.extend(bytes);
    }
    file
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
pub(crate) const fn to_f32(value: f64) -> f32 {
    value as f32
}

/// Magic, version 1 and a header of `text`; no data.
pub(crate) fn with_header(text: &str) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(text.len() + 1).unwrap().to_le_bytes());
    file.extend(text.as_bytes());
    file.push(b'\n');
    file
}

/// The largest total variation distance of a row.
pub(crate) fn total_variation<T: Le, U: Le>(a: &[T], b: &[U], columns: usize) -> f64 {
    a.chunks(columns)
        .zip(b.chunks(columns))
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a.as_() - b.as_()).abs()).sum::<f64>() / 2.0)
        .fold(0.0, f64::max)
}

/// A golden vector.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) shape: (usize, usize),
    pub(crate) logits: Vec<f64>,
    pub(crate) assignment: Vec<f64>,
    flags: Vec<String>,
}

impl Case {
    pub(crate) fn flags<'a>(&'a self, backend: &'a str) -> Vec<&'a str> {
        let flags = self.flags.iter().map(String::as_str);
        flags.chain(["--backend", backend, "--no-verify"]).collect()
    }
}

/// Every golden vector of the repository.
pub(crate) fn golden() -> Vec<Case> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../mira-conformance/golden/assignments.json");
    let golden: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let size = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 400);
    cases
        .iter()
        .map(|case| {
            let input = &golden["inputs"][case["input"].as_str().unwrap()];
            let mut flags = vec!["--method".into(), case["method"].as_str().unwrap().into()];
            for key in ["temperature", "beta", "epsilon", "iterations"] {
                // "converged" is what the default stop rule means.
                if let Some(value) = case[key].as_f64() {
                    flags.extend([format!("--{key}"), value.to_string()]);
                }
            }
            Case {
                name: case["name"].as_str().unwrap().into(),
                shape: (size(&input["batch"]), size(&input["prototypes"])),
                logits: numbers(&input["logits"]),
                assignment: numbers(&case["assignment"]),
                flags,
            }
        })
        .collect()
}
