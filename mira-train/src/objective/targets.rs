//! The teacher's targets: logits of the global views, each assigned over the whole batch.

use std::sync::Arc;

use mira_core::{Assigner as _, Method, Report, Shape};
use mira_cpu::{CpuAssigner, CpuWorkspace};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis};

use super::{Error, Ranks};

/// Memory for the targets of two views, reused from step to step.
#[derive(Debug)]
pub struct Targets {
    embeddings: [Array2<f32>; 2],
    logits: Array2<f32>,
    assignments: [Array2<f32>; 2],
    workspace: CpuWorkspace<f32>,
    ranks: Ranks,
}

impl Targets {
    /// For `batch` samples on each of the ranks, embeddings of length `dim`, and `num_prototypes` prototypes.
    ///
    /// # Errors
    /// An empty shape.
    pub fn new(
        batch: usize,
        dim: usize,
        num_prototypes: usize,
        ranks: &Ranks,
    ) -> Result<Self, Error> {
        let shape = Shape::new(batch, num_prototypes).map_err(mira_cpu::Error::from)?;
        let workspace = CpuAssigner::<f32>::new(mira_core::Mira::default()).workspace(shape)?;
        let rows = || Array2::zeros((batch, dim));
        let matrix = || Array2::zeros((batch, num_prototypes));
        Ok(Self {
            embeddings: [rows(), rows()],
            logits: matrix(),
            assignments: [matrix(), matrix()],
            workspace,
            ranks: ranks.clone(),
        })
    }

    /// Keeps the teacher's embeddings of global view `view`, all samples of this rank.
    pub fn collect(&mut self, view: usize, rows: &[f32]) {
        self.embeddings[view].iter_mut().zip(rows).for_each(|(to, from)| *to = *from);
    }

    /// Assigns both views, over the whole batch at once, to prototypes given as K × dim, which are divided by their lengths.
    ///
    /// # Errors
    /// Embeddings that are not finite.
    pub fn assign(&mut self, prototypes: &[f32], method: Method) -> Result<[Report; 2], Error> {
        let dim = self.embeddings[0].ncols();
        let mut directions = Array2::zeros((prototypes.len() / dim, dim));
        for (mut to, from) in directions.rows_mut().into_iter().zip(prototypes.chunks_exact(dim)) {
            let length = from.iter().map(|x| x * x).sum::<f32>().sqrt();
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from / length);
        }
        let assigner =
            CpuAssigner::<f32>::new(method).with_collective(Arc::clone(self.ranks.collective()));
        let mut assign = |view: usize| {
            general_mat_mul(1.0, &self.embeddings[view], &directions.t(), 0.0, &mut self.logits);
            let out = self.assignments[view].view_mut();
            assigner.assign_into(self.logits.view(), out, &mut self.workspace)?;
            assigner.report(&self.workspace)
        };
        Ok([assign(0)?, assign(1)?])
    }

    /// The mean assignment to each prototype, over both views.
    pub fn usage(&self) -> Option<Vec<f32>> {
        let mean = |view: usize| self.assignments[view].mean_axis(Axis(0));
        Some(((mean(0)? + mean(1)?) / 2.0).to_vec())
    }

    /// Rows of the assignment of a global view, one after another.
    pub fn rows(&self, view: usize, start: usize, count: usize) -> &[f32] {
        let columns = self.assignments[view].ncols();
        let all = self.assignments[view].as_slice().unwrap_or_default();
        &all[start * columns..(start + count) * columns]
    }
}
