//! What an encoder is worth: k-NN and linear probe on its frozen representations.

use std::hash::Hasher as _;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

use super::identity::fingerprint;
use super::sources::read_timeout;
use super::{Encoded, Error, Normaliser, Sources, Which, encode, pixels, pixels_side};
use crate::data::{EvaluationConfig, Quarantined, Source, Split, labelled_indices, selected};
use crate::eval::linear::LinearSettings;
use crate::eval::{Features, SAMPLED_ROWS, Stop, effective_rank, knn, linear};
use crate::model::Network;
use crate::recipe::Recipe;
use crate::text::{bytes, count};

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
    /// What the metric was made with: [`settings_of`].
    pub settings: Value,
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

/// What a metric depends on beside the encoder. Values of different settings do not compare.
pub(super) fn settings_of(recipe: &Recipe, data: &EvaluatedData, metric: &str) -> Value {
    let eval = &recipe.eval;
    let mut settings = match metric.split_once('_') {
        Some(("knn", _)) => json!({
            "knn_neighbours": eval.knn_neighbours,
            "knn_temperature": eval.knn_temperature,
        }),
        Some(("linear", _)) => json!({
            "linear_epochs": eval.linear_epochs,
            "linear_lr": eval.linear_lr,
            "linear_batch_size": eval.linear_batch_size,
            "linear_standardise": eval.linear_standardise,
        }),
        _ => json!({}),
    };
    settings["image_size"] = image_size(recipe).into();
    settings["network"] = Which::of(recipe).name().into();
    settings["test"] = data.test.clone().into();
    if metric != "effective_rank" {
        settings["labels"] = data.labels.clone().into();
    }
    settings
}

/// What metrics are made of beside settings and encoder, as numbers that are the same for a copy elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EvaluatedData {
    /// Which training images have which labels; which they are, no run may change.
    labels: String,
    /// The test images and their labels.
    test: Option<String>,
}

impl EvaluatedData {
    pub(super) fn of(sources: &Sources) -> Self {
        let mut labels = XxHash3_64::new();
        write_labels(&mut labels, &*sources.train);
        let test = sources.test.as_ref().map(|test| {
            let mut hasher = XxHash3_64::new();
            write_labels(&mut hasher, &**test);
            hasher.write_u64(fingerprint(&**test));
            format!("{:016x}", hasher.finish())
        });
        Self { labels: format!("{:016x}", labels.finish()), test }
    }
}

