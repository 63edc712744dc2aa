//! What a session evaluates, and what of it is in the log already.

use std::collections::BTreeMap;

use serde_json::json;

use super::Session;
use crate::eval::Stop;
use crate::pages::metrics::EvalRecord;
use crate::pages::tensorboard::EventWriter;
use crate::run_folder::Logged;
use crate::train::evaluation::{no_pixels, settings_of};
use crate::train::{Error, Evaluation, LeftOut, NumImages, Representations};

const KNN: [&str; 2] = ["knn_top1", "knn_top5"];
const RANK: [&str; 1] = ["effective_rank"];
const LINEAR: [&str; 2] = ["linear_top1", "linear_top5"];

/// The encoder that an evaluation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// As it was before the first step.
    Untrained,
    /// As the steps so far have made it.
    Trained,
}

impl Session {
    /// Pixels and the untrained encoder, as far as the log lacks them: also of a run resumed with other settings of evaluation, for what
    /// training has gained is told of like numbers.
    pub(super) fn evaluate_start(&mut self) -> Result<(), Error> {
        let is_new = self.state.step == 0;
        if let Some(reason) = &self.sources.no_test {
            if !is_new {
                return Ok(());
            }
            let warning = format!("no evaluation during the run: {reason}");
            return self.warn(0, warning);
        }
        let num_images = NumImages::of(&self.sources);
        if self.has(0, "pixels", &KNN) {
            // Evaluated before the run was resumed.
        } else if let Some(reason) = no_pixels(&self.recipe, num_images.labelled + num_images.test)
        {
            if is_new {
                self.progress.say(&reason);
            }
        } else {
            let mut left_out = Vec::new();
            let (recipe, sources) = (&self.recipe, &self.sources);
            let stop = self.stop.clone();
            let stop: Stop<'_> = &|| stop.requested().is_some();
            let pixels = Representations::of_pixels(stop, recipe, sources, &mut left_out);
            if let Some(pixels) = self.listed(left_out, pixels)? {
                self.log(0, "pixels", &pixels, &pixels.knn(stop, &self.recipe)?)?;
            }
        }
        self.evaluate_as(Of::Untrained, true)?;
        Ok(())
    }

    fn representations(&mut self, of: Of) -> Result<Option<Representations>, Error> {
        let Self { recipe, network, state, sources, stop, .. } = &*self;
        let mut left_out = Vec::new();
        let stop: Stop<'_> = &|| stop.requested().is_some();
        let untrained = (of == Of::Untrained).then(|| {
            let parameters = network.parameters();
            (parameters.initial_values(recipe.train.seed), parameters.initial_buffers())
        });
        let (values, running) = untrained
            .as_ref()
            .map_or_else(|| state.evaluated(recipe), |(values, buffers)| (values, buffers));
        let found = Representations::of_encoder(
            stop,
            recipe,
            network,
            values,
            running,
            sources,
            &mut left_out,
        );
        self.listed(left_out, found)
    }

    /// Lists the images that an evaluation was made without, also where they were too many for one; warns of them once a session, and where
    /// there are others.
    fn listed(
        &mut self,
        left_out: LeftOut,
        found: Result<Option<Representations>, Error>,
    ) -> Result<Option<Representations>, Error> {
        for (split, image) in left_out {
            if self.quarantine.append(split, &image)? {
                let problem = image.problem;
                self.progress.warn(&format!("{problem}; evaluations leave it out"));
            }
        }
        let found = found?;
        if let Some(left_out) = found.as_ref().and_then(Representations::left_out) {
            let warning = format!(
                "evaluations leave out {left_out}, which cannot be read; quarantine.jsonl lists them"
            );
            self.warn_of_evaluation(warning)?;
        }
        Ok(found)
    }

    /// Warns unless this session has; the log may have it of this step, from before the run was resumed.
    fn warn_of_evaluation(&mut self, warning: String) -> Result<(), Error> {
        let step = self.state.step;
        if self.warned.as_ref() == Some(&warning) {
            return Ok(());
        }
        if self.logged_warning.as_ref() != Some(&(step, warning.clone())) {
            self.metrics.append(&json!({
                "kind": "warning", "of": "evaluation", "step": step, "message": warning
            }))?;
        }
        self.warned = Some(warning.clone());
        self.tell(warning);
        Ok(())
    }

    /// Evaluates the encoder after a step, as far as the log lacks it; with the linear probe where `fully` is set.
    pub(super) fn evaluate(&mut self, fully: bool) -> Result<Option<Representations>, Error> {
        self.evaluate_as(Of::Trained, fully)
    }

    fn evaluate_as(&mut self, of: Of, fully: bool) -> Result<Option<Representations>, Error> {
        let (step, encoder) = match of {
            Of::Untrained => (0, "untrained"),
            Of::Trained => (self.state.step, "trained"),
        };
        let (rank, probes) = (fully, fully && self.recipe.eval.linear_epochs > 0);
        let wanted = [(true, &KNN[..]), (rank, &RANK), (probes, &LINEAR)];
        if wanted.iter().all(|(is_wanted, names)| !is_wanted || self.has(step, encoder, names)) {
            return Ok(None);
        }
        let found = self.representations(of)?;
        let stop = self.stop.clone();
        let stop: Stop<'_> = &|| stop.requested().is_some();
        if let Some(found) = &found {
            if !self.has(step, encoder, &KNN) {
                self.log(step, encoder, found, &found.knn(stop, &self.recipe)?)?;
            }
            if rank && !self.has(step, encoder, &RANK) {
                self.log(step, encoder, found, &found.effective_rank())?;
            }
            if probes && !self.has(step, encoder, &LINEAR) {
                self.log(step, encoder, found, &found.linear(stop, &self.recipe)?)?;
            }
        }
        Ok(found)
    }

