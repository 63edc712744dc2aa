//! DeepCluster-v2 (Caron et al., NeurIPS 2020, appendix) and SeLa (Asano, Rupprecht, Vedaldi, ICLR 2020): learn the labels that a clustering of the
//! whole training set gave at the start of the epoch.
//!
//! | | |
//! |---|---|
//! | bank | the last embedding (D, unit length) of the first global view of every image, written after each step |
//! | labels | at an epoch's first step: spherical k-means on the bank (`kmeans`), or the hard argmax of Sinkhorn on bank·prototypesᵀ (`sinkhorn`) |
//! | logits | unit-length embeddings · centroids (`kmeans`) or unit-length prototypes (`sinkhorn`) |
//! | loss | mean over views and samples of `−log softmax(S/τ)` at the image's label |
//!
//! Labels, bank and centroids have no gradient. In the first epoch, while the bank fills, a label is the argmax of Sinkhorn on the batch, and
//! logits are against the prototypes. An image that is not yet in the bank has no label and is left out.
//! Provenance: released code of DeepCluster-v2 (random rows of the bank to begin with, 10 iterations, τ = 0.1, an empty cluster keeps its
//! centroid); it fills the bank before training, copies centroids into the prototypes, and has three heads with banks
//! of both crops in turns: ours is the first. SeLa's code renews labels 100 times, spread quadratically over training; here it is once an epoch.
//! Optimiser and residual blocks differ as [`swav`](super::swav)'s do.

use candle_core::{DType, Device, Tensor};
use mira_core::{Assigner as _, Shape, Sinkhorn, StopRule};
use mira_cpu::CpuAssigner;
use ndarray::Array2;
use ndarray::linalg::general_mat_mul;

use super::math::{log_softmax, unit_rows, widen};
use super::{Error, Loss, Memory, Method, Needs, Objective, Setup, State, Step, Targets, Weights};
use crate::model::PROTOTYPES;
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Bounds, Fallback, Key, Kind, Recipe};
use crate::rng::{Purpose, Rng};

/// `objective.name = "deepcluster-v2"`.
pub(super) const METHOD: Method = Method {
    name: "deepcluster-v2",
    title: "DeepCluster-v2 and SeLa: labels from a clustering of the whole set (Caron et al. 2020)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &["prototypes"],
    defaults: &[
        ("projector.hidden_dim", "2048"),
        ("projector.num_hidden", "1"),
        ("projector.output_dim", "128"),
        ("prototypes.count", "3000"),
    ],
    needs: Needs { unit_length: true, targets: false, couples_samples: true, two_views: false },
    memory: Memory { embeddings: 8, logits: 17, others: bank, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(DeepCluster::new(setup)?)),
};

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.assignment", Kind::Choice(&["kmeans", "sinkhorn"]), Fallback::Value("\"kmeans\""), "\"kmeans\"").only("objective.name", &["deepcluster-v2"]),
    key("objective.kmeans_iterations", Kind::Whole(1, 1_000_000), Fallback::Value("10"), "10").only("objective.name", &["deepcluster-v2"]),
    key("objective.epsilon", Kind::Number(Bounds::Temperature), Fallback::Value("0.05"), "0.05").only("objective.name", &["deepcluster-v2"]),
    key("objective.temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.1"), "0.1").only("objective.name", &["deepcluster-v2"]),
];

/// Sweeps over a batch in the first epoch; the labels are its argmax only.
const BATCH_SWEEPS: usize = 3;
/// Sweeps over the bank.
const BANK_SWEEPS: usize = 100;
/// Of an image that has no label.
const NONE: f32 = -1.0;
/// A generator of its own for the rows that k-means begins with.
const FIRST_CENTROIDS: Purpose = Purpose::Other(0x6b6d);

#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Assignment {
    Kmeans,
    Sinkhorn,
}

/// An embedding and a label an image, and old and new centroids; for Sinkhorn the whole set against all prototypes, twice.
fn bank(recipe: &Recipe, num_images: u64) -> u64 {
    let dim = recipe.projector.output_dim as u64;
    let num_prototypes = recipe.prototypes.as_ref().map_or(0, |p| p.count as u64);
    let assignment = recipe.objective.settings.get("assignment").and_then(toml::Value::as_str);
    let of_image = if assignment == Some("sinkhorn") { 2 * num_prototypes + 2 * dim } else { dim };
    num_images.saturating_mul(of_image + 2).saturating_add(2 * num_prototypes * dim)
}

