//! Which code computes an assignment; the one place that knows the backends' types.

mod cpu;
mod reference;

use std::time::Instant;

use half::f16;
use mira_core::{Method, Report, Shape};
use mira_cpu::{CpuAssigner, CpuWorkspace};

use crate::Error;
use crate::npy::Element;

/// A backend by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// Multi-threaded SIMD, in f32 (f64 for f8 logits)
    Cpu,
    /// The naive oracle, in f64 throughout, on one thread
    Reference,
}

impl Backend {
    /// The backend used unless one is named.
    pub const DEFAULT: Self = Self::Cpu;

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Reference => "reference",
        }
    }
}

/// An assignment and how it was reached.
#[derive(Clone, Debug)]
pub(crate) struct Solved<A> {
    /// Row-major, B × K.
    pub(crate) assignment: Vec<A>,
    pub(crate) log_weights: Vec<f64>,
    pub(crate) report: Report,
    /// Wall-clock time of the assignment alone.
    pub(crate) seconds: f64,
}

/// A backend's entry point; the logits are row-major.
pub(crate) type Solver<L, A> = fn(&Method, Shape, &[L]) -> Result<Solved<A>, Error>;

/// Logits, and the precision their assignment has.
pub(crate) trait Logit: Element {
    type Label: Element;
    fn solver(backend: Backend) -> Solver<Self, Self::Label>;
}

macro_rules! logit {
    ($($logit:ty => $label:ty),*) => {$(
        impl Logit for $logit {
            type Label = $label;
            fn solver(backend: Backend) -> Solver<Self, Self::Label> {
                match backend {
                    Backend::Cpu => |method, shape, logits| {
                        let solver = CpuAssigner::<$logit, $label>::new(*method);
                        cpu::solve(&solver, CpuWorkspace::log_weights, shape, logits)
                    },
                    Backend::Reference => reference::solve,
                }
            }
        }
    )*};
}
logit!(f16 => f32, f32 => f32, f64 => f64);

/// The value of `f` and the seconds it took.
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let value = f();
    (value, start.elapsed().as_secs_f64())
}
