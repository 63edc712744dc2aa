//! Loading an image without trust in the source, its files and its decoders.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Error, Image, Source};

/// Loads an image, and holds its pixels against its size.
pub(super) fn load(source: &dyn Source, index: usize, image: &mut Image) -> Result<(), Error> {
    source.load(index, image)?;
    let expected = image.width * image.height * 3;
    if expected == 0 {
        return Err(Error::image(source.name(index), "it has no pixels; remove it"));
    }
    if image.pixels.len() == expected {
        return Ok(());
    }
    let (name, got) = (source.name(index), image.pixels.len());
    Err(Error::image(name, format!("it has {got} bytes of pixels, not {expected}")))
}

/// Loads an image; a panic on the way is an error like any other.
pub(crate) fn load_caught(
    source: &dyn Source,
    index: usize,
    image: &mut Image,
) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(|| load(source, index, image))).unwrap_or_else(|panic| {
        *image = Image::default();
        Err(Error::Panicked { name: name(source, index), message: message(&*panic) })
    })
}

/// What a source calls an image, even if it panics on that.
pub(super) fn name(source: &dyn Source, index: usize) -> String {
    catch_unwind(AssertUnwindSafe(|| source.name(index)))
        .unwrap_or_else(|_| format!("image {index}"))
}

/// What a panic says.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
