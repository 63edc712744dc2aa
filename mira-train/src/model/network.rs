//! Encoder, projector and prototypes of a recipe: one set of parameters, graphs for any batch and image size.

use super::{Projector, ResNet, Stem};
use crate::nn::{Error, Graph, GraphBuilder, Initialisation, Parameter, ParameterId, Parameters};
use crate::optim::Segment;
use crate::recipe::{self, Recipe};

/// Name of the prototypes' parameter, K × dim.
pub const PROTOTYPES: &str = "prototypes.weight";

/// What a recipe trains.
#[derive(Clone, Debug)]
pub struct Network {
    encoder: ResNet,
    projector: Projector,
    num_prototypes: usize,
    prototypes: ParameterId,
    parameters: Parameters,
}

impl Network {
    /// The network of a recipe; it can be built for all of the recipe's views.
    ///
    /// # Errors
    /// Views too small for the network.
    pub fn new(recipe: &Recipe) -> Result<Self, Error> {
        let encoder = encoder(&recipe.model);
        let recipe::Projector { hidden_dim, num_hidden, output_dim } = recipe.projector;
        let projector = Projector { hidden_dim, num_hidden, output_dim };
        let num_prototypes = recipe.prototypes.count;
        let mut parameters = Parameters::default();
        for view in &recipe.views {
            training_graph(&mut parameters, &encoder, projector, 1, view.size)?;
        }
        let shape = [num_prototypes, output_dim];
        let prototypes = parameters.parameter(PROTOTYPES, &shape, Initialisation::UnitRows)?;
        Ok(Self { encoder, projector, num_prototypes, prototypes, parameters })
    }

    /// Names, shapes and places of all parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The prototypes' place.
    pub fn prototypes(&self) -> &Parameter {
        &self.parameters.parameters()[self.prototypes.0]
    }

    /// K.
    pub fn num_prototypes(&self) -> usize {
        self.num_prototypes
    }

    /// Length of an embedding.
    pub fn embedding_dim(&self) -> usize {
        self.projector.output_dim
    }

    /// Length of a representation.
    pub fn representation_dim(&self) -> usize {
        self.encoder.output_dim()
    }

    /// The parameters as the optimiser sees them.
    pub fn segments(&self) -> Vec<Segment> {
        let segment =
            |p: &Parameter| Segment { range: p.range.clone(), regularised: p.regularised() };
        self.parameters.parameters().iter().map(segment).collect()
    }

    /// Images of `size` × `size` to representations and, last, unit-length embeddings.
    ///
    /// # Errors
    /// Images too small for the network.
    pub fn training_graph(&self, batch: usize, size: usize) -> Result<Graph, Error> {
        training_graph(&mut self.parameters.clone(), &self.encoder, self.projector, batch, size)
    }

    /// Images of `size` × `size` to representations.
    ///
    /// # Errors
    /// Images too small for the network.
    pub fn encoder_graph(&self, batch: usize, size: usize) -> Result<Graph, Error> {
        let mut parameters = self.parameters.clone();
        let mut graph = GraphBuilder::new(&mut parameters, batch);
        let images = graph.input(size, size, 3)?;
        let representation = self.encoder.build(&mut graph, images)?;
        Ok(graph.finish(&[representation]))
    }

    /// Whether a parameter or batch norm belongs to the encoder.
    pub fn is_encoder(name: &str) -> bool {
        !name.starts_with("projector.") && !name.starts_with("prototypes.")
    }
}

fn training_graph(
    parameters: &mut Parameters,
    encoder: &ResNet,
    projector: Projector,
    batch: usize,
    size: usize,
) -> Result<Graph, Error> {
    let mut graph = GraphBuilder::new(parameters, batch);
    let images = graph.input(size, size, 3)?;
    let representation = encoder.build(&mut graph, images)?;
    let embedding = projector.build(&mut graph, representation)?;
    Ok(graph.finish(&[representation, embedding]))
}

fn encoder(model: &recipe::Model) -> ResNet {
    let (block, stages) = ResNet::stages(model.architecture);
    let stem = match model.stem {
        recipe::Stem::Imagenet => Stem::ImageNet,
        recipe::Stem::Cifar => Stem::Cifar { padding: model.stem_padding.unwrap_or(1) },
    };
    let zero_init_residual = model.zero_init_residual;
    ResNet { block, stages: stages.to_vec(), width: model.width, stem, zero_init_residual }
}
