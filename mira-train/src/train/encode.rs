//! Representations of a set's images, for evaluation.

use std::sync::Arc;

use super::{Error, Normaliser};
use crate::data::{
    EvaluationBatch, EvaluationConfig, EvaluationLoader, Quarantined, Source, evaluation_images,
};
use crate::eval::{self, Features, Stop, room};
use crate::model::Network;
use crate::nn::Pass;
use crate::nn::cpu::{Executor, Statistics};

/// Images of a forward pass.
pub(super) const BATCH: usize = 200;

/// Side of the pixels that are features, at the most: larger images are brought to it.
const PIXELS_SIDE: usize = 32;

/// Features of the labelled images of a set that can be read, and which these are.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// A row an image.
    pub features: Features,
    /// The index in the source of each row's image.
    pub indices: Vec<u32>,
}

/// Representations of all labelled images of a source, by the encoder with its running statistics. Images that cannot be read are left
/// out, and appended to `bad`. Given up where `stop` says so, which is asked once a batch.
///
/// # Errors
/// A damaged set, or more unreadable images than the configuration allows; images too small for the network; more of them than memory
/// can hold features of; [`eval::Error::Stopped`].
#[allow(clippy::too_many_arguments)] // the encoder's, the images', and what becomes of them
pub fn encode(
    stop: Stop<'_>,
    network: &Network,
    values: &[f32],
    running: &[f32],
    source: &Arc<dyn Source>,
    config: &EvaluationConfig,
    normaliser: &Normaliser,
    bad: &mut Vec<Quarantined>,
) -> Result<Encoded, Error> {
    let mut encoded = Encoded::empty(&**source, network.representation_dim())?;
    let add = |image, features: &[f32]| {
        encoded.push(image, features);
        Ok::<_, Error>(())
    };
    each_representation(stop, network, values, running, source, config, normaliser, bad, add)?;
    Ok(encoded)
}

/// Which image a representation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageOf {
    /// Its index in the source.
    pub index: u32,
    /// Its class, where it has one.
    pub label: Option<u32>,
}

/// As [`encode`], of all images, labelled or not, and one after the other, so that no set is too large: `take` is given each in the source's
/// order.
///
/// # Errors
/// As [`encode`], and what `take` fails with.
#[allow(clippy::too_many_arguments)] // the encoder's, the images', and what becomes of them
pub fn each_representation<E: From<Error>>(
    stop: Stop<'_>,
    network: &Network,
    values: &[f32],
    running: &[f32],
    source: &Arc<dyn Source>,
    config: &EvaluationConfig,
    normaliser: &Normaliser,
    bad: &mut Vec<Quarantined>,
    mut take: impl FnMut(ImageOf, &[f32]) -> Result<(), E>,
) -> Result<(), E> {
    let batch_size = BATCH.min(source.len().max(1));
    let graph = network.encoder_graph(batch_size, config.size).map_err(Error::from)?;
    let mut executor = Executor::<f32>::new(graph, network.parameters(), Pass::Forward);
    let dim = network.representation_dim();
    let config = EvaluationConfig { batch_size, ..*config };
    each_batch(stop, source, config, bad, |batch| {
        let pixels = &batch.images.pixels;
        normaliser.apply(pixels, &mut executor.input_mut()[..pixels.len()]);
        executor.forward(values, Statistics::Running(running));
        images_of(batch).zip(executor.output(0).chunks_exact(dim)).try_for_each(|(i, x)| take(i, x))
    })
}

fn images_of(batch: &EvaluationBatch) -> impl Iterator<Item = ImageOf> {
    let images = batch.indices.iter().zip(&batch.labels);
    images.map(|(&index, &label)| ImageOf { index, label })
}

/// The side of the pixels that [`pixels`] makes of images of a side: at most 32, which are CIFAR's 3072 numbers.
pub fn pixels_side(size: usize) -> usize {
    size.min(PIXELS_SIDE)
}

