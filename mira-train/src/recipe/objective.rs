//! Targets and what is minimised.

use serde::{Deserialize, Serialize};

use super::documented::documented;

documented! {
    /// `[objective]`: a method and its own settings, which [`crate::objective`] documents with each.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Objective {
        /// The method (`mira`).
        pub name: String,
        /// Its settings.
        #[serde(flatten)]
        pub settings: toml::Table,
    }
}

documented! {
    /// `[prototypes]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Prototypes {
        /// Prototypes, K ≥ 2 (3000).
        pub count: usize,
        /// Epochs at the start in which they do not move, fractions allowed (1).
        pub freeze_epochs: f64,
    }
}

/// Methods of assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Method {
    /// Mutual-information regularised assignment.
    Mira,
    /// Sinkhorn–Knopp.
    Sinkhorn,
    /// Each row's softmax.
    Softmax,
}

documented! {
    /// `[assignment]`; a setting that the method does not have is absent.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Assignment {
        /// Method: `mira`, `sinkhorn` (Sinkhorn–Knopp, as in `SwAV`), or `softmax`.
        pub method: Method,
        /// Temperature `τ_t` > 0, in units of the logits (MIRA, softmax; 0.225).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub temperature: Option<f64>,
        /// β in [0, 1) at the first step (MIRA; 0.7 in the paper, 0.75 in its code).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub beta_start: Option<f64>,
        /// β in [0, 1) at the end, reached along a cosine (MIRA; 2/3).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub beta_end: Option<f64>,
        /// Entropic regularisation ε > 0, in units of the logits (Sinkhorn; 0.05).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub epsilon: Option<f64>,
        /// Sweeps, exactly so many (MIRA, Sinkhorn; 30); this or `tolerance`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub iterations: Option<usize>,
        /// Error to be proven, > 0 (MIRA, Sinkhorn); this or `iterations`.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub tolerance: Option<f64>,
    }
}

/// How the two directions' losses are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Reduction {
    /// Their mean, as in the paper's code.
    Mean,
    /// Their sum, as Eq. 8 prints it: twice the mean.
    Sum,
}

documented! {
    /// `[loss]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Loss {
        /// Temperature `τ_s` > 0 of the student's predictions, in units of the logits (0.1).
        pub temperature: f64,
        /// How the two directions' losses are joined: `mean` (code), or `sum` (Eq. 8 as printed, twice the mean).
        pub reduction: Reduction,
    }
}

documented! {
    /// `[teacher]`.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Teacher {
        /// Whether targets come from an exponential moving average of the student; otherwise from the student itself.
        pub ema: bool,
        /// Momentum m₀ in [0, 1] at the first step; only with `ema` (0.99; 0.996 for 800 epochs).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub momentum_start: Option<f64>,
        /// Momentum in [0, 1] at the end, reached along a cosine; only with `ema` (1).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub momentum_end: Option<f64>,
        /// Whether evaluations, `encoder.safetensors` and exports are of the teacher, with the running statistics of its own passes, as the released
        /// codes of MIRA and DINO evaluate; otherwise of the student. Only with `ema` (true for MIRA and DINO, else false).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub evaluate: Option<bool>,
    }
}
