//! Reading `metrics.jsonl`: one JSON object a line, of which a kill may have torn the last.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::Value;

use super::Error;
use crate::lines::{Line, next_line};

/// Step records kept before neighbours are averaged: memory stays below 20 MB however long the run.
const MAX_STEPS: usize = 1 << 16;
/// Evaluations kept; later ones are left out, with a note.
const MAX_EVALS: usize = 1 << 16;
/// Messages kept of warnings; the others are counted.
const MAX_WARNINGS: usize = 100;

/// What a training step measured; NaN stands for what was not recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Steps made before this one.
    pub step: u64,
    /// Position in epochs: 1.5 is half-way through the second.
    pub epoch: f64,
    /// The loss; of objectives that compare distributions in nats.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// β of the assignment.
    pub beta: f64,
    /// Momentum of the teacher, 0–1.
    pub ema_momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Throughput.
    pub images_per_second: f64,
    /// Part of the time spent waiting for data, 0–1.
    pub data_wait_fraction: f64,
    /// Sweeps of the assignment.
    pub sweeps: f64,
    /// Duality gap of the assignment.
    pub duality_gap: f64,
    /// Log-ratio bound of the assignment.
    pub log_ratio_bound: f64,
    /// Entropy of the marginal, in nats.
    pub marginal_entropy: f64,
    /// The largest the entropy can be: log K.
    pub log_prototypes: f64,
    /// Euclidean norm of the gradients.
    pub gradient_norm: f64,
}

