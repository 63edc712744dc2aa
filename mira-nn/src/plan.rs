//! From a graph to the order of its backward pass and the places of everything in one arena.

use std::ops::Range;

use super::arena::{Lifetime, place};
use super::{Graph, Node, NodeId, Normalisation, Op};

/// Arena places start on cache lines.
pub(super) const ALIGNMENT: usize = 16;

/// Which passes a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Forward only: activations are forgotten as soon as they have been read.
    Forward,
    /// Forward and backward.
    Training,
}

/// How a node's gradient reaches one of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contribution {
    /// Nobody needs it.
    None,
    /// The first: written.
    Write,
    /// A later one: added.
    Add,
    /// The first, in the memory of the node's own gradient, which is not needed any more.
    InPlace,
}

/// Backward through one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backward {
    pub node: NodeId,
    pub to_input: Contribution,
    pub to_shortcut: Contribution,
}

/// Where everything of a graph is while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(super) activations: Vec<Range<usize>>,
    /// Empty for nodes without.
    pub(super) gradients: Vec<Range<usize>>,
    pub(super) backward: Vec<Backward>,
    arena_len: usize,
    num_pool_indices: usize,
}

impl Plan {
    /// Plans `graph`; the gradient enters at its last output.
    pub fn new(graph: &Graph, pass: Pass) -> Self {
        let nodes = graph.nodes();
        let n = nodes.len();
        // Step i computes node i; step 2n − 1 − i goes back through it.
        let back = |id: usize| 2 * n - 1 - id;
        let mut lifetimes: Vec<Lifetime> = nodes
            .iter()
            .enumerate()
            .map(|(i, node)| Lifetime { len: node.shape.len(), first: i, last: i })
            .collect();
        let keep = |lifetimes: &mut Vec<Lifetime>, id: usize, step: usize| {
            lifetimes[id].last = lifetimes[id].last.max(step);
        };
        for (i, node) in nodes.iter().enumerate() {
            for input in node.op.inputs() {
                keep(&mut lifetimes, input.0, i);
            }
            if pass == Pass::Training {
                match node.op {
                    Op::Convolution { input, .. } => keep(&mut lifetimes, input.0, back(i)),
                    Op::BatchNorm { input, settings, .. } => {
                        keep(&mut lifetimes, input.0, back(i));
                        if settings.relu {
                            keep(&mut lifetimes, i, back(i));
                        }
                    }
                    Op::L2Normalise { .. } => keep(&mut lifetimes, i, back(i)),
                    Op::Input | Op::MaxPool { .. } | Op::AveragePool { .. } => {}
                }
            }
        }
        for output in graph.outputs() {
            keep(&mut lifetimes, output.0, 2 * n);
        }

        let mut backward = Vec::new();
        let mut owner: Vec<Option<usize>> = vec![None; n];
        if pass == Pass::Training {
            backward = plan_backward(nodes, graph.outputs(), &mut owner, &mut lifetimes, &back);
        }
        let (places, arena_len) = place(&lifetimes, ALIGNMENT);
        let gradients =
            (0..n).map(|i| owner[i].map_or(0..0, |piece| places[piece].clone())).collect();
        let pooled = nodes.iter().filter(|node| matches!(node.op, Op::MaxPool { .. }));
        let num_pool_indices = pooled.map(|node| node.shape.len()).sum();
        Self { activations: places[..n].to_vec(), gradients, backward, arena_len, num_pool_indices }
    }

    /// Values in the arena.
    pub fn arena_len(&self) -> usize {
        self.arena_len
    }

    /// Bytes of one-byte positions of maxima.
    pub fn num_pool_indices(&self) -> usize {
        self.num_pool_indices
    }

    /// Bytes an executor in f32 takes for activations and gradients of activations.
    pub fn num_bytes(&self) -> usize {
        self.arena_len * size_of::<f32>() + self.num_pool_indices
    }
}

/// The backward steps; `owner[i]` becomes the piece of memory that holds the gradient of node i. Pieces are added to `lifetimes`.
fn plan_backward(
    nodes: &[Node],
    outputs: &[NodeId],
    owner: &mut [Option<usize>],
    lifetimes: &mut Vec<Lifetime>,
    back: &dyn Fn(usize) -> usize,
) -> Vec<Backward> {
    let Some(&NodeId(seed)) = outputs.last() else { return Vec::new() };
    owner[seed] = Some(lifetimes.len());
    lifetimes.push(Lifetime { len: nodes[seed].shape.len(), first: nodes.len(), last: back(seed) });
    let mut steps = Vec::new();
    for i in (0..nodes.len()).rev() {
        let Some(own) = owner[i] else { continue };
        if nodes[i].op == Op::Input {
            continue;
        }
        lifetimes[own].last = lifetimes[own].last.max(back(i));
        let mut contribute = |to: NodeId, may_move: bool| -> Contribution {
            if nodes[to.0].op == Op::Input {
                return Contribution::None;
            }
            if owner[to.0].is_some() {
                return Contribution::Add;
            }
            if may_move {
                owner[to.0] = Some(own);
                return Contribution::InPlace;
            }
            owner[to.0] = Some(lifetimes.len());
            let len = nodes[to.0].shape.len();
            lifetimes.push(Lifetime { len, first: back(i), last: back(i) });
            Contribution::Write
        };
        let (mut to_input, mut to_shortcut) = (Contribution::None, Contribution::None);
        match nodes[i].op {
            Op::Input => {}
            Op::BatchNorm { input, settings: Normalisation { shortcut, .. }, .. } => {
                // The shortcut's gradient is the masked gradient itself.
                if let Some(shortcut) = shortcut {
                    to_shortcut = contribute(shortcut, true);
                }
                to_input = contribute(input, shortcut.is_none());
            }
            Op::L2Normalise { input } => to_input = contribute(input, true),
            Op::Convolution { input, .. } | Op::MaxPool { input } | Op::AveragePool { input } => {
                to_input = contribute(input, false);
            }
        }
        steps.push(Backward { node: NodeId(i), to_input, to_shortcut });
    }
    steps
}
