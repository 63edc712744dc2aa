//! What training minimises: loss and gradient from embeddings, on candle's autograd.
//!
//! The network hands over the embeddings of all views and takes back ∂L/∂embeddings; everything between is a few lines of tensor code.
//! Assignments come from a [`mira_core::Assigner`], and no gradient flows through them.

mod error;
mod mira;
mod targets;

pub use error::Error;
pub use mira::{Reduction, swapped_prediction};
pub use targets::Targets;

use candle_core::{Device, Tensor, Var};

/// Embeddings of the student: views × batch × dim, unit length, global views first.
#[derive(Clone, Debug)]
pub struct Embeddings {
    /// One tensor of batch × dim a view, each a leaf of the autograd graph.
    views: Vec<Var>,
}

impl Embeddings {
    /// From rows of all views one after another.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the length is not `num_views·batch·dim`.
    pub fn new(rows: &[f32], batch: usize, dim: usize) -> Result<Self, Error> {
        let views = rows
            .chunks(batch * dim)
            .map(|view| Ok(Var::from_slice(view, (batch, dim), &Device::Cpu)?))
            .collect::<Result<_, Error>>()?;
        Ok(Self { views })
    }

    /// One tensor a view.
    pub fn views(&self) -> Vec<Tensor> {
        self.views.iter().map(|view| view.as_tensor().clone()).collect()
    }
}

/// Loss and gradients of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The loss.
    pub loss: f32,
    /// ∂L/∂embeddings, in the order of the embeddings' rows.
    pub embeddings: Vec<f32>,
    /// ∂L/∂prototypes, K × dim.
    pub prototypes: Vec<f32>,
}

/// MIRA's loss (swapped prediction over all views) of student embeddings against two targets, with its gradients.
///
/// `prototypes` are K × dim as stored; they are divided by their lengths here. `targets` are batch × K, one for each global view.
///
/// # Errors
/// [`Error::Tensor`] for lengths that do not fit.
pub fn mira_gradients(
    embeddings: &Embeddings,
    prototypes: &[f32],
    targets: [&[f32]; 2],
    temperature: f64,
    reduction: Reduction,
) -> Result<Gradients, Error> {
    let views = embeddings.views();
    let Some(first) = views.first() else { return Err(Error::NoViews) };
    let (batch, dim) = first.dims2()?;
    let num_prototypes = prototypes.len() / dim;
    let prototypes = Var::from_slice(prototypes, (num_prototypes, dim), &Device::Cpu)?;
    let tensor = |target: &[f32]| Tensor::from_slice(target, (batch, num_prototypes), &Device::Cpu);
    let targets = [tensor(targets[0])?, tensor(targets[1])?];
    let loss =
        swapped_prediction(&views, prototypes.as_tensor(), &targets, temperature, reduction)?;
    let store = loss.backward()?;
    let gradient = |var: &Var| match store.get(var.as_tensor()) {
        Some(gradient) => Ok::<_, Error>(gradient.flatten_all()?.to_vec1()?),
        None => Ok(vec![0.0; var.as_tensor().elem_count()]),
    };
    let mut rows = Vec::with_capacity(views.len() * batch * dim);
    for view in &embeddings.views {
        rows.extend(gradient(view)?);
    }
    Ok(Gradients { loss: loss.to_scalar()?, embeddings: rows, prototypes: gradient(&prototypes)? })
}
