//! Batches are the same for any number of workers and any first step; whatever goes wrong comes out, and nothing hangs.

mod ranks;
mod stuck;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::data::{Image, Interpolation};

/// Image `i` is 4 × 4 of colour (i, 2i, 255); some fail, one panics.
#[derive(Default)]
struct Colours {
    len: usize,
    bad: HashSet<usize>,
    panics: Option<usize>,
    num_loads: AtomicUsize,
}

impl Colours {
    fn new(len: usize) -> Self {
        Self { len, ..Self::default() }
    }

    fn bad(len: usize, bad: impl IntoIterator<Item = usize>) -> Self {
        Self { bad: bad.into_iter().collect(), ..Self::new(len) }
    }
}

fn colour(i: u32) -> [u8; 3] {
    [i as u8, (2 * i) as u8, 255]
}

impl Source for Colours {
    fn len(&self) -> usize {
        self.len
    }

    fn num_classes(&self) -> Option<usize> {
        Some(7)
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(index as u32 % 7)
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        self.num_loads.fetch_add(1, Ordering::Relaxed);
        assert_ne!(Some(index), self.panics, "told to");
        if self.bad.contains(&index) {
            return Err(Error::image(self.name(index), "told to fail"));
        }
        into.reshape(4, 4);
        into.pixels.as_chunks_mut::<3>().0.fill(colour(index as u32));
        Ok(())
    }

    fn name(&self, index: usize) -> String {
        format!("colour-{index}.png")
    }
}

/// Two random views and one that is the image itself.
fn config() -> LoaderConfig {
    let random = ViewSpec {
        count: 2,
        size: 3,
        jitter: 0.8,
        brightness: 0.4,
        hue: 0.1,
        solarize: 0.5,
        ..ViewSpec::default()
    };
    let plain = ViewSpec {
        size: 4,
        scale: [1.0, 1.0],
        ratio: [1.0, 1.0],
        flip: 0.0,
        interpolation: Interpolation::Bilinear,
        ..ViewSpec::default()
    };
    LoaderConfig {
        batch_size: 5,
        seed: 11,
        num_workers: 2,
        prefetch: 2,
        views: vec![random, plain],
        ..LoaderConfig::default()
    }
}

fn loader(source: Colours, config: LoaderConfig) -> Loader {
    Loader::new(Arc::new(source), config, 0).unwrap()
}

fn batches(loader: &mut Loader, n: usize) -> Vec<Batch> {
    (0..n).map(|_| loader.next_batch().unwrap()).collect()
}

#[test]
fn rows_belong_together_and_an_epoch_has_each_image_once() {
    let mut loader = loader(Colours::new(23), config());
    assert_eq!(loader.steps_per_epoch(), 4);
    let all = batches(&mut loader, 8);
    for (i, batch) in all.iter().enumerate() {
        assert_eq!((batch.epoch as usize, batch.step_in_epoch), (i / 4, i % 4));
        assert_eq!(batch.views.iter().map(|v| v.size).collect::<Vec<_>>(), [3, 3, 4]);
        assert_eq!(batch.views[0].pixels.len(), 5 * 3 * 3 * 3);
        for (row, &index) in batch.indices.iter().enumerate() {
            assert_eq!(batch.labels[row], Some(index % 7));
            let image = &batch.views[2].pixels[row * 48..(row + 1) * 48];
            assert!(image.as_chunks::<3>().0.iter().all(|&pixel| pixel == colour(index)));
        }
    }
    let epoch = |e: usize| -> Vec<u32> {
        all[4 * e..4 * e + 4].iter().flat_map(|batch| batch.indices.clone()).collect()
    };
    for e in [0, 1] {
        let seen: HashSet<u32> = epoch(e).into_iter().filter(|&i| i < 23).collect();
        assert_eq!(seen.len(), 20);
    }
    assert_ne!(epoch(0), epoch(1));
    // Views of one kind differ from each other, and from epoch to epoch.
    assert_ne!(all[0].views[0], all[0].views[1]);
}

#[test]
fn neither_workers_nor_prefetch_nor_recycling_nor_resuming_change_a_batch() {
    let expected =
        batches(&mut loader(Colours::new(23), LoaderConfig { num_workers: 1, ..config() }), 10);
    for (num_workers, prefetch) in [(2, 1), (3, 7), (8, 0)] {
        let config = LoaderConfig { num_workers, prefetch, ..config() };
        let mut loader = loader(Colours::new(23), config);
        for batch in &expected {
            let got = loader.next_batch().unwrap();
            assert_eq!(got, *batch, "{num_workers} workers, prefetch {prefetch}");
            loader.recycle(got);
        }
    }
    for first in [1, 4, 7] {
        let source = Arc::new(Colours::new(23));
        let mut resumed = Loader::new(source, config(), first as u64).unwrap();
        assert_eq!(batches(&mut resumed, 3), expected[first..first + 3]);
    }
    let other = batches(&mut loader(Colours::new(23), LoaderConfig { seed: 12, ..config() }), 10);
    assert_ne!(other[0].indices, expected[0].indices);
}