documented! {
    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        /// How images get labels: `kmeans` (DeepCluster-v2) or `sinkhorn` (`SeLa`).
        assignment: Assignment,
        /// Iterations of k-means at the start of an epoch, ≥ 1 (10); only with `kmeans`.
        kmeans_iterations: usize,
        /// Entropic regularisation ε > 0 of Sinkhorn, in units of the logits (0.05); of `kmeans` in the first epoch.
        epsilon: f64,
        /// Temperature τ > 0 of the predictions, in units of the logits (0.1).
        temperature: f64,
    }
}

/// Cross-entropy of logits (N × K a view) with labels, one a row, −1 for none: the sum over labelled rows, mean over views, and how many rows
/// are labelled.
///
/// # Errors
/// No view; shapes that do not fit.
pub fn label_cross_entropy(
    logits: &[Tensor],
    labels: &[f32],
    temperature: f64,
) -> Result<(Tensor, usize), Error> {
    let Some(first) = logits.first() else { return Err(Error::NoViews) };
    let (rows, num_classes) = first.dims2()?;
    let mut one_hot = vec![0.0_f32; rows * num_classes];
    let mut num_labelled = 0;
    for (row, label) in one_hot.chunks_exact_mut(num_classes).zip(labels) {
        if let Some(place) = position(*label).and_then(|label| row.get_mut(label)) {
            *place = 1.0;
            num_labelled += 1;
        }
    }
    let mut sum: Option<Tensor> = None;
    for view in logits {
        let view = widen(view)?;
        let target = Tensor::from_slice(&one_hot, (rows, num_classes), view.device())?;
        let log_p = log_softmax(&(&view / temperature)?)?;
        let term = (target.to_dtype(view.dtype())? * log_p)?.sum_all()?.neg()?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    let Some(sum) = sum else { return Err(Error::NoViews) };
    Ok(((sum / logits.len() as f64)?, num_labelled))
}

/// Spherical k-means: each row's cluster, from centroids (K × dim, unit rows) that are moved in place. An empty cluster keeps its centroid.
pub fn spherical_kmeans(
    rows: &[f32],
    dim: usize,
    centroids: &mut [f32],
    num_iterations: usize,
) -> Vec<usize> {
    let assign = |centroids: &[f32]| -> Vec<usize> {
        rows.chunks_exact(dim).map(|row| nearest(row, centroids)).collect()
    };
    for _ in 0..num_iterations {
        let mut sums = vec![0.0_f64; centroids.len()];
        for (row, cluster) in rows.chunks_exact(dim).zip(assign(centroids)) {
            let sum = &mut sums[cluster * dim..(cluster + 1) * dim];
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        for (centroid, sum) in centroids.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)) {
            let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
            if length > 1e-12 {
                #[allow(clippy::cast_possible_truncation)] // centroids are f32
                centroid.iter_mut().zip(sum).for_each(|(to, x)| *to = (x / length) as f32);
            }
        }
    }
    assign(centroids)
}

/// The centroid with the largest inner product, the first of equal ones.
fn nearest(row: &[f32], centroids: &[f32]) -> usize {
    let products = centroids.chunks_exact(row.len().max(1));
    largest(products.map(|c| c.iter().zip(row).map(|(c, x)| c * x).sum::<f32>()))
}

fn largest(values: impl Iterator<Item = f32>) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, value) in values.enumerate() {
        if value > best.1 {
            best = (i, value);
        }
    }
    best.0
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and below 2²⁴
fn position(label: f32) -> Option<usize> {
    (label >= 0.0).then_some(label as usize)
}

/// Labels, and what they were made of.
#[derive(Clone, Debug)]
struct Clustering {
    /// The epoch they are for; 0 for none.
    epoch: Vec<f32>,
    /// One an image, −1 for none.
    labels: Vec<f32>,
    /// K × D; zeros where there are none.
    centroids: Vec<f32>,
}

/// DeepCluster-v2 or SeLa in a run.
#[derive(Debug)]
pub struct DeepCluster {
    settings: Settings,
    seed: u64,
    dim: usize,
    num_prototypes: usize,
    targets: Targets,
    /// An embedding an image, zeros before its first.
    bank: Vec<f32>,
    clustering: Clustering,
    /// This step's, if it is an epoch's first.
    renewed: Option<Clustering>,
    /// This step's embeddings, all ranks', with the images they are of.
    newest: Option<(Vec<usize>, Vec<f32>)>,
}

