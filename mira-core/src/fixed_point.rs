//! The iteration of every method, driven from the host: a backend supplies passes over its rows ([`Sweep`]), this module decides
//! which, at which column weights, and when to stop.
//!
//! All K-vector arithmetic is in f64 and in the log domain. The map is `G(a) = −ρ log t(a)` (see [`Scaling`](crate::Scaling)); for MIRA
//! it contracts the span by β, so `span(a − a*) ≤ span(G(a) − a)/(1−β)` holds wherever `a` came from: an accelerated step is kept if
//! this certificate improves, and replaced by the plain step from the best point so far if it does not.

mod agreement;
mod gauge;
mod report;
mod sweep;
mod target;

pub(crate) use gauge::center_gauge;
pub use report::{Outcome, Summary};
pub use sweep::{Arithmetic, Domain, Pass, PassInfo, Sweep};
pub use target::Target;

use crate::anderson::Anderson;
use crate::certificate;
use crate::{Collective, Error, Method, StopRule};

/// Largest share of a column that underflow may take before the log domain takes over, where rounding does not already say less.
const MAX_LOST_SHARE: f64 = 1e-9;

/// A bound that falls by less than this factor is as good as one that does not.
const STUCK: f64 = 0.999;

/// A bound that has not fallen by more than this share in all the sweeps of a target's patience never falls to a tolerance: there is no such plan.
const FLAT: f64 = 1e-6;

/// Largest magnitude of restored weights and centres.
const MAX_STATE: f64 = 1e300;

/// Extra elements reduced with the K sums: rows, lost mass, Σ log row, failed, Σ log partition.
const EXTRA: usize = 5;

/// State of the iteration for K prototypes: scratch, the last answer's weights and marginal, a warm start, DINO's centre.
#[derive(Clone, Debug)]
pub struct FixedPoint {
    /// `a` of the last pass; after a run, of the assignment.
    log_weights: Vec<f64>,
    /// `log w̄` there; −∞ for prototypes forbidden in every row.
    log_marginal: Vec<f64>,
    image: Vec<f64>,
    residual: Vec<f64>,
    best_image: Vec<f64>,
    sums: Vec<f64>,
    maxima: Vec<f64>,
    anderson: Anderson,
    center: Vec<f64>,
    has_warm_start: bool,
    finished: Option<Finished>,
    domain: Domain,
    /// Passes of this run.
    passes: usize,
}

/// What a run leaves for the report; everything else is in the K-vectors.
#[derive(Clone, Copy, Debug)]
struct Finished {
    method: Method,
    arithmetic: Arithmetic,
    iterations: usize,
    passes: usize,
    /// Mean over rows of `log Σ_l e^{a_l + S_il/ε}`.
    mean_log_row: f64,
    mean_log_partition: Option<f64>,
    row_span: f64,
}

/// Means over the global batch of what passes return.
#[derive(Clone, Copy, Debug)]
struct Global {
    mean_log_row: f64,
    mean_log_partition: f64,
}

impl FixedPoint {
    /// State for `num_prototypes` columns; nothing is allocated later.
    pub fn new(num_prototypes: usize) -> Self {
        let zeros = || vec![0.0; num_prototypes];
        Self {
            log_weights: zeros(),
            log_marginal: zeros(),
            image: zeros(),
            residual: zeros(),
            best_image: zeros(),
            sums: vec![0.0; num_prototypes + EXTRA],
            maxima: zeros(),
            anderson: Anderson::new(num_prototypes),
            center: zeros(),
            has_warm_start: false,
            finished: None,
            domain: Domain::Linear,
            passes: 0,
        }
    }

    /// Natural-log column weights `a` of the last assignment, up to an additive constant; the next warm start.
    pub fn log_weights(&self) -> &[f64] {
        &self.log_weights
    }

    /// Whether [`log_weights`](Self::log_weights) come from a run (or [`set_log_weights`](Self::set_log_weights)).
    pub const fn has_warm_start(&self) -> bool {
        self.has_warm_start
    }

