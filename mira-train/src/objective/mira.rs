//! MIRA (Lee, Kim et al., `NeurIPS` 2022): predict from each view how the other is assigned.
//!
//! | | |
//! |---|---|
//! | logits | `S = z·cᵀ`, unit-length embeddings z (B × D) and prototypes c (K × D): cosines |
//! | targets | `W⁽¹⁾, W⁽²⁾` of the teacher's two global views, each assigned on its own (Eq. 4); no gradient |
//! | loss | `½ Σ_t mean_{v≠t} mean_i −Σ_j W⁽ᵗ⁾_ij log softmax(S⁽ᵛ⁾/τ_s)_ij` (code), or the sum over both targets (Eq. 8) |

use candle_core::{D, Result, Tensor};

/// How the two targets' losses are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, as the released code.
    Mean,
    /// Their sum, as Eq. 8 prints.
    Sum,
}

/// The swapped-prediction loss, a scalar: target t supervises every view but view t.
///
/// # Errors
/// Shapes that do not fit.
pub fn swapped_prediction(
    views: &[Tensor],
    prototypes: &Tensor,
    targets: &[Tensor; 2],
    temperature: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    let lengths = prototypes.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    let directions = prototypes.broadcast_div(&lengths)?.t()?;
    let mut loss: Option<Tensor> = None;
    for (v, view) in views.iter().enumerate() {
        let logits = (view.matmul(&directions)? / temperature)?;
        let log_probabilities =
            logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?;
        for (_, target) in targets.iter().enumerate().filter(|(t, _)| *t != v) {
            let term = (target * &log_probabilities)?.sum(D::Minus1)?.mean_all()?.neg()?;
            loss = Some(match loss {
                Some(loss) => (loss + term)?,
                None => term,
            });
        }
    }
    let Some(loss) = loss else {
        candle_core::bail!("got no view; an objective needs at least two")
    };
    let per_target = (views.len() - 1) as f64;
    let divisor = match reduction {
        Reduction::Mean => 2.0 * per_target,
        Reduction::Sum => per_target,
    };
    loss / divisor
}
