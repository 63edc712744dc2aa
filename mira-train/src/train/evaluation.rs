//! What an encoder is worth: k-NN and linear probe on its frozen representations.

use serde::Serialize;

use super::{Error, Normaliser, Sources, encode, pixels};
use crate::eval::linear::LinearSettings;
use crate::eval::{Features, knn, linear};
use crate::model::Network;
use crate::recipe::Recipe;

/// One number, as `metrics.jsonl` has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Steps trained.
    pub step: u64,
    /// Epochs trained.
    pub epoch: f64,
    /// `untrained`, `trained`, or `pixels`.
    pub encoder: &'static str,
    /// `knn_top1`, `knn_top5`, `linear_top1`, `linear_top5`.
    pub metric: &'static str,
    /// In [0, 1].
    pub value: f64,
}

/// Side of the images an encoder is evaluated on.
pub fn image_size(recipe: &Recipe) -> usize {
    match recipe.eval.image_size {
        0 => recipe.views.first().map_or(224, |view| view.size),
        size => size,
    }
}

/// Representations of both sets.
#[derive(Clone, Debug)]
pub struct Representations {
    /// Of the training images.
    pub train: Features,
    /// Of the test images.
    pub test: Features,
}

impl Representations {
    /// By an encoder; `None` where there is no labelled test set.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn of_encoder(
        recipe: &Recipe,
        network: &Network,
        values: &[f32],
        running: &[f32],
        sources: &Sources,
    ) -> Result<Option<Self>, Error> {
        let normaliser = Normaliser::new(recipe.data.mean, recipe.data.std);
        let size = image_size(recipe);
        Self::of(sources, |source| encode(network, values, running, source, size, &normaliser))
    }

    /// Of the pixels themselves, less the training set's mean image.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn of_pixels(recipe: &Recipe, sources: &Sources) -> Result<Option<Self>, Error> {
        let normaliser = Normaliser::new(recipe.data.mean, recipe.data.std);
        let size = image_size(recipe);
        let mut both = Self::of(sources, |source| pixels(source, size, &normaliser))?;
        if let Some(both) = &mut both {
            let means = both.train.column_means()?;
            both.train.subtract(&means)?;
            both.test.subtract(&means)?;
        }
        Ok(both)
    }

    fn of(
        sources: &Sources,
        features: impl Fn(&dyn crate::data::Source) -> Result<Features, Error>,
    ) -> Result<Option<Self>, Error> {
        let Some(test) = &sources.test else { return Ok(None) };
        Ok(Some(Self { train: features(&*sources.train)?, test: features(&**test)? }))
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
