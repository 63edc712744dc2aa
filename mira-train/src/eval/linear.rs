//! Linear classification of frozen features: multinomial logistic regression by SGD, the usual measure of a representation.
//!
//! In a run and in `mira-train eval linear` the features are of fixed centre crops, made once. The papers train their probes on random resized
//! crops and flips, new ones every epoch, so their numbers are not to be compared with these to the last point.
//!
//! `p = softmax(W x + b)`, loss = mean over a batch of `−log p_label`; `v ← momentum·v + ∇`, `W ← W − lr(t)·v` with
//! `lr(t) = ½ lr·(B/256)·(1 + cos(π t/T))`, t counted in steps; no weight decay; `W = 0`, `b = 0` at the start. The loss is convex.

mod softmax;

use ndarray::{Array2, ArrayView2, Axis, Zip};
use rayon::prelude::*;

use super::accuracy::Outcome;
use super::{Accuracy, Error, Features, NEVER, Stop, check_pair, room};
use crate::rng::{Purpose, Rng};
use softmax::{Gradient, Parameters};

/// How the classifier is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearSettings {
    /// Passes over the training set.
    pub epochs: usize,
    /// Learning rate per 256 samples of a batch: the peak is `lr·B/256`, `B` the batch size or the set's size, whichever is less.
    pub lr: f64,
    /// Samples of a batch; the last batch of an epoch has what remains.
    pub batch_size: usize,
    /// Momentum, in [0, 1).
    pub momentum: f64,
    /// Whether features are first brought to mean 0 and variance 1 by the training set. The published protocol does not; it
    /// makes encoders whose features differ in scale comparable at one learning rate.
    pub standardise: bool,
    /// Seed of the shuffles.
    pub seed: u64,
}

impl Default for LinearSettings {
    /// The paper's: 100 epochs, 0.075·1024/256, batches of 1024, momentum 0.9, features as they are. (Its code's cosine goes by epochs and its weights begin at random, N(0, 0.01); here it goes by steps and they begin at 0.)
    fn default() -> Self {
        Self {
            epochs: 100,
            lr: 0.075,
            batch_size: 1024,
            momentum: 0.9,
            standardise: false,
            seed: 0,
        }
    }
}

/// A trained classifier and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearResult {
    /// On the test set.
    pub accuracy: Accuracy,
    /// Mean training loss of each epoch, in nats, as met along the way.
    pub losses: Vec<f64>,
    /// `num_classes × dim` weights, on standardised features if they were.
    pub weights: Vec<f32>,
    /// `num_classes` biases.
    pub bias: Vec<f32>,
}

/// Trains a linear classifier on `train` and counts its hits on `test`; equal logits go to the smaller class.
///
/// # Errors
/// Unusable features, sets that do not belong together, settings out of range; [`Error::Diverged`] where the loss or a parameter
/// is no longer finite.
///
/// # Example
/// ```
/// use mira_train::eval::{Features, linear};
/// let set = Features { dim: 1, rows: vec![-1.0, -2.0, 1.0, 3.0], labels: vec![0, 0, 1, 1], num_classes: 2 };
/// let settings = linear::LinearSettings { lr: 10.0, ..Default::default() };
/// assert_eq!(linear::probe(&set, &set, &settings)?.accuracy.top1, 1.0);
/// # Ok::<(), mira_train::eval::Error>(())
/// ```
pub fn probe(
    train: &Features,
    test: &Features,
    settings: &LinearSettings,
) -> Result<LinearResult, Error> {
    probe_unless(NEVER, train, test, settings)
}

/// [`probe`], given up where `stop` says so, which is asked once an epoch.
///
/// # Errors
/// As [`probe`], and [`Error::Stopped`].
pub fn probe_unless(
    stop: Stop<'_>,
    train: &Features,
    test: &Features,
    settings: &LinearSettings,
) -> Result<LinearResult, Error> {
    check_pair(train, test)?;
    check(settings)?;
    if settings.standardise {
        let standardised = |features: &Features| {
            let mut rows = room("standardised features", Some(features.rows.len()))?;
            rows.extend_from_slice(&features.rows);
            let (labels, num_classes) = (features.labels.clone(), features.num_classes);
            let mut features = Features { dim: features.dim, rows, labels, num_classes };
            features.standardise_by(train).map(|()| features)
        };
        fit(stop, &standardised(train)?, &standardised(test)?, settings)
    } else {
        fit(stop, train, test, settings)
    }
}

