//! `mira-train assign`: logits in, assignment and certificate out.

use std::io::Write as _;
use std::path::PathBuf;

use mira_core::{Matrix, Method, Shape, verify_at};

use crate::Error;
use crate::npy::{self, Element, Npy, Values};
use crate::output::Destination;

mod args;
mod backend;
pub mod report;

pub use args::{AssignArgs, MethodName};
pub use backend::Backend;
use backend::{Logit, timed};
use report::AssignReport;

/// Assigns as `args` say, writes the files they name, and returns what there is to report.
///
/// # Errors
/// Every [`Error`]; none leaves a file behind or changes one, unless it says that writing failed.
pub fn run(args: &AssignArgs) -> Result<AssignReport, Error> {
    let outputs = Outputs::new(args)?;
    let npy = Npy::open(&args.logits)?;
    let method = args.method(npy.dtype().default_tolerance())?;
    let shape = npy.shape();
    match npy.read()? {
        Values::F16(logits) => assign(args, &method, shape, &logits, &outputs),
        Values::F32(logits) => assign(args, &method, shape, &logits, &outputs),
        Values::F64(logits) => assign(args, &method, shape, &logits, &outputs),
    }
}

fn assign<L: Logit>(
    args: &AssignArgs,
    method: &Method,
    shape: Shape,
    logits: &[L],
    outputs: &Outputs,
) -> Result<AssignReport, Error> {
    let about_logits = |error| match error {
        Error::Core(
            source @ (mira_core::Error::NonFiniteLogit { .. }
            | mira_core::Error::AllForbidden { .. }),
        ) => Error::Logits { path: args.logits.clone(), source },
        other => other,
    };
    let solved = L::solver(args.backend)(method, shape, logits).map_err(about_logits)?;
    let mut report =
        AssignReport::new(method, args.backend, shape, L::DTYPE, &solved.report, solved.seconds);
    if !args.no_verify {
        let (verification, seconds) = timed(|| {
            verify_at(
                Matrix::new(logits, shape)?,
                Matrix::new(&solved.assignment, shape)?,
                method,
                &solved.log_weights,
            )
        });
        report.verified_by(&verification?, seconds);
    }
    outputs.write(shape, &solved.assignment, &mut report)?;
    Ok(report)
}

/// Where the files go.
struct Outputs {
    assignment: Option<Destination>,
    report: Option<Destination>,
}

impl Outputs {
    fn new(args: &AssignArgs) -> Result<Self, Error> {
        let destination = |flag, path: Option<&PathBuf>| {
            path.map(|path| {
                let destination = Destination::new(flag, path)?;
                destination.differs_from("LOGITS.npy", &args.logits)?;
                Ok::<_, Error>(destination)
            })
            .transpose()
        };
        if args.out.as_deref().is_some_and(|path| path.as_os_str() == "-") {
            let problem = "W.npy is a file, stdout takes text only; name a file (or ./-)".into();
            return Err(Error::Unwritable { flag: "--out", path: "-".into(), problem });
        }
        let report = args.report.as_ref().filter(|_| !args.report_to_stdout());
        let outputs = Self {
            assignment: destination("--out", args.out.as_ref())?,
            report: destination("--report", report)?,
        };
        if let (Some(assignment), Some(report)) = (&outputs.assignment, &outputs.report) {
            report.differs_from_output(assignment)?;
        }
        Ok(outputs)
    }

    /// Both files are complete on disk before either gets its name.
    fn write<A: Element>(
        &self,
        shape: Shape,
        assignment: &[A],
        report: &mut AssignReport,
    ) -> Result<(), Error> {
        let w = self.assignment.as_ref();
        let w = w.map(|d| d.stage(|out| npy::write(out, shape, assignment))).transpose()?;
        let r = self.report.as_ref();
        let json = report.to_json();
        let r = r.map(|d| d.stage(|out| out.write_all(json.as_bytes()))).transpose()?;
        for staged in [w, r].into_iter().flatten() {
            report.wrote(staged.publish()?);
        }
        Ok(())
    }
}
