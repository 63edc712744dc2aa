//! Representations of a set's images, for evaluation.

use super::{Error, Normaliser};
use crate::data::{EvaluationConfig, Source, evaluation_images};
use crate::eval::Features;
use crate::model::Network;
use crate::nn::Pass;
use crate::nn::cpu::{Executor, Statistics};

/// Images of a forward pass.
const BATCH: usize = 200;

/// Representations of all labelled images of a source, by the encoder with its running statistics.
///
/// # Errors
/// Images that cannot be read, or are too small for the network.
pub fn encode(
    network: &Network,
    values: &[f32],
    running: &[f32],
    source: &dyn Source,
    size: usize,
    normaliser: &Normaliser,
) -> Result<Features, Error> {
    let batch = BATCH.min(source.len().max(1));
    let graph = network.encoder_graph(batch, size)?;
    let mut executor = Executor::<f32>::new(graph, network.parameters(), Pass::Forward);
    let dim = network.representation_dim();
    let mut features = empty(source, dim);
    let config = EvaluationConfig { batch_size: batch, ..EvaluationConfig::new(size) };
    for images in evaluation_images(source, config)? {
        let images = images?;
        let pixels = &images.images.pixels;
        normaliser.apply(pixels, &mut executor.input_mut()[..pixels.len()]);
        executor.forward(values, Statistics::Running(running));
        let rows = executor.output(0).chunks_exact(dim);
        for (row, label) in rows.zip(&images.labels) {
            if let Some(label) = label {
                features.rows.extend_from_slice(row);
                features.labels.push(*label);
            }
        }
    }
    Ok(features)
}

/// The pixels themselves as features, normalised as for the network.
///
/// # Errors
/// Images that cannot be read.
pub fn pixels(
    source: &dyn Source,
    size: usize,
    normaliser: &Normaliser,
) -> Result<Features, Error> {
    let dim = 3 * size * size;
    let mut features = empty(source, dim);
    let config = EvaluationConfig { batch_size: BATCH, ..EvaluationConfig::new(size) };
    let mut row = vec![0.0; dim];
    for images in evaluation_images(source, config)? {
        let images = images?;
        for (pixels, label) in images.images.pixels.chunks_exact(dim).zip(&images.labels) {
            if let Some(label) = label {
                normaliser.apply(pixels, &mut row);
                features.rows.extend_from_slice(&row);
                features.labels.push(*label);
            }
        }
    }
    Ok(features)
}

fn empty(source: &dyn Source, dim: usize) -> Features {
    let num_classes = source.num_classes().unwrap_or(0);
    Features {
        dim,
        rows: Vec::with_capacity(source.len() * dim),
        labels: Vec::with_capacity(source.len()),
        num_classes,
    }
}
