//! What both workers are asked by the Python halves.

use mira::{Method, Mira, Sinkhorn, Softmax, StopRule};

/// A method by its request: `mira-sweeps N`, `mira-certified`, `sinkhorn-sweeps N`, `softmax`.
pub(crate) fn method(words: &[&str]) -> Result<Method, Box<dyn std::error::Error>> {
    Ok(match words {
        ["mira-sweeps", n] => Mira::default().with_stop(StopRule::Sweeps(n.parse()?))?.into(),
        ["mira-certified"] => Mira::default().into(),
        ["sinkhorn-sweeps", n] => Sinkhorn::swav().with_stop(StopRule::Sweeps(n.parse()?))?.into(),
        ["softmax"] => Softmax::new(0.225)?.into(),
        _ => return Err(format!("unknown method: {words:?}").into()),
    })
}