#[test]
fn an_unreadable_image_ends_the_run_at_its_batch_by_name() {
    let order = {
        let mut order = Order::new(11, 23);
        order.of(0).to_vec()
    };
    let bad = order[12]; // in the third batch
    let mut loader = loader(Colours::bad(23, [bad as usize]), config());
    batches(&mut loader, 2);
    let error = loader.next_batch().unwrap_err().to_string();
    assert!(error.contains(&format!("colour-{bad}.png")), "{error}");
    assert!(matches!(loader.next_batch(), Err(Error::Stopped)));
}

#[test]
fn a_panic_comes_out_with_the_image_it_happened_on() {
    for num_workers in [1, 3] {
        let source = Colours { panics: Some(9), ..Colours::new(10) };
        let mut loader = loader(source, LoaderConfig { num_workers, ..config() });
        let error = (0..2).find_map(|_| loader.next_batch().err()).unwrap();
        let Error::Panicked { name, message } = error else { panic!("{error}") };
        assert_eq!(name, "colour-9.png");
        assert!(message.contains("told to"), "{message}");
    }
}

#[test]
fn bad_images_are_replaced_by_the_next_ones_and_counted_once() {
    let tolerant = LoaderConfig { max_bad_fraction: 0.25, ..config() };
    let clean = batches(&mut loader(Colours::new(20), tolerant.clone()), 8);
    // 19 is followed by 0, 6 by 8 as 7 is bad, too.
    let bad = [6, 7, 19];
    for num_workers in [1, 4] {
        let config = LoaderConfig { num_workers, ..tolerant.clone() };
        let mut loader = loader(Colours::bad(20, bad), config);
        for expected in &clean {
            let got = loader.next_batch().unwrap();
            for (row, (&got_index, &drawn)) in got.indices.iter().zip(&expected.indices).enumerate()
            {
                let replaced = match drawn {
                    6 | 7 => 8,
                    19 => 0,
                    good => good,
                };
                assert_eq!((got_index, got.labels[row]), (replaced, Some(replaced % 7)));
                assert_eq!(got.views[2].pixels[row * 48..][..3], colour(replaced));
            }
        }
        assert_eq!(loader.quarantined(), 3);
    }
}

/// Each image that cannot be read is told once, also the one too many; those that are known are counted and not told again.
#[test]
fn bad_images_are_told_once_by_name() {
    let config = || LoaderConfig { max_bad_fraction: 0.15, ..config() };
    let mut loader = self::loader(Colours::bad(20, [3, 9, 15]), config());
    let mut told = Vec::new();
    for _ in 0..12 {
        loader.next_batch().unwrap();
        told.extend(loader.take_quarantined());
    }
    told.sort_by_key(|image| image.index);
    assert_eq!(told.iter().map(|image| image.index).collect::<Vec<_>>(), [3, 9, 15]);
    let source = Colours::bad(20, [3]);
    let mut image = Image::default();
    let problem = source.load(3, &mut image).unwrap_err().to_string();
    assert_eq!((&told[0].name, &told[0].problem), (&source.name(3), &problem));

    let mut loader = self::loader(Colours::bad(20, [3, 9, 15]), config());
    loader.remember_quarantined([3, 9, 1000]);
    assert_eq!(loader.quarantined(), 2, "an image that is not there is none of this set");
    for _ in 0..12 {
        loader.next_batch().unwrap();
    }
    let told: Vec<_> = loader.take_quarantined().iter().map(|image| image.index).collect();
    assert_eq!(told, [15]);

    let mut loader = self::loader(Colours::bad(20, [3, 9, 15]), config());
    loader.remember_quarantined([0]);
    let error = (0..12).try_for_each(|_| loader.next_batch().map(|_| ())).unwrap_err();
    assert!(matches!(error, Error::TooManyBad { num_bad: 4, .. }), "{error}");
    assert_eq!(loader.take_quarantined().len(), 3, "the one too many as well");
}

#[test]
fn too_many_bad_images_end_the_run() {
    for (fraction, is_too_many) in [(0.15, false), (0.14, true)] {
        let config = LoaderConfig { max_bad_fraction: fraction, ..config() };
        let mut loader = loader(Colours::bad(20, [3, 9, 15]), config);
        let result = (0..4).try_for_each(|_| loader.next_batch().map(|_| ()));
        assert_eq!(result.is_err(), is_too_many);
        if let Err(error) = result {
            assert!(
                matches!(error, Error::TooManyBad { num_bad: 3, num_images: 20, .. }),
                "{error}"
            );
        }
    }
    let config = LoaderConfig { max_bad_fraction: 1.0, ..config() };
    let mut loader = loader(Colours::bad(5, 0..5), config);
    assert!(loader.next_batch().unwrap_err().to_string().contains("told to fail"));
}

