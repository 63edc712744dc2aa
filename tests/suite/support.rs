//! Problems, definitions, and the few lines a backend must write to be tested.

use std::fmt;
use std::sync::Arc;

use mira_core::{Collective, Error, Method, Mira, Report, Shape, Sinkhorn, StopRule};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

/// What an element type of assignments brings with it.
pub(crate) struct Limits {
    unit_roundoff: f64,
    tolerance_tv: f64,
    smallest_normal: f64,
}

pub(crate) const IN_F64: Limits = Limits {
    unit_roundoff: f64::EPSILON / 2.0,
    tolerance_tv: 1e-10,
    smallest_normal: f64::MIN_POSITIVE,
};
pub(crate) const IN_F32: Limits = Limits {
    unit_roundoff: f32::EPSILON as f64 / 2.0,
    tolerance_tv: 1e-5,
    smallest_normal: f32::MIN_POSITIVE as f64,
};

/// Stores a logit in single precision.
#[allow(clippy::cast_possible_truncation)] // storing in fewer bits is what is meant
pub(crate) fn to_f32(logit: f64) -> f32 {
    logit as f32
}

/// A backend under test, with plain `f64` slices at the border.
pub(crate) trait Backend {
    const NAME: &'static str;
    /// Of the sweeps and of the assignment.
    const LIMITS: Limits;
    /// Unit roundoff of its arithmetic.
    const UNIT_ROUNDOFF: f64 = Self::LIMITS.unit_roundoff;
    /// Largest total variation of a row from the oracle's, both after the same number of sweeps.
    const TOLERANCE_TV: f64 = Self::LIMITS.tolerance_tv;
    /// Smallest positive normal number of the assignment's type.
    const SMALLEST_NORMAL: f64 = Self::LIMITS.smallest_normal;

    /// Whether a warm start saves it sweeps.
    const STARTS_WARM: bool;

    /// Whether it rounds the exponents `S/ε` of what it sweeps to f64, which reports take for exact but in the log domain.
    const ROUNDS_EXPONENTS: bool = false;

    /// Before something whose time has a limit: what is made once for the whole program.
    fn prepare() {}

    /// How many random cases to try where `cases` are usual: fewer on a backend that is slow.
    fn cases(cases: u32) -> u32 {
        cases
    }

    /// A logit as the backend's element type holds it. Oracles are given the same number: storage is not an error of the arithmetic.
    fn stored(logit: f64) -> f64;

    /// Assigns the batches one after the other with one workspace.
    fn stream(
        method: Method,
        shape: Shape,
        warm_start: bool,
        batches: &[&[f64]],
    ) -> Vec<Result<Answer, Failure>>;

    /// One assignment, cold.
    fn assign(method: Method, shape: Shape, logits: &[f64]) -> Result<Answer, Failure> {
        Self::stream(method, shape, false, &[logits]).remove(0)
    }

    /// The tightest per-element tolerance worth asking for at this β.
    fn tight(beta: f64) -> f64 {
        // The certificate's own allowance for rounding, and room for the sums' noise, which the bound multiplies by 1/(1−β).
        (64.0 * Self::UNIT_ROUNDOFF / (1.0 - beta)).max(1e-13)
    }
}

/// A backend whose rows may be spread over ranks.
pub(crate) trait Distributed: Backend {
    fn assign_on_rank(
        method: Method,
        shape: Shape,
        logits: &[f64],
        collective: Arc<dyn Collective>,
    ) -> Result<Answer, Failure>;
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) assignment: Vec<f64>,
    pub(crate) report: Report,
    /// Natural-log column weights of the answer, up to an additive constant.
    pub(crate) log_weights: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    Core(Error),
    /// An error of the backend's own.
    Backend(String),
}

/// `SplitMix64`: small, seedable, and the same numbers on every platform.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub(crate) fn normals(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.normal()).collect()
    }

    /// In `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        #[allow(clippy::cast_possible_truncation)] // below n, a usize
        let index = (self.bits() % n as u64) as usize;
        index
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn shuffled(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

/// How logits are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Gaussian,
    /// Products of random unit vectors, as with normalised features and prototypes.
    Cosine,
    /// One near prototype a row, some prototypes popular and most of them not: marginals with a long tail.
    Clusters,
    /// Uniform in ±1e4.
    Extreme,
}

