//! Lists against sets whose every image and name is known.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::data::fixtures::grey_png;
use crate::data::{Format, PackInput, PackOptions, open, pack};
use crate::eval::Features;

/// Image `i` has the path and the label at `i`; its pixel says which it is.
struct Named(Vec<(String, Option<u32>)>, Vec<String>);

impl Source for Named {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn num_classes(&self) -> Option<usize> {
        (!self.1.is_empty()).then_some(self.1.len())
    }

    fn class_names(&self) -> &[String] {
        &self.1
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.0[index].1
    }

    fn load(&self, index: usize, into: &mut Image) -> Result<(), Error> {
        into.reshape(1, 1);
        into.pixels.fill(index as u8);
        Ok(())
    }

    fn name(&self, index: usize) -> String {
        format!("/data/{}", self.0[index].0)
    }

    fn relative_path(&self, index: usize) -> Option<Cow<'_, str>> {
        (!self.0[index].0.is_empty()).then(|| self.0[index].0.as_str().into())
    }

    fn num_bytes(&self, index: usize) -> Option<u64> {
        Some(index as u64)
    }
}

fn named(images: &[(&str, Option<u32>)], classes: &[&str]) -> Arc<dyn Source> {
    let images = images.iter().map(|&(path, label)| (path.into(), label)).collect();
    Arc::new(Named(images, classes.iter().map(ToString::to_string).collect()))
}

/// Images 0 and 1 of class 0, 2 and 3 of class 1, 4 of class 2, 5 of none.
fn animals() -> Arc<dyn Source> {
    let images = [
        ("ant/a_1.JPEG", Some(0)),
        ("ant/1.png", Some(0)),
        ("bee/b_1.JPEG", Some(1)),
        ("bee/1.png", Some(1)),
        ("cat/c_1.JPEG", Some(2)),
        ("x.JPEG", None),
    ];
    named(&images, &["ant", "bee", "cat"])
}

fn list(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// Each image with its label.
fn images(source: &dyn Source) -> Vec<(u8, Option<u32>)> {
    let mut image = Image::default();
    (0..source.len())
        .map(|i| {
            source.load(i, &mut image).unwrap();
            (image.pixels[0], source.label(i))
        })
        .collect()
}

fn with_classes(text: &str, split: Split) -> Result<Arc<dyn Source>, Error> {
    let (_folder, path) = list(text);
    Subset { classes: Some(Classes::List(path)), labels: None }.of(animals(), split)
}

fn with_labels(source: Arc<dyn Source>, text: &str) -> Result<Arc<dyn Source>, Error> {
    let (_folder, path) = list(text);
    Subset { classes: None, labels: Some(Labels::List(path)) }.of(source, Split::Train)
}

fn refused(result: Result<Arc<dyn Source>, Error>, words: &[&str]) {
    let error = result.err().expect(words[0]);
    assert!(matches!(error, Error::Subset { .. }), "{error:?}");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
}

fn labelled(set: Arc<dyn Source>) -> Arc<dyn Source> {
    match labelled_indices(&*set) {
        Some(indices) => selected(set, &indices),
        None => set,
    }
}

#[test]
fn classes_keep_their_order_and_get_numbers_of_their_own() {
    let text = "# some\r\ncat, a tabby\r\n\r\n  ant one\ncat\n";
    // `cat,` is no class.
    refused(with_classes(text, Split::Train), &["1 of 3", "'cat, a tabby'"]);
    let set = with_classes(&text.replace(',', ""), Split::Train).unwrap();
    assert_eq!(images(&*set), [(0, Some(0)), (1, Some(0)), (4, Some(1))]);
    assert_eq!(
        (set.class_names(), set.num_classes()),
        (&["ant".into(), "cat".into()][..], Some(2))
    );
    assert_eq!(set.name(2), "/data/cat/c_1.JPEG");
    assert_eq!(set.relative_path(2).as_deref(), Some("cat/c_1.JPEG"));
    assert_eq!((set.num_bytes(2), set.num_bytes(3)), (Some(4), None));
    assert!(set.load(3, &mut Image::default()).is_err() && set.encoded(3, &mut vec![]).is_err());
    // Names in the recipe itself, and a class with a space in its name.
    let inline = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        Subset { classes: Some(Classes::Names(names)), labels: None }
    };
    assert_eq!(
        images(&*inline(&["bee"]).of(animals(), Split::Test).unwrap()),
        [(2, Some(0)), (3, Some(0))]
    );
    let spaced = named(&[("1.png", Some(1)), ("2.png", Some(0))], &["Ankle", "Ankle boot"]);
    assert_eq!(images(&*inline(&["Ankle boot"]).of(spaced, Split::Train).unwrap()), [(0, Some(0))]);
    // Test images may lack some of the classes, as they may without a list.
    assert_eq!(images(&*with_classes("ant\nant2", Split::Test).unwrap()).len(), 2);
}

