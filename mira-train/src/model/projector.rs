//! From the representation to the unit-length embedding that meets the prototypes.

use crate::nn::{Error, GraphBuilder, NodeId, Normalisation};

/// (Linear – BN – ReLU) × `num_hidden`, Linear with bias, then division by the length; hidden layers have no bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projector {
    /// Width of hidden layers.
    pub hidden_dim: usize,
    /// Hidden layers.
    pub num_hidden: usize,
    /// Length of the embedding.
    pub output_dim: usize,
}

impl Projector {
    /// Adds the projector to a graph.
    ///
    /// # Errors
    /// A size of zero.
    pub fn build(
        &self,
        graph: &mut GraphBuilder<'_>,
        representation: NodeId,
    ) -> Result<NodeId, Error> {
        let mut x = representation;
        for i in 0..self.num_hidden {
            x = graph.linear(&format!("projector.{}", 3 * i), x, self.hidden_dim, false)?;
            let settings = Normalisation { shortcut: None, relu: true, zero_init: false };
            x = graph.batch_norm(&format!("projector.{}", 3 * i + 1), x, settings)?;
        }
        let last = format!("projector.{}", 3 * self.num_hidden);
        x = graph.linear(&last, x, self.output_dim, true)?;
        Ok(graph.l2_normalise(x))
    }
}
