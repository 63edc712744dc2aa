//! `mira_core::Reference`, tested like any backend: against golden vectors, definitions and Newton's optimum.

use mira_core::{Assigner, Matrix, Method, Reference, Shape};

use crate::{Answer, Backend, Failure, IN_F64, Limits};

/// The naive f64 oracle of `mira-core` as a backend.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

impl Backend for Oracle {
    const NAME: &'static str = "oracle";
    const LIMITS: Limits = IN_F64;
    const STARTS_WARM: bool = false;

    fn stored(logit: f64) -> f64 {
        logit
    }

    /// The oracle knows no warm start: its answers are the same from any start.
    fn stream(
        method: Method,
        shape: Shape,
        _warm_start: bool,
        batches: &[&[f64]],
    ) -> Vec<Result<Answer, Failure>> {
        let assigner = Reference::<f64>::new(method);
        let mut workspace = assigner.workspace(shape).expect("the oracle takes any shape");
        batches
            .iter()
            .map(|logits| {
                let mut assignment = vec![0.0; logits.len()];
                let logits = Matrix::new(logits, shape).map_err(Failure::Core)?;
                assigner
                    .assign_into(logits, &mut assignment, &mut workspace)
                    .map_err(Failure::Core)?;
                Ok(Answer {
                    assignment,
                    report: assigner.report(&workspace).map_err(Failure::Core)?,
                    log_weights: workspace.log_weights().to_vec(),
                })
            })
            .collect()
    }
}

/// The oracle's answer; for tests whose subject is another backend.
pub fn answer(method: Method, shape: Shape, logits: &[f64]) -> Answer {
    Oracle::assign(method, shape, logits).expect("valid logits")
}
