//! How long a recipe's steps take on this machine: by steps that are made and thrown away where they are short, and by the network's passes
//! where they are not.

use std::time::Instant;

use super::{Error, Sources, State, Trainer, loader};
use crate::data::{AlignedBytes, Batch, Crops};
use crate::model::Network;
use crate::nn::Pass;
use crate::nn::cpu::{Executor, Statistics};
use crate::objective::Setup;
use crate::recipe::{Basis, Cost, Pace, Recipe};
use crate::rng::{Purpose, Rng};

/// The longest step, in seconds by the network's passes, of which some are made.
const LONGEST: f64 = 2.0;
/// As long, in seconds, are steps made, and so many at the least.
const MEASURED: (f64, u64) = (1.0, 2);
/// Floating-point operations of a pass that is long enough to be measured, and seconds that such passes are repeated for.
const PASS: (u64, f64) = (4_000_000_000, 0.3);
/// A generator of its own for pixels that stand for images.
const PIXELS: Purpose = Purpose::Other(0x7061);

/// Measures steps of a recipe, on its images where they are given. `fits` is whether the machine has the memory for them; nothing is kept.
///
/// # Errors
/// Images that cannot be read, an objective that fails, views too small for the network.
pub fn pace(
    recipe: &Recipe,
    sources: Option<&Sources>,
    cost: &Cost,
    fits: bool,
) -> Result<Pace, Error> {
    let network = Network::new(recipe)?;
    let (flops_per_second, num_images) = measure_pass(recipe, &network)?;
    let estimate = cost.flops_per_step as f64 / flops_per_second;
    if estimate > LONGEST || !fits {
        return Ok(Pace { seconds_per_step: estimate, basis: Basis::Pass { num_images } });
    }
    measure_steps(recipe, &network, sources, cost)
}

/// Operations a second of the recipe's own network, forward and backward, on a few images; and on how many.
fn measure_pass(recipe: &Recipe, network: &Network) -> Result<(f64, usize), Error> {
    let size = recipe.view_sizes().first().copied().unwrap_or(0);
    let most = recipe.train.batch_size / recipe.train.accumulation_steps;
    let flops_of_two = {
        let graph = network.training_graph(2, size)?;
        graph.forward_flops() + graph.backward_flops()
    };
    let wanted = usize::try_from(2 * PASS.0 / flops_of_two.max(1)).unwrap_or(usize::MAX);
    let num_images = wanted.clamp(2, most.max(2));
    let graph = network.training_graph(num_images, size)?;
    let flops = graph.forward_flops() + graph.backward_flops();
    let mut executor = Executor::<f32>::new(graph, network.parameters(), Pass::Training);
    let values = network.parameters().initial_values(recipe.train.seed);
    let mut gradients = vec![0.0; values.len()];
    let seed = vec![1.0; num_images * network.embedding_dim()];
    let mut pass = || {
        executor.forward(&values, Statistics::Batch);
        executor.backward(&values, &seed, &mut gradients);
    };
    // Memory is touched for the first time.
    pass();
    let (start, mut num_passes) = (Instant::now(), 0);
    while start.elapsed().as_secs_f64() < PASS.1 {
        pass();
        num_passes += 1;
    }
    Ok((flops as f64 * f64::from(num_passes) / start.elapsed().as_secs_f64(), num_images))
}

/// Makes steps as a run does, from its first one on.
fn measure_steps(
    recipe: &Recipe,
    network: &Network,
    sources: Option<&Sources>,
    cost: &Cost,
) -> Result<Pace, Error> {
    let steps_per_epoch = cost.steps_per_epoch.max(1);
    let mut trainer = Trainer::new(recipe, network, steps_per_epoch)?;
    let num_images = steps_per_epoch * recipe.train.batch_size as u64;
    let setup = Setup {
        recipe,
        num_images: usize::try_from(num_images).unwrap_or(usize::MAX),
        steps_per_epoch,
        ranks: trainer.ranks(),
    };
    let mut state = State::new(&setup, network)?;
    let mut images = match sources {
        Some(sources) => Images::Read(Box::new(loader(recipe, sources, 0)?)),
        None => Images::MadeUp(made_up(recipe)),
    };
    let mut step = || -> Result<u64, Error> {
        match &mut images {
            Images::Read(loader) => {
                let batch = loader.next_batch()?;
                trainer.step(&mut state, &batch)?;
                loader.recycle(batch);
            }
            Images::MadeUp(batch) => drop(trainer.step(&mut state, batch)?),
        }
        Ok(state.step)
    };
    // Of a run of one step that one counts; otherwise it is the one in which memory is touched for the first time.
    let num_steps = steps_per_epoch * recipe.schedule.epochs as u64;
    let mut start = Instant::now();
    let mut first = 0;
    if step()? < num_steps {
        (start, first) = (Instant::now(), 1);
    }
    let mut done = 1;
    while done < num_steps
        && (done < first + MEASURED.1 || start.elapsed().as_secs_f64() < MEASURED.0)
    {
        done = step()?;
    }
    let num_measured = done - first;
    Ok(Pace {
        seconds_per_step: start.elapsed().as_secs_f64() / num_measured as f64,
        basis: Basis::Steps { num_steps: num_measured, are_read: sources.is_some() },
    })
}