/// One assignment problem; its `Debug` form is all that is needed to make it again.
#[derive(Clone)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    /// τ of MIRA, ε of Sinkhorn–Knopp.
    pub(crate) temperature: f64,
    pub(crate) beta: f64,
    pub(crate) seed: u64,
    pub(crate) logits: Vec<f64>,
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, shape, temperature, beta, seed, .. } = self;
        write!(f, "{kind:?} {shape}, τ = {temperature}, β = {beta}, seed {seed}")
    }
}

pub(crate) const TEMPERATURES: [f64; 7] = [0.02, 0.05, 0.07, 0.1, 0.225, 0.5, 1.0];
pub(crate) const BETAS: [f64; 8] = [0.1, 0.3, 0.5, 2.0 / 3.0, 0.8, 0.9, 0.95, 0.98];

impl Problem {
    pub(crate) fn new(
        kind: Kind,
        shape: Shape,
        temperature: f64,
        beta: f64,
        seed: u64,
        stored: fn(f64) -> f64,
    ) -> Self {
        let mut random = Random::new(seed);
        let mut logits = kind.logits(shape, &mut random);
        for s in &mut logits {
            *s = stored(*s);
        }
        Self { kind, shape, temperature, beta, seed, logits }
    }

    /// Everything drawn from one seed, for loops too long for proptest's bookkeeping.
    pub(crate) fn random(seed: u64, stored: fn(f64) -> f64) -> Self {
        let mut random = Random::new(seed ^ 0x005e_ed0f_a11b_0b5e);
        let kind = random.pick(&[Kind::Gaussian, Kind::Cosine, Kind::Clusters]);
        let shape = shape(1 + random.below(40), 1 + random.below(40));
        let (temperature, beta) = (random.pick(&TEMPERATURES), random.pick(&BETAS));
        Self::new(kind, shape, temperature, beta, seed, stored)
    }

    pub(crate) fn num_prototypes(&self) -> usize {
        self.shape.num_prototypes()
    }

    pub(crate) fn mira(&self, stop: StopRule) -> Method {
        let mira = Mira::new(self.temperature, self.beta).and_then(|m| m.with_stop(stop));
        mira.expect("valid by construction").into()
    }

    pub(crate) fn sinkhorn(&self, stop: StopRule) -> Method {
        let sinkhorn = Sinkhorn::new(self.temperature).and_then(|m| m.with_stop(stop));
        sinkhorn.expect("valid by construction").into()
    }

    /// ε of MIRA's kernel.
    pub(crate) fn epsilon(&self) -> f64 {
        self.temperature * (1.0 - self.beta)
    }
}

impl Kind {
    fn logits(self, shape: Shape, random: &mut Random) -> Vec<f64> {
        let (batch, k) = (shape.batch(), shape.num_prototypes());
        match self {
            Self::Gaussian => random.normals(shape.len()),
            Self::Extreme => (0..shape.len()).map(|_| 2e4 * (random.uniform() - 0.5)).collect(),
            Self::Cosine => {
                const DIMENSIONS: usize = 8;
                let mut unit_vector = || {
                    let v = random.normals(DIMENSIONS);
                    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
                    v.into_iter().map(|x| x / norm).collect::<Vec<_>>()
                };
                let prototypes: Vec<_> = (0..k).map(|_| unit_vector()).collect();
                let rows: Vec<_> = (0..batch).map(|_| unit_vector()).collect();
                let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum();
                rows.iter().flat_map(|r| prototypes.iter().map(|p| dot(r, p))).collect()
            }
            Self::Clusters => {
                let mut logits = Vec::with_capacity(shape.len());
                for _ in 0..batch {
                    // Zipf-like: prototype j is near with a density falling as 1/j.
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    let near = ((k as f64).powf(random.uniform()) as usize - 1).min(k - 1);
                    for j in 0..k {
                        let center = if j == near { 0.8 } else { 0.1 };
                        logits.push(center + 0.06 * random.normal());
                    }
                }
                logits
            }
        }
    }
}

pub(crate) fn shape(batch: usize, num_prototypes: usize) -> Shape {
    Shape::new(batch, num_prototypes).expect("not empty")
}

