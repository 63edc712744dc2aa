//! What `mira-train assign` says about an assignment: JSON for programs, a summary for people.

use std::fmt;
use std::path::PathBuf;

use mira_core::{Certificate, Method, Report, Shape, Status, StopRule, Verification};
use serde::Serialize;

use super::Backend;
use crate::npy::DType;

/// The JSON report. Numbers that are not finite become `null`.
#[derive(Clone, Debug, Serialize)]
pub struct AssignReport {
    /// Method's name.
    pub method: &'static str,
    /// Backend's name.
    pub backend: &'static str,
    /// Rows B.
    pub batch: usize,
    /// Columns K.
    pub prototypes: usize,
    /// Type of the logits' file.
    pub logits_dtype: &'static str,
    /// Type of the assignment.
    pub dtype: &'static str,
    /// τ, for mira and softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// β, for mira.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// ε, for sinkhorn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Whether the assignment is proven to be within `tolerance`.
    pub status: Status,
    /// Sweeps after the start; for `--iterations n` the place in the published sequence, n.
    pub iterations: usize,
    /// Passes over the batch carried out.
    pub passes: usize,
    /// What `log_ratio_bound` (for sinkhorn `marginal_error`) is held against, rounding allowances added.
    pub tolerance: f64,
    /// The certificate.
    #[serde(flatten)]
    pub certificate: Certificate,
    /// Entropy of the marginal in nats.
    pub marginal_entropy: f64,
    /// Largest difference of a row's sum from 1; `null` if not verified.
    pub row_sum_error: Option<f64>,
    /// The method's objective; `null` if not known.
    pub objective: Option<f64>,
    /// Whether the certificate is of W as written, recomputed in f64; else it is the solver's own.
    pub verified: bool,
    /// Wall-clock time of the assignment alone.
    pub seconds: f64,
    /// Wall-clock time of the verification.
    pub verify_seconds: Option<f64>,
    /// Version of `mira-train`.
    pub version: &'static str,

    #[serde(skip)]
    stop: StopRule,
    #[serde(skip)]
    solver: Solver,
    #[serde(skip)]
    files: Vec<PathBuf>,
}

/// What the solver said, kept to be held against what the verifier says.
#[derive(Clone, Copy, Debug)]
struct Solver {
    status: Status,
    rounding_allowance: f64,
}

impl AssignReport {
    /// The solver's own account.
    pub(crate) fn new(
        method: &Method,
        backend: Backend,
        shape: Shape,
        logits_dtype: DType,
        report: &Report,
        seconds: f64,
    ) -> Self {
        let (temperature, beta, epsilon) = match method {
            Method::Mira(m) => (Some(m.temperature()), Some(m.beta()), None),
            Method::Sinkhorn(m) => (None, None, Some(m.epsilon())),
            Method::Softmax(m) => (Some(m.temperature()), None, None),
            Method::Centered(m) => (Some(m.temperature()), None, None),
        };
        let tolerance = match method.stop() {
            StopRule::Tolerance { tolerance: Some(t), .. } => t,
            _ => logits_dtype.default_tolerance(),
        };
        let mut this = Self {
            method: method.name(),
            backend: backend.name(),
            batch: shape.batch(),
            prototypes: shape.num_prototypes(),
            logits_dtype: logits_dtype.name(),
            dtype: logits_dtype.of_assignment().name(),
            temperature,
            beta,
            epsilon,
            status: report.status,
            iterations: report.iterations,
            passes: report.passes,
            tolerance,
            certificate: report.certificate,
            marginal_entropy: report.marginal_entropy,
            row_sum_error: None,
            objective: report.objective,
            verified: false,
            seconds,
            verify_seconds: None,
            version: env!("CARGO_PKG_VERSION"),
            stop: method.stop(),
            solver: Solver {
                status: report.status,
                rounding_allowance: report.certificate.rounding_allowance,
            },
            files: Vec::new(),
        };
        if matches!(this.stop, StopRule::Sweeps(_)) {
            // The solver judges a number of sweeps by its own arithmetic's tolerance, the oracle by f64's whatever it writes.
            let allowance = report.certificate.rounding_allowance;
            let is_in_marginal = matches!(method, Method::Sinkhorn(_));
            this.status = this.judged(if is_in_marginal { 0.0 } else { -allowance });
        }
        this
    }

