//! Checkpoints of a session.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use super::{Ending, EventWriter, Session, USAGE};
use crate::run_folder::Signal;
use crate::train::Error;

impl Session {
    /// The end of a session that was asked for, with a checkpoint of where it is.
    pub(super) fn interrupted(&mut self) -> Result<Ending, Error> {
        let path = match &self.last_checkpoint {
            Some(path) if self.saved_step == Some(self.state.step) => path.clone(),
            _ => self.save()?,
        };
        // Nothing else asks for an end.
        let signal = self.stop.requested().unwrap_or(Signal::Terminate);
        Ok(Ending::Interrupted(signal, path))
    }

    /// A checkpoint before an end that steps are not to blame for.
    pub(super) fn save_what_there_is(&mut self) {
        let step = self.state.step;
        // What led to steps that are skipped is not worth keeping.
        if step == 0 || self.state.num_skipped > 0 || self.saved_step == Some(step) {
            return;
        }
        match self.save() {
            Ok(path) => self.progress.say(&format!("saved {}", path.display())),
            Err(error) => self.progress.warn(&format!("{error}; step {step} is not saved")),
        }
    }

    pub(super) fn flush_events(&mut self) -> Result<(), Error> {
        self.events.as_mut().map_or(Ok(()), EventWriter::flush)?;
        Ok(())
    }

    pub(super) fn save(&mut self) -> Result<PathBuf, Error> {
        self.metrics.sync()?;
        self.flush_events()?;
        let recipe_hash = format!("{:016x}", self.recipe.hash());
        let mut meta: Value = self.identity.meta();
        meta["seconds"] = self.seconds().into();
        meta["peak_memory_bytes"] = self.peak_memory().into();
        meta["recipe_hash"] = recipe_hash.into();
        meta["version"] = env!("CARGO_PKG_VERSION").into();
        let mut snapshot = self.state.snapshot(&meta);
        // For the report, should it be written by another session.
        let usage = self.usage().filter(|_| self.state.step == self.trainer.schedules().num_steps);
        if let Some(usage) = &usage {
            snapshot.push(USAGE, &usage[..]);
        }
        let path = self.folder.save(self.state.step, &snapshot)?;
        self.last_save = Instant::now();
        self.saved_step = Some(self.state.step);
        self.last_checkpoint = Some(path.clone());
        Ok(path)
    }
}
