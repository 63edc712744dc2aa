//! Names, shapes and places of a model's parameters and of its batch norms' running statistics.

use std::collections::HashMap;
use std::ops::{Index, Range};

use super::Error;
use crate::rng::{Purpose, Rng};

/// Values per cache line: every tensor starts on one, so that kernels read aligned rows.
const ALIGNMENT: usize = 16;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Initialisation {
    /// N(0, 2/(kh·kw·out)): He et al. 2015 with fan-out, as torchvision's ResNets.
    HeFanOut,
    /// U(−1/√in, 1/√in): PyTorch's default for linear layers, weights and biases alike (`fan_in` of the layer).
    UniformFanIn(usize),
    /// A constant.
    Constant(f32),
    /// N(0, 1) rows divided by their length: points on the sphere.
    UnitRows,
}

/// One parameter tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// torchvision's key, for example `layer1.0.conv1.weight`.
    pub name: String,
    /// HWIO for convolutions, `[in, out]` for linear layers, `[channels]` for batch norms and biases.
    pub shape: Vec<usize>,
    /// Where its values are in the flat array.
    pub range: Range<usize>,
    /// How it starts.
    pub initialisation: Initialisation,
}

impl Parameter {
    /// Whether weight decay and the trust ratio apply: tensors of more than one dimension.
    pub fn regularised(&self) -> bool {
        self.shape.len() > 1
    }
}

/// Running statistics of one batch norm.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// The layer's key, for example `layer1.0.bn1`.
    pub name: String,
    /// Where its `running_mean` is in the flat array of buffers.
    pub mean: Range<usize>,
    /// Where its `running_var` is.
    pub variance: Range<usize>,
}

/// Index of a parameter, in the [`Parameters`] that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParameterId(pub(crate) usize);

/// The parameters of a model. Graphs for several image sizes share one of these: a layer asked for again is the same layer.
#[allow(clippy::struct_field_names)] // they are the parameters
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    parameters: Vec<Parameter>,
    buffers: Vec<Buffer>,
    num_values: usize,
    num_buffer_values: usize,
    by_name: HashMap<String, usize>,
    buffers_by_name: HashMap<String, usize>,
}

impl Index<ParameterId> for Parameters {
    type Output = Parameter;

    fn index(&self, id: ParameterId) -> &Parameter {
        &self.parameters[id.0]
    }
}

impl Parameters {
    /// The parameter called `name`, added if the model has none.
    ///
    /// # Errors
    /// [`Error::ShapeConflict`] if the model has one of another shape.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        initialisation: Initialisation,
    ) -> Result<ParameterId, Error> {
        if let Some(&index) = self.by_name.get(name) {
            let known = &self.parameters[index];
            if known.shape != shape {
                let (expected, got) = (known.shape.clone(), shape.to_vec());
                return Err(Error::ShapeConflict { name: name.into(), expected, got });
            }
            return Ok(ParameterId(index));
        }
        let start = self.num_values;
        let range = start..start + shape.iter().product::<usize>();
        self.num_values = range.end.next_multiple_of(ALIGNMENT);
        let index = self.parameters.len();
        self.parameters.push(Parameter {
            name: name.into(),
            shape: shape.into(),
            range,
            initialisation,
        });
        self.by_name.insert(name.into(), index);
        Ok(ParameterId(index))
    }

    /// The running statistics of the batch norm called `name`, added if the model has none.
    pub(crate) fn buffer(&mut self, name: &str, channels: usize) -> usize {
        if let Some(&index) = self.buffers_by_name.get(name) {
            return index;
        }
        let padded = channels.next_multiple_of(ALIGNMENT);
        let start = self.num_buffer_values;
        self.num_buffer_values += 2 * padded;
        let mean = start..start + channels;
        let variance = start + padded..start + padded + channels;
        let index = self.buffers.len();
        self.buffers.push(Buffer { name: name.into(), mean, variance });
        self.buffers_by_name.insert(name.into(), index);
        index
    }

    /// All parameters, in the order of the flat array.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// All batch norms' running statistics.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Length of the flat array of parameters; the gaps that align tensors stay zero.
    pub fn num_values(&self) -> usize {
        self.num_values
    }

    /// Length of the flat array of running statistics.
    pub fn num_buffer_values(&self) -> usize {
        self.num_buffer_values
    }

    /// Number of trainable values, without gaps.
    pub fn num_parameters(&self) -> usize {
        self.parameters.iter().map(|p| p.range.len()).sum()
    }

    /// The parameter called `name`.
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        self.by_name.get(name).map(|&index| &self.parameters[index])
    }

    /// Initial values. Each tensor has its own stream of random numbers, keyed by its name.
    pub fn initial_values(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.num_values];
        for parameter in &self.parameters {
            let key = fnv1a(&parameter.name);
            #[allow(clippy::cast_possible_truncation)] // the halves of a hash
            let mut rng = Rng::new(seed, Purpose::Init, [key as u32, (key >> 32) as u32, 0]);
            let out = &mut values[parameter.range.clone()];
            let shape = &parameter.shape;
            match parameter.initialisation {
                Initialisation::HeFanOut => {
                    let fan_out = shape.iter().product::<usize>() / shape[shape.len() - 2];
                    let deviation = (2.0 / fan_out as f32).sqrt();
                    out.fill_with(|| deviation * rng.normal());
                }
                Initialisation::UniformFanIn(fan_in) => {
                    let bound = 1.0 / (fan_in as f32).sqrt();
                    out.fill_with(|| rng.range(-bound, bound));
                }
                Initialisation::Constant(value) => out.fill(value),
                Initialisation::UnitRows => {
                    for row in out.chunks_exact_mut(*shape.last().unwrap_or(&1)) {
                        row.fill_with(|| rng.normal());
                        let length = row.iter().map(|w| w * w).sum::<f32>().sqrt();
                        for w in row {
                            *w /= length;
                        }
                    }
                }
            }
        }
        values
    }

    /// Running statistics of a network that has seen nothing: mean 0, variance 1.
    pub fn initial_buffers(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.num_buffer_values];
        for buffer in &self.buffers {
            values[buffer.variance.clone()].fill(1.0);
        }
        values
    }
}

/// The 64-bit FNV-1a hash, which does not change between versions of a compiler.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
