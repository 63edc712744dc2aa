//! What a network computes, layer by layer, with shapes checked as it is built.

use std::fmt;

use super::{Error, Initialisation, ParameterId, Parameters};

/// Shape of an activation: NHWC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

/// The most values of an activation, 2⁴⁰: 4 TiB.
const MAX_VALUES: usize = 1 << 40;

impl Geometry {
    /// The shape, if its values can be counted and stored.
    fn checked(self, layer: &str) -> Result<Self, Error> {
        let Self { batch, height, width, channels } = self;
        let sizes = [batch, height, width, channels];
        match sizes.iter().try_fold(1_usize, |n, &size| n.checked_mul(size)) {
            Some(n) if n <= MAX_VALUES => Ok(self),
            _ => Err(Error::TooLarge { layer: layer.into(), shape: self }),
        }
    }

    /// Pixels of all images.
    pub fn num_pixels(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Values.
    pub fn len(&self) -> usize {
        self.num_pixels() * self.channels
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}×{}", self.batch, self.height, self.width, self.channels)
    }
}

/// Index of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

/// A convolution's settings: `out[n,y,x,o] = Σ in[n, y·s+i−p, x·s+j−p, c] · w[i,j,c,o] (+ b[o])`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Output channels.
    pub out_channels: usize,
    /// Side of the window.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// A batch norm's settings, with what is fused into it: `y = relu(γ (x − mean)/√(var + ε) + β + shortcut)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Activation added before the ReLU.
    pub shortcut: Option<NodeId>,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Start γ at 0 instead of 1, so that a residual block starts as the identity.
    pub zero_init: bool,
}

impl Normalisation {
    /// ε of the variance, as PyTorch.
    pub const EPSILON: f64 = 1e-5;
    /// Weight of a new batch in the running statistics, as PyTorch.
    pub const MOMENTUM: f64 = 0.1;
}

/// What computes an activation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Given.
    Input,
    /// A convolution; a linear layer is one of a 1×1 image.
    Convolution {
        /// Input.
        input: NodeId,
        /// Weight, HWIO.
        weight: ParameterId,
        /// Bias.
        bias: Option<ParameterId>,
        /// Settings.
        settings: Convolution,
    },
    /// Batch norm (+ shortcut) (+ ReLU).
    BatchNorm {
        /// Input.
        input: NodeId,
        /// γ.
        scale: ParameterId,
        /// β.
        offset: ParameterId,
        /// Index into [`Parameters::buffers`].
        buffer: usize,
        /// Settings.
        settings: Normalisation,
    },
    /// Maximum over 3×3 windows, stride 2, padding 1.
    MaxPool {
        /// Input.
        input: NodeId,
    },
    /// Mean over all pixels of an image.
    AveragePool {
        /// Input.
        input: NodeId,
    },
    /// Every pixel's channels divided by their Euclidean length.
    L2Normalise {
        /// Input.
        input: NodeId,
    },
}

impl Op {
    /// Activations it reads.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> {
        let (first, second) = match *self {
            Self::Input => (None, None),
            Self::Convolution { input, .. }
            | Self::MaxPool { input }
            | Self::AveragePool { input }
            | Self::L2Normalise { input } => (Some(input), None),
            Self::BatchNorm { input, settings, .. } => (Some(input), settings.shortcut),
        };
        first.into_iter().chain(second)
    }
}

/// One activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The layer, for messages.
    pub name: String,
    /// What computes it.
    pub op: Op,
    /// Its shape.
    pub shape: Geometry,
}

/// A network for one batch size and image size. Nodes come after what they read.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    outputs: Vec<NodeId>,
}

impl Graph {
    /// All nodes, in an order in which they can be computed.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Activations kept for the caller.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// Multiplications and additions of the convolutions of a forward pass, counted as two.
    pub fn forward_flops(&self) -> u64 {
        let flops = |node: &Node| match node.op {
            Op::Convolution { input, settings, .. } => {
                let depth = settings.kernel * settings.kernel * self.node(input).shape.channels;
                (node.shape.len() as u64).saturating_mul(2 * depth as u64)
            }
            _ => 0,
        };
        self.nodes.iter().map(flops).fold(0, u64::saturating_add)
    }

    /// The same for the backward pass: gradients by weights, and by inputs but the network's own.
    pub fn backward_flops(&self) -> u64 {
        let flops = |node: &Node| match node.op {
            Op::Convolution { input, settings, .. } => {
                let source = self.node(input);
                let depth = settings.kernel * settings.kernel * source.shape.channels;
                let times = if source.op == Op::Input { 1 } else { 2 };
                (node.shape.len() as u64).saturating_mul(2 * times * depth as u64)
            }
            _ => 0,
        };
        self.nodes.iter().map(flops).fold(0, u64::saturating_add)
    }
}

/// Builds a [`Graph`], adding its layers to a model's parameters.
#[derive(Debug)]
pub struct GraphBuilder<'a> {
    parameters: &'a mut Parameters,
    nodes: Vec<Node>,
    batch: usize,
}

impl<'a> GraphBuilder<'a> {
    /// A graph for `batch` images.
    pub fn new(parameters: &'a mut Parameters, batch: usize) -> Self {
        Self { parameters, nodes: Vec::new(), batch }
    }

    fn push(&mut self, name: &str, op: Op, shape: Geometry) -> NodeId {
        self.nodes.push(Node { name: name.into(), op, shape });
        NodeId(self.nodes.len() - 1)
    }

    fn shape(&self, id: NodeId) -> Geometry {
        self.nodes[id.0].shape
    }

