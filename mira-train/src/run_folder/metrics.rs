//! `metrics.jsonl`: one JSON object a line, appended with one write each, so that a reader may follow along.
//!
//! NaN and infinities become null. A failed write is undone at once; a line can be torn by the end of the process or the machine only, and
//! then it is the last.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Error, METRICS, RunFolder, disk};
use crate::lines::{Line, next_line};
use crate::text::count;

/// The log of a run, open for appending.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    /// Length up to the last complete line.
    len: u64,
    /// The file may have more than that: a write failed and could not be undone.
    is_torn: bool,
}

/// What became of a log on resume.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Resumed {
    /// Lines kept.
    pub num_kept: usize,
    /// Lines of steps that are trained again; cut off.
    pub num_dropped: usize,
    /// The first of these steps.
    pub dropped_from: Option<u64>,
    /// Lines that are no JSON objects of at most 1 MiB, such as a torn last one; dropped.
    pub num_damaged: usize,
    /// Whether the last line was torn, which is one of those.
    pub is_torn: bool,
    /// Evaluations in the log before the first step and at that of the resume, which need not be made again.
    pub evaluations: Vec<Logged>,
    /// What an evaluation at that step was last warned of.
    pub warning: Option<String>,
    /// Signs of a run that does not learn which the log has been warned of: their names, each once.
    pub signs: Vec<String>,
    /// Whether the log has the run's end at that step: all evaluations were made.
    pub has_end: bool,
}

impl Resumed {
    /// What whoever resumes the run with step `step` is told of lines that were cut off; the log says the same in a record.
    pub fn cut(&self, step: u64) -> Option<String> {
        let from = self.dropped_from?;
        let lines = match self.num_dropped {
            1 => "1 line".into(),
            n => format!("{} lines", count(n)),
        };
        Some(format!(
            "{METRICS}: {lines} from step {from} on cut off, for the run goes on with step {step} and makes them again"
        ))
    }

    /// What the log is told, and whoever resumes it, of lines that were damaged; a torn last one is how a process ends that is killed.
    pub fn damage(&self) -> Option<String> {
        let lines = match self.num_damaged.saturating_sub(usize::from(self.is_torn)) {
            0 => return None,
            1 => "a line that is no record was".into(),
            n => format!("{} lines that are no record were", count(n)),
        };
        Some(format!("{lines} taken out of {METRICS}; check the disk"))
    }
}

/// An evaluation in a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logged {
    /// Steps made before it.
    pub step: u64,
    /// What was evaluated.
    pub encoder: String,
    /// Which measure.
    pub metric: String,
    /// The measure; NaN where it was no number.
    pub value: f64,
    /// What the measure was made with; null in logs that do not say.
    pub settings: Value,
}

impl MetricsLog {
    /// Opens the empty log of a new run.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn create(folder: &RunFolder) -> Result<Self, Error> {
        let path = folder.path.join(METRICS);
        let open = || {
            let file = OpenOptions::new().append(true).create(true).open(&path)?;
            let len = file.metadata()?.len();
            Ok(Self { path: path.clone(), file, len, is_torn: false })
        };
        open().map_err(|source| Error::WriteFailed { path: path.clone(), source })
    }

    /// Opens the log of a run that goes on with step `step`, after it has been cut back, atomically, to what came before.
    ///
    /// Kept are evaluations (`"kind": "eval"`) of steps up to and including `step`, for they are made between steps and after their
    /// checkpoint, what they warn of (`"of": "evaluation"`), a run's end, which is recorded after the last of them, what changed of the
    /// recipe (`"recipe"`), what was cut off before (`"resume"`), and all other records of steps below it. A record without a step shares
    /// the fate of the last one with a step before it; such a one is the warning that lines were damaged. Where lines are cut off, a record
    /// says from which step on, and how many.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::WriteFailed`], after which the log is as it was.
    pub fn resume(folder: &RunFolder, step: u64) -> Result<(Self, Resumed), Error> {
        let resumed = look(folder, step)?;
        if resumed.num_dropped + resumed.num_damaged > 0 {
            rewrite(folder, step, &resumed, &mut |out| {
                let log = BufReader::new(File::open(folder.path.join(METRICS))?);
                select(log, step, &mut |line| out.write_all(line)).map(drop)
            })?;
        }
        Ok((Self::create(folder)?, resumed))
    }

    /// Cuts everything off the log of a run that has no checkpoint and starts again.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::WriteFailed`], after which the log is as it was.
    pub fn restart(folder: &RunFolder) -> Result<(Self, Resumed), Error> {
        let Resumed { num_kept, num_dropped, num_damaged, is_torn, .. } = look(folder, 0)?;
        let num_dropped = num_kept + num_dropped;
        let dropped_from = (num_dropped > 0).then_some(0);
        let resumed =
            Resumed { num_dropped, dropped_from, num_damaged, is_torn, ..Resumed::default() };
        rewrite(folder, 0, &resumed, &mut |_| Ok(()))?;
        Ok((Self::create(folder)?, resumed))
    }

    /// Appends one record as one line, with one write.
    ///
    /// # Errors
    /// [`Error::WriteFailed`]; then the log ends with the line before it, and appending may be tried again.
    pub fn append(&mut self, record: &impl Serialize) -> Result<(), Error> {
        let result = self.try_append(record);
        result.map_err(|source| Error::WriteFailed { path: self.path.clone(), source })
    }

    fn try_append(&mut self, record: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if self.is_torn {
            self.file.set_len(self.len)?;
            self.is_torn = false;
        }
        if let Err(failure) = self.file.write_all(&line) {
            self.is_torn = self.file.set_len(self.len).is_err();
            return Err(failure);
        }
        self.len += line.len() as u64;
        Ok(())
    }

    /// Waits until all lines are on the disk: before a checkpoint, so that its log is not shorter than it after a power cut.
    ///
    /// # Errors
    /// [`Error::WriteFailed`].
    pub fn sync(&self) -> Result<(), Error> {
        self.file
            .sync_data()
            .map_err(|source| Error::WriteFailed { path: self.path.clone(), source })
    }
}

