//! Self-Classifier (Amrani, Karlinsky, Bronstein, ECCV 2022): labels and classifier learned at once, under uniform priors.
//!
//! | | |
//! |---|---|
//! | S⁽ᵛ⁾ | logits (N × C): unit-length embeddings · unit-length prototypes |
//! | p(y∣x) | softmax of `S/τ_row` over the classes |
//! | p(x∣y) | softmax of `S/τ_col` over the samples |
//! | ℓ(1, 2) | `−(1/N) Σ_i Σ_y [p(x⁽²⁾_i∣y)/Σ_ỹ p(x⁽²⁾_i∣ỹ)] · log[(N/C)·p(y∣x⁽¹⁾_i)/Σ_x̃ p(y∣x̃⁽¹⁾)]` |
//! | loss | mean of ℓ over all ordered pairs of views with a global one in them; of ℓ(1, 2) and ℓ(2, 1) for two |
//!
//! Nothing is stop-gradiented. N counts the samples of all ranks. Provenance: released code, whose formula and pairs of views these are.
//! Logarithms are exact, where the code adds 1e-12 inside. One classifier, where the code has four of different sizes; it replaces the first view by its
//! nearest neighbour from a queue (as with its `--no-nn-aug` we do not), learns prototypes' lengths, and its projector has leaky rectifiers and, in the published setting of 100 epochs, no batch norm.
//! It wraps its optimiser in LARC, which gives biases and batch norms a trust ratio, too, and residual blocks do not begin with γ = 0.

use candle_core::{D, Tensor};

use super::math::{log_softmax, shared, unit_rows, widen};
use super::{Error, Loss, Memory, Method, Needs, Objective, Setup, Step, Weights};
use crate::model::PROTOTYPES;
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Bounds, Fallback, Key, Kind};

/// `objective.name = "self-classifier"`.
pub(super) const METHOD: Method = Method {
    name: "self-classifier",
    title: "Self-Classifier: self-supervised classification with uniform priors (Amrani et al. 2022)",
    keys: KEYS,
    settings: SelfClassifierTemperatures::FIELDS,
    sections: &["prototypes"],
    defaults: &[
        ("projector.hidden_dim", "4096"),
        ("projector.num_hidden", "1"),
        ("projector.output_dim", "128"),
        ("prototypes.count", "1000"),
        ("prototypes.freeze_epochs", "0.0"),
    ],
    needs: Needs { unit_length: true, targets: false, couples_samples: true, two_views: false },
    memory: Memory { embeddings: 6, logits: 27, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(SelfClassifier::new(setup)?)),
};

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.row_temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.1"), "0.1").only("objective.name", &["self-classifier"]),
    key("objective.column_temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.05"), "0.05").only("objective.name", &["self-classifier"]),
];

documented! {
    /// The two temperatures.
    #[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
    pub struct SelfClassifierTemperatures {
        /// Temperature > 0 of the classes of a sample, p(y∣x) (0.1).
        pub row_temperature: f64,
        /// Temperature > 0 of the samples of a class, p(x∣y) (0.05).
        pub column_temperature: f64,
    }
}

/// The loss of two or more views' logits (N × C each, global views first), a scalar.
///
/// # Errors
/// Fewer than two views; shapes that do not fit.
pub fn uniform_prior_classification(
    logits: &[Tensor],
    temperatures: &SelfClassifierTemperatures,
) -> Result<Tensor, Error> {
    if logits.len() < 2 {
        return Err(Error::NoViews);
    }
    let mut targets = Vec::new();
    let mut predictions = Vec::new();
    for view in logits {
        let view = widen(view)?;
        let (n, num_classes) = view.dims2()?;
        // In logarithms throughout: no class and no sample can underflow.
        let columns = log_softmax(&(view.t()? / temperatures.column_temperature)?)?.t()?;
        targets.push(log_softmax(&columns.contiguous()?)?.exp()?);
        let rows = log_softmax(&(view / temperatures.row_temperature)?)?;
        let of_classes = log_softmax(&rows.t()?.contiguous()?)?.t()?;
        predictions.push((of_classes + (n as f64 / num_classes as f64).ln())?);
    }
    let mut loss = Tensor::zeros((), targets[0].dtype(), targets[0].device())?;
    let mut num_pairs = 0.0;
    for (a, target) in targets.iter().enumerate() {
        for (b, prediction) in predictions.iter().enumerate() {
            if a == b || (a >= 2 && b >= 2) {
                continue;
            }
            loss = (loss - (target * prediction)?.sum(D::Minus1)?.mean_all()?)?;
            num_pairs += 1.0;
        }
    }
    Ok((loss / num_pairs)?)
}

/// Self-Classifier in a run.
#[derive(Debug)]
pub struct SelfClassifier {
    temperatures: SelfClassifierTemperatures,
}

impl SelfClassifier {
    /// For a recipe.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        Ok(Self { temperatures: setup.settings()? })
    }
}

impl Objective for SelfClassifier {
    fn loss(
        &mut self,
        views: &[Tensor],
        weights: &Weights,
        _: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let prototypes = shared(&widen(weights.student(PROTOTYPES)?)?, step.ranks)?;
        let directions = unit_rows(&prototypes)?.t()?;
        let logits = views
            .iter()
            .map(|view| Ok(step.ranks.gather(&widen(view)?)?.matmul(&directions)?))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(uniform_prior_classification(&logits, &self.temperatures)?.into())
    }
}
