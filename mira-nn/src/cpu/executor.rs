//! Runs a plan on slices.

use std::ops::Range;

use mira_simd::Scalar;

use super::batch_norm::{self, InputGradient, Moments};
use super::layer::{Layer, Scratch};
use super::memory::{Aligned, Shared};
use super::number::Number;
use super::pooling;
use crate::plan::{Backward, Contribution};
use crate::{Graph, NodeId, Normalisation, Op, ParameterId, Parameters, Pass, Plan};

/// Which statistics batch norms use.
#[derive(Debug)]
pub enum Statistics<'a, T> {
    /// The batch's.
    Batch,
    /// The batch's, which also move the running ones (flat, as [`Parameters::buffers`] say).
    BatchUpdating(&'a mut [T]),
    /// The running ones.
    Running(&'a [T]),
}

/// A network ready to run: its plan and its memory.
#[derive(Debug)]
pub struct Executor<T> {
    graph: Graph,
    plan: Plan,
    pass: Pass,
    /// Parameter ranges by id, and running statistics by layer.
    parameters: Vec<Range<usize>>,
    buffers: Vec<(Range<usize>, Range<usize>)>,
    arena: Aligned<T>,
    pool_indices: Vec<u8>,
    /// What each batch norm divided by in the last forward pass, by node.
    moments: Vec<Moments<T>>,
    lengths: Vec<T>,
    scratch: Scratch<T>,
}

impl<T: Number> Executor<T> {
    /// Memory for `pass` over `graph`, whose layers are in `parameters`.
    pub fn new(graph: Graph, parameters: &Parameters, pass: Pass) -> Self {
        let plan = Plan::new(&graph, pass);
        let mut lengths = 0;
        let mut layers = Vec::new();
        for node in graph.nodes() {
            match node.op {
                Op::Convolution { input, settings, .. } => {
                    layers.push(Layer {
                        settings,
                        in_shape: graph.node(input).shape,
                        out_shape: node.shape,
                    });
                }
                Op::L2Normalise { .. } => lengths = lengths.max(node.shape.num_pixels()),
                _ => {}
            }
        }
        Self {
            moments: vec![Moments::default(); graph.nodes().len()],
            parameters: parameters.parameters().iter().map(|p| p.range.clone()).collect(),
            buffers: parameters
                .buffers()
                .iter()
                .map(|b| (b.mean.clone(), b.variance.clone()))
                .collect(),
            arena: Aligned::zeroed(plan.arena_len()),
            pool_indices: vec![0; plan.num_pool_indices()],
            lengths: vec![T::zero(); lengths],
            scratch: Scratch::new(&layers),
            graph,
            plan,
            pass,
        }
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Its plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where the images go before [`Self::forward`], NHWC.
    pub fn input_mut(&mut self) -> &mut [T] {
        &mut self.arena.as_mut_slice()[self.plan.activations[0].clone()]
    }

    /// The graph's output number `index`, after [`Self::forward`].
    pub fn output(&self, index: usize) -> &[T] {
        let NodeId(id) = self.graph.outputs()[index];
        &self.arena.as_slice()[self.plan.activations[id].clone()]
    }

    /// Computes the outputs from the input and the parameters' values.
    pub fn forward(&mut self, values: &[T], statistics: Statistics<'_, T>) {
        T::forward(self, values, statistics);
    }

    pub(super) fn compute(&mut self, values: &[T], mut statistics: Statistics<'_, T>) {
        let mut pool_start = 0;
        for i in 0..self.graph.nodes().len() {
            let node = &self.graph.nodes()[i];
            let shape = node.shape;
            let op = node.op;
            // SAFETY: a plan's pieces that are alive at the same time do not overlap; what a node reads and writes is.
            let arena = Shared::new(self.arena.as_mut_slice());
            let piece = |NodeId(id): NodeId| {
                let range = self.plan.activations[id].clone();
                unsafe { arena.slice(range.start, range.len()) }
            };
            let out = piece(NodeId(i));
            match op {
                Op::Input => {}
                Op::Convolution { input, weight, bias, settings } => {
                    let bias = bias.map(|ParameterId(id)| &values[self.parameters[id].clone()]);
                    let weights = &values[self.parameters[weight.0].clone()];
                    let layer = Layer {
                        settings,
                        in_shape: self.graph.node(input).shape,
                        out_shape: shape,
                    };
                    layer.forward(piece(input), weights, bias, out, &mut self.scratch);
                }
                Op::BatchNorm { input, scale, offset, buffer, settings } => {
                    let x = &*piece(input);
                    let (mean, variance) = match &mut statistics {
                        Statistics::Running(running) => {
                            let (mean, variance) = &self.buffers[buffer];
                            let wide = |range: &Range<usize>| {
                                running[range.clone()].iter().map(|x| x.as_()).collect::<Vec<f64>>()
                            };
                            (wide(mean), wide(variance))
                        }
                        Statistics::Batch => batch_norm::statistics(x, shape.channels),
                        Statistics::BatchUpdating(running) => {
                            let found = batch_norm::statistics(x, shape.channels);
                            update_running(
                                running,
                                &self.buffers[buffer],
                                &found,
                                shape.num_pixels(),
                            );
                            found
                        }
                    };
                    let gamma = &values[self.parameters[scale.0].clone()];
                    let beta = &values[self.parameters[offset.0].clone()];
                    let moments = Moments::new(&mean, &variance);
                    let (scale, offset) = moments.affine(gamma, beta, &mean);
                    let shortcut = settings.shortcut.map(|id| &*piece(id));
                    batch_norm::apply(x, &scale, &offset, shortcut, settings.relu, out);
                    self.moments[i] = moments;
                }
                Op::MaxPool { input } => {
                    let indices = &mut self.pool_indices[pool_start..pool_start + out.len()];
                    pool_start += out.len();
                    pooling::max_pool(
                        piece(input),
                        self.graph.node(input).shape,
                        out,
                        shape,
                        indices,
                    );
                }
                Op::AveragePool { input } => {
                    pooling::average_pool(piece(input), self.graph.node(input).shape, out);
                }
                Op::L2Normalise { input } => {
                    pooling::l2_normalise(piece(input), shape.channels, out, &mut self.lengths);
                }
            }
        }
    }

    /// Adds to `gradients` what `output_gradient`, ∂L/∂(last output), implies, after a forward pass in training with the batch's statistics.
    ///
    /// # Panics
    /// If the executor was made for [`Pass::Forward`], or a length is wrong.
    pub fn backward(&mut self, values: &[T], output_gradient: &[T], gradients: &mut [T]) {
        assert_eq!(self.pass, Pass::Training, "an executor for forward passes only");
        T::backward(self, values, output_gradient, gradients);
    }

    pub(super) fn compute_gradients(
        &mut self,
        values: &[T],
        output_gradient: &[T],
        gradients: &mut [T],
    ) {
        let Some(NodeId(seed)) = self.graph.outputs().last().copied() else { return };
        self.arena.as_mut_slice()[self.plan.gradients[seed].clone()]
            .copy_from_slice(output_gradient);
        let mut pool_end = self.pool_indices.len();
        for step in 0..self.plan.backward.len() {
            let Backward { node: NodeId(i), to_input, to_shortcut } = self.plan.backward[step];
            let node = &self.graph.nodes()[i];
            let shape = node.shape;
            let op = node.op;
            let arena = Shared::new(self.arena.as_mut_slice());
            // SAFETY: as in `forward`; gradients that share a place are given out once (`Contribution::InPlace`).
            let slice = |range: &Range<usize>| unsafe { arena.slice(range.start, range.len()) };
            let activation = |NodeId(id): NodeId| &*slice(&self.plan.activations[id]);
            let gradient_of = |NodeId(id): NodeId, contribution: Contribution| {
                matches!(contribution, Contribution::Write | Contribution::Add)
                    .then(|| slice(&self.plan.gradients[id]))
            };
            let accumulate = to_input == Contribution::Add;
            let gradient = slice(&self.plan.gradients[i]);
            match op {
                Op::Input => {}
                Op::Convolution { input, weight, bias, settings } => {
                    let layer = Layer {
                        settings,
                        in_shape: self.graph.node(input).shape,
                        out_shape: shape,
                    };
                    let by_weight = &mut gradients[self.parameters[weight.0].clone()];
                    layer.weight_gradient(activation(input), gradient, by_weight, &self.scratch);
                    if let Some(ParameterId(id)) = bias {
                        let column = |c: usize| {
                            gradient[c..].iter().step_by(shape.channels).map(|g| g.as_()).sum()
                        };
                        add(
                            &mut gradients[self.parameters[id].clone()],
                            (0..shape.channels).map(column),
                        );
                    }
                    if let Some(out) = gradient_of(input, to_input) {
                        let weights = &values[self.parameters[weight.0].clone()];
                        layer.input_gradient(weights, gradient, out, accumulate, &mut self.scratch);
                    }
                }
                Op::BatchNorm { input, scale, offset, settings, .. } => {
                    let x = activation(input);
                    let output = settings.relu.then(|| activation(NodeId(i)));
                    let moments = &self.moments[i];
                    let shortcut = settings.shortcut.and_then(|id| gradient_of(id, to_shortcut));
                    let sums =
                        batch_norm::gradient_sums(gradient, x, output, &moments.mean, shortcut);
                    let gamma = &values[self.parameters[scale.0].clone()];
                    let num_pixels = shape.num_pixels();
                    let coefficients = InputGradient::new(gamma, moments, &sums, num_pixels);
                    let (sum, moment) = sums.split_at(shape.channels);
                    let by_scale = moment.iter().zip(&moments.inverse).map(|(m, i)| m * i);
                    add(&mut gradients[self.parameters[scale.0].clone()], by_scale);
                    add(&mut gradients[self.parameters[offset.0].clone()], sum.iter().copied());
                    let out = gradient_of(input, to_input);
                    if to_input != Contribution::None {
                        coefficients.apply(gradient, x, out, accumulate);
                    }
                }
                Op::MaxPool { input } => {
                    let indices = &self.pool_indices[pool_end - gradient.len()..pool_end];
                    pool_end -= gradient.len();
                    if let Some(out) = gradient_of(input, to_input) {
                        let in_shape = self.graph.node(input).shape;
                        pooling::max_pool_backward(
                            gradient, shape, indices, out, in_shape, accumulate,
                        );
                    }
                }
                Op::AveragePool { input } => {
                    if let Some(out) = gradient_of(input, to_input) {
                        let in_shape = self.graph.node(input).shape;
                        pooling::average_pool_backward(gradient, out, in_shape, accumulate);
                    }
                }
                Op::L2Normalise { input } => {
                    let out = gradient_of(input, to_input);
                    let y = activation(NodeId(i));
                    pooling::l2_normalise_backward(
                        gradient,
                        y,
                        &self.lengths,
                        shape.channels,
                        out,
                        accumulate,
                    );
                }
            }
        }
    }
}

fn add<T: Scalar>(to: &mut [T], values: impl Iterator<Item = f64>) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += T::from_f64(value);
    }
}

/// `running ← 0.9·running + 0.1·batch`, the variance unbiased, as PyTorch.
fn update_running<T: Scalar>(
    running: &mut [T],
    (mean_at, variance_at): &(Range<usize>, Range<usize>),
    (mean, variance): &(Vec<f64>, Vec<f64>),
    count: usize,
) {
    let unbiased = if count > 1 { count as f64 / (count - 1) as f64 } else { 1.0 };
    let m = Normalisation::MOMENTUM;
    let blend = |old: &mut T, new: f64| *old = T::from_f64((1.0 - m) * old.as_() + m * new);
    for (old, new) in running[mean_at.clone()].iter_mut().zip(mean) {
        blend(old, *new);
    }
    for (old, new) in running[variance_at.clone()].iter_mut().zip(variance) {
        blend(old, *new * unbiased);
    }
}
