//! Which checkpoints a run has: saved, kept, found again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::container::write::Prepared;
use super::{CHECKPOINTS, Error, RunFolder, Snapshot, SnapshotRef, container, disk};

/// A checkpoint to resume from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// Its step: training goes on with the step of this number, the first being 0.
    pub step: u64,
    /// Its file.
    pub path: PathBuf,
    /// Its contents.
    pub snapshot: Snapshot,
    /// Sentences to be shown: newer checkpoints that are damaged.
    pub warnings: Vec<String>,
}

impl RunFolder {
    /// Saves a checkpoint, then deletes all but the newest [`RunFolder::set_keep`]; returns its path once it would outlive a power cut.
    ///
    /// Checkpoints of later steps are deleted, too: they belong to a continuation that was given up by resuming before them.
    /// `snapshot.meta["step"]`, where there is one, must be `step`.
    ///
    /// # Errors
    /// [`Error::Snapshot`], [`Error::WriteFailed`]; then every older checkpoint is there and no temporary file is.
    pub fn save(&self, step: u64, snapshot: &SnapshotRef) -> Result<PathBuf, Error> {
        if let Some(got) = snapshot.meta.get("step").filter(|got| got.as_u64() != Some(step)) {
            let problem = format!("its meta says step {got}, expected {step}");
            return Err(Error::Snapshot { problem });
        }
        let prepared = Prepared::new(snapshot)?;
        let (folder, name) = (self.path.join(CHECKPOINTS), file_name(step));
        let failed = |source| Error::WriteFailed { path: folder.join(&name), source };
        match fs::create_dir(&folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        let path =
            disk::write_atomically(&*self.disk, &folder, &name, &mut |out| prepared.write(out))
                .map_err(failed)?;
        self.retain(step);
        Ok(path)
    }

    /// As the function [`load_latest`].
    ///
    /// # Errors
    /// As there.
    pub fn load_latest(&self, strict: bool) -> Result<Option<Loaded>, Error> {
        load_latest(&self.path, strict)
    }

    /// As the function [`load_step`].
    ///
    /// # Errors
    /// As there.
    pub fn load_step(&self, step: u64) -> Result<Loaded, Error> {
        load_step(&self.path, step)
    }

    /// Deletes what is no longer needed once the checkpoint of `newest` is on the disk.
    fn retain(&self, newest: u64) {
        // A failure is no failure of the save, and the next save tries again.
        let Ok(all) = checkpoints(&self.path) else { return };
        let (given_up, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|&(s, _)| s > newest);
        for (_, path) in given_up.iter().chain(kept.iter().skip(self.keep)) {
            let _ = self.disk.remove(path);
        }
    }
}

/// Steps and files of a run's checkpoints, newest first; none where there is no such folder. Needs no lock.
///
/// # Errors
/// [`Error::Unreadable`].
pub fn checkpoints(run: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let folder = run.join(CHECKPOINTS);
    let list = || {
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if let Some(step) = entry.file_name().to_str().and_then(step_of) {
                found.push((step, entry.path()));
            }
        }
        Ok(found)
    };
    match list() {
        Ok(mut found) => {
            found.sort_by(|a, b| b.cmp(a));
            Ok(found)
        }
        Err(e) if io::Error::kind(&e) == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Unreadable { path: folder, source }),
    }
}

/// Loads a run's latest checkpoint, `None` where it has none yet. Needs no lock.
///
/// A damaged one gives way to the one before it, with a warning to be shown, unless `strict`.
///
/// # Errors
/// [`Error::Strict`], [`Error::AllDamaged`]; what does not lie in a file's content ([`Error::NewerVersion`], [`Error::Memory`], a
/// missing permission) is returned as it is, for an older checkpoint is no answer to it.
pub fn load_latest(run: &Path, strict: bool) -> Result<Option<Loaded>, Error> {
    let all = checkpoints(run)?;
    let mut damaged: Vec<Error> = Vec::new();
    for (step, path) in &all {
        match load(path, *step) {
            Ok(snapshot) => {
                let warnings = damaged.iter().zip(&all).map(|(damage, (lost, _))| {
                    let num_steps = lost - step;
                    format!("{damage} — falling back to step {step}, {num_steps} steps earlier")
                });
                let warnings = warnings.collect();
                return Ok(Some(Loaded { step: *step, path: path.clone(), snapshot, warnings }));
            }
            Err(damage) if damage.is_damage() && strict => {
                return Err(Error::Strict { source: Box::new(damage) });
            }
            Err(damage) if damage.is_damage() => damaged.push(damage),
            Err(other) => return Err(other),
        }
    }
    let num_checkpoints = all.len();
    match damaged.into_iter().next() {
        None => Ok(None),
        Some(latest) => {
            Err(Error::AllDamaged { path: run.into(), num_checkpoints, source: Box::new(latest) })
        }
    }
}

/// Loads the checkpoint of one step. Needs no lock.
///
/// # Errors
/// [`Error::NoSuchStep`], and as [`container::read`].
pub fn load_step(run: &Path, step: u64) -> Result<Loaded, Error> {
    let all = checkpoints(run)?;
    let Some((_, path)) = all.iter().find(|(s, _)| *s == step) else {
        let steps: Vec<String> = all.iter().rev().map(|(step, _)| step.to_string()).collect();
        let available = if steps.is_empty() { "none".into() } else { steps.join(", ") };
        return Err(Error::NoSuchStep { path: run.into(), step, available });
    };
    let snapshot = load(path, step)?;
    Ok(Loaded { step, path: path.clone(), snapshot, warnings: Vec::new() })
}

fn load(path: &Path, step: u64) -> Result<Snapshot, Error> {
    let snapshot = container::read(path)?;
    match snapshot.meta.get("step").and_then(serde_json::Value::as_u64) {
        Some(got) if got != step => {
            Err(Error::WrongStep { path: path.into(), expected: step, got })
        }
        _ => Ok(snapshot),
    }
}

fn file_name(step: u64) -> String {
    format!("step-{step:08}.mira")
}

/// The step of a checkpoint's name, `None` for any other file.
fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.strip_suffix(".mira")?.parse().ok()?;
    (file_name(step) == name).then_some(step)
}

#[cfg(test)]
mod tests;