impl DeepCluster {
    /// For a recipe.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let Some(prototypes) = &setup.recipe.prototypes else {
            return Err(Error::Settings("no [prototypes]".into()));
        };
        let dim = setup.recipe.projector.output_dim;
        let settings: Settings = setup.settings()?;
        // Clusters start from images of their own: two of one image stay the same for ever.
        if settings.assignment == Assignment::Kmeans && prototypes.count > setup.num_images {
            return Err(Error::Settings(format!(
                "k-means starts each of the {} clusters of `prototypes.count` from an image of its own, but there are {} images; lower prototypes.count",
                prototypes.count, setup.num_images
            )));
        }
        Ok(Self {
            settings,
            seed: setup.recipe.train.seed,
            dim,
            num_prototypes: prototypes.count,
            targets: Targets::new(setup.batch_size(), dim, prototypes.count, setup.ranks)?,
            bank: vec![0.0; setup.num_images * dim],
            clustering: Clustering {
                epoch: vec![0.0],
                labels: vec![NONE; setup.num_images],
                centroids: vec![0.0; prototypes.count * dim],
            },
            renewed: None,
            newest: None,
        })
    }

    fn sinkhorn(&self, sweeps: usize) -> Result<mira_core::Method, Error> {
        let sinkhorn = Sinkhorn::new(self.settings.epsilon)
            .and_then(|sinkhorn| sinkhorn.with_stop(StopRule::Sweeps(sweeps)));
        Ok(sinkhorn.map_err(mira_cpu::Error::from)?.into())
    }

    /// Clusters the bank; the same on all ranks, as each holds all of it.
    fn cluster(&self, prototypes: &[f32], epoch: u64) -> Result<Clustering, Error> {
        let dim = self.dim;
        let mut clustering = self.clustering.clone();
        clustering.epoch = vec![epoch as f32];
        clustering.labels.fill(NONE);
        let row = |image: usize| &self.bank[image * dim..(image + 1) * dim];
        let images: Vec<usize> = (0..self.bank.len() / dim)
            .filter(|&image| row(image).iter().any(|x| *x != 0.0))
            .collect();
        if images.is_empty() {
            return Ok(clustering);
        }
        let rows: Vec<f32> = images.iter().flat_map(|&image| row(image).to_vec()).collect();
        let labels = match self.settings.assignment {
            Assignment::Kmeans => {
                let mut order = images.clone();
                #[allow(clippy::cast_possible_truncation)] // epochs are few
                let stream = [epoch as u32, 0, 0];
                Rng::new(self.seed, FIRST_CENTROIDS, stream).shuffle(&mut order);
                // Fewer than clusters only if images were unreadable.
                let first = order.iter().cycle().take(self.num_prototypes);
                clustering.centroids = first.flat_map(|&image| row(image).to_vec()).collect();
                let iterations = self.settings.kmeans_iterations;
                spherical_kmeans(&rows, dim, &mut clustering.centroids, iterations)
            }
            Assignment::Sinkhorn => self.balanced(rows, prototypes)?,
        };
        for (image, label) in images.into_iter().zip(labels) {
            clustering.labels[image] = label as f32;
        }
        Ok(clustering)
    }

    /// The argmax of Sinkhorn on unit rows against unit prototypes.
    fn balanced(&self, rows: Vec<f32>, prototypes: &[f32]) -> Result<Vec<usize>, Error> {
        let bad = |_| Error::Settings("shapes of bank and prototypes".into());
        let count = rows.len() / self.dim;
        let rows = Array2::from_shape_vec((count, self.dim), rows).map_err(bad)?;
        let shape = (self.num_prototypes, self.dim);
        let directions = Array2::from_shape_vec(shape, prototypes.to_vec()).map_err(bad)?;
        let mut logits = Array2::zeros((count, self.num_prototypes));
        general_mat_mul(1.0, &rows, &directions.t(), 0.0, &mut logits);
        let assigner = CpuAssigner::<f32>::new(self.sinkhorn(BANK_SWEEPS)?);
        let shape = Shape::new(count, self.num_prototypes).map_err(mira_cpu::Error::from)?;
        let mut workspace = assigner.workspace(shape)?;
        let mut assigned = Array2::zeros((count, self.num_prototypes));
        assigner.assign_into(logits.view(), assigned.view_mut(), &mut workspace)?;
        Ok(assigned.rows().into_iter().map(|row| largest(row.iter().copied())).collect())
    }
}

