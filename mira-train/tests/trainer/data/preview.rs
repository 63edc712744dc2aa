//! The sheet that `mira-train data preview` writes, and that its views are those of a run.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use mira_train::data::{ViewParameters, examples};
use mira_train::recipe::Recipe;
use mira_train::train::{Sources, loader, loader_config};

use super::support::{data, image_folder, is_refused, stderr, stdout, write};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

fn size(png: &[u8]) -> (u32, u32) {
    let reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    (reader.info().width, reader.info().height)
}

#[test]
fn a_sheet_is_written_and_the_same_again() {
    let folder = image_folder();
    let output = data(folder.path(), &["preview", "set"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "4 image(s) and their views in preview.png\n");
    let sheet = |arguments: &[&str]| {
        let arguments = [&["preview", "set", "--out", "other.PNG"], arguments].concat();
        let output = data(folder.path(), &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(folder.path().join("other.PNG")).unwrap()
    };
    let first = fs::read(folder.path().join("preview.png")).unwrap();
    assert!(sheet(&[]) == first && sheet(&["--seed", "0", "--epoch", "0"]) == first);
    assert!(sheet(&["--seed", "1"]) != first && sheet(&["--epoch", "1"]) != first);
    assert!(sheet(&["--set", "views.0.blur.probability=1"]) != first);
    let (test, fewer) = (sheet(&["--split", "test"]), sheet(&["--images", "1"]));
    assert!(test != fewer && size(&test).0 == size(&first).0 && size(&fewer).1 < size(&first).1);
    assert!(size(&sheet(&["--recipe", "imagenet-r50-100ep-multicrop"])).0 > 2 * size(&first).0);
    assert_eq!(names(folder.path()), ["other.PNG", "preview.png", "set"]);
}

/// The sheet is drawn from these examples; a run's batches come from this loader.
#[test]
fn views_are_those_of_the_run() {
    let recipe = Recipe::builtin("default").unwrap();
    let overrides = ["train.seed=3", "views.0.count=2", "views.1.jitter.hue=0.1"];
    let recipe = recipe.with_overrides(&overrides.map(String::from)).unwrap();
    let sources = Sources::open(&recipe.data).unwrap();
    for epoch in [0, 2] {
        let steps = sources.train.len() / recipe.train.batch_size;
        let mut loader = loader(&recipe, &sources, u64::from(epoch) * steps as u64).unwrap();
        let batch = loader.next_batch().unwrap();
        assert_eq!(batch.epoch, epoch);
        let config = loader_config(&recipe);
        let found = examples(&*sources.train, &config, epoch, 8).unwrap();
        let mut seen = Vec::<ViewParameters>::new();
        for (row, example) in found.enumerate() {
            let example = example.unwrap();
            assert_eq!((example.index, example.label), (batch.indices[row], batch.labels[row]));
            assert_eq!((example.views.len(), batch.views.len()), (3, 3));
            for (view, crops) in example.views.into_iter().zip(&batch.views) {
                let size = crops.size * crops.size * 3;
                assert!(view.image.pixels == crops.pixels[row * size..][..size]);
                seen.push(view.parameters);
            }
        }
        assert_eq!(seen.len(), 24);
        assert!(seen.iter().any(|p| p.flip) && seen.iter().any(|p| p.jitter.is_some()));
    }
}

#[test]
fn refusals_name_the_remedy_and_leave_no_file() {
    let folder = image_folder();
    write(folder.path(), "bad/1.png", b"no picture");
    write(folder.path(), "kept.png", b"an earlier one");
    fs::create_dir(folder.path().join("folder.png")).unwrap();
    for (arguments, words) in [
        (&["nowhere"][..], "does not exist"),
        (&["bad", "--out", "kept.png"], "1.png: it is neither JPEG, PNG nor WebP"),
        (&["set", "--recipe", "defalt"], "did you mean `default`?"),
        (&["--recipe", "imagenet-r50-100ep"], "give the path of the data"),
        (&["set", "--out", "sheet.svg"], "a name that ends in .png"),
        (&["set", "--out", "folder.png"], "it is a directory"),
        (&["set", "--out", "no/where.png"], "its directory cannot be used"),
        (&["set", "--images", "0"], "--images"),
        (&["set", "--split", "val"], "--split"),
        (&["--images", "100", "--out", "kept.png"], "show fewer images with --images"),
    ] {
        is_refused(folder.path(), &[&["preview"], arguments].concat(), &[words]);
    }
    assert_eq!(names(folder.path()), ["bad", "folder.png", "kept.png", "set"]);
    assert_eq!(fs::read(folder.path().join("kept.png")).unwrap(), b"an earlier one");
}