/// Problems as `B` stores them, shrinking towards few rows and prototypes.
pub(crate) fn problems<B: Backend>() -> impl Strategy<Value = Problem> {
    problems_of(&[Kind::Gaussian, Kind::Cosine, Kind::Clusters], 24, B::stored)
}

pub(crate) fn problems_of(
    kinds: &'static [Kind],
    largest: usize,
    stored: fn(f64) -> f64,
) -> impl Strategy<Value = Problem> {
    let select = proptest::sample::select::<f64>;
    (
        proptest::sample::select(kinds),
        1..=largest,
        1..=largest,
        select(&TEMPERATURES[..]),
        select(&BETAS[..]),
        any::<u64>(),
    )
        .prop_map(move |(kind, batch, k, temperature, beta, seed)| {
            Problem::new(kind, shape(batch, k), temperature, beta, seed, stored)
        })
}

/// Runs `check` on problems of `strategy`: `PROPTEST_CASES` of them or `cases`, the same ones each time unless `PROPTEST_RNG_SEED` says otherwise.
///
/// # Panics
/// With the smallest failing problem.
pub(crate) fn for_all<S: Strategy>(
    cases: u32,
    strategy: &S,
    check: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let from_environment = ProptestConfig::default();
    let given = |name| std::env::var_os(name).is_some();
    let config = ProptestConfig {
        cases: if given("PROPTEST_CASES") { from_environment.cases } else { cases },
        rng_seed: if given("PROPTEST_RNG_SEED") {
            from_environment.rng_seed
        } else {
            RngSeed::Fixed(0x6d69_7261)
        },
        failure_persistence: None,
        ..from_environment
    };
    if let Err(failure) = TestRunner::new(config).run(strategy, check) {
        panic!("{failure}");
    }
}

/// `log Σ e^x`.
pub(crate) fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// `log W_ij` with `W_ij ∝ exp(a_j + S_ij/ε)`. Rows are normalised after their largest exponent is taken off, which may be in the
/// thousands: their sums are then 1 to a few ulps, and objectives, which are stationary only among rows that sum to 1, exact
/// to second order in the exponents' rounding.
pub(crate) fn log_assignment(logits: &[f64], epsilon: f64, a: &[f64]) -> Vec<f64> {
    let mut log_w = Vec::with_capacity(logits.len());
    for row in logits.chunks_exact(a.len()) {
        let x: Vec<f64> = row.iter().zip(a).map(|(s, a)| s / epsilon + a).collect();
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shifted: Vec<f64> = x.iter().map(|x| x - max).collect();
        let log_sum = log_sum_exp(&shifted);
        log_w.extend(shifted.iter().map(|x| x - log_sum));
    }
    log_w
}

/// `log w̄_j`.
pub(crate) fn log_marginal(log_w: &[f64], k: usize) -> Vec<f64> {
    let batch = log_w.len() / k;
    (0..k)
        .map(|j| {
            let column: Vec<f64> = (0..batch).map(|i| log_w[i * k + j]).collect();
            log_sum_exp(&column) - (batch as f64).ln()
        })
        .collect()
}

pub(crate) fn exp(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.exp()).collect()
}

/// `w̄_j = (1/B) Σ_i w_ij`.
pub(crate) fn marginal(assignment: &[f64], k: usize) -> Vec<f64> {
    let batch = (assignment.len() / k) as f64;
    (0..k).map(|j| assignment.iter().skip(j).step_by(k).sum::<f64>() / batch).collect()
}

/// The largest total variation `½ Σ_j |x_ij − y_ij|` of any row; infinite where something is not finite.
pub(crate) fn total_variation(x: &[f64], y: &[f64], k: usize) -> f64 {
    assert_eq!(x.len(), y.len());
    x.chunks_exact(k)
        .zip(y.chunks_exact(k))
        .map(|(x, y)| 0.5 * x.iter().zip(y).map(|(x, y)| (x - y).abs()).sum::<f64>())
        .map(|tv| if tv.is_finite() { tv } else { f64::INFINITY })
        .fold(0.0, f64::max)
}

