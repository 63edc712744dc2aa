//! Signs that a run is not learning, each named once, with what to do.

use rayon::prelude::*;

use crate::train::StepReport;

/// A sign that a run is not learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sign {
    /// The loss is that of predictions that say nothing.
    Stuck,
    /// Few prototypes are in use.
    CollapsedMarginal,
    /// Prototypes lie in the same direction.
    Duplicates,
    /// Embeddings hardly differ from image to image.
    CollapsedEmbeddings,
}

impl Sign {
    /// As `metrics.jsonl` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::CollapsedMarginal => "collapsed-marginal",
            Self::Duplicates => "duplicates",
            Self::CollapsedEmbeddings => "collapsed-embeddings",
        }
    }
}

/// What a run is judged by beside its steps' reports.
pub struct Evidence<'a> {
    /// Prototypes, K × dim; empty where there are none.
    pub prototypes: &'a [f32],
    /// Of an embedding, and of a prototype.
    pub dim: usize,
    /// How often each prototype was assigned in the last step, in shares; for methods whose steps do not report `marginal_entropy`.
    pub usage: &'a dyn Fn() -> Option<Vec<f32>>,
}

impl std::fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { prototypes, dim, .. } = self;
        f.debug_struct("Evidence")
            .field("prototypes", &prototypes.len())
            .field("dim", dim)
            .finish_non_exhaustive()
    }
}

/// Watches the steps of a run.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// Images of a step.
    batch_size: usize,
    /// Of the epoch so far.
    steps: u64,
    loss: f64,
    entropy: f64,
    epoch: u64,
    /// ln K, of methods with prototypes.
    log_k: Option<f64>,
    /// Cross-entropies that are added up in a loss.
    num_terms: f64,
    /// Names of the signs that were seen: each is named once.
    said: Vec<String>,
    /// Of the epoch's last step.
    effective_rank: Option<f64>,
}

/// Epochs before which nothing is said: a start is always uninformative.
const PATIENCE: u64 = 3;
/// Share of log K above which a loss is stuck.
const STUCK: f64 = 0.98;
/// Prototypes effectively in use, as a share of those that a batch could use, below which the marginal has collapsed.
const COLLAPSED: f64 = 0.05;
/// Effective rank of embeddings below which they hardly differ from image to image.
const ALIKE: f64 = 2.0;
/// Cosine above which two prototypes are the same.
const SAME: f32 = 0.99;

impl Monitor {
    /// For steps of so many images; `said` are the names of signs that the run has been warned of before.
    pub fn new(batch_size: usize, said: Vec<String>) -> Self {
        let (steps, loss, entropy, epoch) = (0, 0.0, 0.0, 0);
        let (log_k, num_terms, effective_rank) = (None, 1.0, None);
        Self { batch_size, steps, loss, entropy, epoch, log_k, num_terms, said, effective_rank }
    }

    /// Takes a step's report; where it is the first of an epoch, says what is wrong with the one before, if anything.
    pub fn observe(&mut self, report: &StepReport, evidence: &Evidence<'_>) -> Vec<(Sign, String)> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative
        let epoch = report.epoch as u64;
        let warnings = if epoch > self.epoch { self.finish(evidence) } else { Vec::new() };
        self.epoch = epoch;
        let of = |name| report.diagnostics.get(name).copied();
        self.effective_rank = of("effective_rank").or(self.effective_rank);
        self.log_k = of("log_prototypes");
        self.num_terms = of("loss_terms").unwrap_or(1.0);
        self.steps += 1;
        self.loss += report.loss;
        self.entropy += of("marginal_entropy").unwrap_or(f64::NAN);
        warnings
    }

    /// Says what is wrong with the epoch whose last step has been observed, if anything.
    pub fn finish(&mut self, evidence: &Evidence<'_>) -> Vec<(Sign, String)> {
        let mut warnings = Vec::new();
        if self.steps > 0 && self.epoch + 1 >= PATIENCE {
            self.judge_embeddings(evidence.dim, &mut warnings);
            if let Some(log_k) = self.log_k {
                self.judge(log_k, evidence, &mut warnings);
            }
        }
        (self.steps, self.loss, self.entropy) = (0, 0.0, 0.0);
        warnings.retain(|(sign, _)| {
            let is_new = !self.said.iter().any(|said| said == sign.name());
            if is_new {
                self.said.push(sign.name().into());
            }
            is_new
        });
        warnings
    }

    fn judge_embeddings(&mut self, dim: usize, warnings: &mut Vec<(Sign, String)>) {
        if let Some(rank) = self.effective_rank.take().filter(|&rank| rank < ALIKE) {
            let text = format!(
                "collapsed embeddings in epoch {}: effective rank {rank:.1} of {dim}, images are hardly told apart; if it lasts, lower \
                 optimizer.base_lr, lengthen schedule.warmup_epochs, or choose stronger [[views]]",
                self.epoch + 1,
            );
            warnings.push((Sign::CollapsedEmbeddings, text));
        }
    }

