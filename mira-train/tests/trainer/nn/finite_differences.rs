//! Every backward pass, in f64, against central differences of its forward pass.

use mira_train::model::{Block, Projector, ResNet, Stem};
use mira_train::nn::cpu::{Executor, Statistics};
use mira_train::nn::{
    Convolution, Error, Graph, GraphBuilder, NodeId, Normalisation, Parameters, Pass,
};
use mira_train::rng::{Purpose, Rng};

/// A network under test: random parameters and images, and a random cotangent of its output.
struct Network {
    executor: Executor<f64>,
    parameters: Parameters,
    values: Vec<f64>,
    images: Vec<f64>,
    cotangent: Vec<f64>,
}

fn random(len: usize, stream: u32) -> Vec<f64> {
    let mut rng = Rng::new(5, Purpose::Other(1), [stream, 0, 0]);
    (0..len).map(|_| f64::from(rng.normal())).collect()
}

impl Network {
    fn new(
        batch: usize,
        side: usize,
        channels: usize,
        build: impl Fn(&mut GraphBuilder<'_>, NodeId) -> Result<NodeId, Error>,
    ) -> Self {
        let mut parameters = Parameters::default();
        let mut builder = GraphBuilder::new(&mut parameters, batch);
        let images = builder.input(side, side + 1, channels).expect("not empty");
        let output = build(&mut builder, images).expect("a valid network");
        let graph: Graph = builder.finish(&[output]);
        let num_outputs = graph.node(output).shape.len();
        // Away from the special values of initialisation.
        let noise = random(parameters.num_values(), 1);
        let mut values = vec![0.0; noise.len()];
        for p in parameters.parameters() {
            for i in p.range.clone() {
                values[i] = 0.5 * noise[i] + if p.regularised() { 0.0 } else { 0.7 };
            }
        }
        let images = random(batch * side * (side + 1) * channels, 2);
        let cotangent = random(num_outputs, 3);
        let executor = Executor::new(graph, &parameters, Pass::Training);
        Self { executor, parameters, values, images, cotangent }
    }

    /// ⟨cotangent, output⟩.
    fn loss(&mut self, values: &[f64]) -> f64 {
        self.executor.input_mut().copy_from_slice(&self.images);
        self.executor.forward(values, Statistics::Batch);
        self.executor.output(0).iter().zip(&self.cotangent).map(|(y, c)| y * c).sum()
    }

    /// The gradient of every parameter along random directions, and along some axes.
    fn check(mut self, tolerance: f64) {
        let values = self.values.clone();
        self.loss(&values);
        let mut gradients = vec![0.0; values.len()];
        let cotangent = self.cotangent.clone();
        self.executor.backward(&values, &cotangent, &mut gradients);
        for (n, parameter) in self.parameters.clone().parameters().iter().enumerate() {
            let len = parameter.range.len();
            let mut directions = vec![random(len, 10 + u32::try_from(n).expect("few"))];
            for axis in [0, len / 2, len - 1] {
                let mut e = vec![0.0; len];
                e[axis] = 1.0;
                directions.push(e);
            }
            for direction in directions {
                let exact: f64 = gradients[parameter.range.clone()]
                    .iter()
                    .zip(&direction)
                    .map(|(g, d)| g * d)
                    .sum();
                let mut at = |h: f64| {
                    let mut moved = values.clone();
                    for (v, d) in moved[parameter.range.clone()].iter_mut().zip(&direction) {
                        *v += h * d;
                    }
                    self.loss(&moved)
                };
                let h = 1e-6;
                let difference = (at(h) - at(-h)) / (2.0 * h);
                let scale = exact.abs().max(difference.abs()).max(1.0);
                assert!(
                    (exact - difference).abs() <= tolerance * scale,
                    "{}: {exact} by backward, {difference} by differences",
                    parameter.name
                );
            }
        }
    }
}

const PLAIN: Normalisation = Normalisation { shortcut: None, relu: false, zero_init: false };
const RELU: Normalisation = Normalisation { shortcut: None, relu: true, zero_init: false };

#[test]
fn convolutions_of_any_window_stride_and_padding() {
    for (kernel, stride, padding) in [
        (3, 1, 1),
        (3, 2, 1),
        (1, 1, 0),
        (1, 2, 0),
        (7, 2, 3),
        (3, 1, 2),
        (2, 3, 0),
        (5, 2, 2),
        (3, 3, 1),
    ] {
        for (channels, middle, out) in [(3, 17, 5), (16, 16, 33), (7, 70, 2), (20, 64, 18)] {
            // Two layers, so that the gradient by an input is seen too.
            Network::new(2, 8, channels, |graph, x| {
                let first = Convolution {
                    out_channels: middle,
                    kernel: 3,
                    stride: 1,
                    padding: 1,
                    bias: true,
                };
                let x = graph.convolution("first", x, first)?;
                let second = Convolution { out_channels: out, kernel, stride, padding, bias: true };
                graph.convolution("second", x, second)
            })
            .check(1e-6);
        }
    }
}

#[test]
fn batch_norm_with_shortcut_and_relu() {
    Network::new(3, 5, 4, |graph, x| {
        let conv = |out_channels| Convolution {
            out_channels,
            kernel: 3,
            stride: 1,
            padding: 1,
            bias: false,
        };
        let x = graph.convolution("a", x, conv(6))?;
        let x = graph.batch_norm("na", x, RELU)?;
        let y = graph.convolution("b", x, conv(6))?;
        let y = graph.batch_norm("nb", y, Normalisation { shortcut: Some(x), ..RELU })?;
        let z = graph.convolution("c", y, conv(6))?;
        let z = graph.batch_norm("nc", z, Normalisation { shortcut: Some(y), ..PLAIN })?;
        // A shortcut that is also read by a later layer: its gradient is added to, not moved.
        let w = graph.batch_norm("nd", z, Normalisation { shortcut: Some(x), ..PLAIN })?;
        graph.convolution("e", w, conv(3))
    })
    .check(1e-5);
}

#[test]
fn pools_and_normalisation() {
    Network::new(2, 9, 3, |graph, x| {
        let conv = Convolution { out_channels: 5, kernel: 3, stride: 1, padding: 1, bias: false };
        let x = graph.convolution("a", x, conv)?;
        let x = graph.max_pool(x);
        let x = graph.convolution("b", x, Convolution { out_channels: 18, ..conv })?;
        let x = graph.average_pool(x);
        let x = graph.linear("c", x, 7, true)?;
        Ok(graph.l2_normalise(x))
    })
    .check(1e-5);
}

#[test]
fn whole_networks() {
    for (block, stages, stem, side) in [
        (Block::Basic, vec![1, 1, 1], Stem::Cifar { padding: 1 }, 8),
        (Block::Basic, vec![2, 1], Stem::Cifar { padding: 2 }, 6),
        (Block::Bottleneck, vec![1, 2], Stem::ImageNet, 17),
    ] {
        Network::new(4, side, 3, |graph, x| {
            let resnet =
                ResNet { block, stages: stages.clone(), width: 4, stem, zero_init_residual: true };
            let x = resnet.build(graph, x)?;
            let projector = Projector {
                hidden_dim: 12,
                num_hidden: 1,
                output_dim: 6,
                batch_norm_last: side == 6,
                unit_length: side != 6,
            };
            projector.build(graph, x)
        })
        .check(2e-4);
    }
}
