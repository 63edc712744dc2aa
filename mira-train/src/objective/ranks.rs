//! A batch spread over ranks: sums and rows of all of them, inside autograd.
//!
//! Every rank computes the same loss of the whole batch and differentiates it by its own rows. What [`Ranks::sum`] and [`Ranks::gather`]
//! give is therefore a function of all rows, with a gradient to this rank's alone; the parameters' gradients, summed over the ranks, are
//! those of one rank that holds the whole batch. What goes into them must be this rank's own: a sum of what already depends on other ranks'
//! rows would lose the gradient by way of these. Where statistics of statistics are needed, rows are gathered first. A parameter that then
//! acts on gathered rows is [`shared`](super::math::shared).

use std::sync::Arc;

use candle_core::{DType, Tensor};
use mira_core::{Collective, SingleProcess};

use super::Error;

/// Who shares a batch; each has as many samples.
#[derive(Clone, Debug)]
pub struct Ranks {
    collective: Arc<dyn Collective>,
}

impl Default for Ranks {
    fn default() -> Self {
        Self { collective: Arc::new(SingleProcess) }
    }
}

impl Ranks {
    /// Ranks of a collective.
    pub fn new(collective: Arc<dyn Collective>) -> Self {
        Self { collective }
    }

    /// The transport.
    pub fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// Number of ranks.
    pub fn world_size(&self) -> usize {
        self.collective.world_size()
    }

    /// The sum of every rank's `part`, the same bits on all; its gradient flows to this rank's.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn sum(&self, part: &Tensor) -> Result<Tensor, Error> {
        if self.world_size() == 1 {
            return Ok(part.clone());
        }
        let mut values = numbers(part)?;
        self.collective.sum(&mut values)?;
        let total = tensor(&values, part)?;
        // 0 with the identity's derivative, and the total with none.
        Ok(((part - part.detach())? + total)?)
    }

    /// The mean over the rows (dimension 0) of all ranks.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    pub fn mean_rows(&self, rows: &Tensor) -> Result<Tensor, Error> {
        let count = rows.dim(0)? * self.world_size();
        Ok((self.sum(&rows.sum(0)?)? / count as f64)?)
    }

    /// The mean of all elements of all ranks, a scalar.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    pub fn mean_all(&self, values: &Tensor) -> Result<Tensor, Error> {
        Ok((self.sum(&values.mean_all()?)? / self.world_size() as f64)?)
    }

    /// The rows of all ranks in rank order; gradients flow to this rank's.
    ///
    /// # Errors
    /// As [`sum`](Self::sum).
    pub fn gather(&self, rows: &Tensor) -> Result<Tensor, Error> {
        let world = self.world_size();
        if world == 1 {
            return Ok(rows.clone());
        }
        let mine = numbers(rows)?;
        let mut all = vec![0.0; world * mine.len()];
        self.collective.gather(&mine, &mut all)?;
        let parts = all.chunks_exact(mine.len().max(1)).enumerate();
        let parts = parts.map(|(rank, part)| {
            if rank == self.collective.rank() { Ok(rows.clone()) } else { tensor(part, rows) }
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>, Error>>()?, 0)?)
    }
}

fn numbers(of: &Tensor) -> Result<Vec<f64>, Error> {
    Ok(of.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// Values in the shape and type of another tensor.
fn tensor(values: &[f64], like: &Tensor) -> Result<Tensor, Error> {
    Ok(Tensor::from_slice(values, like.shape(), like.device())?.to_dtype(like.dtype())?)
}
