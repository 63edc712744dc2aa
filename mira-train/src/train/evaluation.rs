//! What an encoder is worth: k-NN and linear probe on its frozen representations.

use std::sync::Arc;

use serde::Serialize;

use super::sources::read_timeout;
use super::{Encoded, Error, Normaliser, Sources, encode, pixels};
use crate::data::{EvaluationConfig, Quarantined, Source, Split};
use crate::eval::linear::LinearSettings;
use crate::eval::{Features, effective_rank, knn, linear};
use crate::model::Network;
use crate::recipe::Recipe;
use crate::text::count;

/// One number, as `metrics.jsonl` has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Steps trained.
    pub step: u64,
    /// Epochs trained.
    pub epoch: f64,
    /// `untrained`, `trained`, or `pixels`.
    pub encoder: &'static str,
    /// `knn_top1`, `knn_top5`, `linear_top1`, `linear_top5`, `effective_rank`.
    pub metric: &'static str,
    /// In [0, 1]; an effective rank from 1 to the dimension.
    pub value: f64,
    /// Unreadable images that the training set was used without.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_train_left_out: usize,
    /// Unreadable images that the test set was used without.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_test_left_out: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
const fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Side of the images an encoder is evaluated on.
pub fn image_size(recipe: &Recipe) -> usize {
    match recipe.eval.image_size {
        0 => recipe.views.first().map_or(224, |view| view.size),
        size => size,
    }
}

/// How a recipe's images are read for evaluation.
pub fn evaluation_config(recipe: &Recipe) -> EvaluationConfig {
    EvaluationConfig {
        max_bad_fraction: recipe.data.max_bad_fraction,
        read_timeout: read_timeout(recipe),
        ..EvaluationConfig::new(image_size(recipe))
    }
}

/// Images that evaluation found unreadable, with their part of the data.
pub type LeftOut = Vec<(Split, Quarantined)>;

/// Representations of both sets.
#[derive(Clone, Debug)]
pub struct Representations {
    /// Of the training images.
    pub train: Features,
    /// Of the test images.
    pub test: Features,
    /// Which training images these are.
    pub train_set: EvaluatedSet,
    /// Which test images these are.
    pub test_set: EvaluatedSet,
}

/// Which images of a set were evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluatedSet {
    /// The index in the source of each row's image.
    pub indices: Vec<u32>,
    /// Images in the set.
    pub num_images: usize,
    /// How many of them cannot be read.
    pub num_left_out: usize,
}

impl Representations {
    /// By an encoder; `None` where there is no labelled test set. Images that cannot be read are left out, and appended to `left_out`.
    ///
    /// # Errors
    /// A damaged set, or more unreadable images than the recipe allows.
    pub fn of_encoder(
        recipe: &Recipe,
        network: &Network,
        values: &[f32],
        running: &[f32],
        sources: &Sources,
        left_out: &mut LeftOut,
    ) -> Result<Option<Self>, Error> {
        let normaliser = Normaliser::new(recipe.data.mean, recipe.data.std);
        let config = evaluation_config(recipe);
        Self::of(sources, left_out, |source, bad| {
            encode(network, values, running, source, &config, &normaliser, bad)
        })
    }

    /// Of the pixels themselves, less the training set's mean image. Images that cannot be read are left out, and appended to `left_out`.
    ///
    /// # Errors
    /// A damaged set, or more unreadable images than the recipe allows.
    pub fn of_pixels(
        recipe: &Recipe,
        sources: &Sources,
        left_out: &mut LeftOut,
    ) -> Result<Option<Self>, Error> {
        let normaliser = Normaliser::new(recipe.data.mean, recipe.data.std);
        let config = evaluation_config(recipe);
        let features =
            |source: &Arc<dyn Source>, bad: &mut _| pixels(source, &config, &normaliser, bad);
        let mut both = Self::of(sources, left_out, features)?;
        if let Some(both) = &mut both {
            let means = both.train.column_means()?;
            both.train.subtract(&means)?;
            both.test.subtract(&means)?;
        }
        Ok(both)
    }

    fn of(
        sources: &Sources,
        left_out: &mut LeftOut,
        mut features: impl FnMut(&Arc<dyn Source>, &mut Vec<Quarantined>) -> Result<Encoded, Error>,
    ) -> Result<Option<Self>, Error> {
        let Some(test) = &sources.test else { return Ok(None) };
        let mut of = |split, source: &Arc<dyn Source>| {
            let mut bad = Vec::new();
            let encoded = features(source, &mut bad);
            let (num_images, num_left_out) = (source.len(), bad.len());
            left_out.extend(bad.into_iter().map(|image| (split, image)));
            encoded.map(|Encoded { features, indices }| {
                (features, EvaluatedSet { indices, num_images, num_left_out })
            })
        };
        let (train, train_set) = of(Split::Train, &sources.train)?;
        let (test, test_set) = of(Split::Test, test)?;
        Ok(Some(Self { train, test, train_set, test_set }))
    }

    /// How many images could not be read, in words; `None` if all could.
    pub fn left_out(&self) -> Option<String> {
        let [train, test] = [&self.train_set, &self.test_set];
        let of = |set: &EvaluatedSet| {
            format!("{} of {}", count(set.num_left_out), count(set.num_images))
        };
        (train.num_left_out + test.num_left_out > 0)
            .then(|| format!("{} training images and {} test images", of(train), of(test)))
    }

    /// k-NN, weights `exp(cos/T)`.
    ///
    /// # Errors
    /// Fewer training images than neighbours, features that are not finite.
    pub fn knn(&self, recipe: &Recipe) -> Result<[(&'static str, f64); 2], Error> {
        let (k, temperature) = (recipe.eval.knn_neighbours, recipe.eval.knn_temperature);
        let accuracy = knn::top1(&self.train, &self.test, k, temperature)?.accuracy;
        Ok([("knn_top1", accuracy.top1), ("knn_top5", accuracy.top5)])
    }

    /// How many directions the test set's representations fill.
    pub fn effective_rank(&self) -> [(&'static str, f64); 1] {
        [("effective_rank", effective_rank(&self.test.rows, self.test.dim))]
    }

    /// Multinomial logistic regression.
    ///
    /// # Errors
    /// Divergence, features that are not finite.
    pub fn linear(&self, recipe: &Recipe) -> Result<[(&'static str, f64); 2], Error> {
        let batch_size = recipe.eval.linear_batch_size.min(self.train.len());
        let settings = LinearSettings {
            epochs: recipe.eval.linear_epochs,
            // As used, for the recipe; an image's share of 256, for the probe.
            lr: recipe.eval.linear_lr * 256.0 / batch_size as f64,
            batch_size: recipe.eval.linear_batch_size,
            seed: recipe.train.seed,
            standardise: recipe.eval.linear_standardise,
            ..LinearSettings::default()
        };
        let accuracy = linear::probe(&self.train, &self.test, &settings)?.accuracy;
        Ok([("linear_top1", accuracy.top1), ("linear_top5", accuracy.top5)])
    }
}
