//! A few images with what a run makes of them, one at a time and without threads: for people to look at.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::order::Order;
use super::{LoaderConfig, worker};
use crate::data::{Augmenter, Error, Image, Source, ViewParameters, checked};

/// An image and its views.
#[derive(Clone, Debug)]
pub struct Example {
    /// Which image of the source.
    pub index: u32,
    /// What the source calls it.
    pub name: String,
    /// Its class.
    pub label: Option<u32>,
    /// As it was loaded.
    pub image: Image,
    /// One entry a view: the first kind's views, then the second's, …
    pub views: Vec<ExampleView>,
}

/// A view and how it was made.
#[derive(Clone, Debug)]
pub struct ExampleView {
    /// The pixels.
    pub image: Image,
    /// What was done to the original.
    pub parameters: ViewParameters,
}

/// The images that an epoch of a run begins with, at most `num_images`, with the views that a [`Loader`](super::Loader) of the same
/// settings makes of them; its batch size plays no part.
///
/// # Errors
/// [`Error::Setting`] for a setting out of its range. An item is an error if its image cannot be loaded and must not be replaced.
pub fn examples<'a>(
    source: &'a dyn Source,
    config: &'a LoaderConfig,
    epoch: u32,
    num_images: usize,
) -> Result<impl Iterator<Item = Result<Example, Error>> + use<'a>, Error> {
    let batch_size = num_images.min(source.len());
    LoaderConfig { batch_size, rank: 0, world_size: 1, ..config.clone() }.validate(source.len())?;
    let drawn = Order::new(config.seed, source.len()).of(epoch)[..batch_size].to_vec();
    let mut augmenter = Augmenter::default();
    Ok(drawn.into_iter().map(move |drawn| {
        let mut at = None;
        let made = || example(source, config, epoch, drawn, &mut at, &mut augmenter);
        catch_unwind(AssertUnwindSafe(made)).unwrap_or_else(|panic| {
            let name = checked::name(source, at.unwrap_or(drawn as usize));
            Err(Error::Panicked { name, message: checked::message(&*panic) })
        })
    }))
}

fn example(
    source: &dyn Source,
    config: &LoaderConfig,
    epoch: u32,
    drawn: u32,
    at: &mut Option<usize>,
    augmenter: &mut Augmenter,
) -> Result<Example, Error> {
    let (mut image, replace_bad) = (Image::default(), config.max_bad_fraction > 0.0);
    let take = |index| {
        *at = Some(index as usize);
        Ok(())
    };
    let index = worker::load(source, drawn, replace_bad, &mut Vec::new(), take, &mut image)?;
    let views = (0..).zip(config.view_specs()).map(|(number, spec)| {
        let mut view = Image::default();
        view.reshape(spec.size, spec.size);
        let mut rng = Augmenter::rng(config.seed, epoch, drawn, number);
        let parameters = augmenter.view(&image, spec, &mut rng, &mut view.pixels);
        ExampleView { image: view, parameters }
    });
    let views = views.collect();
    let name = source.name(index as usize);
    Ok(Example { index, name, label: source.label(index as usize), image, views })
}
