//! Encoder, projector and the objective's own parameters of a recipe: one set of parameters, graphs for any batch and image size.

use super::{Projector, ResNet, Stem};
use crate::nn::{Error, Graph, GraphBuilder, Parameter, ParameterId, Parameters};
use crate::objective;
use crate::optim::Segment;
use crate::recipe::{self, Recipe};

/// Name of the prototypes' parameter, K × dim.
pub const PROTOTYPES: &str = "prototypes.weight";

/// What a recipe trains.
#[derive(Clone, Debug)]
pub struct Network {
    encoder: ResNet,
    projector: Projector,
    own: Vec<ParameterId>,
    parameters: Parameters,
}

impl Network {
    /// The network of a recipe; it can be built for all of the recipe's views.
    ///
    /// # Errors
    /// Views too small for the network.
    pub fn new(recipe: &Recipe) -> Result<Self, Error> {
        let encoder = encoder(&recipe.model);
        let recipe::Projector { hidden_dim, num_hidden, output_dim, batch_norm_last } =
            recipe.projector;
        let method = objective::find(&recipe.objective.name);
        let unit_length = method.is_some_and(|method| method.needs.unit_length);
        let projector =
            Projector { hidden_dim, num_hidden, output_dim, batch_norm_last, unit_length };
        let mut parameters = Parameters::default();
        for view in &recipe.views {
            training_graph(&mut parameters, &encoder, projector, 1, view.size)?;
        }
        let own = objective::own_parameters(recipe);
        let own = own.iter().map(|p| parameters.parameter(&p.name, &p.shape, p.initialisation));
        let own = own.collect::<Result<_, _>>()?;
        Ok(Self { encoder, projector, own, parameters })
    }

    /// Names, shapes and places of all parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The parameters that the objective has beside the network's: prototypes, a predictor.
    pub fn own_parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.own.iter().map(|id| &self.parameters[*id])
    }

    /// The prototypes' place, where the objective has some.
    pub fn prototypes(&self) -> Option<&Parameter> {
        self.own_parameters().find(|parameter| parameter.name == PROTOTYPES)
    }

    /// K, where the objective has prototypes.
    pub fn num_prototypes(&self) -> Option<usize> {
        self.prototypes().map(|prototypes| prototypes.shape[0])
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

    /// Images of `size` × `size` to representations and, last, embeddings.
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
        !["projector.", "prototypes.", "predictor."].iter().any(|part| name.starts_with(part))
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
