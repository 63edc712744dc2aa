//! MINC (Guo et al. 2025): mutual information without contrast, from moments instead of pairs.
//!
//! The spectral loss pairs every sample with all others, but `E_q[(φᵀφ′)²] = E[φᵀΛφ]` with `Λ = E[φφᵀ]`: a D × D summary of the others
//! is enough.
//!
//! | | |
//! |---|---|
//! | embeddings | `z¹, z²` (B × D) of the student; `t¹, t²` of the target network, without gradient |
//! | moment | `Λ_b = 1/(2B)·(t¹ᵀt¹ + t²ᵀt²)`, `Λ ← ρΛ + (1−ρ)Λ_b`, at first `Λ_b`; without gradient |
//! | GHA | `M = tril(Λ)`, diagonal included (generalised Hebbian algorithm, Sanger 1989), or `M = Λ` |
//! | gradient | `∂L/∂z = (2/B)·(M z − t′)`, `t′` the other view's target; both directions |
//! | loss | `Σ mean(−2⟨z, t′⟩ + 2⟨z, stopgrad(M z)⟩)`, whose derivative that is |
//! | monitor | `Σ mean⟨z, t′⟩ − ½ Σ mean⟨z, Λz⟩ − 1`: a lower bound of the mutual information |
//!
//! Differentiating `zᵀ·stopgrad(M)·z` instead would give `(M + Mᵀ)z`: the triangle would be undone.
//!
//! With `alpha` other than 2 the loss is minus the α-information of all pairs of the batch, for which there is no such summary:
//! `J_α = E_p[(u^{α−1} − 1)/(α−1)] − E_q[(u^α − 1)/α]`, `u = φᵀφ′` no less than 1e-6; at α = 1 `E_p[log u] − E_q[u − 1]`.
//!
//! Provenance: **reconstructed** from the abstract and the spectral loss; the paper's body was not available. Which network feeds Λ,
//! the target's momentum and whether outputs are normalised are options. The paper's ablation found α = 2 best and 1.5 close.
//! Batches over ranks: Λ is that of the whole batch.

use candle_core::{D, DType, Device, Tensor};
use serde::Deserialize;

use super::math::{unit_rows, widen};
use super::spectral::clip_rows;
use super::{
    Diagnostics, Error, Loss, Memory, Method, Needs, Objective, Ranks, Setup, State, Step, Weights,
};
use crate::recipe::documented::documented;
use crate::recipe::schema::{Bounds, Fallback, Key, Kind, key};

const NAME: &[&str] = &["minc"];

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.moment_decay", Kind::Number(Bounds::UnitOpen), Fallback::Value("0.8"), "0.8").only("objective.name", NAME),
    key("objective.gha", Kind::Flag, Fallback::Value("true"), "true").only("objective.name", NAME),
    key("objective.alpha", Kind::Number(Bounds::Positive), Fallback::Value("2.0"), "2").only("objective.name", NAME),
    key("objective.moment_from", Kind::Choice(&["target", "online"]), Fallback::Value("\"target\""), "\"target\"").only("objective.name", NAME),
    key("objective.normalise", Kind::Choice(&["none", "unit", "clip"]), Fallback::Value("\"none\""), "\"none\"").only("objective.name", NAME),
];

/// `objective.name = "minc"`.
pub const METHOD: Method = Method {
    name: "minc",
    title: "MINC: mutual information non-contrastive, reconstructed (Guo et al. 2025)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &["teacher"],
    defaults: &[],
    needs: Needs { unit_length: false, targets: true, couples_samples: true, two_views: true },
    memory: Memory { embeddings: 19, moments: 4, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(Minc::new(setup)?)),
};

/// Which network's outputs Λ is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentFrom {
    /// The target network's.
    Target,
    /// The student's.
    Online,
}

/// What is done to outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Nothing.
    None,
    /// They are divided by their lengths.
    Unit,
    /// Those longer than 1 are shortened to it, as the spectral loss's code does with μ = 1.
    Clip,
}

