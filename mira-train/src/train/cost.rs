//! What a recipe will cost, from its plans alone: nothing is allocated.

use super::encode::BATCH;
use super::evaluation::{no_pixels, pixels_bytes};
use super::step::views_of_teacher;
use super::{Error, Sources, image_size, loader_config};
use crate::data::labelled_indices;
use crate::model::Network;
use crate::nn::{Pass, Plan};
use crate::objective;
use crate::recipe::{Cost, Recipe};

/// How many images a run would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumImages {
    /// To train on.
    pub train: usize,
    /// How many of these have a label that evaluations may use.
    pub labelled: usize,
    /// To evaluate on; 0 for no evaluation.
    pub test: usize,
}

impl NumImages {
    /// Of a recipe's data.
    pub fn of(sources: &Sources) -> Self {
        let labelled = |source| {
            labelled_indices(source).map_or_else(|| source.len(), |labelled| labelled.len())
        };
        Self {
            train: sources.train.len(),
            labelled: labelled(&*sources.train),
            test: sources.test.as_ref().map_or(0, |test| labelled(&**test)),
        }
    }
}

/// The cost of a recipe on so many images.
///
/// # Errors
/// Views too small for the network, or a network too large for any machine.
pub fn cost(recipe: &Recipe, num_images: NumImages) -> Result<Cost, Error> {
    let network = Network::new(recipe)?;
    let rows = recipe.train.batch_size / recipe.train.accumulation_steps;
    let sizes = recipe.view_sizes();
    let first = sizes.first().copied().unwrap_or(0);
    let needs = objective::find(&recipe.objective.name).map(|method| method.needs);
    let (mut flops, mut activation_bytes) = (0, 0);
    if needs.is_some_and(|needs| needs.targets) {
        let at_once = views_of_teacher(recipe);
        let teacher = network.training_graph(at_once * rows, first)?;
        flops = teacher.forward_flops().saturating_mul(2 / at_once as u64);
        activation_bytes = Plan::new(&teacher, Pass::Forward).num_bytes();
    }
    let is_embedded_twice =
        recipe.train.accumulation_steps > 1 && needs.is_some_and(|needs| needs.couples_samples);
    for views in recipe.view_groups() {
        let graph = network.training_graph(rows * views.len(), sizes[views[0]])?;
        let forward = graph.forward_flops().saturating_mul(1 + u64::from(is_embedded_twice));
        flops = flops.saturating_add(forward).saturating_add(graph.backward_flops());
        activation_bytes += Plan::new(&graph, Pass::Training).num_bytes();
    }
    let flops_per_step = flops.saturating_mul(recipe.train.accumulation_steps as u64);
    let values = (network.parameters().num_values() * size_of::<f32>()) as u64;
    let copies = if recipe.has_teacher() { 3 } else { 2 };
    let moments = if recipe.optimizer.kind == crate::recipe::OptimizerKind::Adamw { 2 } else { 1 };
    let steps_per_epoch = (num_images.train / recipe.train.batch_size) as u64;
    Ok(Cost {
        num_parameters: network.parameters().num_parameters() as u64,
        flops_per_image_forward: network.encoder_graph(1, first)?.forward_flops(),
        flops_per_step,
        activation_bytes: activation_bytes as u64,
        parameter_bytes: copies * values,
        optimizer_bytes: moments * values,
        objective_bytes: objective::memory::bytes(recipe, num_images.train),
        loader_bytes: loader_config(recipe).memory(num_images.train),
        evaluation_bytes: evaluation_bytes(recipe, &network, num_images)?,
        steps_per_epoch,
    })
}

/// Bytes that an evaluation holds at the most, while training's are held as well.
fn evaluation_bytes(
    recipe: &Recipe,
    network: &Network,
    num_images: NumImages,
) -> Result<u64, Error> {
    if num_images.test == 0 {
        return Ok(0);
    }
    let all = num_images.labelled.saturating_add(num_images.test);
    let size = image_size(recipe);
    let features = |num: usize| {
        (num as u64).saturating_mul((network.representation_dim() * size_of::<f32>()) as u64)
    };
    // Features, and once more as the search for neighbours or a standardised probe has them; labels and indices.
    let mut held = features(all).saturating_mul(2);
    if no_pixels(recipe, all).is_none() {
        held = held.max(pixels_bytes(recipe, all).saturating_mul(2));
    }
    held = held.saturating_add(8 * all as u64);
    // The network before there are neighbours: both are never held.
    let rows = BATCH.min(all);
    let plan = Plan::new(&network.encoder_graph(rows, size)?, Pass::Forward).num_bytes() as u64;
    let batches = 3 * (rows * size * size * 3) as u64;
    Ok(held.max(features(all).saturating_add(plan).saturating_add(batches)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_features_are_counted() {
        let recipe = Recipe::builtin("imagenet-r50-100ep").unwrap();
        let bytes = |labelled, test| {
            let num_images = NumImages { train: 1_281_167, labelled, test };
            cost(&recipe, num_images).unwrap().evaluation_bytes
        };
        // 2048 numbers of 4 bytes an image, twice, and little else.
        let features = 2 * 2048 * 4 * (1_281_167 + 50_000);
        let whole = bytes(1_281_167, 50_000);
        assert!((features..features + (1 << 30)).contains(&whole), "{whole} of {features}");
        // Less than the network's own memory, which is counted as well.
        assert!(bytes(12_811, 50_000) < whole / 2);
        assert_eq!(bytes(1_281_167, 0), 0);
    }
}
