//! The sections `[optimizer]` and `[schedule]`: which optimiser, and how learning rate and weight decay change over a run.

use serde::{Deserialize, Serialize};

use super::documented::documented;

/// Optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Layer-wise adaptive rate scaling (You et al. 2017).
    Lars,
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    Adamw,
}

documented! {
    /// `[optimizer]`; a setting that the kind does not have is absent.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Optimizer {
        /// Optimiser: `lars`, for batches of thousands, `sgd` or `adamw`.
        pub kind: OptimizerKind,
        /// Learning rate at batch 256, > 0; the peak is this × `train.batch_size` / 256 (0.3).
        pub base_lr: f64,
        /// Momentum in [0, 1) (LARS, SGD; 0.9).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub momentum: Option<f64>,
        /// Whether the step is taken from Nesterov's look-ahead (SGD; false).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub nesterov: Option<bool>,
        /// η > 0 of the trust ratio η‖p‖/‖g‖ (LARS; 0.001).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub trust_coefficient: Option<f64>,
        /// Decay in [0, 1) of the first and the second moment (`AdamW`; 0.9, 0.999).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub betas: Option<[f64; 2]>,
        /// ε > 0 added to the second moment's root (`AdamW`; 1e-8).
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub epsilon: Option<f64>,
        /// Weight decay ≥ 0 of tensors with more than one dimension, at the first step (LARS 1e-6, SGD 1e-4).
        pub weight_decay: f64,
        /// Weight decay ≥ 0 at the end, reached along a cosine; constant where absent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub weight_decay_end: Option<f64>,
    }
}

documented! {
    /// `[schedule]`: linear warm-up, then half a cosine.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Schedule {
        /// Epochs of training, ≥ 1.
        pub epochs: usize,
        /// Epochs of warm-up, fractions allowed, fewer than `epochs` (10; 5 for the 100- and 200-epoch runs).
        pub warmup_epochs: f64,
        /// Learning rate ≥ 0 that warm-up starts above, as used (not scaled by the batch; 0.3 in the paper's code).
        pub warmup_start_lr: f64,
        /// Learning rate ≥ 0 at the end, as used (0).
        pub final_lr: f64,
    }
}