documented! {
    /// Settings.
    #[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
    pub struct Settings {
        /// Decay ρ in [0, 1) of the moving second moment Λ (0.8).
        pub moment_decay: f64,
        /// Whether M is Λ's lower triangle, so that dimensions come in order; otherwise Λ (true).
        pub gha: bool,
        /// α > 0 of the information that is maximised (2).
        pub alpha: f64,
        /// Network whose outputs Λ is made of (target).
        pub moment_from: MomentFrom,
        /// What is done to outputs: nothing, division by their lengths, or shortening of those longer than 1 (none).
        pub normalise: Normalise,
    }
}

/// `Λ_b`, the second moment of both views over the whole batch.
///
/// # Errors
/// Shapes that do not fit; ranks that are gone.
pub fn batch_moment(t1: &Tensor, t2: &Tensor, ranks: &Ranks) -> Result<Tensor, Error> {
    let count = (2 * t1.dim(0)? * ranks.world_size()) as f64;
    let sum = (t1.t()?.matmul(t1)? + t2.t()?.matmul(t2)?)?;
    Ok((ranks.sum(&sum.detach())? / count)?)
}

/// Λ's lower triangle with its diagonal.
///
/// # Errors
/// None that is expected.
pub fn lower_triangle(moment: &Tensor) -> Result<Tensor, Error> {
    let n = moment.dim(0)?;
    Ok((moment * Tensor::tril2(n, moment.dtype(), moment.device())?)?)
}

/// One direction: `mean(−2⟨z, t′⟩ + 2⟨z, stopgrad(M z)⟩)`, with gradient `(2/B)(M z − t′)` by z.
///
/// # Errors
/// Shapes that do not fit; ranks that are gone.
pub fn direction(
    z: &Tensor,
    target: &Tensor,
    matrix: &Tensor,
    ranks: &Ranks,
) -> Result<Tensor, Error> {
    let pulled = z.matmul(&matrix.detach().t()?)?.detach();
    let rows = (z * (pulled - target.detach())?)?.sum(D::Minus1)?;
    Ok((ranks.mean_all(&rows)? * 2.0)?)
}

/// The least `u`, so that its powers are finite.
const LEAST_RATIO: f64 = 1e-6;

/// `−J_α` over the positive pairs and all B² pairs of the whole batch.
///
/// # Errors
/// Shapes that do not fit; ranks that are gone.
pub fn alpha_information(
    z1: &Tensor,
    z2: &Tensor,
    alpha: f64,
    ranks: &Ranks,
) -> Result<Tensor, Error> {
    let (z1, z2) = (ranks.gather(&widen(z1)?)?, ranks.gather(&widen(z2)?)?);
    let positive = (&z1 * &z2)?.sum(D::Minus1)?.maximum(LEAST_RATIO)?;
    let all = z1.matmul(&z2.t()?)?.maximum(LEAST_RATIO)?;
    // (u^p − 1)/p, log u at p = 0.
    let power = |u: &Tensor, p: f64| -> Result<Tensor, Error> {
        if p == 0.0 {
            return Ok(u.log()?);
        }
        Ok((((u.log()? * p)?.exp()? - 1.0)? / p)?)
    };
    let attraction = power(&positive, alpha - 1.0)?.mean_all()?;
    Ok((power(&all, alpha)?.mean_all()? - attraction)?)
}

/// MINC in a run.
#[derive(Debug)]
pub struct Minc {
    settings: Settings,
    dim: usize,
    targets: Option<[Tensor; 2]>,
    /// Λ, D × D; zeros before the first step.
    moment: Vec<f32>,
    pending: Vec<f32>,
}