    /// Restores a warm start, as from a checkpoint. There is nothing to report until the next run.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] unless there are K values, [`Error::InvalidState`] unless all are at most 1e300 in magnitude.
    pub fn set_log_weights(&mut self, log_weights: &[f64]) -> Result<(), Error> {
        copy_state("log weights", log_weights, &mut self.log_weights)?;
        self.has_warm_start = true;
        self.finished = None;
        Ok(())
    }

    /// DINO's centre, in units of the logits.
    pub fn center(&self) -> &[f64] {
        &self.center
    }

    /// Restores the centre, as from a checkpoint.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] unless there are K values, [`Error::InvalidState`] unless all are at most 1e300 in magnitude.
    pub fn set_center(&mut self, center: &[f64]) -> Result<(), Error> {
        copy_state("center", center, &mut self.center)
    }

    /// Runs `method` over the rows of `sweep` (and of the other ranks); ends with a [`Pass::Write`] at the returned weights.
    ///
    /// `warm_start` starts from the last run's weights; it is ignored by [`StopRule::Sweeps`], which promises a sequence, and over ranks
    /// unless all have the same weights (after a restart with other workspaces, say): then all start cold.
    ///
    /// # Errors
    /// The sweep's errors, failed collectives, [`CollectiveError::Differ`](crate::CollectiveError::Differ) when ranks have another method,
    /// arithmetic or centre, and [`Error::PeerFailed`] when another rank's sweep failed or the rank [refused](Self::refuse).
    pub fn run<S: Sweep>(
        &mut self,
        method: &Method,
        arithmetic: Arithmetic,
        warm_start: bool,
        collective: &dyn Collective,
        sweep: &mut S,
    ) -> Result<(), S::Error> {
        self.finished = None;
        self.domain = Domain::Linear;
        self.passes = 0;
        let warm =
            warm_start && self.has_warm_start && !matches!(method.stop(), StopRule::Sweeps(_));
        let warm = self.agreed_start(method, arithmetic, warm, collective)?;
        self.has_warm_start = false;
        // Of the last run nothing is known here that ranks agree on.
        self.log_marginal.fill(0.0);
        let max_lost_share = arithmetic.unit_roundoff.min(MAX_LOST_SHARE);
        let rho = method.scaling().relaxation;
        let mut run = Run { state: self, rho, max_lost_share, collective, sweep };
        let mut row_span = 0.0;
        let (iterations, global) = match *method {
            Method::Softmax(_) => {
                run.state.log_weights.fill(0.0);
                (0, run.evaluate(Pass::Write)?)
            }
            Method::Centered(m) => {
                run.state.log_weights.copy_from_slice(&run.state.center);
                // What all have in common says nothing, and would cost the quotients digits.
                center_gauge(&mut run.state.log_weights, &run.state.log_marginal);
                for a in &mut run.state.log_weights {
                    *a /= -m.temperature();
                }
                // By all ranks alike, as they have one centre.
                check_state("center/temperature", &run.state.log_weights, run.state.center.len())?;
                let global = run.evaluate(Pass::Write)?;
                run.update_center(m.momentum())?;
                (0, global)
            }
            Method::Mira(m) => {
                let target = Target::new(method, arithmetic, 0.0);
                let mut count = 0;
                if !warm {
                    // One step from w = 1 makes u⁰; the published count starts there.
                    run.state.log_weights.fill(0.0);
                    count = -1;
                }
                if let StopRule::Sweeps(n) = m.stop() {
                    (n, run.plain(n.saturating_add(1), Some(&target))?)
                } else {
                    run.accelerated(&target, count)?
                }
            }
            Method::Sinkhorn(m) => {
                // The inverse column sums count as the first sweep.
                row_span = run.sinkhorn_start(warm)?;
                match m.stop() {
                    StopRule::Sweeps(n) => (n, run.plain(n - 1, None)?),
                    _ => run.accelerated(&Target::new(method, arithmetic, row_span), 1)?,
                }
            }
        };
        self.has_warm_start = true;
        self.finished = Some(Finished {
            method: *method,
            arithmetic,
            iterations,
            passes: self.passes,
            mean_log_row: global.mean_log_row,
            mean_log_partition: Some(global.mean_log_partition).filter(|m| !m.is_nan()),
            row_span,
        });
        Ok(())
    }
}