    /// Replaces the solver's certificate by the verifier's. It may lower the status, and raise it only where the solver had no
    /// tolerance to meet.
    pub(crate) fn verified_by(&mut self, found: &Verification, seconds: f64) {
        self.certificate = found.certificate;
        self.marginal_entropy = found.marginal_entropy;
        self.row_sum_error = Some(found.row_sum_error);
        self.objective = found.objective;
        self.verified = true;
        self.verify_seconds = Some(seconds);
        let by_sweeps = matches!(self.stop, StopRule::Sweeps(_));
        if by_sweeps || self.status == Status::Converged {
            self.status = self.judged(self.slack());
        }
    }

    /// Notes a file for the summary.
    pub(crate) fn wrote(&mut self, path: PathBuf) {
        self.files.push(path);
    }

    /// The number the tolerance bounds, and its name.
    fn distance(&self) -> (&'static str, f64) {
        if self.method == "sinkhorn" {
            ("marginal error", self.certificate.marginal_error)
        } else {
            ("log-ratio bound", self.certificate.log_ratio_bound)
        }
    }

    /// What rounding may add to the [`distance`](Self::distance).
    fn allowance(&self) -> f64 {
        match self.method {
            // The certificate's is of the log-ratio bound; a marginal's sum has some roundings an element.
            "sinkhorn" => ROUNDINGS * unit_roundoff(if self.verified { "f8" } else { self.dtype }),
            _ => self.certificate.rounding_allowance,
        }
    }

    /// How far solver and verifier may differ by rounding.
    fn slack(&self) -> f64 {
        match self.method {
            "sinkhorn" => ROUNDINGS * unit_roundoff(self.dtype),
            _ => self.solver.rounding_allowance + self.certificate.rounding_allowance,
        }
    }

    /// Nothing is proven to a tolerance that rounding alone may exceed, and no slack is granted that is larger than the tolerance.
    fn judged(&self, slack: f64) -> Status {
        let slack = if slack <= self.tolerance { slack } else { 0.0 };
        let is_within = self.distance().1 <= self.tolerance + slack;
        match self.stop {
            _ if is_within && self.allowance() <= self.tolerance => Status::Converged,
            StopRule::Sweeps(_) => Status::MaxIterations,
            // The solver had converged; what it wrote cannot say more.
            _ => Status::Stalled,
        }
    }

    /// Why the answer is not proven to the tolerance, and what to do about it; `None` if it is.
    pub fn warning(&self) -> Option<String> {
        if self.status == Status::Converged {
            return None;
        }
        let (name, distance) = self.distance();
        let (tolerance, n, dtype) = (self.tolerance, self.iterations, self.dtype);
        let allowance = self.allowance();
        if allowance > tolerance {
            let remedy = match self.method {
                _ if !self.verified && dtype == "f4" => "raise --tolerance, or give f8 logits",
                "mira" => "lower --beta, which multiplies it, or raise --tolerance",
                _ => "raise --tolerance",
            };
            return Some(format!(
                "not converged: rounding may add {allowance:.1e} to the {name} {distance:.1e}, more than the tolerance {tolerance:.1e}; {remedy}"
            ));
        }
        let is_above = distance > tolerance;
        let short = if is_above {
            format!("{name} {distance:.1e} is above the tolerance {tolerance:.1e}")
        } else {
            let allowance = allowance.max(self.solver.rounding_allowance);
            format!(
                "{name} {distance:.1e} is below the tolerance {tolerance:.1e}, but not with the {allowance:.1e} that rounding may add"
            )
        };
        Some(match self.stop {
            StopRule::Tolerance { .. } if self.solver.status == Status::Converged => {
                let remedy = if dtype == "f4" { "; f8 logits get an f8 answer" } else { "" };
                format!("the solver converged, but for W as written the {short}{remedy}")
            }
            StopRule::Tolerance { .. }
                if self.solver.status == Status::Stalled
                    && self.method == "sinkhorn"
                    && distance > 1e3 * allowance =>
            {
                format!(
                    "not converged: the {short} and falls no more after {n} sweeps: with the prototypes that logits of −inf forbid, none has equal usage; forbid less, or take --method mira"
                )
            }
            StopRule::Tolerance { .. } if self.solver.status == Status::Stalled => format!(
                "not converged: the {short} after {n} sweeps, and rounding in {dtype} allows no better"
            ),
            StopRule::Tolerance { .. } if is_above => format!(
                "not converged: the {short} after {n} sweeps; raise --max-sweeps or --tolerance"
            ),
            StopRule::Tolerance { .. } => {
                format!("not converged: the {short} after {n} sweeps; raise --tolerance")
            }
            StopRule::Sweeps(0) => format!("the {short}"),
            _ => format!(
                "not converged: the {short} after {n} sweeps; leave out --iterations for a certified answer"
            ),
        })
    }

