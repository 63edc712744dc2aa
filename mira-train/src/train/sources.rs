//! A recipe's images: which sets, which views.

use std::sync::Arc;
use std::time::Duration;

use super::{Error, NumImages};
use crate::data::forward::forward;
use crate::data::{self, Format, Labels, Loader, LoaderConfig, Source, Split, Subset, ViewSpec};
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
        let format = settings.source;
        let path = settings.path.as_deref();
        if format == Format::Auto && path.is_none() {
            let problem = "give the path of the data with --data";
            return Err(data::Error::Format { format: format.name(), problem }.into());
        }
        let train = open_split(settings, Split::Train)?;
        if train.num_classes().is_none() {
            let no_test = Some("the images have no labels".into());
            return Ok(Self { train, test: None, no_test });
        }
        match open_split(settings, Split::Test) {
            Ok(test) if test.num_classes() == train.num_classes() => {
                Ok(Self { train, test: Some(test), no_test: None })
            }
            Ok(_) => {
                let no_test =
                    Some("the test images have other classes than the training images".into());
                Ok(Self { train, test: None, no_test })
            }
            Err(error @ data::Error::NotRecognised { .. }) => {
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
    let source = data::open(settings.source, settings.path.as_deref(), split)?;
    let Subset { classes, labels } = settings.subset();
    let (list, share) = match labels {
        Some(Labels::Fraction(_)) => (None, labels),
        _ => (labels, None),
    };
    let source = Subset { classes, labels: list }.of(source, split)?;
    let max = if split == Split::Train { settings.max_train } else { settings.max_test };
    // A share is of the images that are used.
    Subset { classes: None, labels: share }.of(limited(source, max), split)
}

fn limited(source: Arc<dyn Source>, max: Option<usize>) -> Arc<dyn Source> {
    match max {
        Some(max) if max < source.len() => Arc::new(First { source, len: max }),
        _ => source,
    }
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
