//! `TensorBoard`'s event files, read as `TensorBoard` reads them: however a run was resumed, it shows each number once.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::support::{Sandbox, succeeds};

/// Steps and values by tag.
type Shown = BTreeMap<String, Vec<(u64, f32)>>;

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn length_of(number: u64) -> usize {
    usize::try_from(number).expect("a length")
}

/// As files of events have it.
#[allow(clippy::cast_possible_truncation)] // to single precision
fn single(number: &Value) -> f32 {
    number.as_f64().expect("a number") as f32
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// The fields of a protocol-buffer message by their numbers.
fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, Field::Number(varint(&mut rest))));
                continue;
            }
            1 => 8,
            2 => length_of(varint(&mut rest)),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (bytes, after) = rest.split_at(length);
        found.push((key >> 3, Field::Bytes(bytes)));
        rest = after;
    }
    found
}

fn bytes_of<'a>(fields: &'a [(u64, Field<'a>)], number: u64) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter_map(move |(n, field)| match field {
        Field::Bytes(bytes) if *n == number => Some(*bytes),
        _ => None,
    })
}

fn number_of(fields: &[(u64, Field<'_>)], number: u64) -> Option<u64> {
    fields.iter().find_map(|(n, field)| match field {
        Field::Number(value) if *n == number => Some(*value),
        _ => None,
    })
}

/// Step, session log and summary of an event: a session that starts at a step undoes what earlier files say of it and of later ones.
fn take(event: &[u8], shown: &mut Shown) {
    const START: u64 = 1;
    let event = fields(event);
    let step = number_of(&event, 2).unwrap_or(0);
    for session_log in bytes_of(&event, 7) {
        if number_of(&fields(session_log), 1) == Some(START) {
            for values in shown.values_mut() {
                values.retain(|(earlier, _)| *earlier < step);
            }
        }
    }
    for summary in bytes_of(&event, 5) {
        for value in bytes_of(&fields(summary), 1) {
            let value = fields(value);
            let tag = bytes_of(&value, 1).next().expect("a tag").to_vec();
            let number = bytes_of(&value, 2).next().expect("a number");
            let number = f32::from_le_bytes(number.try_into().expect("four bytes"));
            let tag = String::from_utf8(tag).expect("UTF-8");
            shown.entry(tag).or_default().push((step, number));
        }
    }
}

fn files(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(sandbox.path("run")).expect("a folder").flatten();
    let is_of_events = |name: &str| name.starts_with("events.out.tfevents");
    let mut files: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_of_events))
        .map(|entry| (entry.metadata().and_then(|m| m.modified()).expect("a time"), entry.path()))
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

/// What all files of a run show together.
fn shown(sandbox: &Sandbox) -> Shown {
    let mut shown = Shown::new();
    for file in files(sandbox) {
        let file = fs::read(file).expect("a file");
        let mut rest = &file[..];
        while !rest.is_empty() {
            // A length, its checksum, the event, its checksum.
            let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
            let length = length_of(length);
            take(&rest[12..12 + length], &mut shown);
            rest = &rest[16 + length..];
        }
    }
    shown
}

/// What the log says there is to show from a step on, each evaluation as it was made last.
fn expected(sandbox: &Sandbox, from: u64) -> Shown {
    let mut expected: BTreeMap<(String, u64), f32> = BTreeMap::new();
    for record in sandbox.metrics("run", "eval") {
        let text = |key: &str| record[key].as_str().expect("text").to_owned();
        let tag = format!("eval/{}/{}", text("metric"), text("encoder"));
        let value = single(&record["value"]);
        expected.insert((tag, record["step"].as_u64().expect("a step")), value);
    }
    for record in sandbox.metrics("run", "step") {
        let loss = single(&record["loss"]);
        expected.insert(("train/loss".into(), record["step"].as_u64().expect("a step")), loss);
    }
    let mut by_tag = Shown::new();
    for ((tag, step), value) in expected.into_iter().filter(|((_, step), _)| *step >= from) {
        by_tag.entry(tag).or_default().push((step, value));
    }
    by_tag
}

#[track_caller]
fn same(sandbox: &Sandbox, from: u64) {
    let mut shown = shown(sandbox);
    shown.retain(|tag, values| {
        values.retain(|(step, _)| *step >= from);
        values.sort_by_key(|(step, _)| *step);
        !values.is_empty() && (tag == "train/loss" || tag.starts_with("eval/"))
    });
    assert_eq!(shown, expected(sandbox, from));
}

#[test]
fn however_a_run_was_resumed_each_number_is_shown_once() {
    let sandbox = Sandbox::new();
    // Checkpoints of steps 12 and 24, which are evaluated.
    succeeds(&mut sandbox.tiny("run", &["--quiet", "--set", "checkpoint.every_epochs=100"]));
    same(&sandbox, 0);
    let checkpoint = |step: &str| sandbox.path(&format!("run/checkpoints/step-000000{step}.mira"));
    let resume = ["run", "--resume", "--out", "run", "--quiet"];
    // There is nothing left to do, and nothing to tell of.
    succeeds(&mut sandbox.command(&resume));
    assert_eq!(files(&sandbox).len(), 1);
    same(&sandbox, 0);
    // From step 12, whose evaluation is not made again.
    fs::remove_file(checkpoint("24")).expect("a checkpoint");
    succeeds(&mut sandbox.command(&resume));
    assert_eq!(files(&sandbox).len(), 2);
    same(&sandbox, 0);
    // With other settings after the end; what is not of those stays.
    succeeds(sandbox.command(&resume).args(["--set", "eval.knn_neighbours=5"]));
    same(&sandbox, 1);
    // Without the probe, which is not made again and shown all the same.
    let changed = ["--set", "eval.linear_epochs=0", "--set", "eval.knn_neighbours=7"];
    succeeds(sandbox.command(&resume).args(changed));
    same(&sandbox, 1);
    // From the first step: nothing of what was before stays.
    fs::remove_file(checkpoint("12")).expect("a checkpoint");
    fs::remove_file(checkpoint("24")).expect("a checkpoint");
    succeeds(&mut sandbox.command(&resume));
    same(&sandbox, 0);
}
