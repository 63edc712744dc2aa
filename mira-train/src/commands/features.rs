//! `mira-train features`: what an encoder makes of images, for other programs.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::encoder::{Encoder, complain_of};
use super::progress::ImageProgress;
use crate::Error;
use crate::cli::features::FeaturesArgs;
use crate::data::{self, Source, Split};
use crate::eval::{self, Stop};
use crate::npy::Rows;
use crate::run_folder::{EXIT_INTERRUPTED, StopRequest, sync_folder};
use crate::text::{count, one_line};
use crate::train::{self, ImageOf, Normaliser, each_representation, evaluation_config, open_split};

/// What the files are of.
const DESCRIPTION: &str = "features.json";

/// Runs `mira-train features`; what it prints on stdout is the second part of the result.
///
/// # Errors
/// Every [`Error`]; none leaves a folder behind.
pub fn run(args: &FeaturesArgs) -> Result<(ExitCode, String), Error> {
    Folder::refuse_occupied(&args.out)?;
    let encoder = Encoder::load(&args.encoder)?;
    let test = test_images(&encoder)?;
    let stop = StopRequest::install().map_err(train::Error::from)?;
    let folder = Folder::new(&args.out)?;
    let splits: Vec<_> = std::iter::once((Split::Train, &encoder.sources.train))
        .chain(test.iter().map(|test| (Split::Test, test)))
        .collect();
    let total = splits.iter().map(|(_, source)| source.len() as u64).sum();
    let mut progress = ImageProgress::new(args.quiet);
    let mut num_done = 0;
    let mut described = json!({});
    encoder.describe(&mut described);
    described["dim"] = encoder.network.representation_dim().into();
    for (split, source) in splits {
        let mut at = || {
            progress.at(num_done, total, split.name());
            num_done += 1;
        };
        match write(&|| stop.requested().is_some(), &encoder, &folder, split, source, &mut at) {
            Ok(part) => described[split.name()] = part,
            Err(Error::Train(train::Error::Evaluation(eval::Error::Stopped))) => {
                progress.finish();
                let signal = stop.requested().map_or_else(String::new, |s| format!(" by {s}"));
                let text = format!("interrupted{signal}; {} is not written\n", args.out.display());
                return Ok((ExitCode::from(EXIT_INTERRUPTED), text));
            }
            Err(error) => return Err(error),
        }
    }
    progress.finish();
    folder.file(DESCRIPTION, |out| writeln!(out, "{described:#}"))?;
    folder.publish(DESCRIPTION)?;
    if args.encoder.json {
        return Ok((ExitCode::SUCCESS, format!("{described}\n")));
    }
    let [train, test] = ["train", "test"].map(|split| count(&described[split]["num_images"]));
    let test = if described["test"].is_null() { "no".into() } else { test };
    let (dim, out) = (&described["dim"], args.out.display());
    let text = format!(
        "{dim} features of each of {train} training and {test} test images by {encoder} in {out}\n"
    );
    Ok((ExitCode::SUCCESS, text))
}

/// The test images; unlike those of an evaluation they may be without labels, or of other classes.
fn test_images(encoder: &Encoder) -> Result<Option<Arc<dyn Source>>, Error> {
    if let Some(test) = &encoder.sources.test {
        return Ok(Some(Arc::clone(test)));
    }
    match open_split(&encoder.recipe.data, Split::Test) {
        Ok(test) => Ok(Some(test)),
        Err(data::Error::NotRecognised { .. } | data::Error::Inconsistent { .. }) => Ok(None),
        Err(error) => Err(train::Error::from(error).into()),
    }
}

