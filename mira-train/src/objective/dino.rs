//! DINO (Caron et al., ICCV 2021): self-distillation with a centred and sharpened teacher.
//!
//! | | |
//! |---|---|
//! | logits | unit-length embeddings · unit-length prototypes (N × K): a weight-normalised last layer |
//! | targets | `P⁽ᵗ⁾ = softmax((teacher's logits − c)/τ_t)` of both global views, by the *teacher's* prototypes; no gradient |
//! | loss | `mean over pairs v ≠ t of mean_i −Σ_j P⁽ᵗ⁾_ij log softmax(S⁽ᵛ⁾/τ_s)_ij` |
//! | centre | `c ← m c + (1 − m)·mean` of the teacher's logits over both views and all samples, after the loss |
//!
//! Provenance: released code. Sizes of projector and prototypes are those of its defaults, but its projector has GELU and no batch norm where ours
//! has batch norm and ReLU. Its warm-up of `τ_t`, off by default, is left out, and so is the clipping of gradients. The number of hidden layers does
//! not count the bottleneck. The centre is f32. Prototypes start with length 1, where the code's start with about 0.58, which only SGD sees; its residual
//! blocks do not begin with γ = 0 (`model.zero_init_residual`).

use candle_core::{D, DType, Device, Tensor};

use super::math::{log_softmax, unit_rows, widen};
use super::{
    Diagnostics, Error, Loss, Memory, Method, Needs, Objective, Setup, State, Step, Weights,
};
use crate::model::PROTOTYPES;
use crate::recipe::documented::documented;
use crate::recipe::schema::key;
use crate::recipe::{Bounds, Fallback, Key, Kind};

/// `objective.name = "dino"`.
pub(crate) const METHOD: Method = Method {
    name: "dino",
    title: "DINO: self-distillation from a centred, sharpened teacher (Caron et al. 2021)",
    keys: KEYS,
    settings: Settings::FIELDS,
    sections: &["prototypes", "teacher"],
    defaults: &[
        ("projector.hidden_dim", "2048"),
        ("projector.num_hidden", "2"),
        ("projector.output_dim", "256"),
        ("prototypes.count", "65536"),
        ("teacher.momentum_start", "0.996"),
        ("teacher.evaluate", "true"),
    ],
    needs: Needs { unit_length: true, targets: true, couples_samples: false, two_views: false },
    memory: Memory { embeddings: 6, logits: 15, ..Memory::NOTHING },
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    new: |setup| Ok(Box::new(Dino::new(setup)?)),
};

#[rustfmt::skip]
const KEYS: &[Key] = &[
    key("objective.teacher_temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.04"), "0.04").only("objective.name", &["dino"]),
    key("objective.temperature", Kind::Number(Bounds::Temperature), Fallback::Value("0.1"), "0.1").only("objective.name", &["dino"]),
    key("objective.center_momentum", Kind::Number(Bounds::Unit), Fallback::Value("0.9"), "0.9").only("objective.name", &["dino"]),
];

/// The teacher's distributions from its logits (N × K) and the centre (K).
///
/// # Errors
/// Shapes that do not fit.
pub fn centred_softmax(
    logits: &Tensor,
    center: &Tensor,
    temperature: f64,
) -> Result<Tensor, Error> {
    let centred = widen(logits)?.detach().broadcast_sub(center)?;
    Ok(log_softmax(&(centred / temperature)?)?.exp()?)
}

/// The loss of two or more views' logits (N × K each) against two targets, a scalar: target t supervises every view but view t.
///
/// # Errors
/// Fewer than two views; shapes that do not fit.
pub fn distillation(
    logits: &[Tensor],
    targets: &[Tensor; 2],
    temperature: f64,
) -> Result<Tensor, Error> {
    let Some(first) = logits.first().filter(|_| logits.len() > 1) else {
        return Err(Error::NoViews);
    };
    let mut loss = Tensor::zeros((), widen(first)?.dtype(), first.device())?;
    for (v, view) in logits.iter().enumerate() {
        let log_p = log_softmax(&(widen(view)? / temperature)?)?;
        for (_, target) in targets.iter().enumerate().filter(|(t, _)| *t != v) {
            loss = (loss - (target * &log_p)?.sum(D::Minus1)?.mean_all()?)?;
        }
    }
    Ok((loss / (2.0 * (logits.len() as f64 - 1.0)))?)
}

