//! The flags of `mira-train assign`, what they default to, and which of them a method takes.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mira_core::{Method, Mira, Sinkhorn, Softmax, StopRule};

use super::Backend;
use crate::Error;

/// Methods by name.
#[allow(clippy::doc_markdown)] // these are help texts, where backticks would show
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    /// Mutual-information regularised assignment (Lee, Kim et al. 2022)
    Mira,
    /// Sinkhorn–Knopp, every prototype used equally (SwAV, DINOv2)
    Sinkhorn,
    /// Each row's softmax, no constraint on usage
    Softmax,
}

const EXAMPLES: &str = "\
Examples:
  mira-train assign logits.npy
      a summary of MIRA's assignment, solved to a certified tolerance; nothing is written
  mira-train assign logits.npy --out W.npy --report R.json
      writes the assignment and its certificate
  mira-train assign logits.npy --iterations 30
      the published MIRA: 30 sweeps of Eq. 7
  mira-train assign logits.npy --method sinkhorn --iterations 3 --report -
      SwAV's assignment; its certificate as JSON on stdout

Exit codes: 0 done (an answer not proven to the tolerance has status max_iterations, or stalled
where more sweeps are no remedy, and a warning on stderr), 1 failure inside, 2 input or flags to be corrected.
An output file appears complete or not at all.";

/// Flags of `mira-train assign`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct AssignArgs {
    /// Logits as a 2-D .npy array of float16, float32 or float64, in C or Fortran order
    ///
    /// Rows are samples, columns prototypes; cosine similarities are usual. −inf forbids a prototype to a sample; NaN and +inf are
    /// errors.
    #[arg(value_name = "LOGITS.npy")]
    pub logits: PathBuf,

    /// Method to assign with
    #[arg(long, value_enum, value_name = "NAME", default_value = "mira", help_heading = "Method")]
    pub method: MethodName,

    /// Temperature τ > 0 of softmax(logits/τ), in units of the logits (mira, softmax) [default: 0.225]
    #[arg(
        long,
        value_name = "TAU",
        allow_negative_numbers = true,
        hide_default_value = true,
        help_heading = "Method"
    )]
    pub temperature: Option<f64>,

    /// Weight β in [0, 1) of the marginal's entropy: 0 is softmax, towards 1 usage evens out (mira) [default: 2/3]
    #[arg(long, value_name = "BETA", allow_negative_numbers = true, help_heading = "Method")]
    pub beta: Option<f64>,

    /// Entropic regularisation ε > 0, in units of the logits (sinkhorn) [default: 0.05]
    #[arg(long, value_name = "EPSILON", allow_negative_numbers = true, help_heading = "Method")]
    pub epsilon: Option<f64>,

    /// The answer after N plain sweeps, as the published codes compute it (mira: after u⁰ = mean(kernel)^(1−β); sinkhorn: N in all)
    ///
    /// Sweeps of mira that provably change nothing beyond rounding are left out.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32),
        conflicts_with_all = ["tolerance", "max_sweeps"],
        help_heading = "Stopping"
    )]
    pub iterations: Option<u32>,

    /// Stop when the error is proven to be at most T: of every log w (mira), of the marginal's sum (sinkhorn) [default: 1e-5, for
    /// f8 logits 1e-10]
    #[arg(long, value_name = "T", allow_negative_numbers = true, help_heading = "Stopping")]
    pub tolerance: Option<f64>,

    /// Give up on the tolerance after N sweeps [default: 1000]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Stopping"
    )]
    pub max_sweeps: Option<u32>,

    /// Code that computes the assignment
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        default_value = Backend::DEFAULT.name(),
        help_heading = "Backend"
    )]
    pub backend: Backend,

    /// Report the solver's own certificate instead of verifying W as written, in f64 (slower than most assignments)
    #[arg(long, help_heading = "Backend")]
    pub no_verify: bool,

    /// Write the assignment W here: rows × prototypes, row sums 1, f4 (f8 for f8 logits)
    #[arg(long, value_name = "W.npy", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Write status, certificate and settings here as JSON; `-` prints them instead of the summary
    #[arg(long, value_name = "R.json", help_heading = "Output")]
    pub report: Option<PathBuf>,
}

impl AssignArgs {
    /// The method asked for; `default_tolerance` is the arithmetic's.
    ///
    /// # Errors
    /// [`Error::FlagDoesNotApply`] for a flag the method would ignore, [`Error::Core`] for a parameter out of range.
    pub fn method(&self, default_tolerance: f64) -> Result<Method, Error> {
        let refuse = |given: bool, flag: &'static str, remedy: &'static str| {
            let method = self.method.name();
            if given { Err(Error::FlagDoesNotApply { flag, method, remedy }) } else { Ok(()) }
        };
        match self.method {
            MethodName::Mira => {
                refuse(self.epsilon.is_some(), "epsilon", "MIRA has --temperature and --beta")?;
                let default = Mira::default();
                let mira = Mira::new(
                    self.temperature.unwrap_or(default.temperature()),
                    self.beta.unwrap_or(default.beta()),
                )?;
                Ok(mira.with_stop(self.stop(default_tolerance))?.into())
            }
            MethodName::Sinkhorn => {
                let remedy = "Sinkhorn–Knopp has --epsilon";
                refuse(self.temperature.is_some(), "temperature", remedy)?;
                refuse(self.beta.is_some(), "beta", remedy)?;
                let epsilon = self.epsilon.unwrap_or(Sinkhorn::swav().epsilon());
                Ok(Sinkhorn::new(epsilon)?.with_stop(self.stop(default_tolerance))?.into())
            }
            MethodName::Softmax => {
                let remedy = "a softmax has --temperature only";
                refuse(self.beta.is_some(), "beta", remedy)?;
                refuse(self.epsilon.is_some(), "epsilon", remedy)?;
                let remedy = "a softmax has no iteration";
                refuse(self.iterations.is_some(), "iterations", remedy)?;
                refuse(self.tolerance.is_some(), "tolerance", remedy)?;
                refuse(self.max_sweeps.is_some(), "max-sweeps", remedy)?;
                let default = Mira::default().temperature();
                Ok(Softmax::new(self.temperature.unwrap_or(default))?.into())
            }
        }
    }

    fn stop(&self, default_tolerance: f64) -> StopRule {
        self.iterations.map_or(
            StopRule::Tolerance {
                tolerance: Some(self.tolerance.unwrap_or(default_tolerance)),
                max_sweeps: self.max_sweeps.map_or(StopRule::DEFAULT_MAX_SWEEPS, |n| n as usize),
            },
            |n| StopRule::Sweeps(n as usize),
        )
    }

    /// Whether stdout is for the JSON report alone.
    pub fn report_to_stdout(&self) -> bool {
        self.report.as_deref() == Some(Path::new("-"))
    }
}

impl MethodName {
    const fn name(self) -> &'static str {
        match self {
            Self::Mira => "mira",
            Self::Sinkhorn => "sinkhorn",
            Self::Softmax => "softmax",
        }
    }
}
