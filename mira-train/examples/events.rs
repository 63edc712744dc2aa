//! Writes `TensorBoard` events of a made-up run and its resumption, for `dev/check_tensorboard.py`.

use std::path::PathBuf;

use mira_train::pages::metrics::{EvalRecord, StepRecord};
use mira_train::pages::tensorboard::EventWriter;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("give a folder")?);
    for (resumed, steps, start) in [(None, 0..100, 5.0), (Some(80), 80..120, 7.0)] {
        let mut writer = EventWriter::create(&folder, resumed)?;
        for step in steps {
            let loss = start - step as f64 / 64.0;
            writer.step(&StepRecord { step, loss, lr: 0.5, ..StepRecord::default() })?;
        }
        if resumed.is_some() {
            let (encoder, metric) = ("trained".into(), "knn_top1".into());
            writer.evaluation(&EvalRecord {
                step: 120,
                epoch: 3.0,
                encoder,
                metric,
                value: 0.75,
                settings: None,
            })?;
        }
    }
    Ok(())
}