impl StepRecord {
    /// The measurements by their names in the file, in the order of the fields.
    pub fn values(&self) -> [(&'static str, f64); 13] {
        let mut this = *self;
        this.slots().map(|(name, value)| (name, *value))
    }

    fn slots(&mut self) -> [(&'static str, &mut f64); 13] {
        [
            ("loss", &mut self.loss),
            ("lr", &mut self.lr),
            ("beta", &mut self.beta),
            ("ema_momentum", &mut self.ema_momentum),
            ("weight_decay", &mut self.weight_decay),
            ("images_per_second", &mut self.images_per_second),
            ("data_wait_fraction", &mut self.data_wait_fraction),
            ("sweeps", &mut self.sweeps),
            ("duality_gap", &mut self.duality_gap),
            ("log_ratio_bound", &mut self.log_ratio_bound),
            ("marginal_entropy", &mut self.marginal_entropy),
            ("log_prototypes", &mut self.log_prototypes),
            ("gradient_norm", &mut self.gradient_norm),
        ]
    }

    fn parse(object: &Value) -> Option<Self> {
        let mut this = Self {
            step: object.get("step")?.as_u64()?,
            epoch: object.get("epoch")?.as_f64()?,
            ..Self::default()
        };
        for (name, slot) in this.slots() {
            if let Some(value) = object.get(name).and_then(Value::as_f64) {
                *slot = value;
            }
        }
        Some(this)
    }

    /// The mean of `count` records and one more, at the later one's step; NaN counts as absent.
    fn running_mean(mut self, mut record: Self, count: u64) -> Self {
        let part = 1.0 / (count + 1) as f64;
        for ((_, a), (_, b)) in self.slots().into_iter().zip(record.slots()) {
            if b.is_nan() {
                *b = *a;
            } else if !a.is_nan() {
                *b = *a + (*b - *a) * part;
            }
        }
        record.epoch = self.epoch + (record.epoch - self.epoch) * part;
        record
    }
}

/// Nothing recorded, at step 0.
impl Default for StepRecord {
    fn default() -> Self {
        let nan = f64::NAN;
        Self {
            step: 0,
            epoch: 0.0,
            loss: nan,
            lr: nan,
            beta: nan,
            ema_momentum: nan,
            weight_decay: nan,
            images_per_second: nan,
            data_wait_fraction: nan,
            sweeps: nan,
            duality_gap: nan,
            log_ratio_bound: nan,
            marginal_entropy: nan,
            log_prototypes: nan,
            gradient_norm: nan,
        }
    }
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalRecord {
    /// Steps made before it.
    pub step: u64,
    /// Epochs made before it.
    pub epoch: f64,
    /// What was evaluated: `untrained`, `trained` or `pixels`.
    pub encoder: String,
    /// Which measure: `knn_top1`, `linear_top1`, `effective_rank`, ….
    pub metric: String,
    /// The measure: an accuracy is 0–1, an effective rank at least 1.
    pub value: f64,
    /// What it was made with, as JSON; `None` where the log does not say.
    pub settings: Option<String>,
}

impl EvalRecord {
    fn parse(object: &Value) -> Option<Self> {
        Some(Self {
            step: object.get("step")?.as_u64()?,
            epoch: object.get("epoch")?.as_f64()?,
            encoder: object.get("encoder")?.as_str()?.to_owned(),
            metric: object.get("metric")?.as_str()?.to_owned(),
            value: object.get("value")?.as_f64()?,
            settings: object.get("settings").filter(|s| !s.is_null()).map(Value::to_string),
        })
    }
}

/// Everything a run measured, in the order of its steps.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Steps; where a resumed run made some again, the later ones.
    pub steps: Vec<StepRecord>,
    /// Steps averaged into each record: 1, or a power of two for very long runs.
    pub steps_per_record: u64,
    /// Evaluations; where one was made again, the later one. Of each measure those made with the settings of its last one, for others do not
    /// compare with it.
    pub evals: Vec<EvalRecord>,
    /// Messages of the run's warnings, the first hundred.
    pub warnings: Vec<String>,
    /// Cross-entropies that the loss is the sum of, where it is one.
    pub loss_terms: Option<f64>,
    /// Steps that were skipped.
    pub num_skips: u64,
    /// The most memory that a finished run's process held, in bytes, where the system told.
    pub peak_memory_bytes: Option<u64>,
    /// Seconds that a finished run took, all sessions together.
    pub seconds: Option<f64>,
    /// What a reader should know of the file itself: lines left out.
    pub notes: Vec<String>,
    pending: Option<(StepRecord, u64)>,
    /// The last step and its epoch, whatever was averaged.
    last: Option<(u64, f64)>,
}

impl Metrics {
    /// Reads `metrics.jsonl`, or the one in a run folder.
    ///
    /// Kinds that are not known are passed over; lines that are no record, such as a torn last one, are noted and passed over.
    ///
    /// # Errors
    /// [`Error::Unreadable`], and [`Error::NoMeasurements`] for a file without a single record.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let path = if path.is_dir() { path.join("metrics.jsonl") } else { path.to_owned() };
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        let mut file = BufReader::new(File::open(&path).map_err(unreadable)?);
        let mut this = Self { steps_per_record: 1, ..Self::default() };
        let (mut line, mut num_lines) = (Vec::new(), 0);
        let mut spoilt: Vec<u64> = Vec::new();
        let mut num_spoilt = 0_u64;
        while let Some(kind) = next_line(&mut file, &mut line).map_err(unreadable)? {
            num_lines += 1;
            if line.trim_ascii().is_empty() || this.take(&line).is_some() {
                continue;
            }
            if kind == Line::Torn {
                this.notes.push(format!(
                    "The last line of the measurements, {num_lines}, is torn and was left out."
                ));
            } else {
                num_spoilt += 1;
                if spoilt.len() < 5 {
                    spoilt.push(num_lines);
                }
            }
        }
        this.flush();
        this.keep_comparable();
        if num_spoilt > 0 {
            let shown: Vec<_> = spoilt.iter().map(u64::to_string).collect();
            let more = if num_spoilt > 5 { ", …" } else { "" };
            this.notes.push(format!(
                "Lines of the measurements that are no record were left out: {num_spoilt} (line {}{more}).",
                shown.join(", ")
            ));
        }
        if this.steps.is_empty() && this.evals.is_empty() {
            return Err(Error::NoMeasurements { path, num_lines });
        }
        Ok(this)
    }

    /// Takes one line; `None` if it is no record.
    fn take(&mut self, line: &[u8]) -> Option<()> {
        let object: Value = serde_json::from_slice(line).ok()?;
        match object.get("kind")?.as_str()? {
            "step" => {
                self.push_step(StepRecord::parse(&object)?);
                self.loss_terms = object.get("loss_terms").and_then(Value::as_f64);
            }
            "eval" => self.push_eval(EvalRecord::parse(&object)?),
            "skip" => self.num_skips += 1,
            "end" => {
                self.seconds = object.get("seconds").and_then(Value::as_f64);
                self.peak_memory_bytes = object.get("peak_memory_bytes").and_then(Value::as_u64);
            }
            "warning" if self.warnings.len() < MAX_WARNINGS => {
                let message = object.get("message").and_then(Value::as_str);
                self.warnings.push(message.map_or_else(|| object.to_string(), str::to_owned));
            }
            _ => {}
        }
        Some(())
    }

    /// Adds a step; steps at and after it that are there already were undone by a resume and go.
    pub fn push_step(&mut self, record: StepRecord) {
        if self.pending.is_some_and(|(last, _)| last.step >= record.step)
            || self.steps.last().is_some_and(|last| last.step >= record.step)
        {
            self.flush();
            let keep = self.steps.partition_point(|s| s.step < record.step);
            self.steps.truncate(keep);
        }
        self.last = Some((record.step, record.epoch));
        let per_record = self.steps_per_record.max(1);
        let (merged, count) = match self.pending.take() {
            Some((before, count)) => (before.running_mean(record, count), count + 1),
            None => (record, 1),
        };
        if count < per_record {
            self.pending = Some((merged, count));
            return;
        }
        self.steps_per_record = per_record;
        self.steps.push(merged);
        if self.steps.len() >= MAX_STEPS {
            let mut pairs = 0;
            for i in (1..self.steps.len()).step_by(2) {
                self.steps[pairs] = self.steps[i - 1].running_mean(self.steps[i], 1);
                pairs += 1;
            }
            self.steps.truncate(pairs);
            self.steps_per_record *= 2;
        }
    }

    /// Adds an evaluation, or replaces the one of the same step, encoder and metric.
    pub fn push_eval(&mut self, record: EvalRecord) {
        let is_same = |e: &EvalRecord| {
            e.step == record.step && e.encoder == record.encoder && e.metric == record.metric
        };
        // Of those that a resume makes again, nearly all are the last few; of what is left, the later one counts.
        let from = self.evals.len().saturating_sub(1000);
        if let Some(old) = self.evals[from..].iter().position(is_same) {
            self.evals.remove(from + old);
        }
        if self.evals.len() < MAX_EVALS {
            self.evals.push(record);
        } else if self.evals.len() == MAX_EVALS && !self.notes.iter().any(|n| n.starts_with("Only"))
        {
            self.notes.push(format!("Only the first {MAX_EVALS} evaluations are shown."));
        }
    }

    /// Leaves out evaluations whose settings are not those of their measure's last one, with a note.
    fn keep_comparable(&mut self) {
        let mut last: HashMap<String, String> = HashMap::new();
        for eval in &self.evals {
            if let Some(settings) = &eval.settings {
                last.insert(eval.metric.clone(), settings.clone());
            }
        }
        let num_evals = self.evals.len();
        self.evals.retain(|eval| {
            eval.settings.is_none() || eval.settings.as_ref() == last.get(&eval.metric)
        });
        let num_other = num_evals - self.evals.len();
        if num_other > 0 {
            self.notes.push(format!(
                "Evaluations made with other settings than the last ones do not compare with them and were left out: {num_other}."
            ));
        }
    }

    /// Epochs made. A step's record has those before it, which of the first step alone do not say how many steps an epoch has.
    pub fn epochs(&self) -> f64 {
        let of_steps = self.last.map(|(step, epoch)| {
            let num_steps = step as f64;
            if step > 0 { epoch / num_steps * (num_steps + 1.0) } else { epoch }
        });
        let of_evals = self.evals.iter().map(|eval| eval.epoch);
        of_evals.chain(of_steps).filter(|epoch| epoch.is_finite()).fold(0.0, f64::max)
    }

    fn flush(&mut self) {
        self.steps.extend(self.pending.take().map(|(record, _)| record));
    }

    /// The latest value of a measure of an encoder.
    pub fn latest(&self, encoder: &str, metric: &str) -> Option<f64> {
        let mut found = self.evals.iter().filter(|e| e.encoder == encoder && e.metric == metric);
        found.next_back().map(|e| e.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Metrics, Error> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metrics.jsonl"), text).unwrap();
        Metrics::read(folder.path())
    }

    #[test]
    fn reads_steps_and_evaluations_and_passes_over_other_kinds() {
        let text = br#"{"kind":"step","step":0,"epoch":0.5,"loss":2.5,"lr":0.1,"duality_gap":null,"new":[1]}
{"kind":"later","x":1}
{"kind":"warning","message":"slow <disk>"}
{"kind":"skip","step":3}

{"kind":"eval","step":1,"epoch":1.0,"encoder":"trained","metric":"knn_top1","value":0.75,"k":20}
{"kind":"end","step":1,"peak_memory_bytes":123456}
"#;
        let m = read(text).unwrap();
        assert_eq!(m.steps.len(), 1);
        assert_eq!((m.steps[0].step, m.steps[0].epoch, m.steps[0].loss), (0, 0.5, 2.5));
        assert!(m.steps[0].duality_gap.is_nan() && m.steps[0].beta.is_nan());
        assert_eq!(m.latest("trained", "knn_top1"), Some(0.75));
        assert_eq!(m.latest("untrained", "knn_top1"), None);
        assert_eq!((m.warnings, m.num_skips), (vec!["slow <disk>".to_owned()], 1));
        assert_eq!(m.peak_memory_bytes, Some(123_456));
        assert!(m.notes.is_empty(), "{:?}", m.notes);
    }

    #[test]
    fn evaluations_with_other_settings_than_the_last_are_left_out() {
        let line = |step, encoder, value, k: usize| {
            format!(
                "{{\"kind\":\"eval\",\"step\":{step},\"epoch\":{step},\"encoder\":\"{encoder}\",\"metric\":\"knn_top1\",\"value\":{value},\"settings\":{{\"k\":{k}}}}}\n"
            )
        };
        let rank = "{\"kind\":\"eval\",\"step\":0,\"epoch\":0,\"encoder\":\"untrained\",\"metric\":\"effective_rank\",\"value\":7}\n";
        let old = [line(0, "untrained", 0.5, 20), rank.into(), line(2, "trained", 0.625, 20)];
        let values =
            |m: &Metrics| ["untrained", "trained"].map(|encoder| m.latest(encoder, "knn_top1"));
        let of_one = read(old.concat().as_bytes()).unwrap();
        assert_eq!((values(&of_one), of_one.notes.len()), ([Some(0.5), Some(0.625)], 0));
        // As soon as the untrained encoder is evaluated anew, and after the trained one.
        let again = line(0, "untrained", 0.25, 5);
        let m = read((old.concat() + &again).as_bytes()).unwrap();
        assert_eq!(values(&m), [Some(0.25), None]);
        assert!(m.notes[0].contains("left out: 1."), "{:?}", m.notes);
        let m = read((old.concat() + &again + &line(4, "trained", 0.75, 5)).as_bytes()).unwrap();
        assert_eq!(values(&m), [Some(0.25), Some(0.75)]);
        // Another measure, which does not say.
        assert_eq!(m.latest("untrained", "effective_rank"), Some(7.0));
    }

    #[test]
    fn a_torn_last_line_is_left_out_with_a_note() {
        let m =
            read(b"{\"kind\":\"step\",\"step\":0,\"epoch\":0}\n{\"kind\":\"step\",\"st").unwrap();
        assert_eq!(m.steps.len(), 1);
        assert_eq!(m.notes.len(), 1);
        assert!(m.notes[0].contains("2, is torn"), "{}", m.notes[0]);
    }

    #[test]
    fn spoilt_lines_inside_are_counted_and_long_ones_do_not_fill_memory() {
        let mut text = b"not json\n\xff\xfe\n{\"kind\":\"step\",\"epoch\":1}\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', 3 << 20));
        text.extend(b"\n{\"kind\":\"step\",\"step\":7,\"epoch\":1}");
        let m = read(&text).unwrap();
        assert_eq!(m.steps.iter().map(|s| s.step).collect::<Vec<_>>(), [7]);
        assert!(m.notes[0].contains("left out: 4 (line 1, 2, 3, 4)"), "{:?}", m.notes);
    }

    #[test]
    fn a_file_without_records_is_an_error() {
        for text in [&b""[..], b"{\"kind\":\"later\"}\n", b"hello\n"] {
            assert!(matches!(read(text), Err(Error::NoMeasurements { .. })));
        }
        let missing = Metrics::read(Path::new("/nowhere/at/all"));
        assert!(matches!(missing, Err(Error::Unreadable { .. })));
    }

    #[test]
    fn a_resumed_run_replaces_the_steps_it_made_again() {
        let mut m = Metrics::default();
        for (step, loss) in [(0, 1.0), (1, 2.0), (2, 3.0), (1, 4.0), (2, 5.0)] {
            m.push_step(StepRecord { step, loss, ..StepRecord::default() });
        }
        let kept: Vec<_> = m.steps.iter().map(|s| (s.step, s.loss)).collect();
        assert_eq!(kept, [(0, 1.0), (1, 4.0), (2, 5.0)]);
    }

    #[test]
    fn very_long_runs_are_averaged_and_stay_bounded() {
        let mut m = Metrics::default();
        let n = MAX_STEPS as u64 * 5;
        for step in 0..n {
            let loss = if step % 2 == 0 { 0.0 } else { 2.0 };
            m.push_step(StepRecord { step, epoch: step as f64, loss, ..StepRecord::default() });
        }
        assert!(m.steps.len() < MAX_STEPS && m.steps.capacity() <= 2 * MAX_STEPS);
        assert!(m.steps_per_record.is_power_of_two() && m.steps_per_record > 1);
        assert!(m.steps.iter().all(|s| (s.loss - 1.0).abs() < 1e-12));
        let mean = m.steps.iter().map(|s| s.epoch).sum::<f64>() / m.steps.len() as f64;
        assert!((mean / ((n - 1) as f64 / 2.0) - 1.0).abs() < 0.01, "{mean}");
    }
}
