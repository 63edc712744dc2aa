//! Weights to and from files with torchvision's names and layouts.

use super::Network;
use crate::nn::Parameter;
use crate::weights::{Error, Weights, hwio_from_oihw, oihw_from_hwio};

/// Parameters and running statistics whose names `wanted` takes, as torchvision has them: convolutions OIHW, linear layers `[out, in]`.
///
/// # Errors
/// None that is expected: names are unique and shapes agree.
pub fn weights_of(
    network: &Network,
    values: &[f32],
    running: &[f32],
    wanted: impl Fn(&str) -> bool,
) -> Result<Weights, Error> {
    let mut weights = Weights::default();
    let parameters = network.parameters();
    for parameter in parameters.parameters().iter().filter(|p| wanted(&p.name)) {
        let ours = &values[parameter.range.clone()];
        weights.insert(&*parameter.name, &theirs(parameter), to_theirs(parameter, ours)?)?;
    }
    for buffer in parameters.buffers().iter().filter(|b| wanted(&b.name)) {
        let channels = buffer.mean.len();
        let mean = running[buffer.mean.clone()].to_vec();
        weights.insert(format!("{}.running_mean", buffer.name), &[channels], mean)?;
        let variance = running[buffer.variance.clone()].to_vec();
        weights.insert(format!("{}.running_var", buffer.name), &[channels], variance)?;
    }
    Ok(weights)
}

/// Puts weights from a file into the flat arrays; the file must have every one that `wanted` takes.
///
/// # Errors
/// A missing tensor, another shape.
pub fn load_weights(
    network: &Network,
    weights: &Weights,
    values: &mut [f32],
    running: &mut [f32],
    wanted: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let parameters = network.parameters();
    for parameter in parameters.parameters().iter().filter(|p| wanted(&p.name)) {
        let found = weights.values(&parameter.name, &theirs(parameter))?;
        values[parameter.range.clone()].copy_from_slice(&to_ours(parameter, found)?);
    }
    for buffer in parameters.buffers().iter().filter(|b| wanted(&b.name)) {
        let shape = [buffer.mean.len()];
        let mean = weights.values(&format!("{}.running_mean", buffer.name), &shape)?;
        running[buffer.mean.clone()].copy_from_slice(mean);
        let variance = weights.values(&format!("{}.running_var", buffer.name), &shape)?;
        running[buffer.variance.clone()].copy_from_slice(variance);
    }
    Ok(())
}

/// A parameter's shape in `PyTorch`.
fn theirs(parameter: &Parameter) -> Vec<usize> {
    match parameter.shape[..] {
        [height, width, input, output] => vec![output, input, height, width],
        [input, output] if is_linear(parameter) => vec![output, input],
        _ => parameter.shape.clone(),
    }
}

/// Linear layers are stored `[in, out]`; prototypes are K × dim on both sides.
fn is_linear(parameter: &Parameter) -> bool {
    parameter.shape.len() == 2 && parameter.name != super::PROTOTYPES
}

fn to_theirs(parameter: &Parameter, values: &[f32]) -> Result<Vec<f32>, Error> {
    match parameter.shape[..] {
        [height, width, input, output] => oihw_from_hwio(values, [height, width, input, output]),
        [input, output] if is_linear(parameter) => oihw_from_hwio(values, [1, 1, input, output]),
        _ => Ok(values.to_vec()),
    }
}

fn to_ours(parameter: &Parameter, values: &[f32]) -> Result<Vec<f32>, Error> {
    match parameter.shape[..] {
        [height, width, input, output] => hwio_from_oihw(values, [output, input, height, width]),
        [input, output] if is_linear(parameter) => hwio_from_oihw(values, [output, input, 1, 1]),
        _ => Ok(values.to_vec()),
    }
}
