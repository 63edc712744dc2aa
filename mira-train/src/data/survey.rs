//! What a set holds: how many images of which classes and sizes, and whether each can be decoded.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::{Error, Image, Source, checked, exif};

/// What was found in one part of a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// All of them.
    pub num_images: usize,
    /// Those without a class.
    pub num_unlabelled: usize,
    /// Images of each class.
    pub class_counts: Vec<usize>,
    /// Bytes of all images as they are stored; `None` where the source does not know.
    pub num_bytes: Option<u64>,
    /// Images that were decoded, or should have been: all, or those of a sample.
    pub num_examined: usize,
    /// Of those, JPEG files that say by EXIF that they are to be turned or mirrored, which is not done, as in torchvision.
    pub num_turned: usize,
    /// Of those that could be decoded; `None` if there was none.
    pub sizes: Option<Sizes>,
    /// Those that could not, in order.
    pub corrupt: Vec<Corrupt>,
}

/// Width and height of images, by their number of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of the one with the fewest pixels.
    pub smallest: (usize, usize),
    /// Of the one in the middle, the larger of two.
    pub median: (usize, usize),
    /// Of the one with the most pixels.
    pub largest: (usize, usize),
}

/// An image that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Which image of the source.
    pub index: usize,
    /// Its file or position.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Looks at a source with all threads: decodes every image or, with `sample`, as many as that, evenly spaced. `done` is called after
/// each image.
pub fn survey(source: &dyn Source, sample: Option<usize>, done: &(dyn Fn() + Sync)) -> Survey {
    let num_images = source.len();
    let num_examined = sample.map_or(num_images, |n| n.min(num_images));
    let num_turned = AtomicUsize::new(0);
    let examined: Vec<Result<(usize, usize), Corrupt>> = (0..num_examined)
        .into_par_iter()
        .map_init(<(Image, Vec<u8>)>::default, |(image, file), i| {
            let index = i * num_images / num_examined;
            let result = examine(source, index, image);
            // Read a second time, from the system's memory: decoding takes much longer.
            if result.is_ok()
                && source.encoded(index, file).unwrap_or(false)
                && exif::orientation(file).is_some_and(|orientation| orientation != 1)
            {
                num_turned.fetch_add(1, Ordering::Relaxed);
            }
            done();
            result
        })
        .collect();
    let (mut sizes, mut corrupt) = (Vec::new(), Vec::new());
    for result in examined {
        match result {
            Ok(size) => sizes.push(size),
            Err(found) => corrupt.push(found),
        }
    }
    let mut class_counts = vec![0; source.num_classes().unwrap_or(0)];
    let mut num_unlabelled = 0;
    for index in 0..num_images {
        match source.label(index).and_then(|label| class_counts.get_mut(label as usize)) {
            Some(count) => *count += 1,
            None => num_unlabelled += 1,
        }
    }
    Survey {
        num_images,
        num_unlabelled,
        class_counts,
        num_bytes: num_bytes(source),
        num_examined,
        num_turned: num_turned.into_inner(),
        sizes: Sizes::of(sizes),
        corrupt,
    }
}

fn examine(
    source: &dyn Source,
    index: usize,
    image: &mut Image,
) -> Result<(usize, usize), Corrupt> {
    let loaded = checked::load_caught(source, index, image);
    loaded.map(|()| (image.width, image.height)).map_err(|error| Corrupt {
        index,
        name: checked::name(source, index),
        reason: match error {
            Error::Image { problem, .. } => problem,
            Error::Unreadable { source, .. } => format!("it cannot be read: {source}"),
            Error::Panicked { message, .. } => format!("decoding it panicked: {message}"),
            other => other.to_string(),
        },
    })
}

/// The sum over the images whose size is known, if there is any: one that is gone has none.
fn num_bytes(source: &dyn Source) -> Option<u64> {
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    };
    (0..source.len()).into_par_iter().map(|i| source.num_bytes(i)).reduce(|| None, sum)
}

impl Sizes {
    fn of(mut sizes: Vec<(usize, usize)>) -> Option<Self> {
        sizes.sort_unstable_by_key(|&(width, height)| (width * height, width));
        let median = *sizes.get(sizes.len() / 2)?;
        Some(Self { smallest: *sizes.first()?, median, largest: *sizes.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image `i` is `i + 1` pixels wide, of class `i % 3` or (every fourth) of none; some cannot be loaded in one way or another.
    struct Strips(usize);

    impl Source for Strips {
        fn len(&self) -> usize {
            self.0
        }

        fn num_classes(&self) -> Option<usize> {
            Some(3)
        }

        fn class_names(&self) -> &[String] {
            &[]
        }

        fn label(&self, index: usize) -> Option<u32> {
            (index % 4 != 3).then_some(index as u32 % 3)
        }

        fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
            into.reshape(index + 1, 2);
            match index {
                2 => Err(Error::image(self.name(index), "told to fail")),
                5 => panic!("told to panic"),
                6 => {
                    into.pixels.pop();
                    Ok(())
                }
                _ => Ok(()),
            }
        }

        fn name(&self, index: usize) -> String {
            format!("strip {index}")
        }

        fn num_bytes(&self, index: usize) -> Option<u64> {
            (index != 5).then_some(10)
        }
    }

    #[test]
    fn every_image_is_counted_and_the_corrupt_ones_are_named() {
        let num_done = AtomicUsize::new(0);
        let found = survey(&Strips(10), None, &|| {
            num_done.fetch_add(1, Ordering::Relaxed);
        });
        let corrupt = |index, reason: &str| Corrupt {
            index,
            name: format!("strip {index}"),
            reason: reason.into(),
        };
        let expected = Survey {
            num_images: 10,
            num_unlabelled: 2,
            class_counts: vec![3, 2, 3],
            num_bytes: Some(90),
            num_examined: 10,
            num_turned: 0,
            sizes: Some(Sizes { smallest: (1, 2), median: (5, 2), largest: (10, 2) }),
            corrupt: vec![
                corrupt(2, "told to fail"),
                corrupt(5, "decoding it panicked: told to panic"),
                corrupt(6, "it has 41 bytes of pixels, not 42"),
            ],
        };
        assert_eq!((found, num_done.into_inner()), (expected, 10));
    }

    #[test]
    fn a_sample_is_spread_evenly() {
        let found = survey(&Strips(1000), Some(4), &|| ());
        assert_eq!((found.num_images, found.num_examined), (1000, 4));
        let sizes = Sizes { smallest: (1, 2), median: (501, 2), largest: (751, 2) };
        assert_eq!((found.sizes, found.corrupt), (Some(sizes), vec![]));
        assert_eq!(survey(&Strips(3), Some(4), &|| ()).num_examined, 3);
    }
}