fn check(settings: &LinearSettings) -> Result<(), Error> {
    let refuse = |name, expected, got| Err(Error::Setting { name, expected, got });
    if settings.epochs == 0 {
        return refuse("linear_epochs", "at least 1", 0.0);
    }
    if settings.batch_size == 0 {
        return refuse("linear_batch_size", "at least 1", 0.0);
    }
    if !(settings.lr > 0.0 && settings.lr.is_finite()) {
        return refuse("linear_lr", "above 0 and finite", settings.lr);
    }
    if !(0.0..1.0).contains(&settings.momentum) {
        return refuse(
            "the linear classifier's momentum",
            "at least 0 and below 1",
            settings.momentum,
        );
    }
    Ok(())
}

fn fit(
    stop: Stop<'_>,
    train: &Features,
    test: &Features,
    settings: &LinearSettings,
) -> Result<LinearResult, Error> {
    let batch_size = settings.batch_size.min(train.len());
    let num_steps = settings.epochs.saturating_mul(train.len().div_ceil(batch_size));
    let peak = settings.lr * batch_size as f64 / 256.0;
    let mut parameters = Parameters::zeros(train.num_classes, train.dim);
    let mut velocity = Parameters::zeros(train.num_classes, train.dim);
    let mut gradient = Gradient::new(batch_size, train.num_classes, train.dim);
    let mut batch = Array2::zeros((batch_size, train.dim));
    let mut labels = Vec::with_capacity(batch_size);
    let mut order: Vec<usize> = (0..train.len()).collect();
    let mut losses = Vec::with_capacity(settings.epochs.min(1 << 20));
    let mut step = 0_u64;
    for epoch in 0..settings.epochs {
        if stop() {
            return Err(Error::Stopped);
        }
        let stream = [u32::try_from(epoch).unwrap_or(u32::MAX), 0, 1];
        Rng::new(settings.seed, Purpose::Eval, stream).shuffle(&mut order);
        let mut sum = 0.0;
        for indices in order.chunks(batch_size) {
            gather(&train.matrix(), indices, &mut batch);
            labels.clear();
            labels.extend(indices.iter().map(|&i| train.labels[i]));
            let lr =
                0.5 * peak * (1.0 + (std::f64::consts::PI * step as f64 / num_steps as f64).cos());
            let x = batch.slice(ndarray::s![..indices.len(), ..]);
            let loss = gradient.at(&parameters, &x, &labels);
            descend(&mut parameters, &mut velocity, &gradient, lr, settings.momentum);
            if !(loss.is_finite() && parameters.are_finite()) {
                return Err(Error::Diverged { epoch, loss, lr });
            }
            sum += loss * indices.len() as f64;
            step += 1;
        }
        losses.push(sum / train.len() as f64);
    }
    let logits = parameters.logits(&test.matrix());
    if logits.iter().any(|logit| !logit.is_finite()) {
        return Err(Error::Diverged { epoch: settings.epochs - 1, loss: f64::INFINITY, lr: peak });
    }
    let outcomes: Vec<Outcome> = logits
        .rows()
        .into_iter()
        .zip(&test.labels)
        .map(|(row, &label)| Outcome::of(row.as_slice().expect("contiguous rows"), label))
        .collect();
    Ok(LinearResult {
        accuracy: Accuracy::new(&outcomes, &test.labels, test.num_classes),
        losses,
        weights: parameters.weights.into_iter().collect(),
        bias: parameters.bias,
    })
}

/// Copies the rows of a batch together.
fn gather(from: &ArrayView2<'_, f32>, indices: &[usize], into: &mut Array2<f32>) {
    let rows: Vec<_> = into.axis_iter_mut(Axis(0)).zip(indices).collect();
    rows.into_par_iter().with_min_len(64).for_each(|(mut row, &i)| row.assign(&from.row(i)));
}

/// One step of SGD with momentum.
fn descend(
    parameters: &mut Parameters<f32>,
    velocity: &mut Parameters<f32>,
    gradient: &Gradient<f32>,
    lr: f64,
    momentum: f64,
) {
    #[allow(clippy::cast_possible_truncation)] // an infinite rate is caught as divergence
    let (lr, momentum) = (lr as f32, momentum as f32);
    let step = |p: &mut f32, v: &mut f32, &g: &f32| {
        *v = momentum * *v + g;
        *p -= lr * *v;
    };
    Zip::from(&mut parameters.weights)
        .and(&mut velocity.weights)
        .and(&gradient.weights)
        .for_each(step);
    for ((p, v), g) in parameters.bias.iter_mut().zip(&mut velocity.bias).zip(&gradient.bias) {
        step(p, v, g);
    }
}

#[cfg(test)]
mod tests;
