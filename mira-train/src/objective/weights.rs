//! The method's own parameters as tensors, and the way from a loss to gradients.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::{Error, Loss};

/// The parameters that belong to the method: prototypes, a predictor.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    student: BTreeMap<String, Tensor>,
    teacher: BTreeMap<String, Tensor>,
}

impl Weights {
    /// From the student's and the teacher's; without a teacher both are the student's.
    pub fn new(student: BTreeMap<String, Tensor>, teacher: BTreeMap<String, Tensor>) -> Self {
        Self { student, teacher }
    }

    /// A parameter of the student, to which gradients flow.
    ///
    /// # Errors
    /// [`Error::NoParameter`].
    pub fn student(&self, name: &str) -> Result<&Tensor, Error> {
        self.student.get(name).ok_or_else(|| Error::NoParameter(name.into()))
    }

    /// A parameter of the teacher.
    ///
    /// # Errors
    /// [`Error::NoParameter`].
    pub fn teacher(&self, name: &str) -> Result<&Tensor, Error> {
        self.teacher.get(name).ok_or_else(|| Error::NoParameter(name.into()))
    }
}

/// What a loss is differentiated by: the embeddings of each view, and the method's own parameters.
#[derive(Clone, Debug, Default)]
pub struct Leaves {
    /// rows × dim each.
    pub views: Vec<Var>,
    /// By name.
    pub own: BTreeMap<String, Var>,
}

impl Leaves {
    /// Embeddings of all views one after another, f32.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the length is not a multiple of `rows·dim`.
    pub fn new(embeddings: &[f32], rows: usize, dim: usize) -> Result<Self, Error> {
        let view = |view: &[f32]| Ok(Var::from_slice(view, (rows, dim), &Device::Cpu)?);
        let views = embeddings.chunks(rows * dim).map(view).collect::<Result<_, Error>>()?;
        Ok(Self { views, own: BTreeMap::new() })
    }

    /// Adds a parameter.
    ///
    /// # Errors
    /// [`Error::Tensor`] if values and shape do not fit.
    pub fn push(&mut self, name: &str, values: &[f32], shape: &[usize]) -> Result<(), Error> {
        self.own.insert(name.into(), Var::from_slice(values, shape, &Device::Cpu)?);
        Ok(())
    }

    /// The views as tensors.
    pub fn views(&self) -> Vec<Tensor> {
        self.views.iter().map(|view| view.as_tensor().clone()).collect()
    }

    /// The parameters as tensors.
    pub fn own(&self) -> BTreeMap<String, Tensor> {
        self.own.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
    }
}

/// A loss and its gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The loss.
    pub loss: f32,
    /// ∂L/∂embeddings, view after view.
    pub embeddings: Vec<f32>,
    /// ∂L/∂parameter, by name.
    pub own: BTreeMap<String, Vec<f32>>,
}

/// Differentiates a loss.
///
/// # Errors
/// [`Error::Tensor`] for an operation without a derivative.
pub fn gradients(loss: &Loss, leaves: &Leaves) -> Result<Gradients, Error> {
    let store = loss.value.backward()?;
    let gradient = |var: &Var| match store.get(var.as_tensor()) {
        Some(gradient) => Ok::<_, Error>(gradient.flatten_all()?.to_vec1()?),
        None => Ok(vec![0.0; var.as_tensor().elem_count()]),
    };
    let mut embeddings = Vec::new();
    for view in &leaves.views {
        embeddings.extend(gradient(view)?);
    }
    let own = leaves.own.iter().map(|(name, var)| Ok((name.clone(), gradient(var)?)));
    let own = own.collect::<Result<_, Error>>()?;
    Ok(Gradients { loss: loss.value.to_scalar()?, embeddings, own })
}