/// Where batches come from.
enum Images {
    Read(Box<crate::data::Loader>),
    MadeUp(Batch),
}

/// A batch of pixels by chance.
fn made_up(recipe: &Recipe) -> Batch {
    let batch_size = recipe.train.batch_size;
    let mut rng = Rng::new(recipe.train.seed, PIXELS, [0; 3]);
    let views = recipe.view_sizes().into_iter().map(|size| {
        let num_words = (batch_size * size * size * 3).div_ceil(4);
        let mut pixels = AlignedBytes::with_capacity(4 * num_words);
        for _ in 0..num_words {
            pixels.extend_from_slice(&rng.next_u32().to_le_bytes());
        }
        Crops { size, pixels }
    });
    Batch {
        epoch: 0,
        step_in_epoch: 0,
        indices: (0..).take(batch_size).collect(),
        labels: vec![None; batch_size],
        views: views.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{NumImages, cost};

    /// What is known of a recipe's pace, which is no slower than all that it took to find out.
    fn basis(name: &str, more: &[&str], has_data: bool, fits: bool) -> Basis {
        let more: Vec<String> = more.iter().map(|s| (*s).to_owned()).collect();
        let recipe = Recipe::builtin(name).and_then(|recipe| recipe.with_overrides(&more)).unwrap();
        let sources = has_data.then(|| Sources::open(&recipe.data).unwrap());
        let assumed = NumImages { train: 50_000, labelled: 50_000, test: 0 };
        let cost = cost(&recipe, sources.as_ref().map_or(assumed, NumImages::of)).unwrap();
        let start = Instant::now();
        let Pace { seconds_per_step, basis } =
            pace(&recipe, sources.as_ref(), &cost, fits).unwrap();
        assert!(seconds_per_step > 0.0 && seconds_per_step.is_finite());
        if let Basis::Steps { num_steps, .. } = basis {
            let (steps, all) = (seconds_per_step * num_steps as f64, start.elapsed().as_secs_f64());
            assert!(steps < all, "{num_steps} steps of {seconds_per_step} s in {all} s");
            assert!(num_steps < MEASURED.1 || steps >= MEASURED.0, "{num_steps} in {steps} s");
        }
        basis
    }

    #[test]
    fn steps_are_made_where_they_are_short_and_fit() {
        let narrow =
            ["data.max_train=240", "model.width=4", "train.batch_size=40", "schedule.epochs=9999"];
        let made = basis("default", &narrow, true, true);
        assert!(
            matches!(made, Basis::Steps { num_steps, are_read: true } if num_steps >= MEASURED.1),
            "{made:?}"
        );
        assert!(matches!(basis("default", &narrow, true, false), Basis::Pass { .. }));
        // No more than a run has.
        let short = ["data.max_train=40", "train.batch_size=40", "schedule.epochs=2"];
        let made = basis("default", &short, true, true);
        assert_eq!(made, Basis::Steps { num_steps: 1, are_read: true });
        // Without images, of an objective that couples them.
        let small = ["train.batch_size=16", "model.width=4"];
        let made = basis("cifar10-small/deepcluster-v2", &small, false, true);
        assert!(matches!(made, Basis::Steps { are_read: false, .. }), "{made:?}");
    }

    #[test]
    fn of_long_steps_a_few_images_go_through_the_network() {
        let large = basis("imagenet-r50-400ep-multicrop", &[], false, true);
        assert_eq!(large, Basis::Pass { num_images: 2 });
    }
}
