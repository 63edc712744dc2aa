//! Which images a run is of: what its checkpoints say, and what a resumed run is held to.

use std::hash::Hasher as _;

use serde_json::{Value, json};
use twox_hash::XxHash3_64;

use super::Error;
use crate::data::{Image, Source, load_caught};

/// Images of sets without names whose pixels are looked at.
const NUM_SAMPLED: usize = 16;

/// A run's training images, as far as they tell whether others are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    num_images: u64,
    steps_per_epoch: u64,
    fingerprint: u64,
}

impl Identity {
    /// Of the images that a run trains on.
    pub(super) fn of(source: &dyn Source, steps_per_epoch: u64) -> Self {
        let num_images = source.len() as u64;
        Self { num_images, steps_per_epoch, fingerprint: fingerprint(source) }
    }

    /// What a checkpoint's description gets.
    pub(super) fn meta(self) -> Value {
        json!({
            "num_images": self.num_images,
            "steps_per_epoch": self.steps_per_epoch,
            "data_fingerprint": format!("{:016x}", self.fingerprint),
        })
    }

    /// Holds these images against those of a checkpoint; a warning where it does not say which they were.
    ///
    /// # Errors
    /// [`Error::OtherData`].
    pub(super) fn check(self, saved: &Value) -> Result<Option<String>, Error> {
        let Value::Object(given) = self.meta() else { return Ok(None) };
        let mut differences = Vec::new();
        let mut is_known = false;
        for (key, name) in [
            ("num_images", "number of training images"),
            ("steps_per_epoch", "steps an epoch"),
            ("data_fingerprint", "fingerprint of their names or sizes"),
        ] {
            let (Some(saved), Some(given)) = (saved.get(key), given.get(key)) else { continue };
            is_known = true;
            if saved != given {
                differences.push(format!("{name} (saved {saved}, given {given})"));
            }
        }
        if !differences.is_empty() {
            return Err(Error::OtherData { differences: differences.join(", ") });
        }
        Ok((!is_known).then(|| {
            "the checkpoint is of an earlier version, which does not say which images it was trained on; make sure that they are the same".into()
        }))
    }
}

/// In what a source differs from the training images that a checkpoint's description names.
pub(crate) fn other_images(source: &dyn Source, saved: &Value) -> Option<String> {
    let num_images = saved.get("num_images")?.as_u64()?;
    if num_images != source.len() as u64 {
        return Some(format!("{num_images} training images, not {}", source.len()));
    }
    let same = format!("{:016x}", fingerprint(source));
    let is_other = saved.get("data_fingerprint")?.as_str()? != same;
    is_other.then(|| "training images of other names, sizes or pixels".into())
}

/// A number that is the same for a copy of a set elsewhere: of the images' names within it; without names of their sizes in bytes, and the
/// pixels of some. Not of their labels, which evaluations may be given or denied at any time.
pub(super) fn fingerprint(source: &dyn Source) -> u64 {
    let mut hasher = XxHash3_64::new();
    let mut has_names = false;
    for index in 0..source.len() {
        if let Some(path) = source.relative_path(index) {
            has_names = true;
            hasher.write(path.replace('\\', "/").as_bytes());
        } else if let Some(num_bytes) = source.num_bytes(index) {
            hasher.write_u64(num_bytes);
        }
        hasher.write_u8(0xff);
    }
    if !has_names {
        let num_sampled = NUM_SAMPLED.min(source.len());
        let mut image = Image::default();
        for sample in 0..num_sampled {
            // Whoever cannot be read now may be another time.
            if load_caught(source, sample * source.len() / num_sampled, &mut image).is_ok() {
                hasher.write_u64(image.width as u64);
                hasher.write(&image.pixels);
            }
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Error as DataError;
    use std::borrow::Cow;

    /// Names, where there are any, and pixels of one value each.
    struct Set(Vec<&'static str>, Vec<u8>);

    impl Source for Set {
        fn len(&self) -> usize {
            self.1.len()
        }

        fn num_classes(&self) -> Option<usize> {
            None
        }

        fn class_names(&self) -> &[String] {
            &[]
        }

        fn label(&self, _: usize) -> Option<u32> {
            None
        }

        fn load(&self, index: usize, into: &mut Image) -> Result<(), DataError> {
            into.reshape(4, 4);
            into.pixels.fill(self.1[index]);
            Ok(())
        }

        fn name(&self, index: usize) -> String {
            format!("image {index}")
        }

        fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
            self.0.get(index).map(|name| (*name).into())
        }
    }

    #[test]
    fn other_images_are_refused_and_a_copy_is_not() {
        let named = |names: &[&'static str]| Set(names.to_vec(), vec![7; names.len()]);
        let saved = Identity::of(&named(&["a/1.png", "b/2.png"]), 5).meta();
        let check = |set: &Set, steps| Identity::of(set, steps).check(&saved);
        assert_eq!(check(&named(&["a/1.png", "b/2.png"]), 5).unwrap(), None);
        for (set, steps, words) in [
            (named(&["a/1.png"]), 5, "number of training images (saved 2, given 1)"),
            (named(&["a/1.png", "b/2.png"]), 4, "steps an epoch (saved 5, given 4)"),
            (named(&["a/1.png", "b/3.png"]), 5, "fingerprint"),
            (named(&["a/1.pngb", "/2.png"]), 5, "fingerprint"),
        ] {
            let error = check(&set, steps).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("--data"), "{error}");
        }
        // Without names by pixels.
        let nameless = |pixels: &[u8]| Set(Vec::new(), pixels.to_vec());
        let saved = Identity::of(&nameless(&[1, 2, 3]), 1).meta();
        assert!(Identity::of(&nameless(&[1, 2, 3]), 1).check(&saved).is_ok());
        assert!(Identity::of(&nameless(&[1, 3, 2]), 1).check(&saved).is_err());
    }

    #[test]
    fn checkpoints_that_do_not_say_are_taken_with_a_warning() {
        let set = Set(Vec::new(), vec![1]);
        let warning = Identity::of(&set, 1).check(&json!({ "step": 3 })).unwrap();
        assert!(warning.unwrap().contains("earlier version"));
    }
}