/// `KL(p ‖ q) = Σ p log(p/q)`, both given by their logarithms. Adding `Σ (q − p) = 0` keeps the digits of a small divergence.
pub(crate) fn kl(log_p: &[f64], log_q: &[f64]) -> f64 {
    let term = |p: f64, q: f64| match q - p {
        _ if p == f64::NEG_INFINITY => q.exp(),
        d if d < 1.0 => p.exp() * (d.exp_m1() - d),
        d => q.exp() - p.exp() * (1.0 + d),
    };
    log_p.iter().zip(log_q).map(|(&p, &q)| term(p, q)).sum()
}

/// `mean_i KL(w_i ‖ v_i)` of assignments given by their logarithms.
pub(crate) fn mean_kl(log_w: &[f64], log_v: &[f64], k: usize) -> f64 {
    let batch = (log_w.len() / k) as f64;
    log_w.chunks_exact(k).zip(log_v.chunks_exact(k)).map(|(w, v)| kl(w, v)).sum::<f64>() / batch
}

/// `F(W) = −(1/B) Σ w log p + ((1−β)/B) Σ w log w + β Σ w̄ log w̄` (Eq. 4), term by term.
pub(crate) fn mira_objective(problem: &Problem, log_w: &[f64]) -> f64 {
    let k = problem.num_prototypes();
    let log_p = log_assignment(&problem.logits, problem.temperature, &vec![0.0; k]);
    let batch = problem.shape.batch() as f64;
    let (mut cross, mut negative_entropy) = (0.0, 0.0);
    for (lw, lp) in log_w.iter().zip(&log_p).filter(|(lw, _)| **lw > f64::NEG_INFINITY) {
        cross -= lw.exp() * lp / batch;
        negative_entropy += lw.exp() * lw / batch;
    }
    let of_marginal: f64 = log_marginal(log_w, k)
        .iter()
        .filter(|l| **l > f64::NEG_INFINITY)
        .map(|l| l.exp() * l)
        .sum();
    cross + (1.0 - problem.beta) * negative_entropy + problem.beta * of_marginal
}

/// Sinkhorn–Knopp's concave dual `D(f) = Σ_j f_j/K − (ε/B) Σ_i log Σ_j exp((S_ij + f_j)/ε)` at `f = ε a`; the minimum of
/// `−(1/B) Σ w S + (ε/B) Σ w log w` is its maximum.
pub(crate) fn sinkhorn_dual(problem: &Problem, a: &[f64]) -> f64 {
    let (k, epsilon) = (problem.num_prototypes(), problem.temperature);
    let row_terms: f64 = problem
        .logits
        .chunks_exact(k)
        .map(|row| {
            let x: Vec<f64> = row.iter().zip(a).map(|(s, a)| s / epsilon + a).collect();
            log_sum_exp(&x)
        })
        .sum();
    epsilon * (a.iter().sum::<f64>() / k as f64 - row_terms / problem.shape.batch() as f64)
}

/// `−(1/B) Σ w S + (ε/B) Σ w log w`.
pub(crate) fn sinkhorn_objective(problem: &Problem, log_w: &[f64]) -> f64 {
    let sum: f64 = log_w
        .iter()
        .zip(&problem.logits)
        .filter(|(l, _)| **l > f64::NEG_INFINITY)
        .map(|(l, s)| l.exp() * (problem.temperature * l - s))
        .sum();
    sum / problem.shape.batch() as f64
}

/// `max − min` of the finite entries.
pub(crate) fn span(x: &[f64]) -> f64 {
    let finite = || x.iter().copied().filter(|x| x.is_finite());
    (finite().fold(f64::NEG_INFINITY, f64::max) - finite().fold(f64::INFINITY, f64::min)).max(0.0)
}

/// First-order worst case of what float64 rounding does to a log-probability computed here: a sum of `B + K` terms whose exponents
/// are as large as logits and weights together.
pub(crate) fn f64_noise(problem: &Problem, epsilon: f64, a: &[f64]) -> f64 {
    let largest =
        problem.logits.iter().filter(|s| s.is_finite()).fold(0.0f64, |m, s| m.max(s.abs()));
    let terms = (problem.shape.batch() + problem.num_prototypes()) as f64;
    f64::EPSILON * (terms + 4.0 * (largest / epsilon + span(a)) + 16.0)
}
