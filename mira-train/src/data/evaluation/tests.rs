//! Images come in order and of one size; those that cannot be read are left out, by name and up to a limit.

use super::*;

/// Image `i` is `widths[i] × 8`: red is the column, green the row, blue the image. One of width 13 cannot be read, of 14 panics, of 15
/// is a damaged set, and one of width 0 has no pixels.
struct Ramps(Vec<usize>);

fn ramps(widths: &[usize]) -> Arc<dyn Source> {
    Arc::new(Ramps(widths.to_vec()))
}

impl Source for Ramps {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn num_classes(&self) -> Option<usize> {
        None
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(index as u32)
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        let width = self.0[index];
        match width {
            13 => return Err(Error::image(self.name(index), "told to fail")),
            14 => panic!("told to panic"),
            15 => return Err(Error::malformed("all.bin", "told to be damaged")),
            _ => {}
        }
        into.reshape(width, 8);
        for (i, pixel) in into.pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            *pixel = [(i % width) as u8, (i / width) as u8, index as u8];
        }
        Ok(())
    }

    fn name(&self, index: usize) -> String {
        format!("ramp {index}")
    }
}

fn config(size: usize, resize: Option<usize>) -> EvaluationConfig {
    EvaluationConfig { resize, batch_size: 3, num_threads: 2, ..EvaluationConfig::new(size) }
}

#[test]
fn images_of_the_size_come_as_they_are_in_order() {
    let source = ramps(&[8; 7]);
    for num_threads in [1, 2, 5] {
        let config = EvaluationConfig { num_threads, ..config(8, None) };
        let all: Vec<_> = evaluation_images(&source, config).unwrap().map(Result::unwrap).collect();
        assert_eq!(
            all.iter().map(|b| b.indices.clone()).collect::<Vec<_>>(),
            [vec![0, 1, 2], vec![3, 4, 5], vec![6]]
        );
        for batch in &all {
            let images = batch.images.pixels.chunks_exact(8 * 8 * 3);
            assert_eq!(images.len(), batch.indices.len());
            for (&index, (got, &label)) in batch.indices.iter().zip(images.zip(&batch.labels)) {
                let mut image = Image::default();
                source.load(index as usize, &mut image).unwrap();
                assert_eq!((got, label), (&image.pixels[..], Some(index)));
            }
        }
    }
}

/// With the shorter side as it is, only the centre is cut out; halves go to the even number: (17 − 6)/2 to 6, (19 − 6)/2 to 6.
#[test]
fn the_crop_is_central_as_in_torchvision() {
    for (width, left) in [(17, 6), (19, 6), (18, 6), (11, 2), (8, 1)] {
        let source = ramps(&[width]);
        let batch = evaluation_images(&source, config(6, Some(8))).unwrap().next().unwrap();
        assert_eq!(batch.unwrap().images.pixels[..3], [left, 1, 0], "width {width}");
    }
}

/// Halving a ramp gives its values at the centres of pairs: 2x + ½, wherever the kernel is not at the border.
#[test]
fn the_shorter_side_is_resized() {
    let source = ramps(&[16]);
    let batch = evaluation_images(&source, config(4, Some(4))).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.images.pixels.len(), 4 * 4 * 3);
    // Columns 2 to 5 of 8; row 1 of 4. Half a level is rounded either way.
    for x in 0..4_u8 {
        let [red, green, _] = batch.images.pixels.as_chunks::<3>().0[4 + usize::from(x)];
        assert!(red.abs_diff(2 * (x + 2)) <= 1 && (2..=3).contains(&green), "{x}: {red} {green}");
    }
}

#[test]
fn errors_name_the_image_and_end_the_iteration() {
    let source = ramps(&[8, 8, 8, 8, 13, 8, 8]);
    let mut loader = evaluation_images(&source, config(8, None)).unwrap();
    assert!(loader.next().unwrap().is_ok());
    assert!(loader.next().unwrap().unwrap_err().to_string().contains("ramp 4"));
    assert!(loader.next().is_none());

    let long = ramps(&[10_000_000]);
    let error = evaluation_images(&long, config(64, None)).unwrap().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");

    for bad in [
        config(0, None),
        config(9, Some(8)),
        EvaluationConfig { batch_size: 0, ..config(8, None) },
        EvaluationConfig { max_bad_fraction: f64::NAN, ..config(8, None) },
    ] {
        assert!(matches!(evaluation_images(&source, bad), Err(Error::Setting { .. })));
    }
}