    fn judge(&self, log_k: f64, evidence: &Evidence<'_>, warnings: &mut Vec<(Sign, String)>) {
        // A sum of cross-entropies is at log K where each of them is.
        let loss = self.loss / self.steps as f64 / self.num_terms;
        if loss > STUCK * log_k {
            let text = format!(
                "loss stuck at log K: {loss:.3} of {log_k:.3} over the last epoch; the targets say nothing yet: lower assignment.temperature \
                 (of other objectives epsilon or teacher_temperature), raise optimizer.base_lr, or start teacher.momentum_start lower, where there is one"
            );
            warnings.push((Sign::Stuck, text));
        }
        let entropy = self.entropy / self.steps as f64;
        let entropy = if entropy.is_nan() {
            (evidence.usage)().map_or(f64::NAN, |usage| entropy_of(&usage))
        } else {
            entropy
        };
        // Sharp targets of few images cannot use many prototypes.
        let could_be = log_k.exp().min(self.batch_size as f64);
        if entropy.exp() < COLLAPSED * could_be {
            let text = format!(
                "collapsed marginal in epoch {}: {:.1} of {:.0} prototypes in use; if it lasts, raise assignment.beta_start and beta_end (of swav: objective.iterations; \
                 of dino: objective.teacher_temperature or center_momentum), or lower optimizer.base_lr",
                self.epoch + 1,
                entropy.exp(),
                log_k.exp()
            );
            warnings.push((Sign::CollapsedMarginal, text));
        }
        if self.said.iter().any(|said| said == Sign::Duplicates.name()) {
            return; // which would take long to see again
        }
        let (count, num_sampled) = num_duplicates(evidence.prototypes, evidence.dim);
        if 10 * count > num_sampled {
            let text = format!(
                "duplicate prototypes: {count} of {num_sampled} looked at lie within cosine {SAME} of another; lower \
                 prototypes.count or optimizer.weight_decay, or lengthen prototypes.freeze_epochs"
            );
            warnings.push((Sign::Duplicates, text));
        }
    }
}

/// The entropy of shares, in nats.
fn entropy_of(shares: &[f32]) -> f64 {
    let total: f64 = shares.iter().map(|&share| f64::from(share)).sum();
    let of = |share: f64| if share > 0.0 { -share * share.ln() } else { 0.0 };
    shares.iter().map(|&share| of(f64::from(share) / total)).sum()
}

/// Prototypes looked at: comparing all of many thousands with each other would take longer than the epoch.
const MAX_SAMPLED: usize = 1024;

