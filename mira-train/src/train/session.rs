//! A run from its first step, or where it was left, to its end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::evaluation::no_pixels;
use super::{
    Error, Evaluation, LeftOut, Monitor, NumImages, Outcome, Progress, Representations, Sources,
    State, StepReport, Trainer, loader,
};
use crate::data::Split;
use crate::eval::NEVER;
use crate::model::Network;
use crate::objective::Setup;
use crate::pages::metrics::{EvalRecord, StepRecord};
use crate::pages::tensorboard::EventWriter;
use crate::recipe::Recipe;
use crate::run_folder::{MetricsLog, Quarantine, RunFolder, Signal, StopRequest};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// It was asked to stop, and has saved this checkpoint.
    Interrupted(Signal, PathBuf),
}

/// A run in progress.
#[derive(Debug)]
pub struct Session {
    /// Its recipe.
    pub recipe: Recipe,
    /// Its images.
    pub sources: Sources,
    /// Its network.
    pub network: Network,
    /// Where it is.
    pub state: State,
    folder: RunFolder,
    metrics: MetricsLog,
    quarantine: Quarantine,
    events: EventWriter,
    trainer: Trainer,
    steps_per_epoch: u64,
    progress: Progress,
    stop: StopRequest,
    last_checkpoint: Option<PathBuf>,
    last_save: Instant,
    warnings: Vec<String>,
    found: Option<Representations>,
}

/// How a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// In a new folder.
    New,
    /// From a folder's last checkpoint.
    Resumed {
        /// A damaged one is an error; otherwise the one before it will do, with a warning.
        strict: bool,
    },
}

/// A step's line in `metrics.jsonl`.
#[derive(Serialize)]
struct StepLine<'a> {
    kind: &'static str,
    #[serde(flatten)]
    report: &'a StepReport,
    images_per_second: f64,
    data_wait_fraction: f64,
}