impl Minc {
    /// For a recipe's settings.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let dim = setup.recipe.projector.output_dim;
        let settings = setup.settings()?;
        let moment = vec![0.0; dim * dim];
        Ok(Self { settings, dim, targets: None, moment, pending: Vec::new() })
    }

    fn normalised(&self, z: &Tensor) -> Result<Tensor, Error> {
        let z = widen(z)?;
        match self.settings.normalise {
            Normalise::None => Ok(z),
            Normalise::Unit => unit_rows(&z),
            Normalise::Clip => clip_rows(&z, 1.0),
        }
    }

    /// Λ with the batch's share, kept for [`Objective::commit`].
    fn follow(&mut self, batch: &Tensor) -> Result<Tensor, Error> {
        let moment = if self.moment.iter().all(|x| *x == 0.0) {
            batch.clone()
        } else {
            let shape = (self.dim, self.dim);
            let before = Tensor::from_slice(&self.moment, shape, &Device::Cpu)?;
            let before = before.to_dtype(batch.dtype())?;
            let rho = self.settings.moment_decay;
            ((before * rho)? + (batch * (1.0 - rho))?)?
        };
        self.pending = moment.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(moment)
    }
}

impl Objective for Minc {
    fn prepare(
        &mut self,
        teacher: &[Tensor; 2],
        _: &Weights,
        _: &Step<'_>,
    ) -> Result<Diagnostics, Error> {
        let targets = [self.normalised(&teacher[0])?, self.normalised(&teacher[1])?];
        self.targets = Some(targets.map(|t| t.detach()));
        Ok(Diagnostics::new())
    }

    fn loss(
        &mut self,
        views: &[Tensor],
        _: &Weights,
        start: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let [z1, z2] = views else { return Err(Error::NoViews) };
        let (z1, z2) = (self.normalised(z1)?, self.normalised(z2)?);
        if self.settings.alpha != 2.0 {
            return Ok(alpha_information(&z1, &z2, self.settings.alpha, step.ranks)?.into());
        }
        let Some([t1, t2]) = self.targets.clone() else { return Err(Error::NoViews) };
        let rows = z1.dim(0)?;
        let (t1, t2) = (t1.narrow(0, start, rows)?, t2.narrow(0, start, rows)?);
        let batch = match self.settings.moment_from {
            MomentFrom::Target => batch_moment(&t1, &t2, step.ranks)?,
            MomentFrom::Online => batch_moment(&z1.detach(), &z2.detach(), step.ranks)?,
        };
        let moment = self.follow(&batch)?;
        let matrix = if self.settings.gha { lower_triangle(&moment)? } else { moment.clone() };
        let value = (direction(&z1, &t2, &matrix, step.ranks)?
            + direction(&z2, &t1, &matrix, step.ranks)?)?;
        let bound = information(&[(&z1, &t2), (&z2, &t1)], &moment, step.ranks)?;
        let diagnostics = Diagnostics::from([("mutual_information_bound", bound)]);
        Ok(Loss { value, diagnostics })
    }

    fn commit(&mut self) {
        if !self.pending.is_empty() {
            self.moment = std::mem::take(&mut self.pending);
        }
    }

    fn state(&self) -> Vec<(&'static str, &[f32])> {
        vec![("moment", &self.moment)]
    }

    fn restore(&mut self, mut saved: State) -> Result<(), Error> {
        let moment = saved.remove("moment").unwrap_or_default();
        if let Some(name) = saved.keys().next() {
            return Err(Error::State(format!("`{name}` is not of minc")));
        }
        let expected = self.dim * self.dim;
        if moment.len() != expected {
            let got = moment.len();
            return Err(Error::State(format!("`moment` has {got} values, expected {expected}")));
        }
        self.moment = moment;
        Ok(())
    }
}

/// `Σ mean⟨z, t′⟩ − ½ Σ mean⟨z, Λz⟩ − 1` over both directions.
fn information(
    directions: &[(&Tensor, &Tensor); 2],
    moment: &Tensor,
    ranks: &Ranks,
) -> Result<f64, Error> {
    let mut bound = -1.0;
    for (z, target) in directions {
        let z = z.detach();
        let agreement = (&z * *target)?.sum(D::Minus1)?;
        let square = (&z * z.matmul(&moment.t()?)?)?.sum(D::Minus1)?;
        let rows = (agreement - (square * 0.5)?)?;
        bound += ranks.mean_all(&rows)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    }
    Ok(bound)
}