fn write_labels(hasher: &mut XxHash3_64, source: &dyn Source) {
    for (index, label) in (0..source.len()).filter_map(|i| source.label(i).map(|l| (i, l))) {
        hasher.write_u64(index as u64);
        hasher.write_u32(label);
    }
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

/// Bytes of pixels as features above which there is no baseline of raw pixels: CIFAR's take 0.7 GiB, ImageNet-100's 1.5, ImageNet's 15.
const MAX_PIXELS_BYTES: u64 = 2 << 30;

/// Bytes that the features of the baseline of raw pixels take, of so many labelled images in all.
pub(super) fn pixels_bytes(recipe: &Recipe, num_images: usize) -> u64 {
    let side = pixels_side(image_size(recipe)) as u64;
    (num_images as u64).saturating_mul(3 * side * side * size_of::<f32>() as u64)
}

/// Why there is no baseline of raw pixels of so many labelled images in all; `None` where there is one.
pub(super) fn no_pixels(recipe: &Recipe, num_images: usize) -> Option<String> {
    let needed = pixels_bytes(recipe, num_images);
    (needed > MAX_PIXELS_BYTES).then(|| {
        format!(
            "no baseline of raw pixels: those of {} labelled images take {}, more than {}",
            count(num_images),
            bytes(needed),
            bytes(MAX_PIXELS_BYTES)
        )
    })
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
    /// Labelled images in the set.
    pub num_images: usize,
    /// How many of them cannot be read.
    pub num_left_out: usize,
}

impl Representations {
    /// By an encoder; `None` where there is no labelled test set. Images without a label are not looked at. Images that cannot be read are
    /// left out, and appended to `left_out`.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn of_encoder(
        stop: Stop<'_>,
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
            encode(stop, network, values, running, source, &config, &normaliser, bad)
        })
    }

    /// Of the pixels themselves, as [`pixels`] takes them, less the training set's mean image. Images that cannot be read are left out, and
    /// appended to `left_out`.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn of_pixels(
        stop: Stop<'_>,
        recipe: &Recipe,
        sources: &Sources,
        left_out: &mut LeftOut,
    ) -> Result<Option<Self>, Error> {
        let normaliser = Normaliser::new(recipe.data.mean, recipe.data.std);
        let config = evaluation_config(recipe);
        let features =
            |source: &Arc<dyn Source>, bad: &mut _| pixels(stop, source, &config, &normaliser, bad);
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
            // Features of images whose labels are withheld would not be used.
            let part = labelled_indices(&**source);
            let encoded = match &part {
                Some(part) => features(&selected(Arc::clone(source), part), &mut bad),
                None => features(source, &mut bad),
            };
            let whole = |index: u32| part.as_ref().map_or(index, |part| part[index as usize]);
            let num_images = part.as_ref().map_or(source.len(), Vec::len);
            let num_left_out = bad.len();
            left_out.extend(bad.into_iter().map(|mut image| {
                image.index = whole(image.index);
                (split, image)
            }));
            encoded.map(|Encoded { features, indices }| {
                let indices = indices.into_iter().map(whole).collect();
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
    /// Fewer training images than neighbours, features that are not finite, [`Error::Stopped`](crate::eval::Error::Stopped).
    pub fn knn(&self, stop: Stop<'_>, recipe: &Recipe) -> Result<[(&'static str, f64); 2], Error> {
        let (k, temperature) = (recipe.eval.knn_neighbours, recipe.eval.knn_temperature);
        let accuracy = knn::top1_unless(stop, &self.train, &self.test, k, temperature)?.accuracy;
        Ok([("knn_top1", accuracy.top1), ("knn_top5", accuracy.top5)])
    }

    /// How many directions the test set's representations fill: of at most eight times as many images as there are dimensions, and at least 512.
    pub fn effective_rank(&self) -> [(&'static str, f64); 1] {
        let max_rows = SAMPLED_ROWS.max(8 * self.test.dim);
        [("effective_rank", effective_rank(&self.test.rows, self.test.dim, max_rows))]
    }

    /// Multinomial logistic regression.
    ///
    /// # Errors
    /// Divergence, features that are not finite, [`Error::Stopped`](crate::eval::Error::Stopped).
    pub fn linear(
        &self,
        stop: Stop<'_>,
        recipe: &Recipe,
    ) -> Result<[(&'static str, f64); 2], Error> {
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
        let accuracy = linear::probe_unless(stop, &self.train, &self.test, &settings)?.accuracy;
        Ok([("linear_top1", accuracy.top1), ("linear_top5", accuracy.top5)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Error as DataError, Image};
    use crate::eval::NEVER;

    /// Image `i` is of value `i`; every third has a label, and of these every fourth cannot be read.
    struct Sparse([String; 2]);

    impl Source for Sparse {
        fn len(&self) -> usize {
            120
        }

        fn num_classes(&self) -> Option<usize> {
            Some(2)
        }

        fn class_names(&self) -> &[String] {
            &self.0
        }

        fn label(&self, index: usize) -> Option<u32> {
            index.is_multiple_of(3).then(|| u32::from(index.is_multiple_of(2)))
        }

        fn load(&self, index: usize, into: &mut Image) -> Result<(), DataError> {
            assert!(index.is_multiple_of(3), "an image without a label was read: {index}");
            if index.is_multiple_of(12) {
                let (name, problem) = (self.name(index), "told to fail".into());
                return Err(DataError::Image { name, problem });
            }
            into.reshape(8, 8);
            into.pixels.fill(u8::try_from(index).unwrap());
            Ok(())
        }

        fn name(&self, index: usize) -> String {
            format!("sparse {index}")
        }
    }

    #[test]
    fn images_without_labels_are_not_read_and_the_others_keep_their_numbers() {
        let settings = ["data.max_bad_fraction=0.5", "eval.image_size=8"].map(String::from);
        let recipe = Recipe::builtin("default").unwrap().with_overrides(&settings).unwrap();
        let train: Arc<dyn Source> = Arc::new(Sparse(["odd", "even"].map(String::from)));
        let sources = Sources { test: Some(Arc::clone(&train)), train, no_test: None };
        let mut left_out = Vec::new();
        let found = Representations::of_pixels(NEVER, &recipe, &sources, &mut left_out);
        let found = found.unwrap().unwrap();
        let expected: Vec<u32> = (0..120).filter(|i| i % 3 == 0 && i % 12 != 0).collect();
        for (set, features) in [(&found.train_set, &found.train), (&found.test_set, &found.test)] {
            assert_eq!((&set.indices, set.num_images, set.num_left_out), (&expected, 40, 10));
            let labels: Vec<u32> = expected.iter().map(|i| u32::from(i % 2 == 0)).collect();
            assert_eq!(features.labels, labels);
        }
        for (split, n) in [(Split::Train, 0), (Split::Test, 10)] {
            assert_eq!((left_out[n + 3].0, left_out[n + 3].1.index), (split, 36));
            assert_eq!(left_out[n + 3].1.name, "sparse 36");
        }
    }

    #[test]
    fn there_is_no_baseline_of_pixels_that_would_fill_memory() {
        let reason =
            |name: &str, num_images| no_pixels(&Recipe::builtin(name).unwrap(), num_images);
        assert_eq!(reason("default", 7_000), None);
        assert_eq!(reason("cifar10-r18-1000ep", 60_000), None);
        assert_eq!(reason("imagenet100-r18-400ep", 126_689 + 5_000), None);
        let reason = reason("imagenet-r50-100ep", 1_281_167 + 50_000).unwrap();
        assert!(reason.contains("raw pixels") && reason.contains("1,331,167"), "{reason}");
    }
}