#[test]
fn classes_that_are_not_there_are_named_with_the_nearest() {
    refused(
        with_classes("ants\nbee", Split::Train),
        &["list.txt: 1 of 2", "'ants' (did you mean 'ant'?)", "it has 'ant', 'bee', 'cat'"],
    );
    refused(with_classes("q\nr\ns\nt\nu", Split::Train), &["5 of 5", "'s', … (5 in all)"]);
    refused(with_classes("zebra", Split::Test), &["'zebra'"]);
    refused(with_classes("# nothing\n", Split::Train), &["names no class"]);
    let set = named(&[("1.png", Some(0)), ("2.png", Some(0))], &["a", "b"]);
    let subset = Subset { classes: Some(Classes::Names(vec!["b".into()])), labels: None };
    refused(subset.of(set, Split::Train), &["data.classes: there is no training image"]);
    refused(subset.of(named(&[("1.png", None)], &[]), Split::Train), &["no classes"]);
    let folder = tempfile::tempdir().unwrap();
    for (path, word) in
        [(folder.path().to_path_buf(), "no file"), (folder.path().join("x"), "cannot read")]
    {
        let subset = Subset { classes: Some(Classes::List(path)), labels: None };
        let error = subset.of(animals(), Split::Train).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn listed_images_keep_their_labels_and_the_others_stay_without() {
    // By name, with a folder, with another ending, with folders above the set's, twice, an image without a label.
    let text = "a_1.JPEG\nbee/1.png\r\nc_1.jpg\n/data/train/ant/1.webp\na_1.JPEG\nx.JPEG\n";
    let set = with_labels(animals(), text).unwrap();
    let expected = [(0, Some(0)), (1, Some(0)), (2, None), (3, Some(1)), (4, Some(2)), (5, None)];
    assert_eq!(images(&*set), expected);
    assert_eq!((set.num_classes(), set.class_names().len()), (Some(3), 3));
    let kept = labelled(set);
    assert_eq!(images(&*kept), [(0, Some(0)), (1, Some(0)), (3, Some(1)), (4, Some(2))]);
    // Evaluations of test images know all labels.
    let (_folder, path) = list("nonsense");
    let subset = Subset { classes: None, labels: Some(Labels::List(path)) };
    assert_eq!(images(&*subset.of(animals(), Split::Test).unwrap()), images(&*animals()));
    // The image of just that name goes before one with another ending, whichever comes first.
    for names in [["1.jpg", "1.png"], ["1.png", "1.jpg"]] {
        let set = named(&names.map(|name| (name, Some(0))), &["a"]);
        let of_png = images(&*with_labels(set, "1.png").unwrap());
        let position = names.iter().position(|name| *name == "1.png").unwrap();
        assert_eq!((of_png[position].1, of_png[1 - position].1), (Some(0), None));
    }
}

#[test]
fn entries_without_an_image_or_with_several_are_named() {
    refused(
        with_labels(animals(), "a_1.JPEG\na_2.JPEG\ndog/b_1.JPEG\n"),
        &[
            "2 of 3 entries name no training image",
            "'a_2.JPEG', 'dog/b_1.JPEG'",
            "like 'ant/a_1.JPEG'",
        ],
    );
    refused(
        with_labels(animals(), "1.png\nb_1.JPEG\n"),
        &["1 of 2 entries name several images: '1.png'", "with their folders"],
    );
    refused(with_labels(animals(), ""), &["names no image"]);
    refused(with_labels(named(&[("", Some(0))], &["a"]), "a"), &["no file names"]);
    refused(with_labels(named(&[("a.jpg", None)], &[]), "a.jpg"), &["no labels"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    fs::write(&path, b"\xff\n").unwrap();
    let subset = Subset { classes: None, labels: Some(Labels::List(path)) };
    refused(subset.of(animals(), Split::Train), &["no UTF-8"]);
}

#[test]
fn lists_of_labels_are_of_all_classes_and_shares_of_those_that_are_kept() {
    let (_folder, path) = list("a_1.JPEG\nb_1.JPEG\n");
    let classes = Some(Classes::Names(vec!["cat".into(), "bee".into()]));
    let subset = Subset { classes: classes.clone(), labels: Some(Labels::List(path)) };
    let set = subset.of(animals(), Split::Train).unwrap();
    assert_eq!(images(&*set), [(2, Some(0)), (3, None), (4, None)]);
    let subset = Subset { classes, labels: Some(Labels::Fraction(0.5)) };
    let set = subset.of(animals(), Split::Train).unwrap();
    let kept = images(&*labelled(set));
    assert!(kept.len() == 2 && kept[0].1 == Some(0) && kept[1] == (4, Some(1)), "{kept:?}");
    for fraction in [0.0, 1.5, f64::NAN] {
        let subset = Subset { classes: None, labels: Some(Labels::Fraction(fraction)) };
        let error = subset.of(animals(), Split::Train).err().unwrap();
        assert!(matches!(error, Error::Setting { .. }), "{error}");
    }
}

/// The same names in every format that keeps them.
#[test]
fn folders_shards_and_packed_sets_have_names() {
    let root = tempfile::tempdir().unwrap();
    let names = ["ant/n1_1.png", "ant/n1_2.png", "bee/n2_1.png"];
    let folder = root.path().join("folder");
    let mut tar = ::tar::Builder::new(Vec::new());
    for (grey, name) in (0..).zip(names) {
        let path = folder.join("train").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, grey_png(grey)).unwrap();
        let stem = name.rsplit_once('.').unwrap().0;
        let class = u8::from(name.starts_with("bee")).to_string();
        for (ending, bytes) in [("PNG", grey_png(grey)), ("cls", class.into_bytes())] {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, format!("{stem}.{ending}"), &bytes[..]).unwrap();
        }
    }
    let shard = root.path().join("train-0.tar");
    fs::write(&shard, tar.into_inner().unwrap()).unwrap();
    let packed = root.path().join("packed");
    let input = PackInput::open(Format::ImageFolder, &folder.join("train")).unwrap();
    pack(&input, &packed, &PackOptions::default(), &mut |_| {}).unwrap();
    for (path, ending) in [(&folder, "png"), (&shard, "PNG"), (&packed, "png")] {
        let set = open(Format::Auto, Some(path), Split::Train).unwrap();
        let paths: Vec<_> = (0..3).map(|i| set.relative_path(i).unwrap().into_owned()).collect();
        assert_eq!(paths, names.map(|name| name.replace("png", ending)), "{}", path.display());
        assert_eq!(set.relative_path(3), None);
        // Twice: shards are the second time read from their cache.
        for _ in 0..2 {
            let set = open(Format::Auto, Some(path), Split::Train).unwrap();
            let set = with_labels(set, "n1_2.JPEG\nbee/n2_1.png").unwrap();
            assert_eq!(images(&*set), [(0, None), (1, Some(0)), (2, Some(1))]);
        }
    }
    // Names of another set, or damaged ones, are none.
    let path = packed.join("names");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        let set = open(Format::Auto, Some(&packed), Split::Train).unwrap();
        assert_eq!(set.relative_path(0), None, "byte {at}");
    }
}

proptest! {
    /// What a share keeps is what evaluations of features keep by the same share.
    #[test]
    fn a_share_is_that_of_features(labels in prop::collection::vec(prop::option::of(0_u32..4), 1..60), fraction in 0.01..1.0_f64) {
        prop_assume!(labels.iter().any(Option::is_some));
        let images: Vec<_> = labels.iter().map(|label| (String::new(), *label)).collect();
        let classes = ["a", "b", "c", "d"].map(String::from).to_vec();
        let subset = Subset { classes: None, labels: Some(Labels::Fraction(fraction)) };
        let set = subset.of(Arc::new(Named(images, classes)), Split::Train).unwrap();
        prop_assert_eq!(set.len(), labels.len());
        let kept: Vec<f32> = self::images(&*labelled(set)).iter().map(|(image, _)| f32::from(*image)).collect();
        let (rows, labels) = (0_u8..).zip(&labels).filter_map(|(i, label)| Some((f32::from(i), (*label)?))).unzip();
        let features = Features { dim: 1, rows, labels, num_classes: 4 };
        prop_assert_eq!(kept, features.label_subset(fraction, 0).unwrap().rows);
    }
}
