//! What a run's folder holds from any bytes: measurements, lists of bad images.

use std::io::Cursor;

use serde_json::json;

use super::{metrics, quarantine};
use crate::data::Split;
use crate::fuzzing::{Format, file};
use crate::pages::metrics::Metrics;
use crate::pages::plot;

/// `metrics.jsonl`: what a resume keeps of it, what is read of it, and its curves, which have a size of their own.
pub(crate) const METRICS: Format =
    Format { name: "metrics", read: measurements, memory: |n| 256 * n + (4 << 20), seeds: logs };

fn measurements(bytes: &[u8]) -> Result<(), String> {
    let step = bytes.first().copied().unwrap_or(0).into();
    let select = |log: &[u8]| {
        let mut kept = Vec::new();
        let resumed = metrics::select(Cursor::new(log), step, &mut |line| {
            kept.extend_from_slice(line);
            Ok(())
        });
        (resumed.expect("memory can be read"), kept)
    };
    let (first, kept) = select(bytes);
    let (second, again) = select(&kept);
    assert_eq!(again, kept, "a second resume drops more");
    assert_eq!((second.num_kept, second.num_dropped), (first.num_kept, 0));
    let path = file("metrics.jsonl", bytes);
    let metrics = Metrics::read(&path).map_err(|e| e.to_string())?;
    assert!(metrics.steps.is_sorted_by(|a, b| a.step < b.step), "steps go back");
    let runs = [plot::Run { name: "a run".into(), metrics }];
    for page in [plot::html(&runs), plot::svg(&runs)] {
        assert!(!page.contains("NaN") && !page.contains("inf\""), "a curve leaves its picture");
    }
    Ok(())
}

fn logs() -> Vec<Vec<u8>> {
    let step = |step: u64, loss: f64| {
        json!({"kind": "step", "step": step, "epoch": step as f64 / 2.0, "loss": loss, "lr": 0.1, "beta": 0.7, "duality_gap": null,
            "marginal_entropy": 1.5, "log_prototypes": 2.0})
    };
    let eval = json!({"kind": "eval", "step": 2, "epoch": 1.0, "encoder": "trained", "metric": "knn_top1", "value": 0.75});
    let warning = json!({"kind": "warning", "message": "slow"});
    let lines = [step(0, 2.5), step(1, 2.25), eval, warning, step(2, 1e-300), step(3, 1e300)];
    let log = lines.map(|line| line.to_string() + "\n").concat();
    vec![log.clone().into_bytes(), format!("{log}{{\"kind\":\"st").into_bytes()]
}

/// `quarantine.jsonl`.
pub(crate) const QUARANTINE: Format =
    Format { name: "quarantine", read: quarantined, memory: |n| 16 * n, seeds: lists };

fn quarantined(bytes: &[u8]) -> Result<(), String> {
    let known = quarantine::entries(bytes);
    assert!(known.len() <= bytes.len() / 2);
    let told = (Split::Train, 7);
    // A list that goes on after a torn line has all that it had.
    let mut longer = bytes.to_vec();
    longer.extend(b"\n{\"index\":7,\"name\":\"x\",\"problem\":\"y\"}\n");
    let again = quarantine::entries(&longer);
    assert!(again.is_superset(&known) && again.contains(&told) && again.len() <= known.len() + 1);
    if known.is_empty() { Err("it lists no image".into()) } else { Ok(()) }
}

fn lists() -> Vec<Vec<u8>> {
    let line = |split: Option<&str>, index: u32, name: &str| {
        let mut line = json!({"index": index, "name": name, "problem": "it is empty"});
        if let Some(split) = split {
            line["split"] = split.into();
        }
        format!("{line}\n")
    };
    let list = line(None, 3, "dog/3.jpg") + &line(Some("test"), 7, "h\u{fc}ndin/7.jpg");
    vec![list.clone().into_bytes(), (list + "{\"index\":8,\"na").into_bytes()]
}
