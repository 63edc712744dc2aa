//! `metrics.jsonl`: one JSON object a line, appended with one write each, so that a reader may follow along.
//!
//! NaN and infinities become null. A failed write is undone at once; a line can be torn by the end of the process or the machine only, and
//! then it is the last.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::{Error, METRICS, RunFolder, disk};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// Lines kept.
    pub num_kept: usize,
    /// Lines of steps that are trained again.
    pub num_dropped: usize,
    /// Lines that are no JSON objects, such as a torn last one; dropped.
    pub num_damaged: usize,
    /// Evaluations in the log before the first step and at that of the resume, which need not be made again.
    pub evaluations: Vec<Logged>,
    /// Whether the log has the run's end at that step: all evaluations were made.
    pub has_end: bool,
}

/// An evaluation in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// Steps made before it.
    pub step: u64,
    /// What was evaluated.
    pub encoder: String,
    /// Which measure.
    pub metric: String,
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
    /// checkpoint, a run's end, which is recorded after the last of them, what changed of the recipe (`"recipe"`), and all other records of
    /// steps below it. A record without a step shares the fate of the last one with a step before it.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::WriteFailed`], after which the log is as it was.
    pub fn resume(folder: &RunFolder, step: u64) -> Result<(Self, Resumed), Error> {
        let path = folder.path.join(METRICS);
        let resumed = match File::open(&path) {
            Ok(file) => {
                let unreadable = |source| Error::Unreadable { path: path.clone(), source };
                let mut resumed = Resumed::default();
                let kept = select(BufReader::new(file), step, &mut resumed).map_err(unreadable)?;
                if kept.len() as u64 != fs::metadata(&path).map_err(unreadable)?.len() {
                    disk::write_atomically(&*folder.disk, &folder.path, METRICS, &mut |out| {
                        out.write_all(&kept)
                    })
                    .map_err(|source| Error::WriteFailed { path: path.clone(), source })?;
                }
                resumed
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Resumed::default(),
            Err(source) => return Err(Error::Unreadable { path, source }),
        };
        Ok((Self::create(folder)?, resumed))
    }

    /// Empties the log of a run that has no checkpoint and starts again.
    ///
    /// # Errors
    /// [`Error::WriteFailed`], after which the log is as it was.
    pub fn restart(folder: &RunFolder) -> Result<Self, Error> {
        disk::write_atomically(&*folder.disk, &folder.path, METRICS, &mut |_| Ok(()))
            .map_err(|source| Error::WriteFailed { path: folder.path.join(METRICS), source })?;
        Self::create(folder)
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

/// The lines that stay when training goes on with step `resume`.
pub(super) fn select(
    mut log: impl io::BufRead,
    resume: u64,
    resumed: &mut Resumed,
) -> io::Result<Vec<u8>> {
    let (mut kept, mut line) = (Vec::new(), Vec::new());
    let mut keeps = true;
    loop {
        line.clear();
        if log.read_until(b'\n', &mut line)? == 0 {
            return Ok(kept);
        }
        let record = line.strip_suffix(b"\n").and_then(|json| serde_json::from_slice(json).ok());
        let Some(Value::Object(record)) = record else {
            resumed.num_damaged += 1;
            continue;
        };
        if let Some(step) = record.get("step").and_then(Value::as_u64) {
            let is = |name: &str| record.get("kind").is_some_and(|kind| kind == name);
            let is_between = ["eval", "end", "recipe"].iter().any(|kind| is(kind));
            keeps = step < resume || (is_between && step == resume);
            if is("eval") && [0, resume].contains(&step) {
                let text =
                    |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
                resumed.evaluations.push(Logged {
                    step,
                    encoder: text("encoder").into(),
                    metric: text("metric").into(),
                    settings: record.get("settings").cloned().unwrap_or_default(),
                });
            }
            resumed.has_end |= is("end") && step == resume;
        }
        if keeps {
            resumed.num_kept += 1;
            kept.extend_from_slice(&line);
        } else {
            resumed.num_dropped += 1;
        }
    }
}