    /// The report as a JSON object, with a newline at its end.
    ///
    /// # Panics
    /// Never: strings and numbers always serialise.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers serialise") + "\n"
    }
}

/// Of a sum over a marginal, as many as the model of `mira_core::rounding_allowance` has for an element.
const ROUNDINGS: f64 = 8.0;

fn unit_roundoff(dtype: &str) -> f64 {
    if dtype == "f4" { f64::from(f32::EPSILON) / 2.0 } else { f64::EPSILON / 2.0 }
}

/// Four significant digits, however small or large.
fn significant(value: f64) -> String {
    let rounded = format!("{value:.3e}").parse().unwrap_or(value);
    if value < 1.0 && rounded >= 1.0 {
        return value.to_string(); // β = 0.9999999 is not 1
    }
    if (1e-3..1e6).contains(&rounded.abs()) || rounded == 0.0 {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

/// The summary.
impl fmt::Display for AssignReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.certificate;
        write!(
            f,
            "{} of {}×{} {} logits",
            self.method, self.batch, self.prototypes, self.logits_dtype
        )?;
        for (name, value) in
            [("temperature", self.temperature), ("beta", self.beta), ("epsilon", self.epsilon)]
        {
            if let Some(value) = value {
                write!(f, ", {name} {}", significant(value))?;
            }
        }
        writeln!(f, ", backend {}", self.backend)?;
        // MIRA's sequence takes its start and the write besides the sweeps.
        let carried_out = self.passes.saturating_sub(2);
        let cut =
            self.method == "mira" && matches!(self.stop, StopRule::Sweeps(n) if carried_out < n);
        let settled = if cut {
            format!(" ({carried_out} carried out, the rest changes nothing)")
        } else {
            String::new()
        };
        let by = if self.verified { "W verified in f64" } else { "the solver's own account" };
        writeln!(
            f,
            "status           {} after {} sweeps{settled}, tolerance {:.0e}; {by}",
            self.status, self.iterations, self.tolerance
        )?;
        let optimum = if self.method == "sinkhorn" {
            "KL(optimal row ‖ row)"
        } else {
            "KL(row ‖ optimal row)"
        };
        for (name, value, meaning) in [
            (
                "log-ratio bound",
                c.log_ratio_bound,
                // No label of f64 is further from another.
                if c.log_ratio_bound > 745.0 {
                    "says nothing: for Sinkhorn–Knopp it grows with e^(span of a row/epsilon)"
                } else {
                    "no |log w − log optimal w| is larger"
                },
            ),
            (
                "label KL bound",
                c.label_kl_bound,
                &*format!("nats; the mean {optimum} is no larger"),
            ),
            ("duality gap", c.duality_gap, "the objective is at most this far above its optimum"),
            ("marginal error", c.marginal_error, "‖marginal − its target‖₁"),
            ("rounding", c.rounding_allowance, "what rounding may add to the log-ratio bound"),
        ] {
            let value = if value.is_finite() { format!("{value:.2e}") } else { "none".into() };
            writeln!(f, "{name:<16} {value:<9} {meaning}")?;
        }
        if let Some(objective) = self.objective {
            let objective = if objective.abs() < 1e6 {
                format!("{objective:.6}")
            } else {
                format!("{objective:.6e}")
            };
            writeln!(f, "{:<16} {objective}", "objective")?;
        }
        writeln!(
            f,
            "{:<16} {:.1} of {} prototypes in use (perplexity of the marginal)",
            "usage",
            self.marginal_entropy.exp(),
            self.prototypes
        )?;
        write!(f, "{:<16} {:.2} ms", "time", self.seconds * 1e3)?;
        if let Some(seconds) = self.verify_seconds {
            write!(f, ", verification {:.2} ms", seconds * 1e3)?;
        }
        writeln!(f)?;
        for path in &self.files {
            writeln!(f, "{:<16} {}", "wrote", path.display())?;
        }
        Ok(())
    }
}
