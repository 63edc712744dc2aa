//! The core of mira, free of tensors: what an assignment is, how it is iterated, and how far from optimal it provably is.
//!
//! Given logits `S` (B samples × K prototypes), an [`Assigner`] computes pseudo-labels `W` (B × K, rows on the simplex) by one of the
//! [`Method`]s: [`Mira`], [`Sinkhorn`], [`Softmax`] or [`Centered`]. Backends implement the trait in crates of their own; this one
//! holds what they share:
//!
//! | module item | what |
//! |---|---|
//! | [`Shape`], [`Matrix`] | sizes; a borrowed row-major matrix |
//! | [`Method`], [`StopRule`], [`Scaling`] | the methods as validated data, and the one family they belong to |
//! | [`Assigner`] | the seam: method is data, backend is a type |
//! | [`FixedPoint`], [`Sweep`] | the host-driven iteration with safeguarded Anderson acceleration |
//! | [`Certificate`], [`Report`] | bounds on the distance to the optimum, in O(K) from the last sweep |
//! | [`verify()`] | the same, recomputed in f64 from logits and assignment alone: it can accuse every backend |
//! | [`Reference`] | the naive f64 oracle everything is tested against |
//! | [`Collective`] | sums over ranks, in rank order |
//!
//! # Conventions
//! Rows are samples (index `i`, B of them), columns prototypes (index `j`, K of them). Logarithms are natural, entropies in nats.
//! A logit of −∞ forbids that prototype to that sample; NaN and +∞ are errors. Iterations are counted as in the golden
//! vectors: `n` means `n` sweeps after `u⁰ = mean(kernel)^(1−β)` for MIRA, `n` in all for Sinkhorn–Knopp.
//!
//! # References
//! - Lee, Kim, Lee, Park, Kim: *Unsupervised Visual Representation Learning via Mutual Information Regularized Assignment*, `NeurIPS` 2022.
//! - Cuturi: *Sinkhorn Distances*, `NeurIPS` 2013. Caron et al.: *`SwAV`*, `NeurIPS` 2020. Caron et al.: *DINO*, ICCV 2021.
//! - Altschuler, Weed, Rigollet: *Near-linear time approximation algorithms for optimal transport via Sinkhorn iteration*, `NeurIPS` 2017.
//! - Walker, Ni: *Anderson acceleration for fixed-point iterations*, SIAM J. Numer. Anal. 2011.

mod anderson;
mod assigner;
pub mod certificate;
mod collective;
mod error;
pub mod fixed_point;
mod matrix;
mod method;
mod reference;
mod report;
mod shape;
pub mod verify;

pub use assigner::Assigner;
pub use certificate::{
    Certificate, largest_exponent, mira_certificate, rounding_allowance, sinkhorn_certificate,
};
pub use collective::{Collective, CollectiveError, SingleProcess, ThreadCollective};
pub use error::Error;
pub use fixed_point::{
    Arithmetic, Domain, FixedPoint, Outcome, Pass, PassInfo, Summary, Sweep, Target, check_state,
};
pub use matrix::Matrix;
pub use method::{Centered, Method, Mira, Scaling, Sinkhorn, Softmax, StopRule};
pub use reference::{Reference, ReferenceWorkspace, is_too_large};
pub use report::{Report, Status};
pub use shape::Shape;
pub use verify::{Verification, verify, verify_at};
