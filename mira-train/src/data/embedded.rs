//! The embedded set: 6,000 + 1,000 images of Fashion-MNIST, so that the program does something real without a download.
//!
//! Xiao, Rasul and Vollgraf, arXiv:1708.07747; MIT licence, in `assets`. `dev/make_embedded_dataset.py` makes the files.

use std::path::Path;

use flate2::read::GzDecoder;

use super::packed::Packed;
use super::{Error, Split, idx};

const TRAIN: [&[u8]; 2] = [
    include_bytes!("../../assets/fashion-mnist-train-images.gz"),
    include_bytes!("../../assets/fashion-mnist-train-labels.gz"),
];
const TEST: [&[u8]; 2] = [
    include_bytes!("../../assets/fashion-mnist-t10k-images.gz"),
    include_bytes!("../../assets/fashion-mnist-t10k-labels.gz"),
];
const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

pub(super) fn open(split: Split) -> Result<Packed, Error> {
    let ([images, labels], name) = match split {
        Split::Train => (TRAIN, "the embedded Fashion-MNIST training images"),
        Split::Test => (TEST, "the embedded Fashion-MNIST test images"),
    };
    let path = Path::new(name);
    let names = CLASSES.map(String::from).to_vec();
    idx::read((path, GzDecoder::new(images)), (path, GzDecoder::new(labels)), Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Image, Source};

    #[test]
    fn classes_are_balanced_and_images_are_clothes() {
        for (split, per_class) in [(Split::Train, 600), (Split::Test, 100)] {
            let set = open(split).unwrap();
            assert_eq!(set.len(), 10 * per_class);
            for class in 0..10 {
                let count = (0..set.len()).filter(|&i| set.label(i) == Some(class)).count();
                assert_eq!(count, per_class);
            }
        }
        // The first image of Fashion-MNIST is an ankle boot that fills the lower right; its upper left corner is empty.
        let set = open(Split::Train).unwrap();
        let mut image = Image::default();
        set.load(0, &mut image).unwrap();
        assert_eq!((image.width, image.height, set.label(0)), (28, 28, Some(9)));
        assert_eq!(image.pixels[0], 0);
        assert!(image.pixels[(20 * 28 + 20) * 3] > 128);
    }
}
