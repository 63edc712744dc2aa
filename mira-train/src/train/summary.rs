//! What a finished run leaves behind: the encoder's weights and the report.

use std::path::PathBuf;

use super::{Error, EvaluatedSet, Representations, Session, Which, progress::hours_of, view_specs};
use crate::data::{Augmenter, Image, Source, load_caught};
use crate::eval::knn::neighbours;
use crate::model::{Network, weights_of};
use crate::pages::metrics::Metrics;
use crate::pages::projection::Projection;
use crate::pages::report::{self, GalleryRow, Neighbour, Report, Thumbnail};
use crate::text::count;

/// Rows of the gallery, and neighbours of each.
const GALLERY: (usize, usize) = (8, 6);
/// Images whose views are shown.
const NUM_VIEWED: usize = 6;
/// Most views of an image that are shown.
const MAX_VIEWS: usize = 8;

/// Writes `encoder.safetensors`, torchvision's names and shapes, and returns its path.
///
/// # Errors
/// A disk that cannot be written.
pub fn write_encoder(session: &Session) -> Result<PathBuf, Error> {
    let (values, running) = session.state.evaluated(&session.recipe);
    let mut weights = weights_of(&session.network, values, running, Network::is_encoder)?;
    let network = Which::of(&session.recipe).name();
    weights.metadata.insert("network".into(), network.into());
    weights.metadata.insert("step".into(), session.state.step.to_string());
    weights.metadata.insert("recipe_hash".into(), format!("{:016x}", session.recipe.hash()));
    let bytes = weights.to_bytes()?;
    Ok(session.folder().write_atomically("encoder.safetensors", &bytes)?)
}

/// Writes `report.html` and returns its path. `found` are the final representations, where there is a test set.
///
/// # Errors
/// A disk that cannot be written, metrics that cannot be read.
pub fn write_report(
    session: &Session,
    title: &str,
    command: &str,
    seconds: f64,
    found: Option<&Representations>,
) -> Result<PathBuf, Error> {
    let metrics = Metrics::read(&session.folder().path().join("metrics.jsonl"))?;
    let recipe_toml = session.recipe.to_toml();
    let usage = session.usage().unwrap_or_default();
    let source = &*session.sources.train;
    let labels: Vec<Option<u32>> =
        found.map(|f| f.test.labels.iter().map(|l| Some(*l)).collect()).unwrap_or_default();
    let embeddings = found.map(|f| Projection {
        features: &f.test.rows,
        dim: f.test.dim,
        labels: &labels,
        class_names: source.class_names(),
    });
    let gallery = match (found, &session.sources.test) {
        (Some(found), Some(test)) => gallery(found, source, &**test)?,
        _ => Vec::new(),
    };
    let views = views(session);
    let mut facts = vec![
        ("Parameters".into(), count(session.network.parameters().num_parameters())),
        ("Training images".into(), count(source.len())),
        ("Steps".into(), count(session.state.step)),
        ("Time".into(), hours_of(seconds)),
        (
            "Device".into(),
            format!(
                "cpu, {} threads, {}",
                rayon::current_num_threads(),
                mira_simd::instruction_set()
            ),
        ),
        ("Version".into(), env!("CARGO_PKG_VERSION").into()),
    ];
    if let Some(left_out) = found.and_then(Representations::left_out) {
        facts.insert(2, ("Unreadable, left out of evaluation".into(), left_out));
    }
    let page = report::html(&Report {
        title,
        command,
        recipe_toml: &recipe_toml,
        metrics: &metrics,
        facts,
        prototype_usage: &usage,
        embeddings,
        gallery: &gallery,
        views: &views,
        warnings: &[],
    });
    Ok(session.folder().write_atomically("report.html", page.as_bytes())?)
}

/// `None` for an image that cannot be read, which a picture for people can do without.
fn thumbnail(source: &dyn Source, index: usize, caption: String) -> Option<Thumbnail> {
    let mut image = Image::default();
    load_caught(source, index, &mut image).ok()?;
    Some(Thumbnail { width: image.width, height: image.height, rgb: image.pixels, caption })
}

fn class_of(source: &dyn Source, index: usize) -> String {
    let label = source.label(index).map(|label| label as usize);
    label.and_then(|label| source.class_names().get(label).cloned()).unwrap_or_default()
}

/// Test images spread over the set, each with its nearest training images.
fn gallery(
    found: &Representations,
    train: &dyn Source,
    test: &dyn Source,
) -> Result<Vec<GalleryRow>, Error> {
    let num_queries = found.test.len();
    let (num_rows, k) = (GALLERY.0.min(num_queries), GALLERY.1.min(found.train.len()));
    let queries: Vec<usize> = (0..num_rows)
        .map(|row| row * num_queries / num_rows + row % (num_queries / num_rows))
        .collect();
    let Some(features) = found.test.select(&queries) else { return Ok(Vec::new()) };
    let nearest = neighbours(&found.train, &features, k)?;
    // Rows of features are not the images of their number: some have no label, some cannot be read.
    let image = |set: &EvaluatedSet, row: usize| set.indices[row] as usize;
    let mut rows = Vec::with_capacity(num_rows);
    for (row, &query) in queries.iter().enumerate() {
        let query = image(&found.test_set, query);
        let class = class_of(test, query);
        let neighbours = nearest.of(row).0.iter().filter_map(|&neighbour| {
            let index = image(&found.train_set, neighbour as usize);
            let caption = class_of(train, index);
            let is_match = Some(caption == class);
            Some(Neighbour { thumbnail: thumbnail(train, index, caption)?, is_match })
        });
        let neighbours = neighbours.collect();
        if let Some(query) = thumbnail(test, query, class.clone()) {
            rows.push(GalleryRow { query, neighbours });
        }
    }
    Ok(rows)
}

/// Some training images and the views that the first epoch made of them.
fn views(session: &Session) -> Vec<Vec<Thumbnail>> {
    let source = &*session.sources.train;
    let specs = view_specs(&session.recipe);
    let mut augmenter = Augmenter::default();
    let mut rows = Vec::new();
    for row in 0..NUM_VIEWED.min(source.len()) {
        let index = row * source.len() / NUM_VIEWED.min(source.len());
        let mut image = Image::default();
        let mut following = (index..source.len()).chain(0..index);
        let Some(index) = following.find(|&i| load_caught(source, i, &mut image).is_ok()) else {
            break;
        };
        let all = specs.iter().flat_map(|spec| std::iter::repeat_n(spec, spec.count));
        let mut shown = Vec::new();
        for (view, spec) in (0u32..).zip(all).take(MAX_VIEWS) {
            let mut rgb = vec![0; spec.size * spec.size * 3];
            let index = u32::try_from(index).unwrap_or(0);
            let mut rng = Augmenter::rng(session.recipe.train.seed, 0, index, view);
            augmenter.view(&image, spec, &mut rng, &mut rgb);
            shown.push(Thumbnail {
                width: spec.size,
                height: spec.size,
                rgb,
                caption: spec.name.clone(),
            });
        }
        let original = Thumbnail {
            width: image.width,
            height: image.height,
            rgb: image.pixels,
            caption: "original".into(),
        };
        shown.insert(0, original);
        rows.push(shown);
    }
    rows
}
