//! The batches of all ranks, one after the other, are the batch of one: for any world size, from any step on.

use proptest::prelude::*;

use super::*;

/// The next batches of a world of loaders from a step on, each joined from those of its ranks.
fn joined(
    source: &Arc<dyn Source>,
    config: &LoaderConfig,
    world_size: usize,
    (first, num_steps): (usize, usize),
) -> Vec<Batch> {
    let mut ranks: Vec<_> = (0..world_size)
        .map(|rank| {
            let config = LoaderConfig { rank, world_size, ..config.clone() };
            Loader::new(Arc::clone(source), config, first as u64).unwrap()
        })
        .collect();
    let join = |mut batch: Batch, next: Batch| {
        assert_eq!((next.epoch, next.step_in_epoch), (batch.epoch, batch.step_in_epoch));
        assert_eq!(next.indices.len() * world_size, config.batch_size);
        batch.indices.extend(next.indices);
        batch.labels.extend(next.labels);
        for (view, next) in batch.views.iter_mut().zip(next.views) {
            assert_eq!(view.size, next.size);
            view.pixels.extend_from_slice(&next.pixels);
        }
        batch
    };
    let next = |_| ranks.iter_mut().map(|rank| rank.next_batch().unwrap()).reduce(join).unwrap();
    (0..num_steps).map(next).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_world_size_changes_a_batch_nor_does_changing_it(
        quarter in 1..5_usize,
        num_more in 0..30_usize,
        seed: u64,
        num_workers in 1..4_usize,
        prefetch in 1..4_usize,
        bad in prop::collection::hash_set(0..8_usize, 0..2),
        change in 0..7_usize,
    ) {
        let batch_size = 4 * quarter;
        let source: Arc<dyn Source> = Arc::new(Colours::bad(batch_size + num_more, bad));
        let config = LoaderConfig {
            batch_size,
            seed,
            num_workers,
            prefetch,
            max_bad_fraction: 1.0,
            ..config()
        };
        let mut loader = Loader::new(Arc::clone(&source), config.clone(), 0).unwrap();
        let expected = batches(&mut loader, 7);
        for world_size in [1, 2, 4] {
            prop_assert!(joined(&source, &config, world_size, (0, 7)) == expected, "{}", world_size);
        }
        let mut changing = joined(&source, &config, 2, (0, change));
        changing.extend(joined(&source, &config, 4, (change, 7 - change)));
        prop_assert!(changing == expected);
    }
}

#[test]
fn a_rank_holds_its_share_of_the_memory() {
    let config = LoaderConfig { batch_size: 64, num_workers: 2, ..config() };
    let quarter = LoaderConfig { world_size: 4, rank: 3, ..config.clone() };
    assert_eq!(quarter.local_batch_size(), 16);
    // The order is everybody's.
    let order = 4 * 23;
    assert_eq!(4 * (quarter.memory(23) - order), config.memory(23) - order);
}
