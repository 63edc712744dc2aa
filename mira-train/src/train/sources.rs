//! A recipe's images: which sets, which views.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::{Error, NumImages};
use crate::data::classes::{has_classes_of, with_classes_of};
use crate::data::forward::forward;
use crate::data::{
    self, Format, Image, Labels, Loader, LoaderConfig, Source, Split, Subset, ViewSpec,
};
use crate::eval::knn;
use crate::recipe::{self, Recipe};

/// Training and test images of a recipe.
#[derive(Clone)]
pub struct Sources {
    /// Trained on; also the neighbours and the training set of evaluations, where labelled.
    pub train: Arc<dyn Source>,
    /// Evaluated on; `None` where the data has no labelled test split.
    pub test: Option<Arc<dyn Source>>,
    /// Why there is none.
    pub no_test: Option<String>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let test = self.test.as_ref().map(|test| test.len());
        let Self { train, no_test, .. } = self;
        f.debug_struct("Sources")
            .field("train", &train.len())
            .field("test", &test)
            .field("no_test", no_test)
            .finish()
    }
}

impl Sources {
    /// Opens what a recipe names.
    ///
    /// # Errors
    /// Data that is not there or cannot be read.
    pub fn open(settings: &recipe::Data) -> Result<Self, Error> {
        let train = open_split(settings, Split::Train)?;
        if train.num_classes().is_none() {
            let no_test = Some("the images have no labels".into());
            return Ok(Self { train, test: None, no_test });
        }
        match open_split(settings, Split::Test) {
            Ok(test) if has_classes_of(&*test, &*train) => {
                let test = Some(with_classes_of(test, &train));
                Ok(Self { train, test, no_test: None })
            }
            Ok(test) => {
                let problem = match test.num_classes() {
                    Some(_) => "the test images have other classes than the training images",
                    None => "the test images have no labels",
                };
                Ok(Self { train, test: None, no_test: Some(problem.into()) })
            }
            Err(error @ (data::Error::NotRecognised { .. } | data::Error::Inconsistent { .. })) => {
                Ok(Self { train, test: None, no_test: Some(error.to_string()) })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens one part of what a recipe names: its classes, with the labels that may be used, and as many images of it as it uses.
///
/// # Errors
/// Those of [`data::open`] and [`data::Subset::of`].
pub fn open_split(settings: &recipe::Data, split: Split) -> Result<Arc<dyn Source>, data::Error> {
    if settings.source == Format::Auto && settings.path.is_none() {
        let problem = "give the path of the data (run and eval: with --data)";
        return Err(data::Error::Format { format: settings.source.name(), problem });
    }
    let source = data::open(settings.source, settings.path.as_deref(), split)?;
    let is_sorted = is_sorted_by_class(&*source);
    let Subset { classes, labels } = settings.subset();
    let (list, share) = match labels {
        Some(Labels::Fraction(_)) => (None, labels),
        _ => (labels, None),
    };
    let source = Subset { classes, labels: list }.of(source, split)?;
    let max = if split == Split::Train { settings.max_train } else { settings.max_test };
    // A share is of the images that are used.
    Subset { classes: None, labels: share }.of(limited(source, max, is_sorted), split)
}

/// As many images as a recipe uses: the first ones, but of a set that is sorted by class evenly spaced ones, since the first would be of a
/// few classes.
fn limited(source: Arc<dyn Source>, max: Option<usize>, is_sorted: bool) -> Arc<dyn Source> {
    match max {
        Some(len) if len < source.len() && is_sorted => Arc::new(Spaced { source, len }),
        Some(len) if len < source.len() => Arc::new(First { source, len }),
        _ => source,
    }
}

/// Whether images of one class lie together, as in folders, so that the first ones say little of the others.
fn is_sorted_by_class(source: &dyn Source) -> bool {
    let labels = (0..source.len()).filter_map(|index| source.label(index));
    source.num_classes().is_some_and(|num_classes| num_classes > 1) && labels.is_sorted()
}

/// Of how many classes the labelled images of a set are.
pub fn num_classes_used(source: &dyn Source) -> usize {
    let mut is_used = vec![false; source.num_classes().unwrap_or(0)];
    for label in (0..source.len()).filter_map(|index| source.label(index)) {
        if let Some(is_used) = is_used.get_mut(label as usize) {
            *is_used = true;
        }
    }
    is_used.into_iter().filter(|is_used| *is_used).count()
}

/// What there is to say of classes that a set has and none of whose images are used.
pub(super) fn missing_classes(sources: &Sources) -> Vec<String> {
    let sets = [("training", "data.max_train", Some(&sources.train))].into_iter();
    let sets = sets.chain([("test", "data.max_test", sources.test.as_ref())]);
    let of = |(name, key, source): (&str, &str, Option<&Arc<dyn Source>>)| {
        let source = source?;
        let (used, all) = (num_classes_used(&**source), source.num_classes()?);
        (used < all).then(|| {
            format!("the labelled {name} images are of {used} of {all} classes; raise {key}, or leave the others out with data.classes")
        })
    };
    sets.filter_map(of).collect()
}

/// The first images of a set.
struct First {
    source: Arc<dyn Source>,
    len: usize,
}

impl Source for First {
    fn len(&self) -> usize {
        self.len
    }

    forward!(num_classes class_names label load encoded name relative_path num_bytes);
}

/// Images of a set at equal distances: of every class nearly the same share.
struct Spaced {
    source: Arc<dyn Source>,
    len: usize,
}

impl Spaced {
    /// Its place in the whole set.
    fn place(&self, index: usize) -> usize {
        // Sets have fewer than 2^32 images.
        let place = index as u128 * self.source.len() as u128 / self.len as u128;
        usize::try_from(place).unwrap_or(usize::MAX)
    }
}

impl Source for Spaced {
    fn len(&self) -> usize {
        self.len
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.source.label(self.place(index))
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), data::Error> {
        self.source.load(self.place(index), into)
    }

    fn encoded(&self, index: usize, into: &mut Vec<u8>) -> Result<bool, data::Error> {
        self.source.encoded(self.place(index), into)
    }

    fn name(&self, index: usize) -> String {
        self.source.name(self.place(index))
    }

    fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
        self.source.relative_path(self.place(index))
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        self.source.num_bytes(self.place(index))
    }

    forward!(num_classes class_names);
}

/// The views of a recipe as the augmentation takes them.
pub fn view_specs(recipe: &Recipe) -> Vec<ViewSpec> {
    let spec = |view: &recipe::View| ViewSpec {
        name: view.name.clone(),
        count: view.count,
        size: view.size,
        scale: view.scale,
        ratio: view.ratio,
        interpolation: view.interpolation,
        flip: view.flip,
        jitter: view.jitter.probability,
        brightness: view.jitter.brightness,
        contrast: view.jitter.contrast,
        saturation: view.jitter.saturation,
        hue: view.jitter.hue,
        grayscale: view.grayscale,
        blur: view.blur.probability,
        blur_sigma: view.blur.sigma,
        solarize: view.solarize.probability,
        solarize_threshold: view.solarize.threshold,
    };
    recipe.views.iter().map(spec).collect()
}

/// How a recipe's batches are made.
pub fn loader_config(recipe: &Recipe) -> LoaderConfig {
    LoaderConfig {
        batch_size: recipe.train.batch_size,
        seed: recipe.train.seed,
        num_workers: recipe.data.num_workers,
        prefetch: recipe.data.prefetch,
        views: view_specs(recipe),
        max_bad_fraction: recipe.data.max_bad_fraction,
        read_timeout: read_timeout(recipe),
        ..LoaderConfig::default()
    }
}

/// How long an image is waited for; `None` for ever.
pub(super) fn read_timeout(recipe: &Recipe) -> Option<Duration> {
    let seconds = recipe.data.read_timeout;
    // More than can be counted is for ever.
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// Checks a recipe's batch and neighbours against its images; the steps of an epoch.
///
/// # Errors
/// A batch larger than the set, more neighbours than labelled training images.
pub fn check_images(recipe: &Recipe, sources: &Sources) -> Result<u64, Error> {
    if sources.test.is_some() {
        let num_labelled = NumImages::of(sources).labelled;
        knn::check_num_neighbours(recipe.eval.knn_neighbours, num_labelled)?;
    }
    Ok(loader(recipe, sources, 0)?.steps_per_epoch() as u64)
}

/// The loader of a recipe's batches, from a step on.
///
/// # Errors
/// A batch larger than the set.
pub fn loader(recipe: &Recipe, sources: &Sources, first_step: u64) -> Result<Loader, Error> {
    Ok(Loader::new(Arc::clone(&sources.train), loader_config(recipe), first_step)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many images as labels.
    struct Labelled(Vec<u32>);

    /// Classes by their names.
    struct Named(Vec<String>);

    impl Source for Named {
        fn len(&self) -> usize {
            1
        }

        fn num_classes(&self) -> Option<usize> {
            (!self.0.is_empty()).then_some(self.0.len())
        }

        fn class_names(&self) -> &[String] {
            &self.0
        }

        fn label(&self, _: usize) -> Option<u32> {
            Some(0)
        }

        fn load(&self, _: usize, into: &mut Image) -> Result<(), data::Error> {
            into.reshape(1, 1);
            Ok(())
        }

        fn name(&self, index: usize) -> String {
            index.to_string()
        }
    }

    #[test]
    fn test_images_may_lack_classes_of_the_training_images() {
        let set = |names: &[&str]| -> Arc<dyn Source> {
            Arc::new(Named(names.iter().map(ToString::to_string).collect()))
        };
        let fits = |train: &[&str], test: &[&str]| has_classes_of(&*set(test), &*set(train));
        assert!(fits(&["0", "1", "2"], &["0", "1"]) && fits(&["a", "b"], &["a", "b"]));
        // Without names on one side, numbers are all there is.
        assert!(fits(&["a", "b"], &["0"]) && fits(&["0", "1"], &["a", "b"]));
        assert!(!fits(&["0", "1"], &["0", "1", "2"]) && !fits(&["a", "b"], &["b", "a"]));
        assert!(!fits(&["a", "b"], &["b"]) && !fits(&["a"], &[]) && !fits(&[], &["0"]));
        let train = set(&["0", "1", "2"]);
        let test = with_classes_of(set(&["0", "1"]), &train);
        assert_eq!((test.num_classes(), test.class_names()), (Some(3), train.class_names()));
    }

    /// Labels without names go as far as those that a split has.
    #[test]
    fn test_images_without_one_of_the_last_class_are_evaluated_on() {
        let root = tempfile::tempdir().unwrap();
        for (part, labels) in [("train", &[0_u8, 2, 1][..]), ("t10k", &[1, 0])] {
            let n = u8::try_from(labels.len()).unwrap();
            let file = |kind: &str, head: &[u8], bytes: &[u8]| {
                let path = root.path().join(format!("{part}-{kind}-ubyte"));
                std::fs::write(path, [head, bytes].concat()).unwrap();
            };
            file("images-idx3", &[0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 1, 0, 0, 0, 1], labels);
            file("labels-idx1", &[0, 0, 8, 1, 0, 0, 0, n], labels);
        }
        let recipe = Recipe::builtin("default").unwrap();
        let path = Some(root.path().into());
        let settings = recipe::Data { source: Format::Idx, path, ..recipe.data };
        let sources = Sources::open(&settings).unwrap();
        assert_eq!(sources.no_test, None);
        let test = sources.test.unwrap();
        assert_eq!((test.len(), test.num_classes(), test.label(0)), (2, Some(3), Some(1)));
    }

    impl Source for Labelled {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn num_classes(&self) -> Option<usize> {
            Some(3)
        }

        fn class_names(&self) -> &[String] {
            &[]
        }

        fn label(&self, index: usize) -> Option<u32> {
            self.0.get(index).copied()
        }

        fn load(&self, index: usize, into: &mut Image) -> Result<(), data::Error> {
            into.reshape(index + 1, 1);
            Ok(())
        }

        fn name(&self, index: usize) -> String {
            index.to_string()
        }
    }

    fn used(labels: &[u32], max: usize) -> (Vec<String>, usize) {
        let source: Arc<dyn Source> = Arc::new(Labelled(labels.to_vec()));
        let is_sorted = is_sorted_by_class(&*source);
        let part = limited(source, Some(max), is_sorted);
        let mut image = Image::default();
        for index in 0..part.len() {
            part.load(index, &mut image).unwrap();
            assert_eq!((image.width - 1).to_string(), part.name(index));
            assert_eq!(part.label(index), Some(labels[image.width - 1]));
        }
        ((0..part.len()).map(|i| part.name(i)).collect(), num_classes_used(&*part))
    }

    #[test]
    fn of_a_set_sorted_by_class_images_of_all_classes_are_used() {
        assert_eq!(
            used(&[0, 0, 0, 1, 1, 1, 2, 2, 2], 4),
            (["0", "2", "4", "6"].map(String::from).into(), 3)
        );
        // Of others the first ones, as before.
        assert_eq!(
            used(&[1, 0, 1, 2, 0, 2, 1, 0, 2], 3),
            (["0", "1", "2"].map(String::from).into(), 2)
        );
        assert_eq!(used(&[0, 1, 2], 3).0.len(), 3);
    }

    #[test]
    fn the_embedded_images_that_are_used_stay_the_first() {
        let recipe = Recipe::builtin("default").unwrap();
        let settings = recipe::Data { max_train: Some(240), ..recipe.data };
        let part = open_split(&settings, Split::Train).unwrap();
        let all = data::open(Format::Embedded, None, Split::Train).unwrap();
        assert!((0..240).all(|i| part.name(i) == all.name(i) && part.label(i) == all.label(i)));
    }

    #[test]
    fn classes_that_are_missing_are_told() {
        let set = |labels: &[u32]| -> Arc<dyn Source> { Arc::new(Labelled(labels.to_vec())) };
        let sources = |train: &[u32]| Sources {
            train: set(train),
            test: Some(set(&[2, 1, 0])),
            no_test: None,
        };
        assert_eq!(missing_classes(&sources(&[0, 1, 2])), [""; 0]);
        let told = missing_classes(&sources(&[1, 0]));
        assert!(told.len() == 1 && told[0].contains("2 of 3 classes"), "{told:?}");
        assert!(told[0].contains("data.max_train"), "{told:?}");
    }
}