impl Session {
    /// Starts a run in a new folder, or goes on with one.
    ///
    /// # Errors
    /// Anything that keeps it from starting; a new folder is then left as it was.
    pub fn new(
        recipe: &Recipe,
        sources: Sources,
        out: &Path,
        start: Start,
        stop: StopRequest,
        quiet: bool,
    ) -> Result<Self, Error> {
        let network = Network::new(recipe)?;
        // Checks the batch against the set before anything is written.
        let steps_per_epoch = loader(recipe, &sources, 0)?.steps_per_epoch() as u64;
        let trainer = Trainer::new(recipe, &network, steps_per_epoch)?;
        let setup = Setup {
            recipe,
            num_images: sources.train.len(),
            steps_per_epoch,
            ranks: trainer.ranks(),
        };
        let mut warnings = Vec::new();
        let (mut folder, state, metrics, last_checkpoint);
        if let Start::Resumed { strict } = start {
            folder = RunFolder::open(out)?;
            if let Some(loaded) = folder.load_latest(strict)? {
                warnings.extend(loaded.warnings);
                last_checkpoint = Some(loaded.path);
                state = State::restore(&setup, &network, loaded.snapshot)?;
                metrics = MetricsLog::resume(&folder, state.step)?.0;
            } else {
                warnings
                    .push("the run has no checkpoint yet; it starts from its first step".into());
                (state, last_checkpoint) = (State::new(&setup, &network)?, None);
                metrics = MetricsLog::restart(&folder)?;
            }
        } else {
            folder = RunFolder::create(out, &recipe.to_toml())?;
            (state, last_checkpoint) = (State::new(&setup, &network)?, None);
            metrics = MetricsLog::create(&folder)?;
        }
        folder.set_keep(recipe.checkpoint.keep);
        let num_steps = trainer.schedules().num_steps;
        Ok(Self {
            quarantine: Quarantine::open(&folder)?,
            events: EventWriter::create(folder.path(), state.step)?,
            progress: Progress::new(state.step, num_steps, steps_per_epoch, quiet),
            recipe: recipe.clone(),
            last_save: Instant::now(),
            folder,
            state,
            metrics,
            network,
            trainer,
            steps_per_epoch,
            sources,
            stop,
            last_checkpoint,
            warnings,
            found: None,
        })
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The final representations, once all steps are done; `None` where there is no test set.
    pub fn found(&self) -> Option<&Representations> {
        self.found.as_ref()
    }

    /// Everything that was warned of.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Trains until the last step, or until asked to stop.
    ///
    /// # Errors
    /// Data that cannot be read, a disk that cannot be written, a loss that is not finite for too long; all before it is saved.
    pub fn train(&mut self) -> Result<Ending, Error> {
        for warning in self.warnings.clone() {
            self.progress.say(&format!("warning: {warning}"));
        }
        if self.state.step == 0 {
            self.evaluate_start()?;
        }
        let num_steps = self.trainer.schedules().num_steps;
        if self.state.step >= num_steps {
            // Resumed after its end: evaluated then.
            self.found = self.representations()?;
            return Ok(Ending::Finished);
        }
        let mut loader = loader(&self.recipe, &self.sources, self.state.step)?;
        loader.remember_quarantined(self.quarantine.indices(Split::Train));
        let mut monitor = Monitor::default();
        while self.state.step < num_steps {
            let start = Instant::now();
            let batch = loader.next_batch();
            let waited = start.elapsed();
            // Also those that were one too many.
            for image in loader.take_quarantined() {
                if self.quarantine.append(Split::Train, &image)? {
                    let problem = image.problem;
                    self.progress
                        .say(&format!("warning: {problem}; another image takes its place"));
                }
            }
            let batch = batch?;
            let outcome = self.trainer.step(&mut self.state, &batch)?;
            loader.recycle(batch);
            self.record(outcome, start.elapsed(), waited, &mut monitor)?;
            let at_epoch_end = self.state.step.is_multiple_of(self.steps_per_epoch);
            let epoch = self.state.step / self.steps_per_epoch;
            let every = self.recipe.eval.every_epochs as u64;
            if at_epoch_end
                && every > 0
                && epoch.is_multiple_of(every)
                && self.state.step < num_steps
            {
                self.evaluate(false)?;
            }
            if self.state.step == num_steps {
                // Before the last checkpoint, so that a run killed meanwhile is not finished, and does it again.
                self.found = self.evaluate(true)?;
                let peak = crate::terminal::peak_memory();
                let step = self.state.step;
                self.metrics
                    .append(&json!({ "kind": "end", "step": step, "peak_memory_bytes": peak }))?;
                self.save()?;
                break;
            }
            if let Some(signal) = self.stop.requested() {
                let path = self.save()?;
                self.progress.finish();
                return Ok(Ending::Interrupted(signal, path));
            }
            let minutes = self.recipe.checkpoint.every_minutes;
            let overdue =
                minutes.is_some_and(|m| self.last_save.elapsed().as_secs_f64() > 60.0 * m);
            let due =
                at_epoch_end && epoch.is_multiple_of(self.recipe.checkpoint.every_epochs as u64);
            // What led to steps that are skipped is not worth keeping, and would push out what is.
            if (due || overdue) && self.state.num_skipped == 0 {
                self.save()?;
            }
        }
        self.progress.finish();
        Ok(Ending::Finished)
    }

    fn record(
        &mut self,
        outcome: Outcome,
        took: Duration,
        waited: Duration,
        monitor: &mut Monitor,
    ) -> Result<(), Error> {
        let seconds = took.as_secs_f64();
        let images_per_second = self.recipe.train.batch_size as f64 / seconds;
        let data_wait_fraction = waited.as_secs_f64() / seconds;
        match outcome {
            Outcome::Done(report) => {
                let line = StepLine {
                    kind: "step",
                    report: &report,
                    images_per_second,
                    data_wait_fraction,
                };
                self.metrics.append(&line)?;
                self.events.step(&record_of(&report, images_per_second, data_wait_fraction))?;
                self.progress.step(&report, images_per_second);
                let prototypes =
                    self.network.prototypes().map(|p| &self.state.student[p.range.clone()]);
                let prototypes = prototypes.unwrap_or_default();
                for warning in monitor.observe(&report, prototypes, self.network.embedding_dim()) {
                    self.warn(report.step, warning)?;
                }
            }
            Outcome::Skipped(report) => {
                let step = report.step;
                let (loss, gradient_norm) = (report.loss, report.gradient_norm);
                self.metrics.append(&json!({
                    "kind": "skip", "step": step, "epoch": report.epoch, "loss": loss, "gradient_norm": gradient_norm,
                    "in_a_row": self.state.num_skipped
                }))?;
                self.progress.say(&format!(
                    "warning: step {step} skipped: loss {loss}, gradient norm {gradient_norm}"
                ));
                if self.state.num_skipped > self.recipe.train.max_skipped_steps {
                    return Err(Error::Diverged {
                        count: self.state.num_skipped,
                        step,
                        base_lr: self.recipe.optimizer.base_lr,
                        checkpoint: self.last_checkpoint.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn warn(&mut self, step: u64, warning: String) -> Result<(), Error> {
        self.metrics.append(&json!({ "kind": "warning", "step": step, "message": warning }))?;
        self.progress.say(&format!("warning: {warning}"));
        self.warnings.push(warning);
        Ok(())
    }

    fn save(&mut self) -> Result<PathBuf, Error> {
        self.metrics.sync()?;
        self.events.flush()?;
        let recipe_hash = format!("{:016x}", self.recipe.hash());
        let meta: Value =
            json!({ "recipe_hash": recipe_hash, "version": env!("CARGO_PKG_VERSION") });
        let path = self.folder.save(self.state.step, &self.state.snapshot(&meta))?;
        self.last_save = Instant::now();
        self.last_checkpoint = Some(path.clone());
        Ok(path)
    }

    /// Pixels and the untrained encoder.
    fn evaluate_start(&mut self) -> Result<(), Error> {
        if let Some(reason) = &self.sources.no_test {
            let warning = format!("no evaluation during the run: {reason}");
            return self.warn(0, warning);
        }
        let num_images = NumImages::of(&self.sources);
        if let Some(reason) = no_pixels(&self.recipe, num_images.labelled + num_images.test) {
            self.progress.say(&reason);
        } else {
            let mut left_out = Vec::new();
            let (recipe, sources) = (&self.recipe, &self.sources);
            let pixels = Representations::of_pixels(NEVER, recipe, sources, &mut left_out);
            if let Some(pixels) = self.listed(left_out, pixels)? {
                self.log("pixels", &pixels, &pixels.knn(NEVER, &self.recipe)?)?;
            }
        }
        self.evaluate(true)?;
        Ok(())
    }

    fn representations(&mut self) -> Result<Option<Representations>, Error> {
        let Self { recipe, network, state, sources, .. } = &*self;
        let mut left_out = Vec::new();
        let (student, running) = (&state.student, &state.running);
        let found = Representations::of_encoder(
            NEVER,
            recipe,
            network,
            student,
            running,
            sources,
            &mut left_out,
        );
        self.listed(left_out, found)
    }

    /// Lists the images that an evaluation was made without, also where they were too many for one; warns where some of them are new.
    fn listed(
        &mut self,
        left_out: LeftOut,
        found: Result<Option<Representations>, Error>,
    ) -> Result<Option<Representations>, Error> {
        let mut is_news = false;
        for (split, image) in left_out {
            if self.quarantine.append(split, &image)? {
                is_news = true;
                let problem = image.problem;
                self.progress.say(&format!("warning: {problem}; evaluations leave it out"));
            }
        }
        let found = found?;
        if is_news && let Some(left_out) = found.as_ref().and_then(Representations::left_out) {
            let warning = format!(
                "evaluations leave out {left_out}, which cannot be read; quarantine.jsonl lists them"
            );
            self.warn(self.state.step, warning)?;
        }
        Ok(found)
    }

    /// Evaluates the student's encoder; with the linear probe where `fully` is set.
    fn evaluate(&mut self, fully: bool) -> Result<Option<Representations>, Error> {
        let found = self.representations()?;
        let encoder = if self.state.step == 0 { "untrained" } else { "trained" };
        if let Some(found) = &found {
            self.log(encoder, found, &found.knn(NEVER, &self.recipe)?)?;
            if fully {
                self.log(encoder, found, &found.effective_rank())?;
            }
            if fully && self.recipe.eval.linear_epochs > 0 {
                self.log(encoder, found, &found.linear(NEVER, &self.recipe)?)?;
            }
        }
        Ok(found)
    }

    fn log(
        &mut self,
        encoder: &'static str,
        found: &Representations,
        values: &[(&'static str, f64)],
    ) -> Result<(), Error> {
        let epoch = self.state.step as f64 / self.steps_per_epoch as f64;
        for &(metric, value) in values {
            let evaluation = Evaluation {
                step: self.state.step,
                epoch,
                encoder,
                metric,
                value,
                num_train_left_out: found.train_set.num_left_out,
                num_test_left_out: found.test_set.num_left_out,
            };
            let mut line = serde_json::to_value(&evaluation).unwrap_or_default();
            line["kind"] = "eval".into();
            self.metrics.append(&line)?;
            self.events.evaluation(&EvalRecord {
                step: self.state.step,
                epoch,
                encoder: encoder.into(),
                metric: metric.into(),
                value,
            })?;
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

fn record_of(report: &StepReport, images_per_second: f64, data_wait_fraction: f64) -> StepRecord {
    let of = |name| report.diagnostics.get(name).copied().unwrap_or(f64::NAN);
    StepRecord {
        step: report.step,
        epoch: report.epoch,
        loss: report.loss,
        lr: report.lr,
        beta: of("beta"),
        ema_momentum: report.ema_momentum,
        weight_decay: report.weight_decay,
        images_per_second,
        data_wait_fraction,
        sweeps: of("sweeps"),
        duality_gap: of("duality_gap"),
        log_ratio_bound: of("log_ratio_bound"),
        marginal_entropy: of("marginal_entropy"),
        log_prototypes: of("log_prototypes"),
        gradient_norm: report.gradient_norm,
    }
}