    /// Images of `height` × `width`.
    ///
    /// # Errors
    /// [`Error::Zero`], [`Error::TooLarge`].
    pub fn input(&mut self, height: usize, width: usize, channels: usize) -> Result<NodeId, Error> {
        let sizes = [("the batch", self.batch), ("the image's height", height)];
        let sizes =
            sizes.into_iter().chain([("its width", width), ("its number of channels", channels)]);
        for (what, size) in sizes {
            if size == 0 {
                return Err(Error::Zero { layer: "input".into(), what });
            }
        }
        let shape = Geometry { batch: self.batch, height, width, channels }.checked("input")?;
        Ok(self.push("input", Op::Input, shape))
    }

    /// A convolution, with weights `{name}.weight` and `{name}.bias`.
    ///
    /// # Errors
    /// [`Error::WindowTooLarge`], [`Error::TooLarge`], [`Error::Zero`], [`Error::ShapeConflict`].
    pub fn convolution(
        &mut self,
        name: &str,
        input: NodeId,
        settings: Convolution,
    ) -> Result<NodeId, Error> {
        let Convolution { out_channels, kernel, .. } = settings;
        let shape = [kernel, kernel, self.shape(input).channels, out_channels];
        self.affine(name, input, settings, &shape, Initialisation::HeFanOut)
    }

    fn affine(
        &mut self,
        name: &str,
        input: NodeId,
        settings: Convolution,
        weight_shape: &[usize],
        initialisation: Initialisation,
    ) -> Result<NodeId, Error> {
        let Geometry { batch, height, width, channels } = self.shape(input);
        let Convolution { out_channels, kernel, stride, padding, bias } = settings;
        for (what, size) in [
            ("the number of output channels", out_channels),
            ("the kernel", kernel),
            ("the stride", stride),
        ] {
            if size == 0 {
                return Err(Error::Zero { layer: name.into(), what });
            }
        }
        let out = |size: usize| Some(((size + 2 * padding).checked_sub(kernel)?) / stride + 1);
        let (Some(out_height), Some(out_width)) = (out(height), out(width)) else {
            return Err(Error::WindowTooLarge {
                layer: name.into(),
                kernel,
                height,
                width,
                padding,
            });
        };
        let shape =
            Geometry { batch, height: out_height, width: out_width, channels: out_channels };
        let shape = shape.checked(name)?;
        let weight =
            self.parameters.parameter(&format!("{name}.weight"), weight_shape, initialisation)?;
        let bias = if bias {
            let initialisation = Initialisation::UniformFanIn(kernel * kernel * channels);
            Some(self.parameters.parameter(
                &format!("{name}.bias"),
                &[out_channels],
                initialisation,
            )?)
        } else {
            None
        };
        Ok(self.push(name, Op::Convolution { input, weight, bias, settings }, shape))
    }

    /// A linear layer over the channels of a 1×1 image.
    ///
    /// # Errors
    /// As for [`Self::convolution`].
    pub fn linear(
        &mut self,
        name: &str,
        input: NodeId,
        out_channels: usize,
        bias: bool,
    ) -> Result<NodeId, Error> {
        let in_channels = self.shape(input).channels;
        let settings = Convolution { out_channels, kernel: 1, stride: 1, padding: 0, bias };
        let initialisation = Initialisation::UniformFanIn(in_channels);
        self.affine(name, input, settings, &[in_channels, out_channels], initialisation)
    }

    /// A batch norm, with γ `{name}.weight`, β `{name}.bias` and running statistics. Over 1×1 images it is `BatchNorm1d`.
    ///
    /// # Errors
    /// [`Error::ShortcutShape`], [`Error::ShapeConflict`].
    pub fn batch_norm(
        &mut self,
        name: &str,
        input: NodeId,
        settings: Normalisation,
    ) -> Result<NodeId, Error> {
        let shape = self.shape(input);
        if let Some(shortcut) = settings.shortcut
            && self.shape(shortcut) != shape
        {
            let got = self.shape(shortcut);
            return Err(Error::ShortcutShape { layer: name.into(), expected: shape, got });
        }
        let gamma = Initialisation::Constant(if settings.zero_init { 0.0 } else { 1.0 });
        let scale =
            self.parameters.parameter(&format!("{name}.weight"), &[shape.channels], gamma)?;
        let beta = Initialisation::Constant(0.0);
        let offset = self.parameters.parameter(&format!("{name}.bias"), &[shape.channels], beta)?;
        let buffer = self.parameters.buffer(name, shape.channels);
        Ok(self.push(name, Op::BatchNorm { input, scale, offset, buffer, settings }, shape))
    }

    /// Maximum over 3×3 windows, stride 2, padding 1.
    pub fn max_pool(&mut self, input: NodeId) -> NodeId {
        let shape = self.shape(input);
        let half = |size: usize| (size - 1) / 2 + 1;
        let shape = Geometry { height: half(shape.height), width: half(shape.width), ..shape };
        self.push("maxpool", Op::MaxPool { input }, shape)
    }

    /// Mean over all pixels.
    pub fn average_pool(&mut self, input: NodeId) -> NodeId {
        let shape = Geometry { height: 1, width: 1, ..self.shape(input) };
        self.push("avgpool", Op::AveragePool { input }, shape)
    }

    /// Division of every pixel's channels by their length.
    pub fn l2_normalise(&mut self, input: NodeId) -> NodeId {
        self.push("normalise", Op::L2Normalise { input }, self.shape(input))
    }

    /// The graph; `outputs` stay readable after a pass.
    pub fn finish(self, outputs: &[NodeId]) -> Graph {
        Graph { nodes: self.nodes, outputs: outputs.into() }
    }
}