fn numbers(of: &Tensor) -> Result<Vec<f32>, Error> {
    Ok(of.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

impl Objective for DeepCluster {
    fn loss(
        &mut self,
        views: &[Tensor],
        weights: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let views = views.iter().map(widen).collect::<Result<Vec<_>, _>>()?;
        let [first, second, ..] = views.as_slice() else { return Err(Error::NoViews) };
        let prototypes = unit_rows(&widen(weights.student(PROTOTYPES)?)?)?;
        let flat = numbers(&prototypes)?;
        let rows = first.dim(0)?;
        self.renewed = None;
        let labels: Vec<f32> = if step.epoch == 0 {
            self.targets.collect(0, &numbers(first)?);
            self.targets.collect(1, &numbers(second)?);
            self.targets.assign(&flat, self.sinkhorn(BATCH_SWEEPS)?)?;
            let assigned = self.targets.rows(0, 0, rows).chunks_exact(self.num_prototypes);
            assigned.map(|row| largest(row.iter().copied()) as f32).collect()
        } else {
            if self.clustering.epoch[0] != step.epoch as f32 {
                self.renewed = Some(self.cluster(&flat, step.epoch)?);
            }
            let of_all = &self.renewed.as_ref().unwrap_or(&self.clustering).labels;
            let of_image = |image: &u32| of_all.get(*image as usize).copied().unwrap_or(NONE);
            step.indices.iter().map(of_image).collect()
        };
        let directions = if step.epoch > 0 && self.settings.assignment == Assignment::Kmeans {
            let centroids = &self.renewed.as_ref().unwrap_or(&self.clustering).centroids;
            let shape = (self.num_prototypes, self.dim);
            Tensor::from_slice(centroids, shape, first.device())?.to_dtype(first.dtype())?
        } else {
            prototypes
        };
        let directions = directions.t()?;
        let logits =
            views.iter().map(|view| view.matmul(&directions)).collect::<Result<Vec<_>, _>>()?;
        let (sum, count) = label_cross_entropy(&logits, &labels, self.settings.temperature)?;
        let count = Tensor::new(count as f64, &Device::Cpu)?;
        let count = step.ranks.sum(&count)?.to_scalar::<f64>()?.max(1.0);

        let images: Vec<f64> = step.indices.iter().map(|&image| f64::from(image)).collect();
        let images = Tensor::from_slice(&images, (rows, 1), &Device::Cpu)?;
        let images = step.ranks.gather(&images)?.flatten_all()?.to_vec1::<f64>()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // they were u32
        let images = images.into_iter().map(|image| image as usize).collect();
        let embeddings = numbers(&unit_rows(&step.ranks.gather(&first.detach())?)?)?;
        self.newest = Some((images, embeddings));
        Ok((step.ranks.sum(&sum)? / count)?.into())
    }

    fn commit(&mut self) {
        if let Some(renewed) = self.renewed.take() {
            self.clustering = renewed;
        }
        let Some((images, embeddings)) = self.newest.take() else { return };
        for (image, row) in images.into_iter().zip(embeddings.chunks_exact(self.dim)) {
            let place = self.bank.get_mut(image * self.dim..(image + 1) * self.dim);
            if let Some(place) = place {
                place.copy_from_slice(row);
            }
        }
    }

    fn state(&self) -> Vec<(&'static str, &[f32])> {
        let Clustering { epoch, labels, centroids } = &self.clustering;
        vec![("bank", &self.bank), ("labels", labels), ("centroids", centroids), ("epoch", epoch)]
    }

    fn restore(&mut self, mut saved: State) -> Result<(), Error> {
        let mut take = |name: &str, like: &[f32]| match saved.remove(name) {
            Some(values) if values.len() == like.len() => Ok(values),
            Some(values) => Err(Error::State(format!(
                "`{name}` has {} numbers, expected {}",
                values.len(),
                like.len()
            ))),
            None => Err(Error::State(format!("`{name}` is missing"))),
        };
        let bank = take("bank", &self.bank)?;
        let clustering = Clustering {
            labels: take("labels", &self.clustering.labels)?,
            centroids: take("centroids", &self.clustering.centroids)?,
            epoch: take("epoch", &self.clustering.epoch)?,
        };
        if let Some(name) = saved.keys().next() {
            return Err(Error::State(format!("`{name}` is not of this method")));
        }
        (self.bank, self.clustering) = (bank, clustering);
        (self.renewed, self.newest) = (None, None);
        Ok(())
    }

    fn usage(&self) -> Option<Vec<f32>> {
        let labels: Vec<usize> =
            self.clustering.labels.iter().filter_map(|label| position(*label)).collect();
        let share = 1.0 / labels.len().max(1) as f32;
        let mut usage = vec![0.0; self.num_prototypes];
        for label in &labels {
            *usage.get_mut(*label)? += share;
        }
        (!labels.is_empty()).then_some(usage)
    }
}