#[test]
fn prefetch_bounds_the_work_done_ahead_and_dropping_stops_it() {
    let source = Arc::new(Colours::new(1000));
    let shared: Arc<dyn Source> = source.clone();
    let mut loader = Loader::new(shared, LoaderConfig { prefetch: 3, ..config() }, 0).unwrap();
    batches(&mut loader, 4);
    drop(loader);
    // Four batches taken and three more begun, of five images each.
    assert!(source.num_loads.load(Ordering::Relaxed) <= 35);
    assert_eq!(Arc::strong_count(&source), 1, "a worker is still there");
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |change: &dyn Fn(&mut LoaderConfig), words: &str| {
        let mut config = config();
        change(&mut config);
        let error = Loader::new(Arc::new(Colours::new(23)), config, 0).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(&|c| c.batch_size = 0, "batch size");
    refused(&|c| c.batch_size = 24, "training set of 23 images; use at most 23");
    refused(&|c| c.views.clear(), "views");
    refused(&|c| c.max_bad_fraction = f64::NAN, "max_bad_fraction");
    refused(&|c| c.num_workers = 1 << 20, "workers");
    refused(&|c| c.world_size = 0, "world size is 0");
    refused(&|c| c.world_size = 2, "world size is 2; expected a divisor of the batch size, 5");
    refused(&|c| c.rank = 1, "rank is 1; expected less than the world size, 1");
    refused(&|c| (c.world_size, c.rank) = (5, 5), "rank is 5; expected less than");
    refused(&|c| c.views[0].size = 0, "size of view");
    refused(&|c| c.views[0].count = 0, "count of view");
    refused(&|c| c.views[0].scale = [0.0, 1.0], "scale of view");
    refused(&|c| c.views[0].scale = [0.5, f32::NAN], "scale of view");
    refused(&|c| c.views[0].ratio = [2.0, 1.0], "ratio of view");
    refused(&|c| c.views[0].flip = 1.5, "flip of view");
    refused(&|c| c.views[0].hue = 0.6, "hue of view");
    refused(&|c| c.views[0].brightness = -0.1, "brightness of view");
    refused(&|c| c.views[0].blur_sigma = [0.0, 1.0], "blur sigma of view");
    let whole = LoaderConfig { batch_size: 23, ..config() };
    assert_eq!(loader(Colours::new(23), whole).next_batch().unwrap().indices.len(), 23);
}

/// Views by index, for batches of any size.
fn by_index(batches: &[Batch], epoch: u32) -> BTreeMap<u32, Vec<Vec<u8>>> {
    let rows = |batch: &Batch| -> Vec<(u32, Vec<Vec<u8>>)> {
        let view = |crops: &Crops, row: usize| {
            let size = crops.size * crops.size * 3;
            crops.pixels[row * size..][..size].to_vec()
        };
        let of = |row| batch.views.iter().map(|crops| view(crops, row)).collect();
        batch.indices.iter().enumerate().map(|(row, &index)| (index, of(row))).collect()
    };
    batches.iter().filter(|batch| batch.epoch == epoch).flat_map(rows).collect()
}

#[test]
fn examples_are_what_an_epoch_begins_with() {
    let source = Colours::bad(23, [7, 8]);
    let config = LoaderConfig { max_bad_fraction: 0.5, ..config() };
    let loaded = batches(&mut loader(Colours::bad(23, [7, 8]), config.clone()), 12);
    for epoch in 0..3 {
        let first: Vec<u32> =
            loaded.iter().filter(|b| b.epoch == epoch).flat_map(|b| b.indices.clone()).collect();
        let mut views = by_index(&loaded, epoch);
        let found: Vec<_> = examples(&source, &config, epoch, 20).unwrap().collect();
        assert_eq!(found.len(), 20);
        let mut num_compared = 0;
        for (example, expected) in found.into_iter().zip(first) {
            let example = example.unwrap();
            assert_eq!((example.index, example.label), (expected, Some(expected % 7)));
            assert_eq!(example.name, format!("colour-{expected}.png"));
            let image = &example.image.pixels;
            assert!(image.as_chunks::<3>().0.iter().all(|&pixel| pixel == colour(expected)));
            // Image 9 may be there twice, also in the place of another: the map has one of them.
            if expected != 9
                && let Some(views) = views.remove(&expected)
            {
                let got: Vec<_> = example.views.into_iter().map(|v| v.image.pixels).collect();
                assert!(got == views, "image {expected} in epoch {epoch}");
                num_compared += 1;
            }
        }
        assert!(num_compared >= 17, "{num_compared}");
    }
    assert_eq!(examples(&source, &config, 0, 100).unwrap().count(), 23);
}

#[test]
fn an_example_that_cannot_be_loaded_is_an_error_and_the_next_one_comes() {
    let failing = Colours { panics: Some(3), ..Colours::bad(4, [1]) };
    let found: Vec<_> = examples(&failing, &config(), 0, 4).unwrap().collect();
    let errors: Vec<_> = found.iter().filter_map(|e| e.as_ref().err()).collect();
    assert_eq!((found.len(), errors.len()), (4, 2));
    let text: String = errors.iter().map(ToString::to_string).collect();
    assert!(text.contains("colour-1.png: told to fail"), "{text}");
    assert!(text.contains("loading colour-3.png panicked"), "{text}");
    let none = LoaderConfig { views: vec![], ..config() };
    assert!(examples(&Colours::new(4), &none, 0, 1).is_err());
}
