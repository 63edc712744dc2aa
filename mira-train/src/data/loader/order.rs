//! The order of the images in each epoch.

use crate::rng::{Purpose, Rng};

/// One permutation an epoch, keyed by (seed, epoch); the last one is kept.
#[derive(Debug)]
pub(super) struct Order {
    seed: u64,
    epoch: Option<u32>,
    indices: Vec<u32>,
}

impl Order {
    pub(super) fn new(seed: u64, num_images: usize) -> Self {
        Self { seed, epoch: None, indices: vec![0; num_images] }
    }

    pub(super) fn of(&mut self, epoch: u32) -> &[u32] {
        if self.epoch != Some(epoch) {
            self.indices.iter_mut().zip(0..).for_each(|(index, i)| *index = i);
            Rng::new(self.seed, Purpose::Shuffle, [epoch, 0, 0]).shuffle(&mut self.indices);
            self.epoch = Some(epoch);
        }
        &self.indices
    }
}
