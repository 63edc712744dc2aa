//! The shared driver, [`FixedPoint`], over plain f64 passes: puts the driver, its acceleration and the collectives to the test
//! without any kernel of their own.

use std::sync::Arc;

use mira_core::{Arithmetic, Collective, FixedPoint, Method, Shape, SingleProcess};

use crate::rows::Rows;
use mira_conformance::{Answer, Backend, Distributed, Failure, IN_F64, Limits};

pub(crate) struct Driven;

fn assign(
    state: &mut FixedPoint,
    method: Method,
    warm_start: bool,
    logits: &[f64],
    collective: &dyn Collective,
) -> Result<Answer, Failure> {
    let mut assignment = vec![0.0; logits.len()];
    let num_prototypes = state.log_weights().len();
    let mut rows = Rows { logits, assignment: &mut assignment, num_prototypes, method };
    state
        .run(&method, Arithmetic::F64, warm_start, collective, &mut rows)
        .map_err(Failure::Core)?;
    let report = state.report().expect("the run has succeeded");
    Ok(Answer { assignment, report, log_weights: state.log_weights().to_vec() })
}

impl Backend for Driven {
    const NAME: &'static str = "driven";
    const LIMITS: Limits = IN_F64;
    const STARTS_WARM: bool = true;
    const ROUNDS_EXPONENTS: bool = true;

    fn stored(logit: f64) -> f64 {
        logit
    }

    fn stream(
        method: Method,
        shape: Shape,
        warm_start: bool,
        batches: &[&[f64]],
    ) -> Vec<Result<Answer, Failure>> {
        let mut state = FixedPoint::new(shape.num_prototypes());
        batches
            .iter()
            .map(|logits| assign(&mut state, method, warm_start, logits, &SingleProcess))
            .collect()
    }
}

impl Distributed for Driven {
    fn assign_on_rank(
        method: Method,
        shape: Shape,
        logits: &[f64],
        collective: Arc<dyn Collective>,
    ) -> Result<Answer, Failure> {
        let mut state = FixedPoint::new(shape.num_prototypes());
        assign(&mut state, method, false, logits, &*collective)
    }
}
