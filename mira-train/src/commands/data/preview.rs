//! `mira-train data preview`: images and their views on a sheet.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::Error;
use crate::cli::data::preview::PreviewArgs;
use crate::cli::run::load_recipe;
use crate::data::{self, Format, Split};
use crate::output::Destination;
use crate::pages::sheet::Sheet;
use crate::recipe::Recipe;
use crate::text::count;
use crate::train;

pub(super) fn run(args: &PreviewArgs) -> Result<(ExitCode, String), Error> {
    let out = Destination::new("--out", &args.out)?;
    let sheet = sheet(args, &recipe(args)?).map_err(train::Error::from)?;
    let png = sheet.to_png().map_err(train::Error::from)?;
    let path = out.stage(|file| file.write_all(&png))?.publish()?;
    let num_images = count(sheet.num_rows());
    let text = format!("{num_images} image(s) and their views in {}\n", path.display());
    Ok((ExitCode::SUCCESS, text))
}

fn sheet(args: &PreviewArgs, recipe: &Recipe) -> Result<Sheet, data::Error> {
    let source = train::open_split(&recipe.data, args.split)?;
    let config = train::loader_config(recipe);
    let mut sheet = Sheet::new(&title(recipe), &subtitle(args, recipe), &config.views);
    for example in data::examples(&*source, &config, args.epoch, args.images as usize)? {
        let example = example?;
        let name = short_name(&example.name, recipe.data.path.as_deref());
        let class = example.label.and_then(|label| source.class_names().get(label as usize));
        sheet.push(example, name, class.map(String::as_str));
    }
    Ok(sheet)
}

/// The recipe on the data that the command line names.
fn recipe(args: &PreviewArgs) -> Result<Recipe, Error> {
    let mut recipe = load_recipe(&args.recipe)?.with_overrides(&args.overrides)?;
    if let Some(path) = &args.path {
        recipe.data.path = Some(path.clone());
        recipe.data.source = Format::Auto;
    }
    recipe.data.source = args.source.unwrap_or(recipe.data.source);
    recipe.train.seed = args.seed.unwrap_or(recipe.train.seed);
    Ok(recipe)
}

fn title(recipe: &Recipe) -> String {
    let Some(path) = &recipe.data.path else {
        return format!("Views of the {} images", Format::Embedded.name());
    };
    // `.` is called by what it is.
    let full = path.canonicalize().unwrap_or_else(|_| path.clone());
    let name = full.file_name().unwrap_or(full.as_os_str());
    format!("Views of {}", name.to_string_lossy())
}

fn subtitle(args: &PreviewArgs, recipe: &Recipe) -> String {
    let split = if args.split == Split::Train { "training" } else { "test" };
    format!(
        "Recipe {}, {split} images, seed {}, epoch {}",
        args.recipe, recipe.train.seed, args.epoch
    )
}

/// A name with its file as it is called within the set.
fn short_name(name: &str, path: Option<&Path>) -> String {
    let Some(path) = path.map(|path| path.display().to_string()) else { return name.into() };
    let folder = path.trim_end_matches('/');
    if folder.is_empty() { name.into() } else { name.replacen(&format!("{folder}/"), "", 1) }
}
