//! What every backend must do. Each function is instantiated as a test per backend in `main.rs`.

mod answers;
mod edges;
mod invariances;
mod streams;
mod verdicts;

use mira_core::{Method, Shape, Softmax, StopRule};
use proptest::prelude::*;

use crate::definitions::{f64_noise, total_variation};
use crate::oracle;
use crate::problem::Problem;
use crate::{Answer, Backend};

pub use answers::*;
pub use edges::*;
pub use invariances::*;
pub use streams::*;
pub use verdicts::*;

type Checked = Result<(), TestCaseError>;

fn assign<B: Backend>(
    method: Method,
    shape: Shape,
    logits: &[f64],
) -> Result<Answer, TestCaseError> {
    B::assign(method, shape, logits)
        .map_err(|e| TestCaseError::fail(format!("{}: {method:?}: {e:?}", B::NAME)))
}

/// What float64 rounding may do to the backend and to the oracle alike, as a total variation; weights amplify it by β/(1−β).
fn tolerance<B: Backend>(problem: &Problem, method: &Method, a: &[f64]) -> f64 {
    let amplification = match method {
        Method::Mira(m) => 1.0 / (1.0 - m.beta()),
        _ => 1.0,
    };
    B::TOLERANCE_TV.max(amplification * f64_noise(problem, method.scaling().epsilon, a))
}

/// MIRA and Sinkhorn–Knopp after some sweeps and at their tolerance, and softmax.
fn methods(problem: &Problem) -> [Method; 6] {
    let sweeps = StopRule::Sweeps;
    [
        problem.mira(sweeps(0)),
        problem.mira(sweeps(5)),
        problem.mira(StopRule::default()),
        problem.sinkhorn(sweeps(1)),
        problem.sinkhorn(sweeps(3)),
        Softmax::new(problem.temperature).expect("valid").into(),
    ]
}

fn same_as_the_oracle<B: Backend>(problem: &Problem, method: Method) -> Checked {
    let (ours, theirs) = (
        assign::<B>(method, problem.shape, &problem.logits)?,
        oracle::answer(method, problem.shape, &problem.logits),
    );
    let tv = total_variation(&ours.assignment, &theirs.assignment, problem.num_prototypes());
    let tolerance = tolerance::<B>(problem, &method, &theirs.log_weights);
    prop_assert!(tv <= tolerance, "{method:?}: total variation {tv:e} > {tolerance:e}");
    prop_assert_eq!(ours.report.iterations, theirs.report.iterations, "{:?}", method);
    Ok(())
}
