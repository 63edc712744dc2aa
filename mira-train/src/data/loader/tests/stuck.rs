//! Reads that do not end: whoever waits for one gets an error with the image's name, and is rid of the loader at once.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use super::*;
use crate::data::{EvaluationConfig, evaluation_images};

/// As [`Colours`], but one image is not read before the gate opens, and all take a while.
struct Gated {
    colours: Colours,
    stuck: Option<usize>,
    is_open: Mutex<bool>,
    gate: Condvar,
    delay: Duration,
}

impl Gated {
    fn new(len: usize, stuck: Option<usize>, delay: Duration) -> Arc<Self> {
        let colours = Colours::new(len);
        Arc::new(Self { colours, stuck, is_open: Mutex::default(), gate: Condvar::new(), delay })
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.gate.notify_all();
    }
}

impl Source for Gated {
    fn len(&self) -> usize {
        self.colours.len()
    }

    fn num_classes(&self) -> Option<usize> {
        self.colours.num_classes()
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.colours.label(index)
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        if self.stuck == Some(index) {
            let is_open = self.is_open.lock().unwrap();
            drop(self.gate.wait_while(is_open, |is_open| !*is_open).unwrap());
        }
        std::thread::sleep(self.delay);
        self.colours.load(index, into)
    }

    fn name(&self, index: usize) -> String {
        self.colours.name(index)
    }
}

const LIMIT: Duration = Duration::from_millis(300);
/// Much longer than the limit, much shorter than the patience of a loader that is dropped.
const SOON: Duration = Duration::from_secs(5);

/// Waits until nobody holds the source any more.
fn is_given_back(source: &Arc<Gated>) -> bool {
    let until = Instant::now() + SOON;
    while Arc::strong_count(source) > 1 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    Arc::strong_count(source) == 1
}

fn is_stuck(error: &Error) -> bool {
    let text = error.to_string();
    assert!(text.contains("300ms") && text.contains("data.read_timeout"), "{text}");
    matches!(error, Error::Stuck { name, .. } if name == "colour-4.png")
}

#[test]
fn an_image_that_is_not_read_in_time_ends_the_loader_by_name_and_its_thread_is_left_alone() {
    for num_workers in [1, 3] {
        let source = Gated::new(10, Some(4), Duration::ZERO);
        let config = LoaderConfig { num_workers, read_timeout: Some(LIMIT), ..config() };
        let started = Instant::now();
        let mut loader = Loader::new(source.clone(), config, 0).unwrap();
        let error = (0..2).find_map(|_| loader.next_batch().err()).unwrap();
        assert!(is_stuck(&error), "{error}");
        assert!(matches!(loader.next_batch(), Err(Error::Stopped)));
        drop(loader);
        let elapsed = started.elapsed();
        assert!((LIMIT..SOON).contains(&elapsed), "{elapsed:?}");
        assert!(Arc::strong_count(&source) > 1, "the thread is still at it");
        source.open();
        assert!(is_given_back(&source), "the thread does not end with its read");
    }
}

#[test]
fn an_evaluation_ends_as_well() {
    let source = Gated::new(10, Some(4), Duration::ZERO);
    let shared: Arc<dyn Source> = source.clone();
    let config = EvaluationConfig {
        batch_size: 3,
        max_bad_fraction: 1.0,
        read_timeout: Some(LIMIT),
        ..EvaluationConfig::new(4)
    };
    let started = Instant::now();
    let mut images = evaluation_images(&shared, config).unwrap();
    assert!(images.next().unwrap().is_ok());
    let error = images.next().unwrap().unwrap_err();
    assert!(is_stuck(&error) && images.next().is_none(), "{error}");
    drop((images, shared));
    assert!(started.elapsed() < SOON);
    source.open();
    assert!(is_given_back(&source));
}

/// What counts is an image, not a batch.
#[test]
fn images_that_are_slow_are_waited_for() {
    let source = Gated::new(10, None, LIMIT / 3);
    let config = LoaderConfig { num_workers: 1, read_timeout: Some(LIMIT), ..config() };
    let mut loader = Loader::new(source, config, 0).unwrap();
    let started = Instant::now();
    loader.next_batch().unwrap();
    assert!(started.elapsed() > LIMIT);
}

/// Nobody waits for what is thrown away: a piece of ten slow images is given up after the one in hand.
#[test]
fn a_loader_that_is_dropped_ends_with_the_image_in_hand() {
    let source = Gated::new(20, None, LIMIT / 3);
    let config = LoaderConfig { batch_size: 20, num_workers: 1, ..config() };
    let loader = Loader::new(source.clone(), config, 0).unwrap();
    std::thread::sleep(LIMIT / 6);
    drop(loader);
    assert_eq!(Arc::strong_count(&source), 1);
    assert!(source.colours.num_loads.load(Ordering::Relaxed) <= 3);
}

#[test]
fn without_a_limit_an_image_is_waited_for() {
    let source = Gated::new(10, Some(4), Duration::ZERO);
    let mut loader = Loader::new(source.clone(), config(), 0).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (0..2).try_for_each(|_| loader.next_batch().map(|_| ())));
        std::thread::sleep(2 * LIMIT);
        assert!(!waiting.is_finished());
        source.open();
        waiting.join().unwrap().unwrap();
    });
}
