//! Signs that a run is not learning, each named once, with what to do.

use rayon::prelude::*;

use crate::train::StepReport;

/// Watches the steps of a run.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // a flag for each warning
pub struct Monitor {
    /// Means over the epoch so far.
    steps: u64,
    loss: f64,
    entropy: f64,
    epoch: u64,
    said_stuck: bool,
    said_collapsed: bool,
    said_duplicates: bool,
    said_alike: bool,
    /// Of the epoch's last step.
    effective_rank: Option<f64>,
}

/// Epochs before which nothing is said: a start is always uninformative.
const PATIENCE: u64 = 3;
/// Share of log K above which a loss is stuck.
const STUCK: f64 = 0.98;
/// Prototypes effectively in use, as a share of K, below which the marginal has collapsed.
const COLLAPSED: f64 = 0.05;
/// Effective rank of embeddings below which they hardly differ from image to image.
const ALIKE: f64 = 2.0;
/// Cosine above which two prototypes are the same.
const SAME: f32 = 0.99;

impl Monitor {
    /// Takes a step's report; at the end of an epoch says what is wrong with it, if anything. `prototypes` are K × dim.
    pub fn observe(&mut self, report: &StepReport, prototypes: &[f32], dim: usize) -> Vec<String> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative
        let epoch = report.epoch as u64;
        let mut warnings = Vec::new();
        if epoch > self.epoch && self.steps > 0 {
            if epoch >= PATIENCE {
                self.judge_embeddings(dim, &mut warnings);
                self.judge(
                    report.diagnostics.get("log_prototypes"),
                    report.diagnostics.get("loss_terms").copied().unwrap_or(1.0),
                    prototypes,
                    dim,
                    &mut warnings,
                );
            }
            (self.steps, self.loss, self.entropy) = (0, 0.0, 0.0);
        }
        self.epoch = epoch;
        if let Some(&rank) = report.diagnostics.get("effective_rank") {
            self.effective_rank = Some(rank);
        }
        self.steps += 1;
        self.loss += report.loss;
        self.entropy += report.diagnostics.get("marginal_entropy").copied().unwrap_or(f64::NAN);
        warnings
    }

    fn judge_embeddings(&mut self, dim: usize, warnings: &mut Vec<String>) {
        if let Some(rank) = self.effective_rank.take()
            && rank < ALIKE
            && !self.said_alike
        {
            self.said_alike = true;
            warnings.push(format!(
                "collapsed embeddings in epoch {}: effective rank {rank:.1} of {dim}, images are hardly told apart; if it lasts, lower \
                 optimizer.base_lr, lengthen schedule.warmup_epochs, or choose stronger [[views]]",
                self.epoch + 1,
            ));
        }
    }

    fn judge(
        &mut self,
        log_k: Option<&f64>,
        num_terms: f64,
        prototypes: &[f32],
        dim: usize,
        warnings: &mut Vec<String>,
    ) {
        let Some(&log_k) = log_k else { return };
        let (loss, entropy) = (self.loss / self.steps as f64, self.entropy / self.steps as f64);
        // A sum of cross-entropies is at log K where each of them is.
        let loss = loss / num_terms;
        if loss > STUCK * log_k && !self.said_stuck {
            self.said_stuck = true;
            warnings.push(format!(
                "loss stuck at log K: {loss:.3} of {log_k:.3} over the last epoch; the targets say nothing yet: lower assignment.temperature \
                 (of other objectives epsilon or teacher_temperature), raise optimizer.base_lr, or start teacher.momentum_start lower, where there is one"
            ));
        }
        let in_use = entropy.exp() / log_k.exp();
        if in_use < COLLAPSED && !self.said_collapsed {
            self.said_collapsed = true;
            warnings.push(format!(
                "collapsed marginal in epoch {}: {:.1} of {:.0} prototypes in use; if it lasts, raise assignment.beta_start and beta_end (of swav: objective.iterations), or lower optimizer.base_lr",
                self.epoch + 1,
                entropy.exp(),
                log_k.exp()
            ));
        }
        if !self.said_duplicates {
            let (count, num_sampled) = num_duplicates(prototypes, dim);
            if 10 * count > num_sampled {
                self.said_duplicates = true;
                warnings.push(format!(
                    "duplicate prototypes: {count} of {num_sampled} looked at lie within cosine {SAME} of another; lower \
                     prototypes.count or optimizer.weight_decay, or lengthen prototypes.freeze_epochs"
                ));
            }
        }
    }
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

    fn warnings(loss: f64, entropy: f64, prototypes: &[f32]) -> Vec<String> {
        let mut monitor = Monitor::default();
        let epochs = (0..80).map(|i| f64::from(i) / 10.0);
        epochs
            .flat_map(|epoch| monitor.observe(&report(epoch, loss, entropy), prototypes, 2))
            .collect()
    }

    const APART: [f32; 8] = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -2.0];

    #[test]
    fn a_healthy_run_is_left_in_peace() {
        assert_eq!(warnings(0.5 * 4f64.ln(), 4f64.ln(), &APART), [""; 0]);
    }

    #[test]
    fn a_sum_of_cross_entropies_is_stuck_where_each_of_them_is() {
        let stuck = |loss: f64| {
            let mut monitor = Monitor::default();
            let steps = (0..80).flat_map(|i| {
                let mut report = report(f64::from(i) / 10.0, loss, 4f64.ln());
                report.diagnostics.insert("loss_terms", 2.0);
                monitor.observe(&report, &APART, 2)
            });
            steps.count()
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
        let mut monitor = Monitor::default();
        let collapsed: Vec<String> = (0..80)
            .flat_map(|i| {
                let mut report = report(f64::from(i) / 10.0, 1.0, 0.0);
                report.diagnostics.insert("log_prototypes", 40f64.ln());
                monitor.observe(&report, &APART, 2)
            })
            .collect();
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
            let mut monitor = Monitor::default();
            let steps = (0..80).flat_map(|i| {
                let mut report = report(f64::from(i) / 10.0, 1.0, 4f64.ln());
                if i % 10 == 9 {
                    report.diagnostics.insert("effective_rank", rank);
                }
                monitor.observe(&report, &APART, 2)
            });
            steps.collect::<Vec<String>>()
        };
        assert_eq!(warnings_at(2.5), [""; 0]);
        let alike = warnings_at(1.04);
        assert!(alike.len() == 1 && alike[0].contains("effective rank 1.0 of 2"), "{alike:?}");
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
