//! IMSVD (Niu et al.): information-maximised discrete variables.
//!
//! | | |
//! |---|---|
//! | logits | `x` (N × K·b): K variables of b bins each |
//! | probabilities | `p = max(softmax over a variable's bins of x/t, 1e-8)`, clamped after and not normalised again |
//! | joint | `J = (1/N) p₁ᵀ·p₂` (Kb × Kb), over the whole batch |
//! | invariance | `L_ti = −1/(NK) Σ_{n,k} log Σ_a p₁[n,k,a]·p₂[n,k,a]` |
//! | diagonal | `L_dia = (1/K) Σ_q J_qq log J_qq` |
//! | between variables | `L_off = 1/(K(K−1)) Σ_{i≠j} Σ_{a,c} J log J` |
//! | loss | `c_ti·L_ti + c_dia·L_dia + c_off·L_off` |
//!
//! Nothing is stop-gradiented. A code that is one-hot, balanced and independent between variables has −3 ln b; the uniform one
//! −(1 + 2/b) ln b; one bin for all 0. Batches over ranks: J is that of the whole batch, with its whole gradient. J and its logarithms
//! are computed in f32 at least.
//!
//! Provenance: the paper's equations; weights and temperature all 1.

use candle_core::{D, Tensor};
use serde::Deserialize;

use super::math::{log_softmax, off_diagonal, widen};
use super::{Diagnostics, Error, Loss, Memory, Method, Needs, Objective, Ranks, Step, Weights};
use crate::recipe::Recipe;
use crate::recipe::documented::documented;
use crate::recipe::schema::{Bounds, Fallback, Key, Kind, key};

const NAME: &[&str] = &["imsvd"];

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.variables", Kind::Whole(2, 1 << 20), Fallback::Value("102"), "102").only("objective.name", NAME),
    key("objective.bins", Kind::Whole(2, 1 << 20), Fallback::Value("80"), "80").only("objective.name", NAME),
    key("objective.temperature", Kind::Number(Bounds::Temperature), Fallback::Value("1.0"), "1").only("objective.name", NAME),
    key("objective.invariance_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("1.0"), "1").only("objective.name", NAME),
    key("objective.diagonal_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("1.0"), "1").only("objective.name", NAME),
    key("objective.independence_weight", Kind::Number(Bounds::ZeroUp), Fallback::Value("1.0"), "1").only("objective.name", NAME),
];

/// `objective.name = "imsvd"`.
pub const METHOD: Method = Method {
    name: "imsvd",
    title: "IMSVD: information-maximised soft variable discretisation (Niu et al.)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &[],
    defaults: &[
        ("projector.hidden_dim", "8192"),
        ("projector.num_hidden", "1"),
        ("projector.output_dim", "8160"),
    ],
    needs: Needs { unit_length: false, targets: false, couples_samples: true, two_views: true },
    memory: Memory { embeddings: 21, moments: 24, ..Memory::NOTHING },
    check,
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(Imsvd { settings: setup.settings()? })),
};

fn check(recipe: &Recipe) -> Result<(), (String, &'static str)> {
    let number = |key: &str| recipe.objective.settings.get(key).and_then(toml::Value::as_integer);
    let (variables, bins) = (number("variables").unwrap_or(0), number("bins").unwrap_or(0));
    let width = recipe.projector.output_dim;
    if variables.saturating_mul(bins) == i64::try_from(width).unwrap_or(i64::MAX) {
        return Ok(());
    }
    let problem = format!(
        "`projector.output_dim` is {width}, expected the {variables} of `objective.variables` × the {bins} of `objective.bins`"
    );
    Err((problem, "change one of the three"))
}

documented! {
    /// Settings of the loss.
    #[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
    pub struct Settings {
        /// Discrete variables, K ≥ 2 (102); K·b is `projector.output_dim`.
        pub variables: usize,
        /// Values of each variable, b ≥ 2 (80).
        pub bins: usize,
        /// Temperature t > 0 of the softmax over a variable's bins (1).
        pub temperature: f64,
        /// Weight `c_ti` ≥ 0 of invariance (1).
        pub invariance_weight: f64,
        /// Weight `c_dia` ≥ 0 of the joint's diagonal (1).
        pub diagonal_weight: f64,
        /// Weight `c_off` ≥ 0 of what is between variables (1).
        pub independence_weight: f64,
    }
}

/// The loss and its three terms without weights.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Their weighted sum.
    pub loss: Tensor,
    /// `L_ti`.
    pub invariance: Tensor,
    /// `L_dia`.
    pub diagonal: Tensor,
    /// `L_off`.
    pub independence: Tensor,
}

/// The smallest probability.
const FLOOR: f64 = 1e-8;

/// The loss of the logits of two views (N × K·b each).
///
/// # Errors
/// Shapes that do not fit; ranks that are gone.
pub fn imsvd(x1: &Tensor, x2: &Tensor, s: &Settings, ranks: &Ranks) -> Result<Terms, Error> {
    let (variables, bins) = (s.variables, s.bins);
    let probabilities = |x: &Tensor| -> Result<Tensor, Error> {
        let x = (widen(x)? / s.temperature)?.reshape(((), variables, bins))?;
        Ok(log_softmax(&x)?.exp()?.maximum(FLOOR)?)
    };
    let (p1, p2) = (probabilities(x1)?, probabilities(x2)?);
    let agreement = (&p1 * &p2)?.sum(D::Minus1)?;
    let invariance = ranks.mean_all(&agreement.log()?)?.neg()?;
    let flat = |p: &Tensor| p.reshape(((), variables * bins));
    let count = (p1.dim(0)? * ranks.world_size()) as f64;
    let joint = (ranks.sum(&flat(&p1)?.t()?.matmul(&flat(&p2)?)?)? / count)?;
    let entropies = (&joint * joint.log()?)?;
    let eye = Tensor::eye(variables * bins, joint.dtype(), joint.device())?;
    let diagonal = ((&entropies * eye)?.sum_all()? / variables as f64)?;
    // Blocks of one variable with itself are left out.
    let between = off_diagonal(variables, &joint)?
        .reshape((variables, 1, variables, 1))?
        .broadcast_as((variables, bins, variables, bins))?
        .reshape(joint.shape())?;
    let num_pairs = (variables * (variables - 1)) as f64;
    let independence = ((entropies * between)?.sum_all()? / num_pairs)?;
    let loss = ((&invariance * s.invariance_weight)? + (&diagonal * s.diagonal_weight)?)?;
    let loss = (loss + (&independence * s.independence_weight)?)?;
    Ok(Terms { loss, invariance, diagonal, independence })
}

/// IMSVD in a run.
#[derive(Debug)]
pub struct Imsvd {
    settings: Settings,
}

impl Objective for Imsvd {
    fn loss(
        &mut self,
        views: &[Tensor],
        _: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let [x1, x2] = views else { return Err(Error::NoViews) };
        let terms = imsvd(x1, x2, &self.settings, step.ranks)?;
        let mut diagnostics = Diagnostics::new();
        for (name, term) in [
            ("invariance", &terms.invariance),
            ("diagonal", &terms.diagonal),
            ("independence", &terms.independence),
        ] {
            diagnostics.insert(name, scalar(term)?);
        }
        Ok(Loss { value: terms.loss, diagnostics })
    }
}

fn scalar(value: &Tensor) -> Result<f64, Error> {
    Ok(value.detach().to_dtype(candle_core::DType::F64)?.to_scalar()?)
}