documented! {
    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        /// Temperature `τ_t` > 0 of the teacher's distributions, in units of the logits (0.04).
        teacher_temperature: f64,
        /// Temperature `τ_s` > 0 of the student's predictions, in units of the logits (0.1).
        temperature: f64,
        /// Momentum m in [0, 1] of the centre (0.9).
        center_momentum: f64,
    }
}

/// DINO in a run.
#[derive(Debug)]
pub struct Dino {
    settings: Settings,
    center: Vec<f32>,
    /// The mean of the teacher's logits in this step.
    mean: Vec<f64>,
    targets: Option<[Tensor; 2]>,
}

impl Dino {
    /// For a recipe.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let Some(prototypes) = &setup.recipe.prototypes else {
            return Err(Error::Settings("no [prototypes]".into()));
        };
        Ok(Self {
            settings: setup.settings()?,
            center: vec![0.0; prototypes.count],
            mean: Vec::new(),
            targets: None,
        })
    }
}

impl Objective for Dino {
    fn prepare(
        &mut self,
        teacher: &[Tensor; 2],
        weights: &Weights,
        step: &Step<'_>,
    ) -> Result<Diagnostics, Error> {
        let directions = unit_rows(&widen(&weights.teacher(PROTOTYPES)?.detach())?)?.t()?;
        let logits = |view: &Tensor| Ok::<_, Error>(widen(&view.detach())?.matmul(&directions)?);
        let logits = [logits(&teacher[0])?, logits(&teacher[1])?];
        let device = &Device::Cpu;
        let center = Tensor::from_slice(&self.center, self.center.len(), device)?
            .to_dtype(logits[0].dtype())?;
        let temperature = self.settings.teacher_temperature;
        let of = |view: &Tensor| centred_softmax(view, &center, temperature);
        let targets = [of(&logits[0])?, of(&logits[1])?];
        let both = ((&logits[0] + &logits[1])? / 2.0)?.to_dtype(DType::F64)?;
        self.mean = step.ranks.mean_rows(&both)?.to_vec1()?;
        let mut entropy = 0.0;
        for target in &targets {
            let logs = target.maximum(1e-30)?.log()?;
            let mean = (target * logs)?.sum(D::Minus1)?.mean_all()?.to_dtype(DType::F64)?;
            entropy -= step.ranks.mean_all(&mean)?.to_scalar::<f64>()? / 2.0;
        }
        self.targets = Some(targets);
        Ok(Diagnostics::from([("teacher_entropy", entropy)]))
    }

    fn loss(
        &mut self,
        views: &[Tensor],
        weights: &Weights,
        start: usize,
        step: &Step<'_>,
    ) -> Result<Loss, Error> {
        let (Some(first), Some([one, two])) = (views.first(), &self.targets) else {
            return Err(Error::NoViews);
        };
        let rows = first.dim(0)?;
        let targets = [one.narrow(0, start, rows)?, two.narrow(0, start, rows)?];
        let directions = unit_rows(&widen(weights.student(PROTOTYPES)?)?)?.t()?;
        let logits = views.iter().map(|view| Ok(widen(view)?.matmul(&directions)?));
        let logits = logits.collect::<Result<Vec<_>, Error>>()?;
        let loss = distillation(&logits, &targets, self.settings.temperature)?;
        Ok(step.ranks.mean_all(&loss)?.into())
    }

    #[allow(clippy::cast_possible_truncation)] // the centre is f32
    fn commit(&mut self) {
        let m = self.settings.center_momentum;
        for (center, mean) in self.center.iter_mut().zip(&self.mean) {
            *center = (m * f64::from(*center) + (1.0 - m) * mean) as f32;
        }
        self.mean.clear();
    }

    fn state(&self) -> Vec<(&'static str, &[f32])> {
        vec![("center", &self.center)]
    }

    fn restore(&mut self, mut saved: State) -> Result<(), Error> {
        let center = saved.remove("center").filter(|center| center.len() == self.center.len());
        match (center, saved.keys().next()) {
            (Some(center), None) => self.center = center,
            (None, _) => return Err(Error::State("`center` is missing or too long".into())),
            (_, Some(name)) => {
                return Err(Error::State(format!("`{name}` is not of this method")));
            }
        }
        Ok(())
    }

    fn usage(&self) -> Option<Vec<f32>> {
        let [one, two] = self.targets.as_ref()?;
        let mean = ((one + two).ok()? / 2.0).ok()?.mean(0).ok()?;
        mean.to_dtype(DType::F32).ok()?.to_vec1().ok()
    }
}
