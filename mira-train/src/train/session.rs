//! A run from its first step, or where it was left, to its end.
//!
//! After a step comes its checkpoint and only then its evaluation, which may take as long as an epoch: a run that is stopped or killed meanwhile
//! goes on with the evaluations that its log lacks, be it that they were made with other settings. After the last ones the log gets the run's
//! end.

mod evaluate;
mod recipe;
mod save;
mod warnings;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use recipe::adopt;
pub(crate) use recipe::frozen_for_ever;

use super::evaluation::EvaluatedData;
use super::identity::Identity;
use super::sources::missing_classes;
use super::{
    Error, Monitor, Outcome, Progress, Representations, Sources, State, StepReport, Trainer,
    check_images, loader,
};
use crate::data::Split;
use crate::eval;
use crate::model::Network;
use crate::objective::Setup;
use crate::pages::metrics::StepRecord;
use crate::pages::tensorboard::EventWriter;
use crate::recipe::Recipe;
use crate::run_folder::{
    self, Logged, MetricsLog, Quarantine, Resumed, RunFolder, Signal, StopRequest, TensorData,
};

/// The tensor of a run's last checkpoint that only its report needs.
const USAGE: &str = "usage";

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
    /// None where there is nothing to tell of.
    events: Option<EventWriter>,
    trainer: Trainer,
    steps_per_epoch: u64,
    identity: Identity,
    progress: Progress,
    stop: StopRequest,
    last_checkpoint: Option<PathBuf>,
    /// The newest checkpoint from which a step was made since.
    last_good: Option<PathBuf>,
    /// The step of that checkpoint, if it is of this session.
    saved_step: Option<u64>,
    last_save: Instant,
    /// The evaluations before the first step and at this one that the log had when the run was resumed.
    evaluated: Vec<Logged>,
    evaluated_data: EvaluatedData,
    /// What evaluations of this session were last warned of.
    warned: Option<String>,
    /// The same of the sessions before it, where it is of the step that the run was resumed with.
    logged_warning: Option<(u64, String)>,
    /// Seconds and most memory of the sessions before this one, as far as its checkpoints tell.
    before: (f64, u64),
    started: Instant,
    /// Whether it was resumed after its end, with nothing to evaluate anew.
    was_finished: bool,
    warnings: Vec<String>,
    /// Names of the signs among them that earlier sessions were warned of.
    signs: Vec<String>,
    /// How often each prototype was assigned in the last step, of a run resumed after it.
    usage: Option<Vec<f32>>,
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
    /// Anything that keeps it from starting, [`Error::Stopped`] too; a new folder is then left as it was.
    pub fn new(
        recipe: &Recipe,
        sources: Sources,
        out: &Path,
        start: Start,
        stop: StopRequest,
        quiet: bool,
    ) -> Result<Self, Error> {
        let network = Network::new(recipe)?;
        // Before anything is written.
        let steps_per_epoch = check_images(recipe, &sources)?;
        let trainer = Trainer::new(recipe, &network, steps_per_epoch)?;
        let setup = Setup {
            recipe,
            num_images: sources.train.len(),
            steps_per_epoch,
            ranks: trainer.ranks(),
        };
        let mut notes = missing_classes(&sources);
        notes.extend(frozen_for_ever(recipe));
        let identity = Identity::of(&*sources.train, steps_per_epoch);
        let (mut warnings, mut resumed) = (notes, Resumed::default());
        let (mut folder, state, mut metrics, last_checkpoint);
        let (mut last_good, mut before, mut usage) = (None, (0.0, 0), None);
        // To set it up may take long; before anything is written it can still be as if it had not been begun.
        let go_on = || stop.requested().map_or(Ok(()), |signal| Err(Error::Stopped { signal }));
        if let Start::Resumed { strict } = start {
            folder = RunFolder::open(out)?;
            if let Some(loaded) = folder.load_latest(strict)? {
                warnings.extend(loaded.warnings);
                warnings.extend(identity.check(&loaded.snapshot.meta)?);
                last_checkpoint = Some(loaded.path);
                usage = loaded.snapshot.tensors.iter().find_map(|tensor| match &tensor.data {
                    TensorData::F32(usage) if tensor.name == USAGE => Some(usage.clone()),
                    _ => None,
                });
                let meta = &loaded.snapshot.meta;
                before = (
                    meta["seconds"].as_f64().unwrap_or(0.0),
                    meta["peak_memory_bytes"].as_u64().unwrap_or(0),
                );
                state = State::restore(&setup, &network, loaded.snapshot)?;
                go_on()?;
                // Steps were made from all before the last one that was.
                let last_done = state.step.saturating_sub(state.num_skipped as u64);
                let all = run_folder::checkpoints(folder.path())?;
                last_good =
                    all.into_iter().find(|(step, _)| *step < last_done).map(|(_, path)| path);
                (metrics, resumed) = MetricsLog::resume(&folder, state.step)?;
            } else {
                warnings
                    .push("the run has no checkpoint yet; it starts from its first step".into());
                (state, last_checkpoint) = (State::new(&setup, &network)?, None);
                go_on()?;
                (metrics, resumed) = MetricsLog::restart(&folder)?;
            }
            warnings.extend(resumed.damage());
            adopt(&folder, recipe, &mut metrics, state.step)?;
        } else {
            (state, last_checkpoint) = (State::new(&setup, &network)?, None);
            go_on()?;
            folder = RunFolder::create(out, &recipe.to_toml())?;
            metrics = MetricsLog::create(&folder)?;
        }
        folder.set_keep(recipe.checkpoint.keep);
        let (step, evaluated_data) = (state.step, EvaluatedData::of(&sources));
        let cut = resumed.cut(step);
        let num_steps = trainer.schedules().num_steps;
        let mut this = Self {
            quarantine: Quarantine::open(&folder)?,
            events: None,
            progress: Progress::new(state.step, num_steps, steps_per_epoch, quiet),
            recipe: recipe.clone(),
            last_save: Instant::now(),
            folder,
            state,
            metrics,
            network,
            trainer,
            steps_per_epoch,
            identity,
            sources,
            stop,
            last_checkpoint,
            last_good,
            saved_step: None,
            before,
            started: Instant::now(),
            evaluated: resumed.evaluations,
            evaluated_data,
            warned: None,
            logged_warning: resumed.warning.map(|warning| (step, warning)),
            was_finished: false,
            warnings,
            signs: resumed.signs,
            usage,
            found: None,
        };
        if let Some(cut) = cut {
            this.progress.say(&cut);
        }
        this.was_finished = resumed.has_end && this.is_evaluated();
        if !this.was_finished {
            this.begin(matches!(start, Start::Resumed { .. }))?;
        }
        Ok(this)
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Whether the run was resumed after its end, and evaluated with these settings, so that there was nothing left to do.
    pub fn was_finished(&self) -> bool {
        self.was_finished
    }

    /// The final representations, once all steps are done; `None` where there is no test set, and where the run was resumed after its end and
    /// has its report.
    pub fn found(&self) -> Option<&Representations> {
        self.found.as_ref()
    }

    /// Seconds that the run has taken: this session, and of those before what came before their last checkpoint.
    pub fn seconds(&self) -> f64 {
        self.before.0 + self.started.elapsed().as_secs_f64()
    }

    /// The most memory that any session held, in bytes, where the system tells.
    fn peak_memory(&self) -> Option<u64> {
        crate::terminal::peak_memory().map(|peak| peak.max(self.before.1))
    }

    /// How often each prototype was assigned in the last step, where the method has prototypes.
    pub fn usage(&self) -> Option<Vec<f32>> {
        // After the last step there is no other, and the method knows none of its own.
        self.usage.clone().or_else(|| self.state.objective.usage())
    }

    /// Everything that was warned of.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Trains until the last step, or until asked to stop, be it in an evaluation.
    ///
    /// # Errors
    /// Data that cannot be read, after what there is has been saved; a disk that cannot be written; a loss that is not finite for too long.
    pub fn train(&mut self) -> Result<Ending, Error> {
        for warning in self.warnings.clone() {
            self.progress.warn(&warning);
        }
        let ending = match self.train_and_evaluate() {
            Err(Error::Evaluation(eval::Error::Stopped)) => self.interrupted(),
            ending => ending,
        };
        if ending.is_ok() {
            self.progress.finish();
        }
        ending
    }

    fn train_and_evaluate(&mut self) -> Result<Ending, Error> {
        let num_steps = self.trainer.schedules().num_steps;
        // What the log has is not made again.
        self.evaluate_start()?;
        if self.evaluation_is_due() {
            self.evaluate(false)?;
        }
        if self.state.step < num_steps && self.train_on(num_steps)?.is_break() {
            return self.interrupted();
        }
        if self.state.num_skipped > 0 {
            return Err(self.diverged());
        }
        self.evaluate_end()?;
        Ok(Ending::Finished)
    }

    /// Makes the steps that are left, saved and evaluated when it is time; breaks off where it is asked to stop.
    fn train_on(&mut self, num_steps: u64) -> Result<ControlFlow<()>, Error> {
        // A step may take long.
        if self.stop.requested().is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let mut loader = loader(&self.recipe, &self.sources, self.state.step)?;
        loader.remember_quarantined(self.quarantine.indices(Split::Train));
        let mut monitor = Monitor::new(self.recipe.train.batch_size, self.signs.clone());
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
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    self.save_what_there_is();
                    return Err(error.into());
                }
            };
            let outcome = self.trainer.step(&mut self.state, &batch)?;
            self.evaluated.clear();
            loader.recycle(batch);
            self.record(outcome, start.elapsed(), waited, &mut monitor)?;
            // What led to steps that are skipped is not worth keeping, and would push out what is.
            if self.state.num_skipped == 0 && self.checkpoint_is_due(num_steps) {
                self.save()?;
            }
            if self.state.step < num_steps {
                if self.stop.requested().is_some() {
                    return Ok(ControlFlow::Break(()));
                }
                if self.evaluation_is_due() {
                    self.evaluate(false)?;
                }
            }
        }
        // The last epoch has no first step after it.
        let signs = self.with_evidence(|evidence| monitor.finish(evidence));
        self.warn_of(self.state.step.saturating_sub(1), signs)?;
        Ok(ControlFlow::Continue(()))
    }

    /// Whether an epoch has ended that is to be evaluated; the last one's evaluation is another one.
    fn evaluation_is_due(&self) -> bool {
        let (step, every) = (self.state.step, self.recipe.eval.every_epochs as u64);
        // What a step cannot be made from is not worth a number.
        step > 0
            && self.state.num_skipped == 0
            && step < self.trainer.schedules().num_steps
            && every > 0
            && step.is_multiple_of(self.steps_per_epoch.saturating_mul(every))
    }

    /// Whether this step is to be saved: the end of an epoch, a time that has passed, and whatever an evaluation follows.
    fn checkpoint_is_due(&self, num_steps: u64) -> bool {
        let (step, checkpoint) = (self.state.step, &self.recipe.checkpoint);
        let steps = self.steps_per_epoch.saturating_mul(checkpoint.every_epochs as u64);
        let seconds = self.last_save.elapsed().as_secs_f64();
        step == num_steps
            || step.is_multiple_of(steps)
            || self.evaluation_is_due()
            || checkpoint.every_minutes.is_some_and(|minutes| seconds > 60.0 * minutes)
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
                // Until now nobody knew what the last checkpoint is good for.
                if self.last_checkpoint.is_some() {
                    self.last_good.clone_from(&self.last_checkpoint);
                }
                let line = StepLine {
                    kind: "step",
                    report: &report,
                    images_per_second,
                    data_wait_fraction,
                };
                self.metrics.append(&line)?;
                if let Some(events) = &mut self.events {
                    events.step(&record_of(&report, images_per_second, data_wait_fraction))?;
                }
                self.progress.step(&report, images_per_second);
                let signs = self.with_evidence(|evidence| monitor.observe(&report, evidence));
                self.warn_of(report.step, signs)?;
            }
            Outcome::Skipped(report) => {
                let step = report.step;
                let (loss, gradient_norm) = (report.loss, report.gradient_norm);
                self.metrics.append(&json!({
                    "kind": "skip", "step": step, "epoch": report.epoch, "loss": loss, "gradient_norm": gradient_norm,
                    "in_a_row": self.state.num_skipped
                }))?;
                let more = if loss.is_finite() && gradient_norm.is_finite() {
                    ", statistics of batch norms not finite"
                } else {
                    ""
                };
                self.progress.warn(&format!(
                    "step {step} skipped: loss {loss}, gradient norm {gradient_norm}{more}"
                ));
                if self.state.num_skipped > self.recipe.train.max_skipped_steps {
                    return Err(self.diverged());
                }
            }
        }
        Ok(())
    }

    /// The end of a run whose last steps were skipped.
    fn diverged(&self) -> Error {
        Error::Diverged {
            count: self.state.num_skipped,
            step: self.state.step.saturating_sub(1),
            base_lr: self.recipe.optimizer.base_lr,
            // A newer one, from which no step could be made, may have pushed it out.
            checkpoint: self.last_good.clone().filter(|path| path.exists()),
        }
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

#[cfg(test)]
mod tests;