/// What a resume with step `step` finds in a run's log, if there is one.
fn look(folder: &RunFolder, step: u64) -> Result<Resumed, Error> {
    let path = folder.path.join(METRICS);
    let found = match File::open(&path) {
        Ok(file) => select(BufReader::new(file), step, &mut |_| Ok(())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Resumed::default()),
        Err(e) => Err(e),
    };
    found.map_err(|source| Error::Unreadable { path, source })
}

/// Replaces a run's log by what `keep` writes and what there is to say of the rest.
fn rewrite(
    folder: &RunFolder,
    step: u64,
    resumed: &Resumed,
    keep: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let warning = resumed.damage().map(|damage| json!({ "kind": "warning", "message": damage }));
    let cut = resumed.dropped_from.map(|from| {
        json!({ "kind": "resume", "step": step, "num_cut": resumed.num_dropped, "cut_from": from })
    });
    disk::write_atomically(&*folder.disk, &folder.path, METRICS, &mut |out| {
        keep(out)?;
        warning.iter().chain(&cut).try_for_each(|record| writeln!(out, "{record}"))
    })
    .map_err(|source| Error::WriteFailed { path: folder.path.join(METRICS), source })?;
    Ok(())
}

/// Hands on the lines that stay when training goes on with step `resume`.
pub(super) fn select(
    mut log: impl io::BufRead,
    resume: u64,
    keep: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Resumed> {
    let (mut resumed, mut line) = (Resumed::default(), Vec::new());
    let (mut keeps, mut last) = (true, 0);
    while let Some(kind) = next_line(&mut log, &mut line)? {
        let record = if kind == Line::Whole { serde_json::from_slice(&line).ok() } else { None };
        let Some(Value::Object(record)) = record else {
            resumed.num_damaged += 1;
            resumed.is_torn = kind == Line::Torn;
            continue;
        };
        let sign = record.get("sign").and_then(Value::as_str).map(String::from);
        if let Some(step) = record.get("step").and_then(Value::as_u64) {
            keeps = step < resume || (step == resume && is_between_steps(&record));
            last = step;
            if [0, resume].contains(&step) {
                resumed.take(step, step == resume, record);
            }
        }
        if keeps {
            if let Some(sign) = sign {
                resumed.remember(sign);
            }
            resumed.num_kept += 1;
            keep(&line)?;
        } else {
            resumed.num_dropped += 1;
            resumed.dropped_from.get_or_insert(last);
        }
    }
    Ok(resumed)
}

/// Whether a record is made after the steps before it, rather than in the one that it names.
fn is_between_steps(record: &Map<String, Value>) -> bool {
    let has = |key: &str, value: &str| record.get(key).is_some_and(|found| found == value);
    ["eval", "end", "recipe", "resume"].iter().any(|kind| has("kind", kind))
        || has("of", "evaluation")
}

/// More than there are signs.
const MAX_SIGNS: usize = 16;

impl Resumed {
    fn remember(&mut self, sign: String) {
        if self.signs.len() < MAX_SIGNS && !self.signs.contains(&sign) {
            self.signs.push(sign);
        }
    }

    /// What a session must know of a record before the first step, or of the step that it goes on with.
    fn take(&mut self, step: u64, is_of_resume: bool, mut record: Map<String, Value>) {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("kind") {
            "eval" => self.evaluations.push(Logged {
                step,
                encoder: text("encoder").into(),
                metric: text("metric").into(),
                value: record.get("value").and_then(Value::as_f64).unwrap_or(f64::NAN),
                settings: record.remove("settings").unwrap_or_default(),
            }),
            "end" if is_of_resume => self.has_end = true,
            "warning" if is_of_resume && is_between_steps(&record) => {
                self.warning = Some(text("message").into());
            }
            _ => {}
        }
    }
}
