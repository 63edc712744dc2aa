//! Representations of a set's images, for evaluation.

use std::sync::Arc;

use super::{Error, Normaliser};
use crate::data::{
    EvaluationBatch, EvaluationConfig, EvaluationLoader, Quarantined, Source, evaluation_images,
};
use crate::eval::Features;
use crate::model::Network;
use crate::nn::Pass;
use crate::nn::cpu::{Executor, Statistics};

/// Images of a forward pass.
const BATCH: usize = 200;

/// Features of the labelled images of a set that can be read, and which these are.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// A row an image.
    pub features: Features,
    /// The index in the source of each row's image.
    pub indices: Vec<u32>,
}

/// Representations of all labelled images of a source, by the encoder with its running statistics. Images that cannot be read are left
/// out, and appended to `bad`.
///
/// # Errors
/// A damaged set, or more unreadable images than the configuration allows; images too small for the network.
pub fn encode(
    network: &Network,
    values: &[f32],
    running: &[f32],
    source: &Arc<dyn Source>,
    config: &EvaluationConfig,
    normaliser: &Normaliser,
    bad: &mut Vec<Quarantined>,
) -> Result<Encoded, Error> {
    let batch_size = BATCH.min(source.len().max(1));
    let graph = network.encoder_graph(batch_size, config.size)?;
    let mut executor = Executor::<f32>::new(graph, network.parameters(), Pass::Forward);
    let dim = network.representation_dim();
    let config = EvaluationConfig { batch_size, ..*config };
    collect(source, config, dim, bad, |images, encoded| {
        let pixels = &images.images.pixels;
        normaliser.apply(pixels, &mut executor.input_mut()[..pixels.len()]);
        executor.forward(values, Statistics::Running(running));
        for (row, features) in
            executor.output(0).chunks_exact(dim).enumerate().take(images.labels.len())
        {
            encoded.push(images, row, features);
        }
    })
}

/// The pixels themselves as features, normalised as for the network. Images that cannot be read are left out, and appended to `bad`.
///
/// # Errors
/// A damaged set, or more unreadable images than the configuration allows.
pub fn pixels(
    source: &Arc<dyn Source>,
    config: &EvaluationConfig,
    normaliser: &Normaliser,
    bad: &mut Vec<Quarantined>,
) -> Result<Encoded, Error> {
    let dim = 3 * config.size * config.size;
    let config = EvaluationConfig { batch_size: BATCH, ..*config };
    let mut features = vec![0.0; dim];
    collect(source, config, dim, bad, |images, encoded| {
        for (row, pixels) in images.images.pixels.chunks_exact(dim).enumerate() {
            normaliser.apply(pixels, &mut features);
            encoded.push(images, row, &features);
        }
    })
}

/// Goes through the images; those found unreadable are told also where they are too many.
fn collect(
    source: &Arc<dyn Source>,
    config: EvaluationConfig,
    dim: usize,
    bad: &mut Vec<Quarantined>,
    mut add: impl FnMut(&EvaluationBatch, &mut Encoded),
) -> Result<Encoded, Error> {
    let mut encoded = Encoded::empty(&**source, dim);
    let mut loader = evaluation_images(source, config)?;
    let mut go = |loader: &mut EvaluationLoader| -> Result<(), Error> {
        for images in loader {
            add(&images?, &mut encoded);
        }
        Ok(())
    };
    let result = go(&mut loader);
    bad.extend(loader.take_quarantined());
    result.map(|()| encoded)
}

impl Encoded {
    fn empty(source: &dyn Source, dim: usize) -> Self {
        let num_classes = source.num_classes().unwrap_or(0);
        let rows = Vec::with_capacity(source.len() * dim);
        let labels = Vec::with_capacity(source.len());
        let features = Features { dim, rows, labels, num_classes };
        Self { features, indices: Vec::with_capacity(source.len()) }
    }

    /// Takes the features of a batch's image, if it has a label.
    fn push(&mut self, images: &EvaluationBatch, row: usize, features: &[f32]) {
        if let Some(label) = images.labels[row] {
            self.features.rows.extend_from_slice(features);
            self.features.labels.push(label);
            self.indices.push(images.indices[row]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Error as DataError, Image};

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
        let encoded = pixels(&source, &config, &normaliser, &mut bad).unwrap();
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
        let error = pixels(&source, &strict, &normaliser, &mut bad).unwrap_err();
        assert!(matches!(error, Error::Data(DataError::TooManyBad { num_bad: 3, .. })), "{error}");
        assert_eq!(bad.len(), 3);
    }
}
