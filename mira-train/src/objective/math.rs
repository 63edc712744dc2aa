//! What several losses are written with. All take any floating-point type; half precision is widened first, by [`widen`].

use candle_core::{D, DType, Tensor};

use super::{Error, Ranks};

/// f16 and bf16 as f32; others as they are.
///
/// # Errors
/// None that is expected.
pub fn widen(x: &Tensor) -> Result<Tensor, Error> {
    Ok(match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32)?,
        _ => x.clone(),
    })
}

/// Rows divided by their length; one shorter than 1e-12 becomes zeros, with gradient 0.
///
/// # Errors
/// None that is expected.
pub fn unit_rows(x: &Tensor) -> Result<Tensor, Error> {
    let squares = x.sqr()?.sum_keepdim(D::Minus1)?;
    let is_long = squares.gt(1e-24)?.to_dtype(x.dtype())?;
    // Dividing by a bound would give a row of zeros a gradient of 1e12, which half precision does not hold.
    let scale = is_long.div(&squares.maximum(1e-24)?.sqrt()?)?;
    Ok(x.broadcast_mul(&scale)?)
}

/// `x − log Σ exp x` over the last dimension.
///
/// # Errors
/// None that is expected.
pub fn log_softmax(x: &Tensor) -> Result<Tensor, Error> {
    Ok(x.broadcast_sub(&x.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?)
}

/// `log(1 + exp x)` without overflow; its derivative is the logistic function everywhere, at 0 too.
///
/// # Errors
/// None that is expected.
pub fn softplus(x: &Tensor) -> Result<Tensor, Error> {
    let most = x.detach().relu()?;
    let sum = (most.neg()?.exp()? + (x - &most)?.exp()?)?;
    Ok((most + sum.log()?)?)
}

/// `log max(x, 1e-30)` of probabilities; what is less has gradient 0.
///
/// # Errors
/// None that is expected.
pub fn log_probability(x: &Tensor) -> Result<Tensor, Error> {
    let is_positive = x.gt(1e-30)?.to_dtype(x.dtype())?;
    Ok(((x * &is_positive)? + ((1.0 - is_positive)? * 1e-30)?)?.log()?)
}

/// A parameter that acts on rows of all ranks, [gathered](Ranks::gather): the same numbers with a share of the gradient, so that the sum of
/// the ranks' gradients is that of one rank.
///
/// # Errors
/// None that is expected.
pub fn shared(parameter: &Tensor, ranks: &Ranks) -> Result<Tensor, Error> {
    let world = ranks.world_size() as f64;
    if ranks.world_size() == 1 {
        return Ok(parameter.clone());
    }
    let constant = parameter.detach();
    Ok((((parameter - &constant)? / world)? + constant)?)
}

/// Columns brought to mean 0 and variance 1 over the rows: `(x − mean)/√(var + ε)`, the variance divided by the number of rows: a batch
/// norm without γ and β. Rows of all ranks are [gathered](super::Ranks::gather) before.
///
/// # Errors
/// None that is expected.
pub fn standardise(x: &Tensor, epsilon: f64) -> Result<Tensor, Error> {
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    let variance = centred.sqr()?.mean_keepdim(0)?;
    Ok(centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?)
}

/// 1 off the diagonal and 0 on it.
///
/// # Errors
/// None that is expected.
pub fn off_diagonal(n: usize, like: &Tensor) -> Result<Tensor, Error> {
    let eye = Tensor::eye(n, like.dtype(), like.device())?;
    Ok((1.0 - eye)?)
}