    /// Evaluates what all steps have made of the encoder, and records the run's end.
    pub(super) fn evaluate_end(&mut self) -> Result<(), Error> {
        if self.was_finished {
            // What a report shows, if the run was killed before it had one.
            if !self.folder.path().join("report.html").is_file() {
                self.found = self.representations(Of::Trained)?;
            }
            return Ok(());
        }
        self.found = self.evaluate(true)?;
        if self.found.is_none() {
            self.found = self.representations(Of::Trained)?;
        }
        let (peak, seconds) = (self.peak_memory(), self.seconds());
        self.metrics.append(&json!({
            "kind": "end", "step": self.state.step, "evaluated": self.found.is_some(), "peak_memory_bytes": peak, "seconds": seconds
        }))?;
        self.metrics.sync()?;
        self.flush_events()
    }

    /// Whether the log had everything, when the run was resumed after its last step.
    pub(super) fn is_evaluated(&self) -> bool {
        let num_images = NumImages::of(&self.sources);
        let no_pixels = no_pixels(&self.recipe, num_images.labelled + num_images.test).is_some();
        let probes = self.recipe.eval.linear_epochs > 0;
        let has_all = |step, encoder| {
            self.has(step, encoder, &KNN)
                && self.has(step, encoder, &RANK)
                && (!probes || self.has(step, encoder, &LINEAR))
        };
        self.sources.no_test.is_some()
            || ((no_pixels || self.has(0, "pixels", &KNN))
                && has_all(0, "untrained")
                && has_all(self.state.step, "trained"))
    }

    /// Whether the log had these evaluations of this step, the last ones with the same settings, when the run was resumed: readers go by the
    /// last ones. Logs of earlier versions do not say with which: what they have is made again.
    fn has(&self, step: u64, encoder: &str, metrics: &[&str]) -> bool {
        metrics.iter().all(|metric| {
            let is_it = |e: &&Logged| e.step == step && e.encoder == encoder && e.metric == *metric;
            let settings = settings_of(&self.recipe, &self.evaluated_data, metric);
            self.evaluated.iter().rev().find(is_it).is_some_and(|last| last.settings == settings)
        })
    }

    /// What comes before the first step or evaluation of a session that makes any.
    pub(super) fn begin(&mut self, is_resumed: bool) -> Result<(), Error> {
        let step = self.state.step;
        if is_resumed {
            // It is of other settings, or of steps that are made again, and stands for a finished run.
            self.folder.remove("report.html")?;
        }
        let mut events = EventWriter::create(self.folder.path(), is_resumed.then_some(step))?;
        for kept in self.kept_evaluations() {
            events.evaluation(&kept)?;
        }
        self.events = Some(events);
        Ok(())
    }

    /// The evaluations of the step that a run goes on with, as far as the log has them and they are not made again.
    fn kept_evaluations(&self) -> Vec<EvalRecord> {
        let step = self.state.step;
        let of_step = self.evaluated.iter().filter(|logged| logged.step == step);
        let last: BTreeMap<_, _> =
            of_step.map(|logged| ((&logged.encoder, &logged.metric), logged)).collect();
        let has_probe = self.recipe.eval.linear_epochs > 0;
        let is_made_again = |logged: &Logged| {
            let metric: &str = &logged.metric;
            self.sources.no_test.is_none()
                && (has_probe || !LINEAR.contains(&metric))
                && !self.has(step, &logged.encoder, &[metric])
        };
        let kept = last.into_values().filter(|logged| !is_made_again(logged));
        let record = |logged: &Logged| EvalRecord {
            step,
            epoch: step as f64 / self.steps_per_epoch as f64,
            encoder: logged.encoder.clone(),
            metric: logged.metric.clone(),
            value: logged.value,
            settings: None,
        };
        kept.map(record).collect()
    }

    fn log(
        &mut self,
        step: u64,
        encoder: &'static str,
        found: &Representations,
        values: &[(&'static str, f64)],
    ) -> Result<(), Error> {
        let epoch = step as f64 / self.steps_per_epoch as f64;
        for &(metric, value) in values {
            // A run may be killed between two lines.
            if self.has(step, encoder, &[metric]) {
                continue;
            }
            let evaluation = Evaluation {
                step,
                epoch,
                encoder,
                metric,
                value,
                settings: settings_of(&self.recipe, &self.evaluated_data, metric),
                num_train_left_out: found.train_set.num_left_out,
                num_test_left_out: found.test_set.num_left_out,
            };
            let mut line = serde_json::to_value(&evaluation).unwrap_or_default();
            line["kind"] = "eval".into();
            self.metrics.append(&line)?;
            if let Some(events) = &mut self.events {
                events.evaluation(&EvalRecord {
                    step,
                    epoch,
                    encoder: encoder.into(),
                    metric: metric.into(),
                    value,
                    settings: None,
                })?;
            }
            if metric.ends_with("top1") {
                let name = if metric.starts_with("knn") { "k-NN" } else { "linear probe" };
                self.progress.say(&format!(
                    "epoch {epoch:>5.1}  {encoder:<9}  {name:<12} {:.1} %",
                    100.0 * value
                ));
            }
        }
        Ok(())
    }
}
