//! Residual networks (He et al. 2016) as torchvision defines and names them: v1.5, the stride of a bottleneck in its 3×3 convolution.

use crate::nn::{Convolution, Error, GraphBuilder, NodeId, Normalisation};
use crate::recipe::Architecture;

/// What a residual block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// 3×3, 3×3.
    Basic,
    /// 1×1, 3×3, 1×1 with four times the channels.
    Bottleneck,
}

/// How images enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// 7×7 convolution of stride 2, then a 3×3 max-pool of stride 2.
    ImageNet,
    /// 3×3 convolution of stride 1.
    Cifar {
        /// Zeros around the image: 1 keeps its size; some public codes use 2.
        padding: usize,
    },
}

/// A residual network without its classifier: the output is the average-pooled representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNet {
    /// Its blocks.
    pub block: Block,
    /// Blocks of each stage; the width doubles from stage to stage.
    pub stages: Vec<usize>,
    /// Channels of the first stage, before a bottleneck's expansion.
    pub width: usize,
    /// How images enter.
    pub stem: Stem,
    /// Start each residual branch at zero.
    pub zero_init_residual: bool,
}

impl Block {
    const fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

impl ResNet {
    /// Blocks and stages of an architecture.
    pub fn stages(architecture: Architecture) -> (Block, &'static [usize]) {
        match architecture {
            Architecture::Resnet8 => (Block::Basic, &[1, 1, 1]),
            Architecture::Resnet14 => (Block::Basic, &[2, 2, 2]),
            Architecture::Resnet20 => (Block::Basic, &[3, 3, 3]),
            Architecture::Resnet18 => (Block::Basic, &[2, 2, 2, 2]),
            Architecture::Resnet34 => (Block::Basic, &[3, 4, 6, 3]),
            Architecture::Resnet50 => (Block::Bottleneck, &[3, 4, 6, 3]),
            Architecture::Resnet101 => (Block::Bottleneck, &[3, 4, 23, 3]),
        }
    }

    /// Length of the representation.
    pub fn output_dim(&self) -> usize {
        (self.width * self.block.expansion()) << (self.stages.len() - 1)
    }

    /// Adds the network to a graph; the result is the representation, a 1×1 image.
    ///
    /// # Errors
    /// Images too small for the network.
    pub fn build(&self, graph: &mut GraphBuilder<'_>, images: NodeId) -> Result<NodeId, Error> {
        let conv = |out_channels, kernel, stride, padding| Convolution {
            out_channels,
            kernel,
            stride,
            padding,
            bias: false,
        };
        let relu = Normalisation { shortcut: None, relu: true, zero_init: false };
        let (kernel, stride, padding) = match self.stem {
            Stem::ImageNet => (7, 2, 3),
            Stem::Cifar { padding } => (3, 1, padding),
        };
        let x = graph.convolution("conv1", images, conv(self.width, kernel, stride, padding))?;
        let mut x = graph.batch_norm("bn1", x, relu)?;
        if self.stem == Stem::ImageNet {
            x = graph.max_pool(x);
        }
        let mut in_channels = self.width;
        for (stage, &num_blocks) in self.stages.iter().enumerate() {
            let width = self.width << stage;
            let out_channels = width * self.block.expansion();
            for block in 0..num_blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = |layer: &str| format!("layer{}.{block}.{layer}", stage + 1);
                let convolutions = match self.block {
                    Block::Basic => vec![conv(width, 3, stride, 1), conv(width, 3, 1, 1)],
                    Block::Bottleneck => {
                        vec![
                            conv(width, 1, 1, 0),
                            conv(width, 3, stride, 1),
                            conv(out_channels, 1, 1, 0),
                        ]
                    }
                };
                let last = convolutions.len() - 1;
                let mut branch = x;
                for (i, &settings) in convolutions.iter().enumerate() {
                    branch =
                        graph.convolution(&name(&format!("conv{}", i + 1)), branch, settings)?;
                    if i < last {
                        branch = graph.batch_norm(&name(&format!("bn{}", i + 1)), branch, relu)?;
                    }
                }
                let mut shortcut = x;
                if stride != 1 || in_channels != out_channels {
                    shortcut = graph.convolution(
                        &name("downsample.0"),
                        x,
                        conv(out_channels, 1, stride, 0),
                    )?;
                    let plain = Normalisation { shortcut: None, relu: false, zero_init: false };
                    shortcut = graph.batch_norm(&name("downsample.1"), shortcut, plain)?;
                }
                let zero_init = self.zero_init_residual;
                let settings = Normalisation { shortcut: Some(shortcut), relu: true, zero_init };
                x = graph.batch_norm(&name(&format!("bn{}", last + 1)), branch, settings)?;
                in_channels = out_channels;
            }
        }
        Ok(graph.average_pool(x))
    }
}