/// Rows, labels and indices of what is left belong together; nothing takes the place of what is not, and a batch of nothing is skipped.
#[test]
fn images_that_cannot_be_read_are_left_out_and_told_once() {
    let widths = [8, 13, 8, 13, 0, 13, 8, 8, 13, 8];
    let source = ramps(&widths);
    for num_threads in [1, 2, 5] {
        let config = EvaluationConfig { num_threads, max_bad_fraction: 0.5, ..config(8, None) };
        let mut loader = evaluation_images(&source, config).unwrap();
        let mut told = Vec::new();
        let mut batches = Vec::new();
        while let Some(batch) = loader.next() {
            batches.push(batch.unwrap());
            told.extend(loader.take_quarantined());
        }
        let indices: Vec<_> = batches.iter().map(|b| b.indices.clone()).collect();
        assert_eq!(indices, [vec![0, 2], vec![6, 7], vec![9]]);
        for batch in &batches {
            assert_eq!(batch.labels, batch.indices.iter().map(|&i| Some(i)).collect::<Vec<_>>());
            let images: Vec<_> = batch.images.pixels.chunks_exact(8 * 8 * 3).collect();
            // Blue is the image.
            let blue: Vec<_> = images.iter().map(|image| u32::from(image[2])).collect();
            assert_eq!(blue, batch.indices);
        }
        let names: Vec<_> = told.iter().map(|image| (image.index, &image.name[..])).collect();
        let expected = [1, 3, 4, 5, 8].map(|i| (i, format!("ramp {i}")));
        assert_eq!(names, expected.each_ref().map(|(i, name)| (*i, &name[..])));
        assert_eq!(told[0].problem, "ramp 1: told to fail");
        assert!(told[2].problem.contains("no pixels"), "{}", told[2].problem);
    }
    let nothing = EvaluationConfig { max_bad_fraction: 1.0, ..config(8, None) };
    assert!(evaluation_images(&ramps(&[13; 7]), nothing).unwrap().next().is_none());
}

#[test]
fn too_many_unreadable_images_end_it_with_all_of_them_told() {
    let source = ramps(&[8, 13, 8, 13, 8, 13, 8, 8, 8, 8]);
    for (fraction, is_too_many) in [(0.3, false), (0.29, true)] {
        let config = EvaluationConfig { max_bad_fraction: fraction, ..config(8, None) };
        let mut loader = evaluation_images(&source, config).unwrap();
        let error = loader.find_map(Result::err);
        assert_eq!(error.is_some(), is_too_many, "{error:?}");
        assert_eq!(loader.take_quarantined().len(), 3, "the one too many as well");
        if let Some(error) = error {
            let is_typed = matches!(error, Error::TooManyBad { num_bad: 3, num_images: 10, .. });
            assert!(is_typed && loader.next().is_none(), "{error}");
        }
    }
}

/// A damaged set and a bug end it, whatever is allowed; a panic says on which image.
#[test]
fn what_is_wrong_with_more_than_an_image_ends_it() {
    let end = |widths: &[usize]| {
        let config = EvaluationConfig { max_bad_fraction: 1.0, ..config(8, None) };
        let mut loader = evaluation_images(&ramps(widths), config).unwrap();
        let error = loader.find_map(Result::err).unwrap();
        assert!(loader.next().is_none() && loader.take_quarantined().is_empty());
        error
    };
    let error = end(&[8, 8, 8, 8, 15, 8]);
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    let Error::Panicked { name, message } = end(&[8, 8, 8, 8, 8, 14, 8]) else { panic!() };
    assert_eq!((&name[..], &message[..]), ("ramp 5", "told to panic"));
}