/// Of prototypes (K × dim), all or an evenly spaced sample: how many have another in the same direction, and how many were looked at.
fn num_duplicates(prototypes: &[f32], dim: usize) -> (usize, usize) {
    let mut rows = prototypes.to_vec();
    for row in rows.chunks_exact_mut(dim) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        for x in row {
            *x /= length;
        }
    }
    let row = |i: usize| &rows[i * dim..(i + 1) * dim];
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let num_rows = rows.len() / dim;
    let num_sampled = num_rows.min(MAX_SAMPLED);
    let has_twin = |&sample: &usize| {
        let i = sample * num_rows / num_sampled;
        (0..num_rows).any(|j| j != i && cosine(row(i), row(j)) > SAME)
    };
    ((0..num_sampled).into_par_iter().filter(has_twin).count(), num_sampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(epoch: f64, loss: f64, entropy: f64) -> StepReport {
        StepReport {
            step: 0,
            epoch,
            loss,
            lr: 0.1,
            ema_momentum: 0.9,
            weight_decay: 0.0,
            gradient_norm: 1.0,
            diagnostics: [("marginal_entropy", entropy), ("log_prototypes", 4f64.ln())].into(),
        }
    }

    fn evidence(prototypes: &[f32]) -> Evidence<'_> {
        Evidence { prototypes, dim: 2, usage: &|| None }
    }

    /// What is said of steps, ten an epoch, and at their end.
    fn said(
        monitor: &mut Monitor,
        steps: impl Iterator<Item = StepReport>,
        evidence: &Evidence<'_>,
    ) -> Vec<String> {
        let mut all: Vec<_> = steps.flat_map(|report| monitor.observe(&report, evidence)).collect();
        all.extend(monitor.finish(evidence));
        all.into_iter().map(|(_, message)| message).collect()
    }

    fn warnings(loss: f64, entropy: f64, prototypes: &[f32]) -> Vec<String> {
        let steps = (0..80).map(|i| report(f64::from(i) / 10.0, loss, entropy));
        said(&mut Monitor::new(64, Vec::new()), steps, &evidence(prototypes))
    }

    const APART: [f32; 8] = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -2.0];

    #[test]
    fn a_healthy_run_is_left_in_peace() {
        assert_eq!(warnings(0.5 * 4f64.ln(), 4f64.ln(), &APART), [""; 0]);
    }

    #[test]
    fn a_sum_of_cross_entropies_is_stuck_where_each_of_them_is() {
        let stuck = |loss: f64| {
            let steps = (0..80).map(|i| {
                let mut report = report(f64::from(i) / 10.0, loss, 4f64.ln());
                report.diagnostics.insert("loss_terms", 2.0);
                report
            });
            said(&mut Monitor::new(64, Vec::new()), steps, &evidence(&APART)).len()
        };
        assert_eq!((stuck(1.5 * 4f64.ln()), stuck(2.0 * 4f64.ln())), (0, 1));
    }

    #[test]
    fn each_fault_is_named_once_with_its_remedy() {
        let stuck = warnings(4f64.ln(), 4f64.ln(), &APART);
        assert!(
            stuck.len() == 1 && stuck[0].contains("log K") && stuck[0].contains("temperature"),
            "{stuck:?}"
        );
        // One prototype of 40 takes everything: perplexity 1.
        let steps = (0..80).map(|i| {
            let mut report = report(f64::from(i) / 10.0, 1.0, 0.0);
            report.diagnostics.insert("log_prototypes", 40f64.ln());
            report
        });
        let collapsed = said(&mut Monitor::new(64, Vec::new()), steps, &evidence(&APART));
        assert!(
            collapsed.len() == 1 && collapsed[0].contains("in epoch 3: 1.0 of 40"),
            "{collapsed:?}"
        );
        let twins = warnings(0.5, 4f64.ln(), &[1.0, 0.0, 3.0, 0.01, -1.0, 0.0, 0.0, 1.0]);
        assert!(twins.len() == 1 && twins[0].contains("2 of 4"), "{twins:?}");
    }

    #[test]
    fn embeddings_that_are_all_alike_are_named_once() {
        let warnings_at = |rank: f64| {
            let steps = (0..80).map(|i| {
                let mut report = report(f64::from(i) / 10.0, 1.0, 4f64.ln());
                if i % 10 == 9 {
                    report.diagnostics.insert("effective_rank", rank);
                }
                report
            });
            said(&mut Monitor::new(64, Vec::new()), steps, &evidence(&APART))
        };
        assert_eq!(warnings_at(2.5), [""; 0]);
        let alike = warnings_at(1.04);
        assert!(alike.len() == 1 && alike[0].contains("effective rank 1.0 of 2"), "{alike:?}");
    }

    #[test]
    fn the_last_epoch_is_judged_as_well_and_no_epoch_twice() {
        let steps = |epochs: i32| (0..10 * epochs).map(|i| report(f64::from(i) / 10.0, 9.0, 1.4));
        for (epochs, count) in [(2, 0), (3, 1), (4, 1)] {
            let mut monitor = Monitor::new(64, Vec::new());
            assert_eq!(
                said(&mut monitor, steps(epochs), &evidence(&APART)).len(),
                count,
                "{epochs}"
            );
            assert_eq!(monitor.finish(&evidence(&APART)), []);
        }
        // Resumed, after it has been said.
        let mut monitor = Monitor::new(64, vec![Sign::Stuck.name().into()]);
        assert_eq!(said(&mut monitor, steps(4), &evidence(&APART)), [""; 0]);
    }

    #[test]
    fn usage_tells_of_a_collapse_where_steps_do_not() {
        let of = |usage: &[f32], batch_size| {
            let steps = (0..40).map(|i| {
                let mut report = report(f64::from(i) / 10.0, 1.0, 0.0);
                report.diagnostics.remove("marginal_entropy");
                report.diagnostics.insert("log_prototypes", (usage.len() as f64).ln());
                report
            });
            let evidence = Evidence { usage: &|| Some(usage.to_vec()), ..evidence(&APART) };
            said(&mut Monitor::new(batch_size, Vec::new()), steps, &evidence)
        };
        let mut usage = vec![0.0; 100];
        usage[7] = 1.0;
        let collapsed = of(&usage, 64);
        assert!(collapsed.len() == 1 && collapsed[0].contains("1.0 of 100"), "{collapsed:?}");
        usage.fill(0.01);
        assert_eq!(of(&usage, 64), [""; 0]);
        // Eight of a thousand prototypes are all that eight images can use.
        let mut usage = vec![0.0; 1000];
        usage[..8].fill(0.125);
        assert_eq!(of(&usage, 8), [""; 0]);
        assert_eq!(of(&usage, 640).len(), 1);
    }

    #[test]
    fn of_many_prototypes_a_sample_is_looked_at() {
        // A third of a degree apart on a circle, and at right angles.
        let (many, angle) = (1080_u16, 2.0 * std::f32::consts::PI / 1080.0);
        let circle = |i: u16| [(angle * f32::from(i)).cos(), (angle * f32::from(i)).sin(), 0.0];
        let together: Vec<f32> = (0..many).flat_map(circle).collect();
        assert_eq!(num_duplicates(&together, 3), (MAX_SAMPLED, MAX_SAMPLED));
        let alone: Vec<f32> = (0..many)
            .flat_map(|i| (0..many).map(move |j| if i == j { 2.0 } else { 0.0 }))
            .collect();
        assert_eq!(num_duplicates(&alone, usize::from(many)), (0, MAX_SAMPLED));
    }
}
