//! Batches as numbers that are equal where every byte of them is.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

use super::Batch;

impl Batch {
    /// XXH3 of everything in it: its place, its images, their classes and every byte of their views.
    pub fn hash(&self) -> u64 {
        let mut hasher = XxHash3_64::new();
        hasher.write_u32(self.epoch);
        hasher.write_u64(self.step_in_epoch as u64);
        hasher.write_u64(self.indices.len() as u64);
        for (index, label) in self.indices.iter().zip(&self.labels) {
            hasher.write_u32(*index);
            // Classes are below 2^32 − 1.
            hasher.write_u32(label.unwrap_or(u32::MAX));
        }
        for view in &self.views {
            hasher.write_u64(view.size as u64);
            hasher.write(&view.pixels);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{AlignedBytes, Crops};

    #[test]
    fn every_part_of_a_batch_counts() {
        let mut pixels = AlignedBytes::default();
        pixels.extend_from_slice(&[9; 600]);
        let batch = Batch {
            epoch: 1,
            step_in_epoch: 2,
            indices: vec![3, 4],
            labels: vec![Some(0), None],
            views: vec![Crops { size: 10, pixels }],
        };
        let changed = |change: &dyn Fn(&mut Batch)| {
            let mut batch = batch.clone();
            change(&mut batch);
            batch.hash()
        };
        let all = [
            changed(&|_| ()),
            changed(&|b| b.epoch = 2),
            changed(&|b| b.step_in_epoch = 1),
            changed(&|b| b.indices.swap(0, 1)),
            changed(&|b| b.labels[1] = Some(0)),
            changed(&|b| b.labels[0] = None),
            changed(&|b| b.views[0].size = 11),
            changed(&|b| b.views[0].pixels[599] = 8),
            changed(&|b| b.views.clear()),
        ];
        assert_eq!(all[0], batch.hash());
        for (i, hash) in all.iter().enumerate() {
            assert!(!all[..i].contains(hash), "{i}");
        }
    }
}