/// Writes the files of one part of the data, and returns what there is to say of it. `at` is called once an image.
fn write(
    stop: Stop<'_>,
    encoder: &Encoder,
    folder: &Folder,
    split: Split,
    source: &Arc<dyn Source>,
    at: &mut dyn FnMut(),
) -> Result<Value, Error> {
    let Encoder { recipe, network, values, running, .. } = encoder;
    let path = |what: &str| folder.path(&format!("{}_{what}", split.name()));
    let (features, labels, images) = (path("features.npy"), path("labels.npy"), path("images.txt"));
    let dim = network.representation_dim();
    let open = |path: &Path, dtype, columns| {
        File::create(path).and_then(|file| Rows::new(file, dtype, columns)).map_err(failed(path))
    };
    let mut rows = open(&features, "f4", Some(dim as u64))?;
    let mut classes = open(&labels, "i8", None)?;
    let mut names = BufWriter::new(File::create(&images).map_err(failed(&images))?);
    let (mut num_images, mut num_labelled) = (0_usize, 0_usize);
    let mut take = |image: ImageOf, x: &[f32]| {
        at();
        if let Some(column) = x.iter().position(|x| !x.is_finite()) {
            let (row, value) = (num_images, x[column]);
            let set = split.name();
            let error = eval::Error::NotFinite { set, row, column, value };
            return Err(train::Error::from(error).into());
        }
        rows.push(x.iter().flat_map(|x| x.to_le_bytes())).map_err(failed(&features))?;
        let label = image.label.map_or(-1, i64::from);
        classes.push(label.to_le_bytes()).map_err(failed(&labels))?;
        let index = image.index as usize;
        let name = source.relative_path(index).map_or_else(|| source.name(index), Into::into);
        writeln!(names, "{}", one_line(&name)).map_err(failed(&images))?;
        num_images += 1;
        num_labelled += usize::from(image.label.is_some());
        Ok::<_, Error>(())
    };
    let normaliser = Normaliser::new(recipe.data.mean, recipe.data.std);
    let config = evaluation_config(recipe);
    let mut bad = Vec::new();
    let result = each_representation(
        stop,
        network,
        values,
        running,
        source,
        &config,
        &normaliser,
        &mut bad,
        &mut take,
    );
    complain_of(&bad);
    result?;
    let synced =
        |file: io::Result<File>, path| file.and_then(|file| file.sync_all()).map_err(failed(path));
    synced(rows.finish(), &features)?;
    synced(classes.finish(), &labels)?;
    synced(names.into_inner().map_err(io::IntoInnerError::into_error), &images)?;
    let classes = source.num_classes().is_some().then(|| source.class_names());
    Ok(json!({
        "num_images": num_images,
        "num_labelled": num_labelled,
        "num_left_out": bad.len(),
        "classes": classes,
    }))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + use<'_> {
    |source| Error::WriteFailed { path: path.into(), source }
}

/// The folder that files appear in when all of them are whole. Dropped before, it is as it was.
struct Folder {
    /// As given.
    given: PathBuf,
    /// Whether it was made here.
    is_new: bool,
    /// Inside, where renaming is sure to work.
    temporary: TempDir,
    is_published: bool,
}

/// What [`Folder`] makes inside.
const PREFIX: &str = ".mira-";

impl Folder {
    /// Refuses what `--out` would have to replace.
    fn refuse_occupied(path: &Path) -> Result<(), Error> {
        let refuse = |problem| Error::Unwritable { flag: "--out", path: path.into(), problem };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Ok(()),
            Err(e) => return Err(refuse(format!("{e}; give a new or an empty folder"))),
        };
        for entry in entries {
            let name = entry.map_err(|e| refuse(e.to_string()))?.file_name();
            let name = name.to_string_lossy();
            // Not what a process left that was killed.
            if !name.starts_with(PREFIX) {
                let problem =
                    format!("it is not empty (it has {name}); give a new or an empty folder");
                return Err(refuse(problem));
            }
        }
        Ok(())
    }

    fn new(path: &Path) -> Result<Self, Error> {
        let is_new = !path.exists();
        let make = || {
            fs::create_dir_all(path)?;
            tempfile::Builder::new().prefix(PREFIX).suffix(".tmp").tempdir_in(path)
        };
        let temporary = make().map_err(|e| Error::Unwritable {
            flag: "--out",
            path: path.into(),
            problem: format!("no files can be made there: {e}"),
        })?;
        Ok(Self { given: path.into(), is_new, temporary, is_published: false })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn file(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let path = self.path(name);
        let result = File::create(&path).and_then(|mut file| {
            write(&mut file)?;
            file.sync_all()
        });
        result.map_err(failed(&path))
    }

    /// Brings the files to their place, `last` after all the others.
    fn publish(mut self, last: &str) -> Result<(), Error> {
        let publish = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.temporary.path())? {
                names.push(entry?.file_name());
            }
            names.sort_by_key(|name| name == last);
            for name in names {
                fs::rename(self.temporary.path().join(&name), self.given.join(&name))?;
            }
            sync_folder(&self.given)
        };
        publish().map_err(failed(&self.given))?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.temporary.path());
        if self.is_new && !self.is_published {
            // Only where nothing else is in it.
            let _ = fs::remove_dir(&self.given);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::run_folder::with_fault;

    #[test]
    fn names_that_may_not_outlive_a_power_cut_are_a_failure() {
        let temporary = tempfile::tempdir().unwrap();
        let publish = |name: &str, errno| {
            let folder = Folder::new(&temporary.path().join(name)).unwrap();
            folder.file(DESCRIPTION, |out| out.write_all(b"{}")).unwrap();
            with_fault(errno, || folder.publish(DESCRIPTION))
        };
        let failure = publish("a", Errno::IO).unwrap_err();
        assert!(matches!(&failure, Error::WriteFailed { path, .. } if path.ends_with("a")));
        assert_eq!(failure.exit_code(), 1);
        publish("b", Errno::NOTSUP).unwrap();
    }
}
