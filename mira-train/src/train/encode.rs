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
    let config = EvaluationConfig { batch_size, ..config.clone() };
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
    let config = EvaluationConfig { batch_size: BATCH, ..config.clone() };
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