fn copy_state(what: &'static str, from: &[f64], to: &mut [f64]) -> Result<(), Error> {
    check_state(what, from, to.len())?;
    to.copy_from_slice(from);
    Ok(())
}

/// Whether `values` can be a state of K numbers: finite, and so small that their differences are, too.
///
/// # Errors
/// [`Error::LengthMismatch`], [`Error::InvalidState`].
pub fn check_state(what: &'static str, values: &[f64], expected: usize) -> Result<(), Error> {
    if values.len() != expected {
        return Err(Error::LengthMismatch { what, expected, got: values.len() });
    }
    match values.iter().position(|x| x.is_nan() || x.abs() > MAX_STATE) {
        Some(index) => Err(Error::InvalidState { what, index, value: values[index] }),
        None => Ok(()),
    }
}

/// One run: the state with everything it works on.
struct Run<'a, S> {
    state: &'a mut FixedPoint,
    rho: f64,
    max_lost_share: f64,
    collective: &'a dyn Collective,
    sweep: &'a mut S,
}

impl<S: Sweep> Run<'_, S> {
    /// `updates` plain steps from the current weights, then the assignment. Under a contraction's target, steps that provably
    /// change nothing that rounding does not are left out.
    fn plain(&mut self, updates: usize, contraction: Option<&Target>) -> Result<Global, S::Error> {
        for _ in 0..updates {
            self.evaluate(Pass::Sweep)?;
            self.map();
            let settled = contraction.is_some_and(|target| target.is_settled(self.state));
            self.state.log_weights.copy_from_slice(&self.state.image);
            if settled {
                break;
            }
        }
        self.evaluate(Pass::Write)
    }

    /// Safeguarded Anderson acceleration until the target is met; returns the published iteration count.
    fn accelerated(&mut self, target: &Target, first: isize) -> Result<(usize, Global), S::Error> {
        let published = |count: isize| usize::try_from(count).unwrap_or(0);
        // Of the first pass nothing says how fast it goes.
        let (mut best, mut last_distance) = (f64::INFINITY, 0.0);
        let (mut milestone, mut since_milestone) = (f64::INFINITY, 0);
        let (mut lately, mut since_lately, mut is_flat) = (f64::INFINITY, 0, false);
        let mut pass = Pass::Sweep;
        let mut count = first;
        let max_count = isize::try_from(target.max_sweeps).unwrap_or(isize::MAX);
        loop {
            let global = self.evaluate(pass)?;
            self.map();
            let merit = target.merit(self.state);
            let distance = target.distance(self.state, merit);
            let converged = distance <= target.tolerance;
            if converged && pass == Pass::Write {
                return Ok((published(count), global));
            }
            since_milestone += 1;
            if merit <= 0.75 * milestone {
                (milestone, since_milestone) = (merit, 0);
            }
            since_lately += 1;
            if since_lately > target.patience() {
                let now = best.min(merit);
                is_flat = now > (1.0 - FLAT) * lately;
                (lately, since_lately) = (now, 0);
            }
            // What rounding may add is more than is asked for: then nothing is gained below it.
            let rounding = target.rounding(self.state);
            let is_out_of_reach = rounding >= target.tolerance && merit <= 0.1 * rounding;
            let noise = target.noise().max(rounding);
            let is_noise = since_milestone > target.patience() && best < noise;
            let stalled = is_out_of_reach || is_noise || is_flat;
            if converged {
                // Summing while writing rounds differently; if that undoes it, the iteration goes on.
                pass = Pass::Write;
                continue;
            }
            if stalled || count >= max_count {
                if merit > best {
                    // The plain step from the best point is proven no worse than that point.
                    self.state.log_weights.copy_from_slice(&self.state.best_image);
                }
                return Ok((published(count), self.evaluate(Pass::Write)?));
            }
            let state = &mut *self.state;
            if merit < best {
                // A step that hardly moved says that the history leads nowhere.
                if best == f64::INFINITY || merit > STUCK * best {
                    state.anderson.reset(state.log_marginal.iter().map(|l| l.exp()));
                }
                best = merit;
                state.best_image.copy_from_slice(&state.image);
                state.anderson.step(&state.residual, &state.image, &mut state.log_weights);
            } else {
                state.log_weights.copy_from_slice(&state.best_image);
                state.anderson.reset(state.log_marginal.iter().map(|l| l.exp()));
            }
            // The sweep that is likely the last writes while it sums; if it was not the last, little is lost.
            let expected = distance * (distance / last_distance).min(1.0);
            pass = if expected <= target.tolerance { Pass::Write } else { Pass::Sweep };
            last_distance = distance;
            count += 1;
        }
    }

    /// Weights `1/Σ_i k_ij` unless warm, and the largest span of a row.
    fn sinkhorn_start(&mut self, warm: bool) -> Result<f64, S::Error> {
        let k = self.state.log_weights.len();
        self.state.passes += 1;
        let result = self.sweep.log_column_sums(&mut self.state.sums[..k]);
        let row_span = self.agree(result)?;
        let mut spans = [row_span];
        self.collective.max(&mut spans).map_err(Error::from)?;
        self.log_sum_over_ranks()?;
        if !warm {
            for (a, l) in self.state.log_weights.iter_mut().zip(&self.state.sums) {
                *a = if *l == f64::NEG_INFINITY { 0.0 } else { -l };
            }
        }
        Ok(spans[0])
    }

    /// `c ← m c + (1−m) mean_i S_i`; a prototype with a forbidden (−∞) entry keeps its centre.
    fn update_center(&mut self, momentum: f64) -> Result<(), S::Error> {
        let k = self.state.center.len();
        self.state.sums.fill(0.0);
        let result = self.sweep.logit_sums(&mut self.state.sums[..k]);
        self.state.sums[k] = self.sweep.batch() as f64;
        self.agree(result)?;
        self.collective.sum(&mut self.state.sums).map_err(Error::from)?;
        let batch = self.state.sums[k];
        for (c, sum) in self.state.center.iter_mut().zip(&self.state.sums) {
            if sum.is_finite() {
                *c = momentum * *c + (1.0 - momentum) * sum / batch;
            }
        }
        Ok(())
    }

    /// One pass at the current weights: sets `log_marginal`.
    fn evaluate(&mut self, pass: Pass) -> Result<Global, S::Error> {
        center_gauge(&mut self.state.log_weights, &self.state.log_marginal);
        if self.state.domain == Domain::Linear {
            if let Some(global) = self.evaluate_linear(pass)? {
                return Ok(global);
            }
            // Decided from reduced values, so by all ranks alike.
            self.state.domain = Domain::Log;
        }
        self.evaluate_log(pass)
    }

    /// `None` if underflow makes the linear sums unreliable.
    fn evaluate_linear(&mut self, pass: Pass) -> Result<Option<Global>, S::Error> {
        let state = &mut *self.state;
        let k = state.log_weights.len();
        state.passes += 1;
        let result =
            self.sweep.pass(&state.log_weights, pass, Domain::Linear, &mut state.sums[..k]);
        let info = *result.as_ref().unwrap_or(&PassInfo::default());
        state.sums[k] = self.sweep.batch() as f64;
        state.sums[k + 1] = info.lost_mass;
        state.sums[k + 2] = info.sum_log_row;
        state.sums[k + 3] = f64::from(u8::from(result.is_err()));
        state.sums[k + 4] = self.sweep.sum_log_partition().unwrap_or(f64::NAN);
        if let Err(error) = self.collective.sum(&mut state.sums) {
            return Err(result.err().unwrap_or_else(|| Error::from(error).into()));
        }
        result?;
        let extra: [f64; EXTRA] = state.sums[k..].try_into().expect("EXTRA elements");
        let [batch, lost_mass, sum_log_row, failures, sum_log_partition] = extra;
        if failures > 0.0 {
            return Err(Error::PeerFailed.into());
        }
        let floor = (lost_mass / self.max_lost_share).max(f64::MIN_POSITIVE * batch);
        // Where nothing underflowed, a column without mass is one that every row forbids.
        let is_forbidden = |sum: f64| sum == 0.0 && lost_mass == 0.0;
        let is_sure = |sum: f64| (sum >= floor && sum < f64::INFINITY) || is_forbidden(sum);
        if !state.sums[..k].iter().all(|s| is_sure(*s)) {
            return Ok(None);
        }
        let inverse_batch = 1.0 / batch;
        for (l, sum) in state.log_marginal.iter_mut().zip(&state.sums) {
            *l = sum * inverse_batch;
        }
        self.sweep.ln(&mut state.log_marginal);
        // A logarithm that `ln` does not promise.
        for (l, sum) in state.log_marginal.iter_mut().zip(&state.sums) {
            if is_forbidden(*sum) {
                *l = f64::NEG_INFINITY;
            }
        }
        Ok(Some(Global {
            mean_log_row: sum_log_row / batch,
            mean_log_partition: sum_log_partition / batch,
        }))
    }

    fn evaluate_log(&mut self, pass: Pass) -> Result<Global, S::Error> {
        let state = &mut *self.state;
        let k = state.log_weights.len();
        state.passes += 1;
        let result = self.sweep.pass(&state.log_weights, pass, Domain::Log, &mut state.sums[..k]);
        let info = self.agree(result)?;
        self.log_sum_over_ranks()?;
        let mut extra = [
            self.sweep.batch() as f64,
            info.sum_log_row,
            self.sweep.sum_log_partition().unwrap_or(f64::NAN),
        ];
        self.collective.sum(&mut extra).map_err(Error::from)?;
        let [batch, sum_log_row, sum_log_partition] = extra;
        let log_batch = batch.ln();
        let state = &mut *self.state;
        for (l, log_sum) in state.log_marginal.iter_mut().zip(&state.sums) {
            *l = log_sum - log_batch;
        }
        Ok(Global {
            mean_log_row: sum_log_row / batch,
            mean_log_partition: sum_log_partition / batch,
        })
    }

    /// `G(a) = −ρ log t` and the residual `G(a) − a`, from `log t = log w̄ − a`.
    fn map(&mut self) {
        let rho = self.rho;
        let FixedPoint { log_weights, log_marginal, image, residual, .. } = &mut *self.state;
        for ((g, f), (&a, &l)) in
            image.iter_mut().zip(residual).zip(log_weights.iter().zip(log_marginal.iter()))
        {
            if l == f64::NEG_INFINITY {
                // Forbidden everywhere: its weight multiplies zeros.
                (*g, *f) = (0.0, 0.0);
            } else {
                *g = rho * (a - l);
                *f = *g - a;
                if certificate::is_lost(*f, a, l, 1.0) {
                    (*g, *f) = (a, 0.0);
                }
            }
        }
    }

    /// Turns one rank's failure into an error on every rank.
    fn agree<T>(&mut self, result: Result<T, S::Error>) -> Result<T, S::Error> {
        if self.collective.world_size() == 1 {
            return result;
        }
        let mut failed = [f64::from(u8::from(result.is_err()))];
        let reduced = self.collective.max(&mut failed);
        let value = result?;
        reduced.map_err(Error::from)?;
        if failed[0] > 0.0 { Err(Error::PeerFailed.into()) } else { Ok(value) }
    }

    /// `log Σ_ranks e^{log_sums}` of the first K sums.
    fn log_sum_over_ranks(&mut self) -> Result<(), S::Error> {
        if self.collective.world_size() == 1 {
            return Ok(());
        }
        let FixedPoint { sums, maxima, .. } = &mut *self.state;
        let sums = &mut sums[..maxima.len()];
        maxima.copy_from_slice(sums);
        self.collective.max(maxima).map_err(Error::from)?;
        for (sum, max) in sums.iter_mut().zip(maxima.iter()) {
            *sum = if *max == f64::NEG_INFINITY { 0.0 } else { (*sum - max).exp() };
        }
        self.collective.sum(sums).map_err(Error::from)?;
        for (sum, max) in sums.iter_mut().zip(maxima.iter()) {
            *sum = max + sum.ln();
        }
        Ok(())
    }
}
