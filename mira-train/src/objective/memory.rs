//! How much memory a method takes beside the network and its embeddings, from a recipe alone.

use super::find;
use crate::recipe::Recipe;

/// What a step's targets, loss and gradients hold at once, in matrices of f32, and what is kept from step to step; about. How many there are was found
/// by measuring: autograd keeps what every operation gave.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Of the size of all views' embeddings: views · samples × dim.
    pub embeddings: u64,
    /// All views' embeddings against all prototypes: views · samples × K.
    pub logits: u64,
    /// Both global views' embeddings against each other, or against themselves: (2 · samples)².
    pub pairs: u64,
    /// Dimensions against dimensions: dim².
    pub moments: u64,
    /// Numbers beside: banks, queues, what a predictor computes; of a recipe and the images in its training set.
    pub others: fn(&Recipe, u64) -> u64,
}

impl Memory {
    /// For a method that has nothing of it.
    pub const NOTHING: Self =
        Self { embeddings: 0, logits: 0, pairs: 0, moments: 0, others: |_, _| 0 };
}

/// Bytes that a recipe's method takes at the most, about, on a set of `num_images`; 0 for an unknown one.
pub fn bytes(recipe: &Recipe, num_images: usize) -> u64 {
    let Some(method) = find(&recipe.objective.name) else { return 0 };
    let Memory { embeddings, logits, pairs, moments, others } = method.memory;
    // A loss that couples samples is one of the whole batch, others are made a part at a time.
    let num_parts =
        if method.needs.couples_samples { 1 } else { recipe.train.accumulation_steps as u64 };
    let samples = recipe.train.batch_size as u64 / num_parts.max(1);
    let num_views: u64 = recipe.views.iter().map(|view| view.count as u64).sum();
    let dim = recipe.projector.output_dim as u64;
    let num_prototypes = recipe.prototypes.as_ref().map_or(0, |p| p.count as u64);
    let rows = num_views.saturating_mul(samples);
    let product = |factors: [u64; 3]| factors.into_iter().fold(1, u64::saturating_mul);
    let numbers = [
        product([embeddings, rows, dim]),
        product([logits, rows, num_prototypes]),
        product([pairs, 2 * samples, 2 * samples]),
        product([moments, dim, dim]),
        others(recipe, num_images as u64),
    ];
    numbers.into_iter().fold(0, u64::saturating_add).saturating_mul(size_of::<f32>() as u64)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::{
        Leaves, METHODS, Method, Ranks, Setup, Step, Weights, gradients, new, own_parameters,
    };
    use super::*;
    use crate::fuzzing::peak;

    fn recipe(method: &Method, batch: usize, dim: usize, prototypes: usize) -> Recipe {
        let mut settings =
            vec![format!("train.batch_size={batch}"), format!("projector.output_dim={dim}")];
        if method.sections.contains(&"prototypes") {
            settings.push(format!("prototypes.count={prototypes}"));
        }
        if method.name == "imsvd" {
            settings.push(format!("objective.variables={}", dim / 8));
        }
        let recipe = Recipe::builtin(&format!("small/{}", method.name)).unwrap();
        recipe.with_overrides(&settings).unwrap()
    }

    /// What a step's targets, loss and gradients hold at once beside embeddings and parameters.
    fn measured(method: &Method, recipe: &Recipe, num_images: usize) -> usize {
        let (rows, dim) = (recipe.train.batch_size, recipe.projector.output_dim);
        let ranks = Ranks::default();
        let setup = Setup { recipe, num_images, steps_per_epoch: 1, ranks: &ranks };
        let values = |n: usize| (0..n).map(|i| ((i * i) as f32 * 0.37).sin()).collect::<Vec<_>>();
        let mut leaves = Leaves::new(&values(2 * rows * dim), rows, dim).unwrap();
        for own in own_parameters(recipe) {
            let count = own.shape.iter().product();
            leaves.push(&own.name, &values(count), &own.shape).unwrap();
        }
        let (weights, views) = (Weights::new(leaves.own(), leaves.own()), leaves.views());
        let teacher = || Tensor::from_vec(values(rows * dim), (rows, dim), &Device::Cpu).unwrap();
        let teacher = [teacher(), teacher()];
        let indices: Vec<u32> = (0..).take(rows).collect();
        let step = || {
            let mut objective = new(&setup).unwrap();
            // The second one has banks.
            for epoch in 0..2 {
                let step = Step { number: epoch, epoch, indices: &indices, ranks: &ranks };
                if method.needs.targets {
                    objective.prepare(&teacher, &weights, &step).unwrap();
                }
                let loss = objective.loss(&views, &weights, 0, &step).unwrap();
                gradients(&loss, &leaves).unwrap();
                objective.commit();
            }
        };
        // What products of matrices keep for the thread, of a size that goes by the processor's caches, is there from the first time on.
        step();
        peak(step).1
    }

    fn is_as_said(batch: usize, dim: usize, prototypes: usize) {
        for method in METHODS {
            let recipe = recipe(method, batch, dim, prototypes);
            // No fewer than clusters that begin with one each.
            let num_images = batch.max(prototypes);
            let got = measured(method, &recipe, num_images) as f64;
            let said = bytes(&recipe, num_images) as f64;
            let ratio = said / got;
            assert!(
                (0.5..1.5).contains(&ratio),
                "{} of {batch} × {dim}, {prototypes} prototypes: {ratio:.2} of {got}",
                method.name
            );
        }
    }

    // Where each kind of matrix is the largest in turn.

    #[test]
    fn memory_is_as_said_where_embeddings_are_wide() {
        is_as_said(64, 256, 16);
    }

    #[test]
    fn memory_is_as_said_where_batches_are_large() {
        is_as_said(256, 16, 16);
    }

    #[test]
    fn memory_is_as_said_where_prototypes_are_many() {
        is_as_said(256, 16, 512);
    }

    #[test]
    fn memory_is_as_said_where_features_outnumber_images() {
        is_as_said(32, 512, 16);
    }
}
