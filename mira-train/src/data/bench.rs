//! How fast images become views, by stage and by number of threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::augment::Stage;
use super::{Augmenter, Error, Image, Loader, LoaderConfig, Source, ViewSpec};
use crate::rng::{Purpose, Rng};

/// What one thread's time goes into, for all images measured; in the thread's own processor time, which other programs do not add to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageTimes {
    /// Images measured.
    pub num_images: usize,
    /// Pixels of them all.
    pub num_pixels: u64,
    /// Reading and decoding.
    pub load: Duration,
    /// Cropping and resampling to each view's size.
    pub resize: Duration,
    /// Colour jitter and greyscale.
    pub colour: Duration,
    /// Gaussian blur.
    pub blur: Duration,
    /// Solarisation, flip, and drawing the parameters.
    pub rest: Duration,
}

impl StageTimes {
    /// Each stage with its name.
    pub const fn stages(&self) -> [(&'static str, Duration); 5] {
        [
            ("read, decode", self.load),
            ("crop, resize", self.resize),
            ("colour", self.colour),
            ("blur", self.blur),
            ("rest", self.rest),
        ]
    }

    /// All stages together.
    pub fn total(&self) -> Duration {
        self.stages().iter().map(|(_, time)| *time).sum()
    }

    /// Images a second of one thread, with all their views.
    pub fn images_per_second(&self) -> f64 {
        self.num_images as f64 / self.total().as_secs_f64()
    }
}

/// Loads images in a shuffled order and makes their views, as a worker does, until `budget` is used up; at least one.
///
/// # Errors
/// The first image that cannot be read.
pub fn measure_stages(
    source: &dyn Source,
    views: &[ViewSpec],
    seed: u64,
    budget: Duration,
) -> Result<StageTimes, Error> {
    views.iter().try_for_each(ViewSpec::validate)?;
    let mut order: Vec<u32> = (0..source.len() as u32).collect();
    Rng::new(seed, Purpose::Shuffle, [0; 3]).shuffle(&mut order);
    let specs = || views.iter().flat_map(|spec| std::iter::repeat_n(spec, spec.count));
    let mut out: Vec<Vec<u8>> = specs().map(|spec| vec![0; spec.size * spec.size * 3]).collect();
    let (mut image, mut augmenter) = (Image::default(), Augmenter::default());
    let mut times = StageTimes::default();
    let started = Instant::now();
    // The first image makes the buffers grow, and does not count.
    let mut is_first = true;
    for &index in order.iter().cycle() {
        let before = times;
        let mut last = cpu_time();
        let mut lap = |stage: &mut Duration| {
            let now = cpu_time();
            *stage += now.saturating_sub(last);
            last = now;
        };
        source.load(index as usize, &mut image)?;
        lap(&mut times.load);
        for (number, (spec, view)) in (0..).zip(specs().zip(&mut out)) {
            let mut rng = Rng::new(seed, Purpose::Augment, [0, index, number]);
            augmenter.view_in_stages(&image, spec, &mut rng, view, |stage| {
                lap(match stage {
                    Stage::Resize => &mut times.resize,
                    Stage::Colour => &mut times.colour,
                    Stage::Blur => &mut times.blur,
                    Stage::Rest => &mut times.rest,
                });
            });
        }
        times.num_images += 1;
        times.num_pixels += (image.width * image.height) as u64;
        if std::mem::take(&mut is_first) {
            times = before;
        } else if started.elapsed() >= budget {
            return Ok(times);
        }
    }
    Ok(times)
}

/// Images a second, by the clock, of a loader with `num_workers` threads that is asked for batch after batch for `budget`.
///
/// # Errors
/// Those of a [`Loader`].
pub fn measure_loader(
    source: &Arc<dyn Source>,
    views: &[ViewSpec],
    seed: u64,
    num_workers: usize,
    budget: Duration,
) -> Result<f64, Error> {
    let batch_size = source.len().min(16 * num_workers);
    let config = LoaderConfig {
        batch_size,
        seed,
        num_workers,
        prefetch: 4,
        views: views.to_vec(),
        ..LoaderConfig::default()
    };
    let mut loader = Loader::new(Arc::clone(source), config, 0)?;
    let mut next = || -> Result<(), Error> {
        let batch = loader.next_batch()?;
        loader.recycle(batch);
        Ok(())
    };
    // Until all threads have their buffers.
    next()?;
    let started = Instant::now();
    let mut num_images = 0;
    loop {
        next()?;
        num_images += batch_size;
        let elapsed = started.elapsed();
        if elapsed >= budget {
            return Ok(num_images as f64 / elapsed.as_secs_f64());
        }
    }
}

/// What this thread has used of a processor.
#[cfg(unix)]
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// The clock, where the system does not tell.
#[cfg(not(unix))]
fn cpu_time() -> Duration {
    use std::sync::LazyLock;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Format, Split, open};

    fn views() -> Vec<ViewSpec> {
        let global = ViewSpec { size: 28, jitter: 1.0, hue: 0.1, blur: 1.0, ..ViewSpec::default() };
        vec![global, ViewSpec { count: 2, size: 12, ..ViewSpec::default() }]
    }

    #[test]
    fn every_stage_is_measured_and_nothing_twice() {
        let source = open(Format::Embedded, None, Split::Train).unwrap();
        let (clock, cpu) = (Instant::now(), cpu_time());
        let times = measure_stages(&*source, &views(), 3, Duration::from_millis(200)).unwrap();
        let (clock, cpu) = (clock.elapsed(), cpu_time().saturating_sub(cpu));
        assert!(times.num_images > 10, "{times:?}");
        assert_eq!(times.num_pixels, 784 * times.num_images as u64);
        assert!(times.stages().iter().all(|(_, time)| !time.is_zero()), "{times:?}");
        assert!(times.total() <= cpu && cpu <= clock + Duration::from_millis(1), "{times:?}");
        let rate = times.num_images as f64 / times.total().as_secs_f64();
        assert!((times.images_per_second() - rate).abs() < 1e-9 * rate);
    }

    #[test]
    fn loaders_of_any_number_of_threads_are_measured() {
        let source = open(Format::Embedded, None, Split::Train).unwrap();
        for num_workers in [1, 3] {
            let rate = measure_loader(&source, &views(), 3, num_workers, Duration::from_millis(50));
            assert!(rate.unwrap() > 0.0);
        }
    }
}
