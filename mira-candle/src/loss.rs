//! The swapped-prediction loss, in candle's own operations so that autograd goes through it.

use candle_core::{D, DType, Tensor};

use crate::Error;

/// The swapped-prediction loss: each target supervises the predictions of every view but its own.
///
/// For logits `S⁽ᵛ⁾` of V views and targets `W⁽ᵗ⁾` of the first T of them (the global views, T ≤ V), over the `|P| = T(V − 1)` pairs
/// `t ≠ v`:
///
/// ```text
/// L = 1/|P| Σ_{t≠v} ℓ(S⁽ᵛ⁾, W⁽ᵗ⁾),    ℓ(S, W) = −(1/B) Σ_i Σ_j W_ij log softmax(S_i/τ)_j
/// ```
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits` | V tensors of B × K, V ≥ 2; finite, and so are differences in a row, all of one type; −∞ is as good where no target has weight | the student's; f16 and bf16 are widened to f32 |
/// | `targets` | T tensors of B × K, rows on the simplex | `targets[t]` is the assignment of view t; no gradient flows into it |
/// | `temperature` | τ > 0, finite, and so is 1/τ | the student's |
///
/// Returns a scalar in f32, or f64 for f64 logits. In nats. It is infinite only where the type holds nothing as large, and NaN where logits or targets are: nothing on
/// the device is looked at, for that would wait for it.
///
/// # Errors
/// [`Error::NoPairs`], [`Error::Rank`], [`Error::LossShape`], [`Error::LossDType`] and [`Error::TargetDType`] for views and targets that do not fit together, [`Error::LogitsDType`],
/// [`mira_core::Error::InvalidTemperature`], [`Error::LossTemperature`] where 1/τ is infinite in the loss's type, and candle's own, as for tensors on different devices.
///
/// # Example
/// A prediction that knows nothing costs log K against any target:
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use mira_candle::swapped_prediction_loss;
///
/// let logits = [Tensor::zeros((8, 5), DType::F32, &Device::Cpu)?, Tensor::zeros((8, 5), DType::F32, &Device::Cpu)?];
/// let target = Tensor::full(0.2f32, (8, 5), &Device::Cpu)?;
/// let loss = swapped_prediction_loss(&logits, &[target.clone(), target], 0.1)?;
/// assert!((loss.to_scalar::<f32>()? - 5f32.ln()).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Reference
/// Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", `NeurIPS` 2020, Eq. 2–3 and Sect. 3.3
/// (multi-crop); Lee et al., "Unsupervised Visual Representation Learning via Mutual Information Regularized Assignment",
/// `NeurIPS` 2022, Eq. 8. The papers print the sum over targets; the mean here keeps gradients independent of T and V.
pub fn swapped_prediction_loss(
    logits: &[Tensor],
    targets: &[Tensor],
    temperature: f64,
) -> Result<Tensor, Error> {
    let (num_views, num_targets) = (logits.len(), targets.len());
    let no_pairs = Error::NoPairs { views: num_views, targets: num_targets };
    if num_views < 2 || num_targets == 0 || num_targets > num_views {
        return Err(no_pairs);
    }
    if !(temperature.is_finite() && temperature > 0.0) {
        return Err(mira_core::Error::InvalidTemperature { got: temperature }.into());
    }
    check_shapes(logits, targets)?;
    let mut sum: Option<Tensor> = None;
    for (v, view) in logits.iter().enumerate() {
        let prediction = Prediction::new(view, temperature)?;
        for (_, target) in targets.iter().enumerate().filter(|(t, _)| *t != v) {
            let cross_entropy = prediction.cross_entropy(target)?;
            sum = Some(match sum {
                Some(sum) => (sum + cross_entropy)?,
                None => cross_entropy,
            });
        }
    }
    let num_pairs = (num_targets * (num_views - 1)) as f64;
    Ok((sum.ok_or(no_pairs)? / num_pairs)?)
}

/// `softmax(S/τ)` along rows, in f32 or f64, as what its logarithm is made of: nothing is divided by τ that might not fit afterwards.
struct Prediction {
    /// `S − max S` of each row: B × K.
    relative: Tensor,
    /// `log Σ e^{(S − max S)/τ}`: B.
    log_totals: Tensor,
    temperature: f64,
}

impl Prediction {
    fn new(logits: &Tensor, temperature: f64) -> Result<Self, Error> {
        let (wide, largest) = match logits.dtype() {
            DType::F16 | DType::BF16 => (logits.to_dtype(DType::F32)?, f64::from(f32::MAX)),
            DType::F32 => (logits.clone(), f64::from(f32::MAX)),
            DType::F64 => (logits.clone(), f64::MAX),
            got => return Err(Error::LogitsDType { got }),
        };
        // candle multiplies by the reciprocal.
        if temperature.recip() > largest {
            return Err(Error::LossTemperature { got: temperature, dtype: wide.dtype() });
        }
        // Shifting by any constant leaves the loss as it is, so no gradient need go through the maximum.
        let relative = wide.broadcast_sub(&wide.detach().max_keepdim(D::Minus1)?)?;
        // What is forbidden has no probability, and no weight, by which −∞ must not be multiplied.
        let relative = relative.maximum(-largest)?;
        let log_totals = (&relative / temperature)?.exp()?.sum(D::Minus1)?.log()?;
        Ok(Self { relative, log_totals, temperature })
    }

    /// The mean over rows of `−Σ_j W_ij log softmax_ij`. Both of its parts are at least 0; a weight of 0 multiplies numbers only.
    fn cross_entropy(&self, target: &Tensor) -> Result<Tensor, Error> {
        let Self { relative, log_totals, temperature } = self;
        let target = target.detach().to_dtype(relative.dtype())?;
        let batch = target.dim(0)? as f64;
        let mean = |rows: Tensor| (rows / batch)?.sum_all();
        let of_totals = mean((target.sum(D::Minus1)? * log_totals)?)?;
        let of_scores = (mean((target * relative)?.sum(D::Minus1)?)? / *temperature)?;
        Ok((of_totals - of_scores)?)
    }
}

/// All matrices of one shape that is not empty, the views of one type.
fn check_shapes(logits: &[Tensor], targets: &[Tensor]) -> Result<(), Error> {
    let expected = logits[0].dims();
    let &[batch, num_prototypes] = expected else {
        return Err(Error::Rank { what: "logits", got: expected.to_vec() });
    };
    mira_core::Shape::new(batch, num_prototypes)?;
    for (what, tensors) in [("view", logits), ("target", targets)] {
        if let Some(index) = tensors.iter().position(|tensor| tensor.dims() != expected) {
            let got = tensors[index].dims().to_vec();
            return Err(Error::LossShape { what, index, expected: expected.to_vec(), got });
        }
    }
    if let Some(index) = targets.iter().position(|target| !target.dtype().is_float()) {
        return Err(Error::TargetDType { index, got: targets[index].dtype() });
    }
    let expected = logits[0].dtype();
    match logits.iter().enumerate().find(|(_, view)| view.dtype() != expected) {
        Some((index, view)) => Err(Error::LossDType { index, expected, got: view.dtype() }),
        None => Ok(()),
    }
}
