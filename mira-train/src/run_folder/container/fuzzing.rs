//! Checkpoints from any bytes.

use std::path::Path;

use serde_json::json;
use twox_hash::XxHash3_64;

use super::header::Header;
use super::{MAGIC, PROLOGUE, SnapshotRef};
use crate::fuzzing::Format;

/// A checkpoint; its header's JSON may take some 40 times its own length, the tensors as much as their bytes.
pub(crate) const CONTAINER: Format =
    Format { name: "container", read: checkpoint, memory: |n| 64 * n, seeds: checkpoints };

fn checkpoint(bytes: &[u8]) -> Result<(), String> {
    let path = Path::new("checkpoint");
    let read = |bytes: &[u8]| super::read_from(&mut &*bytes, bytes.len() as u64, path);
    let _ = read(bytes);
    let snapshot = read(&forged(bytes)).map_err(|e| e.to_string())?;
    for tensor in &snapshot.tensors {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.as_ref().len());
    }
    let write = |snapshot: &_| {
        let mut bytes = Vec::new();
        super::write(&mut bytes, &SnapshotRef::from(snapshot), path).map(|()| bytes)
    };
    // A header that is read may be too long to be written, with all digits of its numbers.
    let Ok(written) = write(&snapshot) else { return Ok(()) };
    let again = read(&written).expect("what is written reads");
    // Compared as bytes, for numbers may be NaN.
    assert!(write(&again).is_ok_and(|again| again == written), "other bytes than were written");
    Ok(())
}

/// With the magic, the length and the checksums right, those of the sections as far as the header can be understood.
fn forged(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    if file.len() < PROLOGUE {
        return file;
    }
    let num_json = u32::from_le_bytes(std::array::from_fn(|i| file[12 + i])) as usize;
    let end = PROLOGUE.saturating_add(num_json);
    let start = end.checked_next_multiple_of(64).filter(|&start| start <= file.len());
    if let Some(start) = start {
        let data_len = (file.len() - start) as u64;
        let parsed = Header::parse(&file[PROLOGUE..end], data_len);
        for section in parsed.into_iter().flat_map(|header| header.sections) {
            // They are within the file.
            let within = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            let from = start + within(section.offset);
            let to = from + within(section.length.next_multiple_of(64));
            let right = XxHash3_64::oneshot(&file[from..to]);
            let [old, new] =
                [section.checksum, right].map(|sum| format!("{sum:016x}").into_bytes());
            let json = &mut file[PROLOGUE..end];
            if let Some(at) = json.windows(16).position(|digits| digits == old) {
                json[at..at + 16].copy_from_slice(&new);
            }
        }
        let header = XxHash3_64::oneshot(&file[PROLOGUE..start]);
        file[24..32].copy_from_slice(&header.to_le_bytes());
    }
    let length = file.len() as u64;
    file[..8].copy_from_slice(&MAGIC);
    file[16..24].copy_from_slice(&length.to_le_bytes());
    let prologue = XxHash3_64::oneshot(&file[8..32]);
    file[32..40].copy_from_slice(&prologue.to_le_bytes());
    file
}

fn checkpoints() -> Vec<Vec<u8>> {
    let (singles, counters, doubles) = ([0.5, -1.0, f32::NAN], [7, u64::MAX], [1e-9]);
    let mut snapshot = SnapshotRef::new(json!({ "step": 3, "recipe": "0123456789abcdef" }));
    snapshot.push("student", &singles[..]);
    snapshot.push("bytes", &[1_u8, 2, 3][..]);
    snapshot.push("counters", &counters[..]);
    snapshot.push("momentum", &doubles[..]);
    let empty = SnapshotRef::new(json!(null));
    let write = |snapshot: &SnapshotRef| {
        let mut bytes = Vec::new();
        super::write(&mut bytes, snapshot, Path::new("seed")).expect("memory takes everything");
        bytes
    };
    vec![write(&snapshot), write(&empty)]
}
