//! What a run is warned of.

use serde_json::json;

use super::Session;
use crate::train::{Error, Evidence, Sign};

impl Session {
    /// Does something with what a run is judged by.
    pub(super) fn with_evidence<T>(&self, judge: impl FnOnce(&Evidence<'_>) -> T) -> T {
        let prototypes = self.network.prototypes().map(|p| &self.state.student[p.range.clone()]);
        judge(&Evidence {
            prototypes: prototypes.unwrap_or_default(),
            dim: self.network.embedding_dim(),
            usage: &|| self.state.objective.usage(),
        })
    }

    pub(super) fn warn_of(&mut self, step: u64, signs: Vec<(Sign, String)>) -> Result<(), Error> {
        for (sign, message) in signs {
            self.metrics.append(&json!({
                "kind": "warning", "step": step, "sign": sign.name(), "message": message
            }))?;
            self.tell(message);
        }
        Ok(())
    }

    pub(super) fn warn(&mut self, step: u64, warning: String) -> Result<(), Error> {
        self.metrics.append(&json!({ "kind": "warning", "step": step, "message": warning }))?;
        self.tell(warning);
        Ok(())
    }

    pub(super) fn tell(&mut self, warning: String) {
        self.progress.warn(&warning);
        self.warnings.push(warning);
    }
}
