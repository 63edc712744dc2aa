//! From the representation to the unit-length embedding that meets the prototypes.

use crate::nn::{Error, GraphBuilder, NodeId, Normalisation};

/// (Linear – BN – ReLU) × `num_hidden`, Linear with bias or Linear – BN, then division by the length if wanted; hidden layers have no bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projector {
    /// Width of hidden layers.
    pub hidden_dim: usize,
    /// Hidden layers.
    pub num_hidden: usize,
    /// Length of the embedding.
    pub output_dim: usize,
    /// Whether the last layer has a batch norm in place of a bias.
    pub batch_norm_last: bool,
    /// Whether embeddings are divided by their length.
    pub unit_length: bool,
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
        x = graph.linear(&last, x, self.output_dim, !self.batch_norm_last)?;
        if self.batch_norm_last {
            let settings = Normalisation { shortcut: None, relu: false, zero_init: false };
            let name = format!("projector.{}", 3 * self.num_hidden + 1);
            x = graph.batch_norm(&name, x, settings)?;
        }
        Ok(if self.unit_length { graph.l2_normalise(x) } else { x })
    }
}