/// The pixels themselves as features, normalised as for the network; of images of more than 32 × 32 pixels the means over the areas that
/// 32 × 32 larger ones cover. Images that cannot be read are left out, and appended to `bad`. Given up where `stop` says so.
///
/// # Errors
/// As [`encode`].
pub fn pixels(
    stop: Stop<'_>,
    source: &Arc<dyn Source>,
    config: &EvaluationConfig,
    normaliser: &Normaliser,
    bad: &mut Vec<Quarantined>,
) -> Result<Encoded, Error> {
    let (size, side) = (config.size, pixels_side(config.size));
    let config = EvaluationConfig { batch_size: BATCH, ..*config };
    let mut whole = vec![0.0; 3 * size * size];
    let mut features = vec![0.0; 3 * side * side];
    let covered = covered(size, side);
    let dim = features.len();
    let mut encoded = Encoded::empty(&**source, dim)?;
    each_batch(stop, source, config, bad, |batch| {
        let images = batch.images.pixels.chunks_exact(3 * size * size);
        for (image, pixels) in images_of(batch).zip(images) {
            if side == size {
                normaliser.apply(pixels, &mut features);
            } else {
                normaliser.apply(pixels, &mut whole);
                average(&whole, size, &covered, &mut features);
            }
            encoded.push(image, &features);
        }
        Ok::<_, Error>(())
    })?;
    Ok(encoded)
}

/// For each of `side` equal parts of a row of `size` pixels, which of these it covers, with their shares of it.
fn covered(size: usize, side: usize) -> Vec<Vec<(usize, f32)>> {
    let part = |i: usize| {
        // In units of 1/side of a pixel everything is whole.
        let (from, to) = (i * size, (i + 1) * size);
        let pixels = from / side..to.div_ceil(side);
        let overlap = |p: usize| (to.min((p + 1) * side) - from.max(p * side)) as f32;
        pixels.map(|p| (p, overlap(p) / size as f32)).collect()
    };
    (0..side).map(part).collect()
}

/// The means over areas of an image of RGB pixels.
fn average(image: &[f32], size: usize, covered: &[Vec<(usize, f32)>], into: &mut [f32]) {
    into.fill(0.0);
    let places = covered.iter().flat_map(|rows| covered.iter().map(move |columns| (rows, columns)));
    for (into, (rows, columns)) in into.chunks_exact_mut(3).zip(places) {
        for &(y, height) in rows {
            for &(x, width) in columns {
                let pixel = &image[3 * (y * size + x)..][..3];
                into.iter_mut().zip(pixel).for_each(|(into, x)| *into += height * width * x);
            }
        }
    }
}

/// Goes through the images; those found unreadable are told also where they are too many.
fn each_batch<E: From<Error>>(
    stop: Stop<'_>,
    source: &Arc<dyn Source>,
    config: EvaluationConfig,
    bad: &mut Vec<Quarantined>,
    mut take: impl FnMut(&EvaluationBatch) -> Result<(), E>,
) -> Result<(), E> {
    let mut loader = evaluation_images(source, config).map_err(Error::from)?;
    let mut go = |loader: &mut EvaluationLoader| -> Result<(), E> {
        for batch in loader {
            if stop() {
                return Err(Error::from(eval::Error::Stopped).into());
            }
            take(&batch.map_err(Error::from)?)?;
        }
        Ok(())
    };
    let result = go(&mut loader);
    bad.extend(loader.take_quarantined());
    result
}

impl Encoded {
    fn empty(source: &dyn Source, dim: usize) -> Result<Self, Error> {
        let num_classes = source.num_classes().unwrap_or(0);
        let rows = room("features of the labelled images", source.len().checked_mul(dim))?;
        let labels = room("labels", Some(source.len()))?;
        let features = Features { dim, rows, labels, num_classes };
        Ok(Self { features, indices: room("indices", Some(source.len()))? })
    }

