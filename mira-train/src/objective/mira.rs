//! MIRA (Lee, Kim et al., `NeurIPS` 2022): predict from each view how the other is assigned.
//!
//! | | |
//! |---|---|
//! | logits | `S = z·cᵀ`, unit-length embeddings z (B × D) and prototypes c (K × D): cosines |
//! | targets | `W⁽¹⁾, W⁽²⁾` of the teacher's two global views, each assigned on its own (Eq. 4); no gradient |
//! | loss | `½ Σ_t mean_{v≠t} mean_i −Σ_j W⁽ᵗ⁾_ij log softmax(S⁽ᵛ⁾/τ_s)_ij` (code), or the sum over both targets (Eq. 8) |
//!
//! The teacher's embeddings meet the *student's* prototypes (code). Provenance: paper and released code. Prototypes start with length 1, where the
//! code's start with about 0.58 (a linear layer's initial values under a weight norm): only SGD sees the difference, ours turn more slowly until their lengths have met.

use candle_core::{D, Result, Tensor};
use mira_core::{Method as Assignment, Mira as MiraMethod, Report, Sinkhorn, Softmax, StopRule};

use super::{
    Diagnostics, Error, Loss, Memory, Method, Needs, Objective, PER_VIEW, Setup, Step, Targets,
    Weights,
};
use crate::model::PROTOTYPES;
use crate::recipe;
use crate::schedule::Schedule;

/// `objective.name = "mira"`.
pub const METHOD: Method = Method {
    name: "mira",
    title: "MIRA: swapped prediction of mutual-information regularised assignments (Lee et al. 2022)",
    keys: &[],
    settings: &[],
    sections: &["prototypes", "assignment", "loss", "teacher"],
    defaults: &[("teacher.evaluate", "true"), ("train.batch_norm", PER_VIEW)],
    check: |_| Ok(()),
    parameters: |_| Vec::new(),
    needs: Needs { unit_length: true, targets: true, couples_samples: false, two_views: false },
    memory: Memory { embeddings: 7, logits: 17, ..Memory::NOTHING },
    new: |setup| Ok(Box::new(Mira::new(setup)?)),
};

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

/// MIRA in a run.
#[derive(Debug)]
pub struct Mira {
    assignment: recipe::Assignment,
    beta: Schedule,
    temperature: f64,
    reduction: Reduction,
    targets: Targets,
}

impl Mira {
    /// For a recipe with the sections that it has.
    ///
    /// # Errors
    /// [`Error::Settings`] where one is missing.
    pub fn new(setup: &Setup<'_>) -> std::result::Result<Self, Error> {
        let recipe = setup.recipe;
        let (Some(assignment), Some(loss), Some(prototypes)) =
            (&recipe.assignment, &recipe.loss, &recipe.prototypes)
        else {
            return Err(Error::Settings("no [assignment], [loss] or [prototypes]".into()));
        };
        let beta = |beta: Option<f64>| beta.unwrap_or(0.0);
        let (from, to) = (beta(assignment.beta_start), beta(assignment.beta_end));
        Ok(Self {
            beta: Schedule::annealed(from, to, setup.num_steps()),
            temperature: loss.temperature,
            reduction: match loss.reduction {
                recipe::Reduction::Mean => Reduction::Mean,
                recipe::Reduction::Sum => Reduction::Sum,
            },
            targets: Targets::new(
                setup.batch_size(),
                recipe.projector.output_dim,
                prototypes.count,
                setup.ranks,
            )?,
            assignment: assignment.clone(),
        })
    }
}

impl Objective for Mira {
    fn prepare(
        &mut self,
        teacher: &[Tensor; 2],
        weights: &Weights,
        step: &Step<'_>,
    ) -> std::result::Result<Diagnostics, Error> {
        let beta = self.beta.at(step.number);
        let method = method(&self.assignment, beta).map_err(mira_cpu::Error::from)?;
        for (view, embeddings) in teacher.iter().enumerate() {
            self.targets.collect(view, &embeddings.flatten_all()?.to_vec1()?);
        }
        let prototypes = weights.student(PROTOTYPES)?;
        let reports =
            self.targets.assign(&prototypes.detach().flatten_all()?.to_vec1::<f32>()?, method)?;
        let mut diagnostics = certificates(&reports);
        diagnostics.insert("beta", beta);
        Ok(diagnostics)
    }

    fn loss(
        &mut self,
        views: &[Tensor],
        weights: &Weights,
        start: usize,
        step: &Step<'_>,
    ) -> std::result::Result<Loss, Error> {
        let Some(first) = views.first() else { return Err(Error::NoViews) };
        let (rows, device) = (first.dim(0)?, first.device());
        let num_prototypes = weights.student(PROTOTYPES)?.dim(0)?;
        let target = |view| {
            Tensor::from_slice(self.targets.rows(view, start, rows), (rows, num_prototypes), device)
        };
        let loss = swapped_prediction(
            views,
            weights.student(PROTOTYPES)?,
            &[target(0)?, target(1)?],
            self.temperature,
            self.reduction,
        )?;
        Ok(step.ranks.mean_all(&loss)?.into())
    }

    fn usage(&self) -> Option<Vec<f32>> {
        self.targets.usage()
    }
}

/// What two assignments prove, the worse of the two.
pub(super) fn certificates(reports: &[Report; 2]) -> Diagnostics {
    let most = |value: fn(&Report) -> f64| value(&reports[0]).max(value(&reports[1]));
    Diagnostics::from([
        ("sweeps", most(|r| r.iterations as f64)),
        ("duality_gap", most(|r| r.certificate.duality_gap)),
        ("log_ratio_bound", most(|r| r.certificate.log_ratio_bound)),
        (
            "marginal_entropy",
            f64::midpoint(reports[0].marginal_entropy, reports[1].marginal_entropy),
        ),
    ])
}

/// The assignment of a recipe at a value of β.
fn method(
    assignment: &recipe::Assignment,
    beta: f64,
) -> std::result::Result<Assignment, mira_core::Error> {
    let stop = match (assignment.iterations, assignment.tolerance) {
        (Some(sweeps), _) => StopRule::Sweeps(sweeps),
        (None, Some(tolerance)) => StopRule::tolerance(tolerance),
        (None, None) => StopRule::default(),
    };
    let temperature = assignment.temperature.unwrap_or(MiraMethod::default().temperature());
    Ok(match assignment.method {
        recipe::Method::Mira => MiraMethod::new(temperature, beta)?.with_stop(stop)?.into(),
        recipe::Method::Sinkhorn => {
            let epsilon = assignment.epsilon.unwrap_or(Sinkhorn::swav().epsilon());
            Sinkhorn::new(epsilon)?.with_stop(stop)?.into()
        }
        recipe::Method::Softmax => Softmax::new(temperature)?.into(),
    })
}