    /// Takes the features of an image, if it has a label.
    fn push(&mut self, image: ImageOf, features: &[f32]) {
        if let Some(label) = image.label {
            self.features.rows.extend_from_slice(features);
            self.features.labels.push(label);
            self.indices.push(image.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Error as DataError, Image};
    use crate::eval::NEVER;

    /// Image `i` is of 4 × 4 pixels of value `i` and class `i % 3`; every fifth has no class, every seventh cannot be read.
    struct Greys;

    impl Source for Greys {
        fn len(&self) -> usize {
            250
        }

        fn num_classes(&self) -> Option<usize> {
            Some(3)
        }

        fn class_names(&self) -> &[String] {
            &[]
        }

        fn label(&self, index: usize) -> Option<u32> {
            let index = u32::try_from(index).unwrap();
            (!index.is_multiple_of(5)).then_some(index % 3)
        }

        fn load(&self, index: usize, into: &mut Image) -> Result<(), DataError> {
            if index.is_multiple_of(7) {
                let (name, problem) = (self.name(index), "told to fail".into());
                return Err(DataError::Image { name, problem });
            }
            into.reshape(4, 4);
            into.pixels.fill(u8::try_from(index).unwrap());
            Ok(())
        }

        fn name(&self, index: usize) -> String {
            format!("grey {index}")
        }
    }

    #[test]
    fn rows_labels_and_indices_are_those_of_the_images_that_can_be_read() {
        let source: Arc<dyn Source> = Arc::new(Greys);
        let config = EvaluationConfig { max_bad_fraction: 0.2, ..EvaluationConfig::new(4) };
        let normaliser = Normaliser::new([0.0; 3], [1.0; 3]);
        let mut bad = Vec::new();
        let encoded = pixels(NEVER, &source, &config, &normaliser, &mut bad).unwrap();
        let expected: Vec<u32> = (0..250).filter(|i| i % 5 != 0 && i % 7 != 0).collect();
        assert_eq!(encoded.indices, expected);
        assert_eq!(encoded.features.labels, expected.iter().map(|i| i % 3).collect::<Vec<_>>());
        let rows = encoded.features.rows.chunks_exact(48);
        assert_eq!(rows.len(), expected.len());
        for (row, &index) in rows.zip(&expected) {
            assert!((row[0] * 255.0 - index as f32).abs() < 1e-3, "{} of {index}", row[0]);
        }
        let left_out: Vec<u32> = bad.iter().map(|image| image.index).collect();
        assert_eq!(left_out, (0..250).step_by(7).collect::<Vec<_>>());

        let strict = EvaluationConfig { max_bad_fraction: 0.01, ..config };
        bad.clear();
        let error = pixels(NEVER, &source, &strict, &normaliser, &mut bad).unwrap_err();
        assert!(matches!(error, Error::Data(DataError::TooManyBad { num_bad: 3, .. })), "{error}");
        assert_eq!(bad.len(), 3);
    }

    /// As many images of a side as it says, of which nothing is stored: pixel (x, y) is of value x + y.
    struct Ramps {
        len: usize,
        size: usize,
    }

    impl Source for Ramps {
        fn len(&self) -> usize {
            self.len
        }

        fn num_classes(&self) -> Option<usize> {
            Some(1)
        }

        fn class_names(&self) -> &[String] {
            &[]
        }

        fn label(&self, _: usize) -> Option<u32> {
            Some(0)
        }

        fn load(&self, _: usize, into: &mut Image) -> Result<(), DataError> {
            into.reshape(self.size, self.size);
            for (i, pixel) in into.pixels.chunks_exact_mut(3).enumerate() {
                pixel.fill(u8::try_from(i / self.size + i % self.size).unwrap());
            }
            Ok(())
        }

        fn name(&self, index: usize) -> String {
            format!("ramp {index}")
        }
    }

    #[test]
    fn pixels_of_large_images_are_means_over_areas() {
        let normaliser = Normaliser::new([0.0; 3], [1.0; 3]);
        // A whole number of pixels an area, and not.
        for size in [64, 80] {
            let source: Arc<dyn Source> = Arc::new(Ramps { len: 1, size });
            let config = EvaluationConfig::new(size);
            let found = pixels(NEVER, &source, &config, &normaliser, &mut Vec::new()).unwrap();
            assert_eq!((found.features.dim, found.features.rows.len()), (3072, 3072));
            // The mean of pixel numbers over [a, b), where pixel p covers [p, p + 1).
            let mean = |i: usize| {
                let step = size as f64 / 32.0;
                let (a, b) = (i as f64 * step, (i + 1) as f64 * step);
                let sum: f64 = (0..size)
                    .map(|p| p as f64 * (b.min(p as f64 + 1.0) - a.max(p as f64)).max(0.0))
                    .sum();
                sum / step
            };
            for (i, pixel) in found.features.rows.chunks_exact(3).enumerate() {
                let expected = (mean(i / 32) + mean(i % 32)) / 255.0;
                for &x in pixel {
                    assert!((f64::from(x) - expected).abs() < 1e-5, "{x} {expected} of {size}");
                }
            }
        }
    }

    #[test]
    fn features_that_memory_cannot_hold_are_an_error() {
        // More than 2^57 bytes, which no machine has addresses for.
        let source: Arc<dyn Source> = Arc::new(Ramps { len: 1 << 44, size: 64 });
        let (config, normaliser) = (EvaluationConfig::new(64), Normaliser::new([0.0; 3], [1.0; 3]));
        let found = pixels(NEVER, &source, &config, &normaliser, &mut Vec::new());
        let error = found.unwrap_err().to_string();
        assert!(error.contains("memory") && error.contains("data.label_fraction"), "{error}");
    }
}
